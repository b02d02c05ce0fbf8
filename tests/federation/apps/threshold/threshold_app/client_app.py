"""A tiny app for the tests: no torch, one learned number, and a repertoire of misbehaviour."""

import os
import signal
import time
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from unica_sdk.federation.app import parameters, seed, site_cases

MARKERS = Path(os.environ["UNICA_TEST_MARKERS"])
(MARKERS / f"imported-{os.getpid()}-{time.time_ns()}").touch()

app = ClientApp()


def misbehave(how, task):
    """Do what the test asked for."""
    if how == "raise":
        raise ValueError(f"patient {4700 + 11} has a secret")
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "exit":
        raise SystemExit(f"patient {4700 + 11} has a secret")
    if how == "sleep":
        (MARKERS / f"asleep-{os.getpid()}").touch()
        time.sleep(600)
    if how == "gate" and task == "train":
        (MARKERS / f"asleep-{os.getpid()}").touch()
        while not (MARKERS / "go").exists():
            time.sleep(0.05)


@app.train()
def train(message: Message, context: Context) -> Message:
    chosen = parameters(message)
    misbehave(chosen["behaviour"], "train")
    cases = site_cases(context)
    seen = cases.images[~cases.held_out].mean(axis=(1, 2))
    if "arrays" in message.content.array_records:
        shift = message.content.array_records["arrays"]["shift"].numpy()
    else:
        shift = np.random.default_rng(seed(message)).normal(size=(3,)).astype(np.float32)
    target = float(seen.mean())
    new = (shift + chosen["rate"] * (target - shift)).astype(np.float32)
    if chosen["behaviour"] == "nan":
        new[0] = np.nan
    if chosen["behaviour"] == "shape" and "arrays" in message.content.array_records:
        new = np.zeros(4, np.float32)
    metrics = {"loss": float(np.mean((seen - new[0]) ** 2))}
    if chosen["behaviour"] == "secret_metric":
        metrics |= {f"patient_{4700 + 11}": 1.0}
    content = {"arrays": ArrayRecord({"shift": Array(new)}), "metrics": MetricRecord(metrics)}
    return Message(RecordDict(content), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    cases = site_cases(context)
    shift = message.content.array_records["arrays"]["shift"].numpy()
    brightness = cases.images[cases.held_out].mean(axis=(1, 2))
    scores = 1 / (1 + np.exp(-8 * (brightness - shift[0])))
    if parameters(message)["behaviour"] == "scores":
        scores = scores + 2
    return Message(RecordDict({"scores": ArrayRecord([scores.astype(np.float64)])}), reply_to=message)
