"""What a site runs for the breast screening app: train a round, score the held-out cases."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from numpy.typing import NDArray
from torch import Tensor

# At a site the bundle's folder is on the path; the type checker sees this file inside UNICA instead.
from breast_screen.model import Network, fresh, local_contrast  # type: ignore[import-not-found]
from breast_screen.training import fit, scores  # type: ignore[import-not-found]
from unica_sdk.federation.app import parameters, seed, site_cases

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train on the cases that are not held out; answer with the weights and the mean loss."""
    cases, given = site_cases(context), parameters(message)
    kept = ~cases.held_out
    with one_thread():
        model = received(message)
        loss = fit(
            model,
            prepared(cases.images[kept]),
            torch.from_numpy(cases.labels[kept].astype(np.float32)),
            epochs=int(given["epochs"]),
            learning_rate=float(given["learning_rate"]),
            batch_size=int(given["batch_size"]),
            seed=order_of(model, seed(message)),
        )
    weights = {name: Array(value.numpy()) for name, value in model.state_dict().items()}
    content = RecordDict({"arrays": ArrayRecord(weights), "metrics": MetricRecord({"loss": loss})})
    return Message(content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Score the held-out cases; the site turns the scores into counts before anything leaves."""
    cases = site_cases(context)
    with one_thread():
        found = scores(received(message), prepared(cases.images[cases.held_out]))
    content = RecordDict({"scores": ArrayRecord([found.numpy().astype(np.float32)])})
    return Message(content, reply_to=message)


def received(message: Message) -> Network:
    """Return the message's model, or in the first round the one that the seed gives."""
    model = fresh(seed(message))
    arrays = message.content.array_records.get("arrays")
    if arrays is not None:
        model.load_state_dict(
            {name: torch.from_numpy(value.numpy().copy()) for name, value in arrays.items()}
        )
    return model


def prepared(images: NDArray[np.float32]) -> Tensor:
    """Return images (n, rows, columns) as the model takes them."""
    found: Tensor = local_contrast(torch.from_numpy(images)[:, None])
    return found


def order_of(model: Network, number: int) -> int:
    """Return a seed for the order of cases: it repeats with the job's, and differs from round to round."""
    state = number.to_bytes(8, "big")
    return zlib.crc32(state + b"".join(value.numpy().tobytes() for value in model.state_dict().values()))


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one core: several sites may share a machine, and batches this small gain nothing from more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
