"""Breakdowns: one query split into cells, each of which is a query of its own.

A cell is the query with one value of each facet, so that it has the number that the narrower query has. Which
cells there are hangs on the question and on what the site published, never on who is in the index: every word
of the vocabulary, every decade of age, every manufacturer that a record of the site names. A facet that the
query restricts has the query's values alone; all other cells would be nobody's by the question itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from unica_sdk.node.budget import Asked
from unica_sdk.node.cohort import condition, question_about
from unica_sdk.node.index import Index
from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.cohort import AgeRange, CohortQuery, Facet, Facets
from unica_sdk.schemas.contract import canonical_json

DECADES = tuple(range(0, 120, 10))
"""The first year of each cell of ages."""

SEVERAL: dict[Facet, str] = {
    "modality": "modalities",
    "body_part": "body_parts",
    "manufacturer": "manufacturers",
}
"""Facets of which a person can have several values, and the columns that hold them."""

COST = 2
"""What one person can move: at most two cells where each facet has one value a person, the total included."""


@dataclass(frozen=True, kw_only=True)
class Cells:
    """The cells of one breakdown: their values in the facets' order, and the narrower query of each."""

    query: CohortQuery
    by: Facets
    queries: dict[tuple[str, ...], CohortQuery]
    cost: int

    def asked(self, version: int) -> Asked:
        """Return what is paid for; whoever has the breakdown has the total and each cell by itself, too."""
        names = [list(values) for values in self.queries]
        return Asked(
            question=canonical_json(["breakdown", list(self.by), question_about(self.query).decode(), names]),
            version=version,
            cost=self.cost,
            tells=tuple(question_about(query) for query in (self.query, *self.queries.values())),
        )


def cells_of(query: CohortQuery, by: Facets, *, manufacturers: Sequence[str]) -> Cells:
    """Return the cells that a breakdown has.

    Args:
        query: Who is meant.
        by: The facets.
        manufacturers: Those that the site's records name.

    Example:
        >>> found = cells_of(CohortQuery(age=AgeRange(low=55, high=69)), ("age",), manufacturers=())
        >>> {values: (q.age.low, q.age.high) for values, q in found.queries.items()}
        {('50-59',): (55, 59), ('60-69',): (60, 69)}
    """
    axes = {facet: _values(query, facet, manufacturers) for facet in by}
    queries = {}
    for chosen in product(*axes.values()):
        narrower = query
        for facet, (_, value) in zip(by, chosen, strict=True):
            narrower = narrower.model_copy(update={facet: value})
        queries[tuple(label for label, _ in chosen)] = narrower
    several = 1
    for facet in by:
        # Nobody knows how many values one person has of such a facet: all of them, at worst.
        several *= max(1, len(axes[facet])) if facet in SEVERAL else 1
    return Cells(query=query, by=by, queries=queries, cost=COST * several)


def count_cells(index: Index, cells: Cells) -> dict[tuple[str, ...], int]:
    """Return the true number of people of each cell, nobody's included; each must pass `disclosure.protect`.

    One query, whose work does not hang on how many match.
    """
    where, parameters = condition(cells.query)
    tables, columns = ["profile"], []
    for place, facet in enumerate(cells.by):
        if facet in SEVERAL:
            tables.append(f"unnest(profile.{SEVERAL[facet]}) AS several{place}(value)")
            columns.append(f"several{place}.value")
        else:
            columns.append("age // 10 * 10" if facet == "age" else facet)
    found = index.rows(
        f"SELECT {', '.join(columns)}, sum(people) FROM {', '.join(tables)}"  # noqa: S608 - our own text
        f" WHERE {where} GROUP BY ALL",
        parameters,
    )
    people = {tuple(_label(value) for value in values): int(number) for *values, number in found}
    return {values: people.get(values, 0) for values in cells.queries}


def _values(query: CohortQuery, facet: Facet, manufacturers: Sequence[str]) -> list[tuple[str, Any]]:
    """Return the labels of a facet's cells, and what each puts into the query."""
    if facet == "age":
        low, high = (query.age.low, query.age.high) if query.age else (0, 120)
        ranges = {first: (max(first, low), min(first + 9, high)) for first in DECADES}
        return [(_label(f), AgeRange(low=a, high=b)) for f, (a, b) in ranges.items() if a <= b]
    asked: tuple[str, ...] = getattr(query, facet)
    if asked:
        return [(word, (word,)) for word in asked]
    words = manufacturers if facet == "manufacturer" else vocabulary.terms(facet)
    return [(word, (word,)) for word in sorted(words)]


def _label(value: object) -> str:
    return f"{value}-{value + 9}" if isinstance(value, int) else str(value)
