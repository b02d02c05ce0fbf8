"""Cohorts: a typed query, what each site answers, and the frozen list a job trains on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from unica_sdk.errors import UnknownTerm
from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.contract import (
    Contract,
    Keyed,
    Moment,
    Name,
    Names,
    canonical_json,
    sha256,
    sorted_unique,
)


def _terms_of(field: vocabulary.Field) -> AfterValidator:
    def check(values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            try:
                vocabulary.concept(field, value)
            except UnknownTerm as err:
                raise ValueError(f"{err.message} {err.hint}") from err
        return sorted_unique(values)

    return AfterValidator(check)


MAX_VALUES = 32
"""The most alternatives one field of a query may name."""

# A word's length is bounded before it is looked up: the refusal names the word.
_Word = Annotated[str, StringConstraints(max_length=64)]
_Values = Annotated[tuple[_Word, ...], Field(max_length=MAX_VALUES)]


_Manufacturer = Annotated[
    str, StringConstraints(strip_whitespace=True, to_lower=True, min_length=1, max_length=64)
]


class AgeRange(Contract):
    """Ages in years, both ends included."""

    low: int = Field(ge=0, le=120)
    high: int = Field(ge=0, le=120)

    @model_validator(mode="after")
    def _ordered(self) -> AgeRange:
        if self.low > self.high:
            raise ValueError(f"the age range runs backwards: {self.low} to {self.high}")
        return self


class CohortQuery(Contract):
    """Who is meant: AND between fields, OR inside one; an empty field does not restrict.

    Every value is a word of the shared vocabulary (`unica_sdk.schemas.vocabulary`); manufacturers are free
    words, compared without case. Two queries that mean the same have the same canonical bytes.

    Example:
        >>> query = CohortQuery(modality=("MG",), age=AgeRange(low=50, high=69))
        >>> query.describe()
        'modality MG · age 50–69'
    """

    sex: Annotated[_Values, _terms_of("sex")] = ()
    diagnosis: Annotated[_Values, _terms_of("diagnosis")] = ()
    outcome: Annotated[_Values, _terms_of("outcome")] = ()
    modality: Annotated[_Values, _terms_of("modality")] = ()
    body_part: Annotated[_Values, _terms_of("body_part")] = ()
    manufacturer: Annotated[
        tuple[_Manufacturer, ...],
        Field(max_length=MAX_VALUES),
        AfterValidator(sorted_unique),
    ] = ()
    age: AgeRange | None = None
    sites: Annotated[tuple[Name, ...], Field(max_length=256), AfterValidator(sorted_unique)] = ()

    def criteria(self) -> tuple[str, ...]:
        """Return the names of the fields that restrict people (sites are an address, not a criterion)."""
        return tuple(name for name in CRITERIA if getattr(self, name))

    def describe(self) -> str:
        """Return the query in one line of plain words."""
        parts = [
            f"{name.replace('_', ' ')} {' or '.join(getattr(self, name))}"
            for name in VALUE_FIELDS
            if getattr(self, name)
        ]
        if self.age:
            parts.append(f"age {self.age.low}–{self.age.high}")
        if self.sites:
            parts.append("at " + ", ".join(self.sites))
        return " · ".join(parts) or "everyone"

    def question(self) -> bytes:
        """Return the canonical bytes a site keys its noise and snapshots on: criteria without sites."""
        return canonical_json(self.model_dump(mode="json", exclude={"sites"}))


VALUE_FIELDS = ("sex", "diagnosis", "outcome", "modality", "body_part", "manufacturer")
CRITERIA = (*VALUE_FIELDS, "age")


class Released(Contract):
    """A protected number of people, with the interval that holds the true one 95 times in 100."""

    status: Literal["released"] = "released"
    site: Name
    n: int = Field(ge=0)
    low: int = Field(ge=0)
    high: int = Field(ge=0)
    index_version: int = Field(ge=0)


class Suppressed(Contract):
    """Fewer people than the site's threshold, zero included: the two look the same."""

    status: Literal["suppressed"] = "suppressed"
    site: Name
    below: int = Field(ge=1)
    index_version: int = Field(ge=0)


class Unsupported(Contract):
    """The site does not know a criterion; it answers nothing rather than something else."""

    status: Literal["unsupported"] = "unsupported"
    site: Name
    criteria: tuple[str, ...]


class Refused(Contract):
    """The site's policy does not allow the question; the code is fixed and public."""

    status: Literal["refused"] = "refused"
    site: Name
    code: str


class Offline(Contract):
    """The site did not answer within the deadline."""

    status: Literal["offline"] = "offline"
    site: Name


CountAnswer = Annotated[
    Released | Suppressed | Unsupported | Refused | Offline, Field(discriminator="status")
]


Facet = Literal["sex", "age", "diagnosis", "outcome", "modality", "body_part", "manufacturer"]
"""What a breakdown may be by; age in decades."""

Facets = Annotated[tuple[Facet, ...], Field(min_length=1, max_length=2), AfterValidator(sorted_unique)]
"""One or two different facets, in canonical order."""


