"""What travels on the node channel: questions from the hub, answers from a site.

A node always calls out: it holds a request open at the gateway, takes the questions that come, and posts each
answer by its number.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from unica_sdk.schemas.catalogue import DatasetRecord
from unica_sdk.schemas.cohort import CountAnswer, Snapshot
from unica_sdk.schemas.contract import Contract
from unica_sdk.schemas.signing import SignedDocument


class CountQuestion(Contract):
    """How many people match? The query travels raw: a site refuses what it does not know."""

    kind: Literal["count"] = "count"
    id: str
    query: dict[str, Any]


class FreezeQuestion(Contract):
    """Freeze the people who match, under this permit."""

    kind: Literal["freeze"] = "freeze"
    id: str
    query: dict[str, Any]
    holder: str
    permit: SignedDocument


Question = Annotated[CountQuestion | FreezeQuestion, Field(discriminator="kind")]


class Answer(Contract):
    """A site's answer to one question: a count, and for a freeze the snapshot where there is one."""

    question: str
    count: CountAnswer
    snapshot: Snapshot | None = None


class Hello(Contract):
    """What a node tells the hub when it connects and at every heartbeat."""

    datasets: tuple[DatasetRecord, ...]
    audit_head: str
    audit_length: int


class Welcome(Contract):
    """What the hub answers: the chain head of its own audit, for the node to remember."""

    audit_head: str
    audit_length: int
