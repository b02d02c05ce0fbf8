"""Cohorts in the client: build, count, break down, freeze."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, Any

from unica_sdk.client.counts import Breakdown, Count, answer_words
from unica_sdk.client.display import Shown, Table
from unica_sdk.client.progress import shown_meanwhile
from unica_sdk.client.transport import invalid_request
from unica_sdk.errors import InvalidRequest, PermitProblem, Unavailable
from unica_sdk.schemas.cohort import (
    VALUE_FIELDS,
    AgeRange,
    BreakdownResult,
    CohortQuery,
    CountAnswer,
    CountResult,
    CountStep,
    Facet,
    Facets,
    FrozenCohort,
)
from unica_sdk.schemas.contract import Contract

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

    @property
    def code(self) -> str:
        """The line of Python that makes this cohort again.

        Example:
            >>> Cohort(query=build_query(modality="MG", age=(50, 69)), gateway=None, permits=()).code
            "net.cohort(modality=['MG'], age=(50, 69))"
        """
        return query_code(self.query)

    def count(self, *, permit: str | None = None, stream: bool | Callable[[Count], object] = True) -> Count:
        """Ask every site how many people match, under each site's protection.

        Each different question is paid from a budget that each site keeps: of `permit`, else of your only
        active permit, else your own. A question that you asked before is free until the site's data change.

        Args:
            permit: the permit whose budget to use.
            stream: True shows, in a notebook or a terminal, who has answered while others are waited for;
                False does not; a function is called with what is known while it is not all.

        Raises:
            AccessDenied: the token may not count.
            PermitProblem: the permit is not yours, or not valid now.
        """
        if stream is False:
            return Count(self._gateway.post("/v1/counts", CountResult, self._asked(permit)))
        if stream is True:
            with shown_meanwhile() as show:
                return self._streamed(permit, show)
        return self._streamed(permit, stream)

    def answers(self, *, permit: str | None = None) -> Generator[CountAnswer]:
        """Ask every site how many people match, and yield the answers as they come, offline sites last.

        Leave the loop to stop asking. Budget and errors as in `count`.
        """
        seen: set[str] = set()
        with closing(self._steps(permit)) as steps:
            for count in steps:
                new = [answer for answer in count.answers if answer.site not in seen]
                seen.update(answer.site for answer in new)
                yield from new

    def breakdown(self, *by: Facet, permit: str | None = None) -> Breakdown:
        """Ask every site how many people match, split by one or two facets, under the same protection.

        Facets: `sex`, `age` (in decades), `diagnosis`, `outcome`, `modality`, `body_part`, `manufacturer`. A
        breakdown costs more of the budget than a count: 2, and more where a person can have several values.

        Raises:
            InvalidRequest: no facet, more than two, or one that is none.
            PermitProblem: the permit is not yours, or not valid now.
        """
        with invalid_request(hint='breakdown("sex") or breakdown("age", "diagnosis")'):
            facets = _Split(by=by).by
        body = {**self._asked(permit), "by": list(facets)}
        return Breakdown(self._gateway.post("/v1/breakdowns", BreakdownResult, body))

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

    def _streamed(self, permit: str | None, tell: Callable[[Count], object]) -> Count:
        with closing(self._steps(permit)) as steps:
            for count in steps:
                if not count.waiting:
                    return count
                tell(count)
        raise AssertionError("the last step waits for nobody")

    def _steps(self, permit: str | None) -> Generator[Count]:
        """Yield what is known after each step; the last one waits for nobody."""
        asked: tuple[str, ...] = ()
        answers: list[CountAnswer] = []
        left: dict[str, int] = {}
        with closing(self._gateway.stream("/v1/counts/stream", CountStep, self._asked(permit))) as steps:
            for step in steps:
                if step.result is not None:
                    yield Count(step.result)
                    return
                asked = asked or step.asked
                answers.extend(step.answers)
                left |= step.left
                answered = {answer.site for answer in answers}
                waiting = [site for site in asked if site not in answered]
                if waiting:
                    yield Count(CountResult.of(self.query, answers, left=left), waiting=waiting)
        raise Unavailable("The count broke off.", hint="Count again: what was answered costs nothing again.")

    def _asked(self, permit: str | None) -> dict[str, Any]:
        return {"query": self._body(), "permit": permit}

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


def query_code(query: CohortQuery) -> str:
    """Return the line of Python that makes a query; only what restricts stands in it."""
    parts = [f"{name}={list(values)!r}" for name in VALUE_FIELDS if (values := getattr(query, name))]
    if query.age:
        parts.append(f"age=({query.age.low}, {query.age.high})")
    if query.sites:
        parts.append(f"sites={list(query.sites)!r}")
    return f"net.cohort({', '.join(parts)})"


class _Split(Contract):
    by: Facets


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
