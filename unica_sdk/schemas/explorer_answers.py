"""What the explorer is told: one result of each site, with the collections that it shows in its table.

Source: samply/lens (`src/backends/spot.ts`) for the result, samply/eucaim-frontend (`src/Types/types.ts`,
`src/services/spot.ts`) for the body, 2025 and 2026.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Literal

from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.catalogue import DatasetRecord
from unica_sdk.schemas.cohort import CountAnswer, Offline, Refused, Released, Suppressed, Unsupported
from unica_sdk.schemas.contract import Contract, canonical_json

Status = Literal["succeeded", "tempfailed", "permafailed"]

SPENT = "budget_spent"
"""The refusal that time heals; every other one lasts."""


class Span(Contract):
    """Two ends, both included; None where an end is not known."""

    min: int | None
    max: int | None


class Collection(Contract):
    """What one site has for a query, as one row of the explorer's table.

    `subjects_count` is the protected number of people; `subjects_range` holds the true one 95 times in 100.
    Where a site says only that there are fewer than a number, it is the most that there can be, and the name
    says so: a suppressed answer is the same for nobody and for a few. `studies_count` is the same number,
    since everyone who is counted has one study at least: a query's studies are not counted.
    """

    id: str
    name: str
    description: str
    studies_count: int
    subjects_count: int
    subjects_range: Span
    age_range: Span
    gender: tuple[str, ...]
    modality: tuple[str, ...]
    body_parts: tuple[str, ...]


class Provider(Contract):
    """A site's answer, with its one collection."""

    provider: str
    provider_icon: str = ""
    collections: tuple[Collection, ...]


class Failure(Contract):
    """Why a site has no number; `criteria` names what it does not know."""

    error: str
    criteria: tuple[str, ...] = ()


class ExplorerResult(Contract):
    """One event `new_result`: `body` is base64 of JSON, a `Provider` where the site succeeded."""

    task: str
    sender: str
    status: Status
    body: str

    def event(self) -> bytes:
        """Return it as one server-sent event."""
        data = {"task": self.task, "from": self.sender, "status": self.status, "body": self.body}
        return b"event: new_result\ndata: " + canonical_json(data) + b"\n\n"


def result_of(
    task: str, answer: CountAnswer, *, name: str, records: Sequence[DatasetRecord]
) -> ExplorerResult:
    """Return a site's answer as the explorer is told it; `name` and `records` are that site's.

    Example:
        >>> result_of("t", Offline(site="gr"), name="Hospital", records=[]).status
        'tempfailed'
    """
    status: Status = "permafailed"
    body: Provider | Failure
    match answer:
        case Released() | Suppressed():
            status, body = "succeeded", Provider(provider=name, collections=(_row(answer, name, records),))
        case Unsupported(criteria=criteria):
            named = ", ".join(criteria)
            body = Failure(error=f"The site does not know these criteria: {named}.", criteria=criteria)
        case Refused(code=code):
            status = "tempfailed" if code == SPENT else "permafailed"
            body = Failure(error=f"The site's policy refused the question: {code}.")
        case Offline():
            status, body = "tempfailed", Failure(error="The site did not answer in time.")
    return _result(task, answer.site, status, body)


def unasked(task: str, site: str, error: str, *, criteria: tuple[str, ...] = ()) -> ExplorerResult:
    """Return the failure of a site that was not asked: lasting where criteria are named, else for now."""
    failure = Failure(error=error, criteria=criteria)
    return _result(task, site, "permafailed" if criteria else "tempfailed", failure)


def _result(task: str, site: str, status: Status, body: Provider | Failure) -> ExplorerResult:
    # The explorer takes what stands between the first two dots for the site; a site's name may have dots.
    sender = f"unica.{site.replace('.', '~')}.hub"
    return ExplorerResult(
        task=task, sender=sender, status=status, body=base64.b64encode(body.canonical()).decode()
    )


def _row(answer: Released | Suppressed, name: str, records: Sequence[DatasetRecord]) -> Collection:
    if isinstance(answer, Released):
        number, people = answer.n, Span(min=answer.low, max=answer.high)
        title = ""
        words = f"About {answer.n} people, between {answer.low} and {answer.high} 95 times in 100."
    else:
        number, people = answer.below - 1, Span(min=0, max=answer.below - 1)
        title = f" (fewer than {answer.below})"
        words = f"Fewer than {answer.below} people, perhaps none; the number shown is the most there can be."
    one = records[0] if len(records) == 1 else None
    what = one.description if one else "Datasets: " + ("; ".join(r.title for r in records) or "none") + "."
    ages = [record.ages for record in records if record.ages]
    return Collection(
        id=one.id if one else answer.site,
        name=(one.title if one else name) + title,
        description=f"{words} {what}" + (" SYNTHETIC DATA." if any(r.synthetic for r in records) else ""),
        studies_count=number,
        subjects_count=number,
        subjects_range=people,
        age_range=Span(
            min=min((age.low for age in ages), default=None),
            max=max((age.high for age in ages), default=None),
        ),
        gender=_labels("sex", [word for record in records for word in record.sexes]),
        modality=tuple(sorted({word for record in records for word in record.modalities})),
        body_parts=_labels("body_part", [word for record in records for word in record.body_parts]),
    )


def _labels(field: vocabulary.Field, words: Sequence[str]) -> tuple[str, ...]:
    """Return terms as people read them; a word of another version of the vocabulary stays as it is."""
    known = vocabulary.terms(field)
    return tuple(
        vocabulary.concept(field, word).label if word in known else word for word in sorted(set(words))
    )
