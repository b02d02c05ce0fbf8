"""What a tree of AND and OR over conditions means, and whether a cohort query can say exactly that.

A clause is an AND of fields, each with the values of which a person has one; a list of clauses is their OR.
A person has one sex, age, diagnosis and outcome, and may have several modalities, body parts and makers, so
that "MG and CT" is somebody who has both, which is not "MG or CT" and cannot be said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import product
from math import prod
from operator import and_
from typing import Any

from unica_sdk.errors import Inexpressible
from unica_sdk.schemas.cohort import CRITERIA, MAX_VALUES, AgeRange, CohortQuery

Clause = Mapping[str, frozenset[Any]]
"""Fields with their values; ages are the whole years of a range. No field at all is everyone."""

SEVERAL = frozenset({"modality", "body_part", "manufacturer"})
"""Fields of which a person may have more than one value."""

YEARS = frozenset(range(121))
"""The ages that a query can name."""

MAX_CLAUSES = 256
MAX_CELLS = 10_000
"""The most alternatives that are kept, and combinations looked at, before a query is too involved."""


def all_of(parts: Sequence[tuple[Clause, ...]]) -> tuple[Clause, ...]:
    """Return the AND of several ORs.

    Raises:
        Inexpressible: two conditions on one field that a query cannot have at once, or too many alternatives.

    Example:
        >>> all_of([({"sex": frozenset({"female", "male"})},), ({"sex": frozenset({"male"})},)])
        ({'sex': frozenset({'male'})},)
    """
    found: tuple[Clause, ...] = ({},)
    for part in parts:
        if len(found) * len(part) > MAX_CLAUSES:
            raise _too_involved(*found, *part)
        found = any_of([_both(one, other) for one in found for other in part])
    return found


def any_of(clauses: Sequence[Clause]) -> tuple[Clause, ...]:
    """Return the OR of clauses: one clause where one says the same, else each once.

    Example:
        >>> women = {"sex": frozenset({"female"}), "modality": frozenset({"MG"})}
        >>> both = any_of([women, {**women, "sex": frozenset({"male"})}])
        >>> len(both), sorted(both[0]["sex"])
        (1, ['female', 'male'])
    """
    distinct = tuple({frozenset(clause.items()): clause for clause in clauses}.values())
    if len(distinct) > MAX_CLAUSES:
        raise _too_involved(*distinct)
    hull = _hull(distinct)
    return (hull,) if len(distinct) == 1 or _covers(distinct, hull) else distinct


def query_of(clauses: Sequence[Clause], sites: tuple[str, ...]) -> CohortQuery:
    """Return the query that says what these clauses together say.

    Raises:
        Inexpressible: no query does; the criteria are the fields in which the alternatives differ.
    """
    if len(clauses) > 1:
        criteria = _differing(clauses)
        raise Inexpressible("Alternatives that differ in several fields cannot be said.", criteria=criteria)
    (clause,) = clauses
    values: dict[str, Any] = {field: tuple(sorted(v)) for field, v in clause.items() if field != "age"}
    for field, found in values.items():
        if len(found) > MAX_VALUES:
            raise Inexpressible(f"More than {MAX_VALUES} alternatives: {field}.", criteria=(field,))
    if "age" in clause:
        low, high = min(clause["age"]), max(clause["age"])
        if len(clause["age"]) != high - low + 1:
            raise Inexpressible("Ages with a gap between them cannot be said.", criteria=("age",))
        values["age"] = AgeRange(low=low, high=high)
    return CohortQuery(**values, sites=sites)


def _both(one: Clause, other: Clause) -> Clause:
    found = {**one, **other}
    for field in one.keys() & other.keys():
        here, there = one[field], other[field]
        if here <= there or there <= here:
            found[field] = here & there
        elif field in SEVERAL:
            raise Inexpressible(
                f"A person may have several of {field}: two of them at once cannot be said.",
                criteria=(field,),
            )
        else:
            found[field] = here & there
            if not found[field]:
                raise Inexpressible(f"Nobody has two different values of {field}.", criteria=(field,))
    return found


def _hull(clauses: Sequence[Clause]) -> Clause:
    """Return the narrowest clause that all of these are part of."""
    fields = reduce(and_, (clause.keys() for clause in clauses))
    return {f: frozenset[Any]().union(*(clause[f] for clause in clauses)) for f in CRITERIA if f in fields}


def _covers(clauses: Sequence[Clause], hull: Clause) -> bool:
    """Whether everyone in the hull is in one of the clauses.

    It is enough to look at people with one value in each field: who has more values is in no fewer clauses.
    Of a field that the hull leaves open, it is enough to look at people with a value that no clause names.
    """
    axes = []
    for field in CRITERIA:
        values = hull.get(field, (None,))
        axes.append({_admitting(clauses, field, value) for value in values})
    return prod(map(len, axes)) <= MAX_CELLS and all(reduce(and_, cell) for cell in product(*axes))


def _admitting(clauses: Sequence[Clause], field: str, value: Any) -> int:
    """Return, as bits, which clauses do not exclude a value."""
    admits = (field not in clause or value in clause[field] for clause in clauses)
    return sum(1 << number for number, yes in enumerate(admits) if yes)


def _differing(clauses: Sequence[Clause]) -> tuple[str, ...]:
    return tuple(f for f in CRITERIA if len({clause.get(f) for clause in clauses}) > 1)


def _too_involved(*clauses: Clause) -> Inexpressible:
    return Inexpressible("The query has too many alternatives.", criteria=_differing(clauses) or ("query",))