class Cell(Contract):
    """One cell of a site's breakdown: a value of each facet, in the facets' order, and the protected number.

    An age is a decade written `50-59`.
    """

    values: tuple[str, ...] = Field(min_length=1, max_length=2)
    count: Released | Suppressed


class SiteBreakdown(Contract):
    """What one site answered to a breakdown."""

    count: CountAnswer
    cells: tuple[Cell, ...] = ()


class TotalCell(Contract):
    """One cell over all sites that answered; `upper` is None where one did not."""

    values: tuple[str, ...]
    lower: int
    upper: int | None


class BreakdownResult(Contract):
    """What the sites answered to a breakdown, and the cells added up over them."""

    query: CohortQuery
    by: Facets
    sites: tuple[SiteBreakdown, ...]
    cells: tuple[TotalCell, ...]
    left: dict[Name, int] = Field(default_factory=dict)


class CountResult(Contract):
    """What the sites answered, and the range that holds the total.

    Each site's interval holds its number 95 times in 100, so the sum of the bounds holds the total at least
    as often where there are several. `left` is what is left of the asker's budget at each site that said so.
    `upper` is None where a site did not answer: its people cannot be bounded.

    Example:
        >>> result = CountResult.of(CohortQuery(), [
        ...     Released(site="gr", n=40, low=38, high=42, index_version=1),
        ...     Suppressed(site="pt", below=10, index_version=1),
        ... ])
        >>> (result.lower, result.upper)
        (38, 51)
    """

    query: CohortQuery
    answers: tuple[CountAnswer, ...]
    lower: int
    upper: int | None
    left: dict[Name, int] = Field(default_factory=dict)

    @classmethod
    def of(
        cls, query: CohortQuery, answers: list[CountAnswer], *, left: Mapping[str, int] | None = None
    ) -> CountResult:
        """Add the answers up."""
        ordered = tuple(sorted(answers, key=lambda answer: answer.site))
        lower = sum(a.low for a in ordered if isinstance(a, Released))
        known = all(isinstance(a, Released | Suppressed) for a in ordered)
        upper = sum(
            a.high if isinstance(a, Released) else a.below - 1
            for a in ordered
            if isinstance(a, Released | Suppressed)
        )
        most = upper if known else None
        return cls(query=query, answers=ordered, lower=lower, upper=most, left=dict(left or {}))


class CountStep(Contract):
    """One line of a count that is streamed: what came since the line before.

    The first line says whom the question was put to, in `asked`; the last one has the result, in which a site
    that did not answer in time is offline. A line between them may be empty: the sites are still waited for.
    """

    asked: tuple[Name, ...] = ()
    answers: tuple[CountAnswer, ...] = ()
    left: dict[Name, int] = Field(default_factory=dict)
    result: CountResult | None = None


class Snapshot(Contract):
    """One site's frozen list of patients, by an identity only that site can recompute.

    The identity is HMAC(site key, permit ‖ canonical question ‖ list): stable for the same permit, question
    and data, incomparable across questions.
    """

    site: Name
    id: Keyed
    cases: CountAnswer
    index_version: int


class FrozenCohort(Contract):
    """A cohort as frozen under a permit: the snapshots of the sites that had enough people.

    `id` is `identity` of the snapshots.
    """

    id: Keyed
    query: CohortQuery
    permit: str
    holder: str
    snapshots: tuple[Snapshot, ...]
    left_out: tuple[CountAnswer, ...] = ()
    created: Moment

    @staticmethod
    def identity(snapshots: Mapping[str, str]) -> str:
        """Return the network-wide identity: a plain SHA-256 over the sites' own keyed identities.

        It is written `hmac:` because keys are under it: whoever knows the snapshots' identities can recompute
        it, and nobody can guess those from a list of patients without the sites' keys.

        Example:
            >>> FrozenCohort.identity({"gr": "hmac:" + "0" * 64})[:10]
            'hmac:86d83'
        """
        return "hmac:" + sha256(canonical_json(dict(snapshots))).removeprefix("sha256:")

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites that take part."""
        return tuple(s.site for s in self.snapshots)


def unknown_criteria(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the restricting keys of a raw query that this version does not know.

    A site answers `unsupported` with these names instead of dropping them.

    Example:
        >>> unknown_criteria({"modality": ["MG"], "lung_rads": ["4B"], "er_status": []})
        ('lung_rads',)
    """
    known = {*CRITERIA, "sites"}
    return tuple(
        sorted(key for key, value in raw.items() if key not in known and value not in (None, [], {}, ""))
    )


__all__ = [
    "CRITERIA",
    "AgeRange",
    "BreakdownResult",
    "Cell",
    "CohortQuery",
    "CountAnswer",
    "CountResult",
    "CountStep",
    "Facet",
    "Facets",
    "FrozenCohort",
    "Names",
    "Offline",
    "Refused",
    "Released",
    "SiteBreakdown",
    "Snapshot",
    "Suppressed",
    "TotalCell",
    "Unsupported",
    "unknown_criteria",
]
