"""Cohorts in the client: build, count, freeze."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from unica_sdk.client.display import Shown, Table
from unica_sdk.client.transport import invalid_request
from unica_sdk.errors import InvalidRequest, PermitProblem
from unica_sdk.schemas.cohort import (
    AgeRange,
    CohortQuery,
    CountAnswer,
    CountResult,
    FrozenCohort,
    Offline,
    Refused,
    Released,
    Suppressed,
    Unsupported,
)

if TYPE_CHECKING:
    from unica_sdk.client.applications import AccessRequest
    from unica_sdk.client.network import Network
    from unica_sdk.client.transport import Gateway
    from unica_sdk.schemas.permit import Permit, Purpose


def build_query(**criteria: Any) -> CohortQuery:
    """Return a query from what a person types: single words or lists, ages as a pair.

    Raises:
        InvalidRequest: an unknown criterion or word, with those that are known.

    Example:
        >>> build_query(modality="MG", age=(50, 69)).describe()
        'modality MG · age 50–69'
    """
    typed: dict[str, Any] = {}
    for name, value in criteria.items():
        if name == "age":
            typed[name] = _age(value)
        elif isinstance(value, str):
            typed[name] = (value,)
        elif value is not None:
            typed[name] = value
    with invalid_request(hint=_KNOWN):
        return CohortQuery(**typed)


class Cohort(Shown):
    """Who is meant, not yet who they are: nothing is asked until `count()` or `freeze()`."""

    def __init__(self, *, query: CohortQuery, gateway: Gateway, permits: Iterable[Permit]) -> None:
        self.query = query
        self._gateway = gateway
        self._permits = permits

    def count(self) -> Count:
        """Ask every site how many people match, under each site's protection.

        Raises:
            AccessDenied: the token may not count.
        """
        result: CountResult = self._gateway.post("/v1/counts", CountResult, {"query": self._body()})
        return Count(result)

    def freeze(self, permit: str | None = None) -> Frozen:
        """Freeze the people who match, under a permit; by default the only one that is active.

        Raises:
            PermitProblem: no permit covers this.
            InvalidRequest: several permits are active, or no site has enough people.
        """
        chosen = permit or _only(self._permits)
        body = {"query": self._body(), "permit": chosen}
        return Frozen(self._gateway.post("/v1/cohorts", FrozenCohort, body))

    def application(self, *, title: str, purpose: Purpose | str, **more: Any) -> AccessRequest:
        """Return an access request with query, datasets and protected counts filled in; no permit is needed.

        `more`: `project`, `reason`, `datasets` (to ask for fewer than all that answered), `outputs`.

        Raises:
            InvalidRequest: no site answered, a dataset that cannot be asked for, an unknown word.
            AccessDenied: the token may not count or read the catalogue.
        """
        from unica_sdk.client.applications import request_access

        return request_access(self._gateway, self.query, title=title, purpose=purpose, **more)

    def to_ast(self) -> dict[str, Any]:
        """Return the cohort as EUCAIM's explorer posts it.

        Raises:
            Inexpressible: the explorer has no key or word for something in it.
        """
        from unica_sdk.client.explorer import ast_of

        return ast_of(self.query)

    @classmethod
    def from_ast(cls, ast: Mapping[str, Any] | str | bytes, network: Network) -> Cohort:
        """Return what EUCAIM's explorer asks as a cohort of a network.

        Raises:
            InvalidRequest: it is malformed; `where` is the place.
            Inexpressible: it says what a query cannot; `criteria` names the fields.
        """
        from unica_sdk.client.explorer import cohort_from

        return cohort_from(ast, network)

    def _body(self) -> dict[str, Any]:
        return self.query.model_dump(mode="json")

    def _table(self) -> Table:
        rows = tuple(
            (name, ", ".join(getattr(self.query, name)) if name != "age" else _ages(self.query.age))
            for name in self.query.criteria()
        )
        return Table(
            title="Cohort",
            columns=("criterion", "values"),
            rows=rows,
            empty="Everyone: no criterion is set.",
            note="Not asked yet: use .count() or .freeze().",
        )


class Count(Shown):
    """What the sites answered; the total is a range because each number is protected."""

    def __init__(self, result: CountResult) -> None:
        self.result = result

    @property
    def lower(self) -> int:
        """The fewest people there can be."""
        return self.result.lower

    @property
    def upper(self) -> int | None:
        """The most people there can be; None where a site did not answer."""
        return self.result.upper

    @property
    def answers(self) -> tuple[CountAnswer, ...]:
        """One answer per site."""
        return self.result.answers

    def _table(self) -> Table:
        upper = f"{self.upper:,}" if self.upper is not None else "unknown: a site did not answer"
        return Table(
            title=f"People: {self.lower:,} to {upper}",
            columns=("site", "people", "note"),
            rows=tuple((a.site, *answer_words(a)) for a in self.answers),
            empty="No site was asked.",
            note=f"Query: {self.result.query.describe()}. Source: the sites' indexes, under their policies.",
        )


class Frozen(Shown):
    """A frozen cohort: what a job trains on, by an identity made of those each site keyed."""

    def __init__(self, frozen: FrozenCohort) -> None:
        self.frozen = frozen

    @property
    def id(self) -> str:
        """The network-wide identity."""
        return self.frozen.id

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites that take part."""
        return self.frozen.sites

    @property
    def permit(self) -> str:
        """The permit it was frozen under."""
        return self.frozen.permit

    @property
    def created(self) -> datetime:
        """When it was frozen."""
        return self.frozen.created

    def _table(self) -> Table:
        taking_part = ((s.site, answer_words(s.cases)[0], "takes part") for s in self.frozen.snapshots)
        left_out = ((a.site, *answer_words(a)) for a in self.frozen.left_out)
        return Table(
            title=f"Frozen cohort {self.id[:17]}…",
            columns=("site", "people", "note"),
            rows=(*taking_part, *left_out),
            empty="No site takes part.",
            note=f"Query: {self.frozen.query.describe()}. Permit: {self.permit}.",
        )


