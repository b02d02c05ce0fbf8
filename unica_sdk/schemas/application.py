"""An access request: who asks for which datasets and why, with the query and the protected counts behind it.

A steward decides on it; until then it allows nothing. The Negotiator's forms follow its API v3, source:
BBMRI-ERIC/negotiator at 03af06b, 20 August 2026 (`RequestCreateDTO`, `ResourceDTO`, `NegotiationCreateDTO`).
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from unica_sdk.errors import InvalidRequest
from unica_sdk.schemas.cohort import CohortQuery, CountAnswer, CountResult, Released, Suppressed
from unica_sdk.schemas.contract import Contract, Moment, Name
from unica_sdk.schemas.permit import OutputKind, Purpose


class RequestedDataset(Contract):
    """One dataset that is asked for, as its record described it on the day."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}/[a-z0-9][a-z0-9._-]{0,62}$")
    title: str
    description: str = ""
    synthetic: bool

    @property
    def site(self) -> str:
        """The site whose dataset it is."""
        return self.id.partition("/")[0]


class Application(Contract):
    """What a person asks a steward for: everything of a permit that is theirs to say.

    `counts` are the sites' own answers, each with its index version, as of `created`. A dataset belongs to
    a site that answered with a number or with "fewer than".
    """

    holder: str = Field(min_length=1, max_length=255)
    project: Name
    title: str = Field(min_length=1, max_length=200)
    purpose: Purpose
    reason: str = Field(default="", max_length=4000)
    datasets: tuple[RequestedDataset, ...] = Field(min_length=1, max_length=1000)
    outputs: tuple[OutputKind, ...] = Field(default=(OutputKind.METRICS,), min_length=1)
    query: CohortQuery
    counts: tuple[CountAnswer, ...]
    vocabulary: str
    created: Moment

    @model_validator(mode="after")
    def _datasets_were_counted(self) -> Application:
        answered = {answer.site for answer in self.counts if isinstance(answer, Released | Suppressed)}
        for dataset in self.datasets:
            if dataset.site not in answered:
                raise ValueError(f"the site of {dataset.id} did not say how many people match")
        if len({dataset.id for dataset in self.datasets}) != len(self.datasets):
            raise ValueError("a dataset is asked for twice")
        return self

    @property
    def total(self) -> CountResult:
        """The counts added up, as a range."""
        return CountResult.of(self.query, list(self.counts))

    def describe(self) -> str:
        """Return the query and its protected counts in a few lines of plain words."""
        total = self.total
        most = f"{total.upper}" if total.upper is not None else "an unknown number"
        lines = [
            f"Query: {self.query.describe()}.",
            f"People: {total.lower} to {most}, from protected counts of {self.created:%Y-%m-%d}.",
            *(said for answer in total.answers if (said := _in_words(answer))),
        ]
        return "\n".join(lines)

    def to_negotiator(self, *, url: str) -> dict[str, Any]:
        """Return the body of the Negotiator's `POST /v3/requests`; `url` is our page that it knows us by.

        The Negotiator answers with the request's id and a page on which the person signs in and goes on. It
        must know the datasets by these identifiers and the host of `url` as a discovery service.

        Raises:
            InvalidRequest: `url` is no web address.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidRequest(f"{url!r} is not a web address.", where="url")
        resources = [{"id": d.id, "name": d.title, "description": d.description} for d in self.datasets]
        return {"url": url, "humanReadable": self.describe(), "resources": resources}

    def to_negotiation(self, *, request: str) -> dict[str, Any]:
        """Return the body of `POST /v3/negotiations`, as a draft, for the request with this id.

        `payload` has the sections of the Negotiator's own form; one with other sections is filled in by hand.
        """
        purpose = self.purpose.value.replace("_", " ")
        objective = f"{self.reason}\n" if self.reason else ""
        wanted = ", ".join(kind.value for kind in self.outputs)
        project = {
            "title": self.title,
            "objective": f"{objective}Purpose (Regulation (EU) 2025/327, Art. 53): {purpose}.",
        }
        asked = {"description": self.describe(), "specifics": f"Outputs: {wanted}."}
        return {"request": request, "draft": True, "payload": {"project": project, "request": asked}}


def project_named(title: str) -> str:
    """Return a project's short name from a title.

    Raises:
        InvalidRequest: nothing of it can stand in a short name.

    Example:
        >>> project_named("Breast density: recall & age")
        'breast-density-recall-age'
    """
    name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:63].rstrip("-")
    if not name:
        raise InvalidRequest(
            "The project's short name cannot be made from this title.",
            where="project",
            hint='Give one: project="breast-density".',
        )
    return name


def _in_words(answer: CountAnswer) -> str:
    if isinstance(answer, Released):
        number = f"about {answer.n} ({answer.low} to {answer.high})"
    elif isinstance(answer, Suppressed):
        number = f"fewer than {answer.below}, perhaps none"
    else:
        return f"{answer.site}: no number ({answer.status})."
    return f"{answer.site}: {number}, index version {answer.index_version}."
