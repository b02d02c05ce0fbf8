"""Adding up the cells of sites that answered a breakdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.cohort import (
    BreakdownResult,
    CohortQuery,
    CountAnswer,
    Facet,
    Facets,
    Released,
    SiteBreakdown,
    Suppressed,
    TotalCell,
)


def added_up(
    query: CohortQuery, by: Facets, sites: Sequence[SiteBreakdown], *, left: Mapping[str, int]
) -> BreakdownResult:
    """Return the cells over all sites, in the facets' own order: of the vocabulary, of age, of the alphabet.

    A suppressed cell counts as 0 to one less than its bound. A site that named no such cell (a manufacturer
    of which it has too few) counts as 0 to what its suppressed cells may hold, and no more than its whole.
    Where a site said no number at all, the upper bounds are unknown.

    Example:
        >>> from unica_sdk.schemas.cohort import Cell
        >>> whole = Released(site="gr", n=60, low=50, high=70, index_version=1)
        >>> few = Suppressed(site="gr", below=50, index_version=1)
        >>> gr = SiteBreakdown(count=whole, cells=(Cell(values=("female",), count=whole),
        ...     Cell(values=("male",), count=few)))
        >>> result = added_up(CohortQuery(), ("sex",), [gr], left={})
        >>> [(cell.values, cell.lower, cell.upper) for cell in result.cells]
        [(('female',), 50, 70), (('male',), 0, 49)]
    """
    numbers = [{cell.values: cell.count for cell in site.cells} for site in sites]
    without = [_most_without_a_cell(site) for site in sites]
    values = {value for cells in numbers for value in cells}
    cells = []
    for value in sorted(values, key=lambda value: tuple(map(_rank, by, value))):
        counts = [cells_of_site.get(value) for cells_of_site in numbers]
        most = [_most(c) if c else otherwise for c, otherwise in zip(counts, without, strict=True)]
        known = [bound for bound in most if bound is not None]
        cells.append(
            TotalCell(
                values=value,
                lower=sum(c.low for c in counts if isinstance(c, Released)),
                upper=sum(known) if len(known) == len(most) else None,
            )
        )
    ordered = tuple(sorted(sites, key=lambda site: site.count.site))
    return BreakdownResult(query=query, by=by, sites=ordered, cells=tuple(cells), left=dict(left))


def _most(count: CountAnswer) -> int | None:
    """Return the most people an answer leaves room for."""
    if isinstance(count, Released):
        return count.high
    return count.below - 1 if isinstance(count, Suppressed) else None


def _most_without_a_cell(site: SiteBreakdown) -> int | None:
    bounds = [_most(cell.count) for cell in site.cells if isinstance(cell.count, Suppressed)]
    return min((bound for bound in (_most(site.count), *bounds) if bound is not None), default=None)


def _rank(facet: Facet, value: str) -> tuple[int, int, str]:
    """Return where a value stands in its facet's own order; a word that is in none comes last."""
    if facet == "age":
        first = value.partition("-")[0]
        return (0, int(first), "") if first.isdecimal() else (1, 0, value)
    if facet == "manufacturer":
        return 0, 0, value
    terms = vocabulary.terms(facet)
    return (0, terms.index(value), "") if value in terms else (1, 0, value)
