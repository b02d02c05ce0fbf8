"""What travels between the hub's side and a site's side of a job, as the engine's messages.

An instruction holds ticket, parameters, round and seed and, from the second round on, the model. A reply
holds the site's protected number of cases, its metrics, and either the model (of a training) or the score
histogram (of an evaluation) with the protected number of people it is of. A failure holds one of our codes
and no words.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from flwr.app import ConfigRecord, Error, Message, RecordDict
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from unica_sdk.federation import adapter
from unica_sdk.federation.packing import Arrays, pack, unpack
from unica_sdk.federation.ports import Refusal, Task
from unica_sdk.schemas.app import AppManifest
from unica_sdk.schemas.cohort import Released
from unica_sdk.schemas.contract import Contract
from unica_sdk.schemas.job import FailureCode, JobOrder
from unica_sdk.schemas.metrics import ScoreHistogram
from unica_sdk.schemas.signing import SignedDocument

JOB, REPLY, MODEL, ABOUT = "job", "reply", "model", "about"
"""The names of the records and of what is in them."""

IMAGES_PER_PERSON = 2_000
"""More images of one person, on average over a site, than any collection holds: slices count as images."""


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


class Tested(Contract):
    """An evaluation: the people and the images it is of, and how many images of each class scored what."""

    people: Released
    images: int = Field(ge=1)
    histogram: ScoreHistogram

    @model_validator(mode="after")
    def _agree(self) -> Tested:
        scored = sum(self.histogram.positives) + sum(self.histogram.negatives)
        if scored != self.images:
            raise ValueError("the histogram is not of the images that were scored")
        if not self.people.low <= self.images <= self.people.high * IMAGES_PER_PERSON:
            raise ValueError("so many people do not have so many images")
        return self


class About(Contract):
    """The numbers of a reply; they have to agree, so that no site counts for more than it says it has."""

    cases: Released
    metrics: dict[str, float]
    tested: Tested | None = None
    consent: Literal["applied"] | None = None
    """That the site left out whoever had withdrawn; never how many these were, nor whether there were any."""

    @property
    def weight(self) -> int:
        """What the reply counts in an average: people, as the site's own decision released them."""
        return max(1, self.people.n)

    @property
    def people(self) -> Released:
        """The people this reply is of: those of the evaluation, or else of the job."""
        return self.tested.people if self.tested else self.cases

    @model_validator(mode="after")
    def _agree(self) -> About:
        if any(max(told.n, told.low) > told.high for told in (self.cases, self.people)):
            raise ValueError("a number of people lies outside of its own interval")
        if self.people.site != self.cases.site or self.people.low > self.cases.high:
            raise ValueError("the people of an evaluation are some of those of the job")
        return self


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a site answered: its numbers and, after a training, its arrays."""

    about: About
    arrays: dict[str, NDArray[Any]]


def instruct(
    order: JobOrder, *, task: Task, number: int, arrays: Arrays | None, node: int, seconds: float
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
    if arrays is not None:
        job[MODEL] = pack({}, arrays)
    return Message(RecordDict({JOB: job}), node, task, ttl=seconds, group_id=str(number))


def read_instruction(message: Message) -> Instruction:
    """Return what a message asks.

    Raises:
        Refusal: it holds no job, or a ticket or parameters that cannot be read.
    """
    if not message.has_content() or JOB not in message.content.config_records:
        raise Refusal(FailureCode.NO_TICKET, "the message holds no job")
    job = message.content.config_records[JOB]
    try:
        text = str(job.get("ticket", ""))
        ticket = SignedDocument.model_validate_json(text) if text else None
    except ValidationError as err:
        raise Refusal(FailureCode.TICKET_INVALID, "the ticket cannot be read") from err
    try:
        parameters = json.loads(str(job["parameters"]))
        number, seed = int(str(job["round"])), int(str(job["seed"]))
        arrays = unpack(_bytes(job[MODEL]))[1] if MODEL in job else None
        if not isinstance(parameters, dict):
            raise TypeError("parameters are named")
    except (KeyError, ValueError, TypeError) as err:
        raise Refusal(FailureCode.PARAMETERS_INVALID, "the job cannot be read") from err
    return Instruction(ticket=ticket, parameters=parameters, round=number, seed=seed, arrays=arrays)


def reply(message: Message, about: About, arrays: Arrays | None = None) -> Message:
    """Return a site's reply: exactly these numbers and arrays and nothing else."""
    record = ConfigRecord({ABOUT: about.model_dump_json()})
    if arrays is not None:
        record[MODEL] = pack({}, arrays)
    return Message(RecordDict({REPLY: record}), reply_to=message)


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
    """Return a site's reply, checked again at the hub: its metrics are those of the manifest.

    Raises:
        ReplyInvalid: a part is missing, is another site's, or cannot be; or its numbers do not agree.
    """
    try:
        record = message.content.config_records[REPLY]
        about = About.model_validate_json(str(record[ABOUT]))
        arrays = unpack(_bytes(record[MODEL]))[1] if task == "train" else {}
    except (KeyError, ValueError, TypeError) as err:
        raise ReplyInvalid("the reply cannot be read") from err
    if about.cases.site != site or (task == "evaluate") != (about.tested is not None):
        raise ReplyInvalid("the reply is another site's, or to another task")
    kept = about.model_copy(update={"metrics": declared(manifest, about.metrics)})
    return Reply(about=kept, arrays=arrays)


def declared(manifest: AppManifest, metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics that the manifest declares and that lie within its bounds; drop the others."""
    return {
        name: float(value)
        for name, value in metrics.items()
        if name in manifest.metrics and manifest.metrics[name].low <= value <= manifest.metrics[name].high
    }


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("a model is bytes")
    return value
