"""What travels on the node channel: questions from the hub, answers from a site.

A node always calls out: it holds a request open at the gateway, takes the questions that come, and posts each
answer by its number.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from unica_sdk.schemas.catalogue import DatasetRecord, RecordProblem
from unica_sdk.schemas.cohort import Cell, CountAnswer, Facets, Snapshot
from unica_sdk.schemas.contract import Contract
from unica_sdk.schemas.policy import SitePolicy
from unica_sdk.schemas.signing import SignedDocument


class CountQuestion(Contract):
    """How many people match? The query travels raw: a site refuses what it does not know.

    `asker` is who the hub says asks; the site's budget is kept by the permit where there is one that
    verifies, else by the asker, and by the site as a whole whatever the hub says.
    """

    kind: Literal["count"] = "count"
    id: str
    query: dict[str, Any]
    asker: str = Field(min_length=1, max_length=255)
    permit: SignedDocument | None = None


class BreakdownQuestion(Contract):
    """How many people match, split by one or two facets? Budget and query as in `CountQuestion`."""

    kind: Literal["breakdown"] = "breakdown"
    id: str
    query: dict[str, Any]
    by: Facets
    asker: str = Field(min_length=1, max_length=255)
    permit: SignedDocument | None = None


class FreezeQuestion(Contract):
    """Freeze the people who match, under this permit."""

    kind: Literal["freeze"] = "freeze"
    id: str
    query: dict[str, Any]
    holder: str
    permit: SignedDocument


Question = Annotated[CountQuestion | BreakdownQuestion | FreezeQuestion, Field(discriminator="kind")]


class Answer(Contract):
    """A site's answer to one question.

    `count` is the whole's; a breakdown has its cells besides (none where `count` is neither released nor
    suppressed), a freeze its snapshot where there is one. `left` is what is left of the asker's budget at
    this site.
    """

    question: str
    count: CountAnswer
    cells: tuple[Cell, ...] = ()
    snapshot: Snapshot | None = None
    left: int | None = Field(default=None, ge=0)


class Hello(Contract):
    """What a node tells the hub when it connects and at every heartbeat."""

    datasets: tuple[DatasetRecord, ...]
    policy: SitePolicy | None = None
    audit_head: str
    audit_length: int


class Welcome(Contract):
    """What the hub answers: the chain head of its own audit, for the node to remember.

    `refused` says which of the node's records the hub did not take, and why; it kept the last good ones.
    """

    audit_head: str
    audit_length: int
    refused: tuple[RecordProblem, ...] = ()