def answer_words(answer: CountAnswer) -> tuple[str, str]:
    """Return an answer as (number, note) in words.

    Example:
        >>> answer_words(Suppressed(site="gr", below=10, index_version=1))
        ('fewer than 10', 'suppressed, zero included')
    """
    match answer:
        case Released(n=n, low=low, high=high):
            return f"about {n:,}", f"{low:,} to {high:,}"
        case Suppressed(below=below):
            return f"fewer than {below}", "suppressed, zero included"
        case Unsupported(criteria=criteria):
            return "–", "the site does not know " + ", ".join(criteria)
        case Refused(code=code):
            return "–", f"refused: {code}"
        case Offline():
            return "–", "offline"


_KNOWN = "Criteria: sex, diagnosis, outcome, modality, body_part, manufacturer, age=(low, high), sites."


def _age(value: Any) -> Any:
    if value is None or isinstance(value, AgeRange | dict):
        return value
    try:
        low, high = value
        return {"low": low, "high": high}
    except (TypeError, ValueError) as err:
        raise InvalidRequest("An age range is a pair of years.", where="age", hint="age=(50, 69)") from err


def _ages(ages: AgeRange | None) -> str:
    return f"{ages.low}–{ages.high}" if ages else ""


def _only(permits: Iterable[Permit]) -> str:
    active = [permit.id for permit in permits]
    if len(active) == 1:
        return active[0]
    if not active:
        raise PermitProblem(
            "You have no active permit.",
            where="freeze",
            hint="Ask the data steward for one; see net.permits.",
        )
    raise InvalidRequest(
        "You have several permits.", where="permit", hint="Choose one of: " + ", ".join(active)
    )
