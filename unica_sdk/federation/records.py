"""What travels between the hub's side and a site's side of a job, as the engine's records.

An instruction holds `job` (ticket, parameters, round, seed) and, from the second round on, `arrays`. A
reply to a training holds `arrays` and `metrics`, one to an evaluation a `histogram` and `metrics`; both
hold `site`: the protected number of cases and the weight, rounded to tens. A failure holds one of our codes
and no words.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from numpy.typing import NDArray
from pydantic import ValidationError

from unica_sdk.federation import adapter
from unica_sdk.federation.ports import Refusal, Task
from unica_sdk.schemas.app import AppManifest
from unica_sdk.schemas.cohort import Released
from unica_sdk.schemas.job import FailureCode, JobOrder
from unica_sdk.schemas.metrics import ScoreHistogram
from unica_sdk.schemas.signing import SignedDocument

WEIGHT = "num-examples"
"""The engine's name for a reply's weight in the average."""


class ReplyInvalid(Exception):  # noqa: N818 - a verdict on a site's reply
    """A reply holds something that no site's side of ours sends."""


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """What a site is told, as it was read from the message and not yet checked."""

    ticket: SignedDocument | None
    parameters: Mapping[str, Any]
    round: int
    seed: int
    arrays: dict[str, NDArray[Any]] | None


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a site answered: one of arrays and histogram, its metrics, its weight, its protected cases."""

    arrays: ArrayRecord | None
    histogram: ScoreHistogram | None
    metrics: dict[str, float]
    weight: int
    cases: Released


def instruct(
    order: JobOrder, *, task: Task, number: int, arrays: ArrayRecord | None, node: int, seconds: float
) -> Message:
    """Return the message that asks one site for one task of one round; it lapses after `seconds`."""
    job = ConfigRecord(
        {
            "ticket": order.ticket.model_dump_json(),
            "parameters": json.dumps(order.parameters),
            "round": number,
            "seed": order.seed,
        }
    )
    content = RecordDict({"job": job})
    if arrays is not None:
        content["arrays"] = arrays
    return Message(content, dst_node_id=node, message_type=task, ttl=seconds, group_id=str(number))


def read_instruction(message: Message) -> Instruction:
    """Return what a message asks.

    Raises:
        Refusal: it holds no job, or a ticket or parameters that cannot be read.
    """
    if not message.has_content() or "job" not in message.content.config_records:
        raise Refusal(FailureCode.NO_TICKET, "the message holds no job")
    job, arrays = message.content.config_records["job"], message.content.array_records.get("arrays")
    try:
        text = str(job.get("ticket", ""))
        ticket = SignedDocument.model_validate_json(text) if text else None
    except ValidationError as err:
        raise Refusal(FailureCode.TICKET_INVALID, "the ticket cannot be read") from err
    try:
        parameters = json.loads(str(job["parameters"]))
        number, seed = int(str(job["round"])), int(str(job["seed"]))
        model = None if arrays is None else {name: value.numpy() for name, value in arrays.items()}
        if not isinstance(parameters, dict):
            raise TypeError("parameters are named")
    except (KeyError, ValueError, TypeError, EOFError) as err:
        raise Refusal(FailureCode.PARAMETERS_INVALID, "the job cannot be read") from err
    return Instruction(ticket=ticket, parameters=parameters, round=number, seed=seed, arrays=model)


def reply(
    message: Message,
    *,
    cases: Released,
    weight: int,
    metrics: Mapping[str, float],
    arrays: Mapping[str, NDArray[Any]] | None = None,
    histogram: ScoreHistogram | None = None,
) -> Message:
    """Return a site's reply: exactly these numbers and no others."""
    content = RecordDict(
        {
            "site": ConfigRecord({"cases": cases.model_dump_json(), "weight": weight}),
            "metrics": MetricRecord(dict(metrics)),
        }
    )
    if arrays is not None:
        content["arrays"] = ArrayRecord({name: Array(np.asarray(value)) for name, value in arrays.items()})
    if histogram is not None:
        content["histogram"] = MetricRecord(
            {"positives": list(histogram.positives), "negatives": list(histogram.negatives)}
        )
    return Message(content, reply_to=message)


def failed(message: Message, code: FailureCode) -> Message:
    """Return a site's word that it did not do it: the code and nothing else."""
    return Message(Error(adapter.SITE_ERROR, code.value), reply_to=message)


def failure_of(message: Message) -> FailureCode:
    """Return why a site did not do it; a word that is none of ours counts as an invalid reply."""
    try:
        return FailureCode(adapter.error_code(message))
    except ValueError:
        return FailureCode.REPLY_INVALID


def read_reply(message: Message, *, task: Task, site: str, manifest: AppManifest) -> Reply:
    """Return a site's reply, checked again at the hub.

    Raises:
        ReplyInvalid: a part is missing, is another site's, or cannot be.
    """
    content = message.content
    try:
        about, numbers = content.config_records["site"], content.metric_records["metrics"]
        cases, weight = Released.model_validate_json(str(about["cases"])), int(str(about["weight"]))
        metrics = declared(manifest, {name: float(str(value)) for name, value in numbers.items()})
        arrays = content.array_records["arrays"] if task == "train" else None
        histogram = None
        if task == "evaluate":
            histogram = ScoreHistogram.model_validate(dict(content.metric_records["histogram"]))
    except (KeyError, ValueError, TypeError) as err:
        raise ReplyInvalid(str(err)) from err
    if cases.site != site or weight < 1:
        raise ReplyInvalid("the numbers are another site's or cannot be")
    return Reply(arrays=arrays, histogram=histogram, metrics=metrics, weight=weight, cases=cases)


def declared(manifest: AppManifest, metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics that the manifest declares and that lie within its bounds; drop the others."""
    return {
        name: float(value)
        for name, value in metrics.items()
        if name in manifest.metrics and manifest.metrics[name].low <= value <= manifest.metrics[name].high
    }
