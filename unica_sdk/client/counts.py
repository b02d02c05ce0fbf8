"""What comes back from a count or a breakdown, and how it is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from unica_sdk.client.display import Shown, Table
from unica_sdk.schemas.cohort import (
    BreakdownResult,
    CountAnswer,
    CountResult,
    Facets,
    Offline,
    Refused,
    Released,
    SiteBreakdown,
    Suppressed,
    TotalCell,
    Unsupported,
)

if TYPE_CHECKING:
    import pandas as pd

ALL_SITES = "all sites"
"""How a frame writes the rows that are over all sites."""


class Count(Shown):
    """What the sites answered; the total is a range because each number is protected.

    `waiting` are the sites that may still answer; a count that was returned waits for none.
    """

    def __init__(self, result: CountResult, *, waiting: Sequence[str] = ()) -> None:
        self.result = result
        self.waiting = tuple(waiting)

    @property
    def lower(self) -> int:
        """The fewest people there can be."""
        return self.result.lower

    @property
    def upper(self) -> int | None:
        """The most people there can be; None where a site did not answer."""
        return None if self.waiting else self.result.upper

    @property
    def answers(self) -> tuple[CountAnswer, ...]:
        """One answer per site."""
        return self.result.answers

    @property
    def left(self) -> dict[str, int]:
        """How many different questions you can still ask in this period, at each site that says so."""
        return dict(self.result.left)

    def _table(self) -> Table:
        left = self.left
        rows = [(a.site, *answer_words(a), left.get(a.site)) for a in self.answers]
        rows.extend((site, "…", "waiting", None) for site in self.waiting)
        budget = " Left: questions of your budget at the site, this one paid." if left else ""
        width = 4 if left else 3
        return Table(
            title=self._title(),
            columns=("site", "people", "note", "left")[:width],
            rows=tuple(row[:width] for row in rows),
            empty="No site was asked.",
            note=f"Query: {self.result.query.describe()}. Source: the sites' indexes, under their policies."
            + budget,
        )

    def _title(self) -> str:
        if self.waiting:
            asked = len(self.answers) + len(self.waiting)
            return f"People: at least {self.lower:,} · {len(self.answers)} of {asked} sites have answered"
        upper = f"{self.upper:,}" if self.upper is not None else "unknown: a site did not answer"
        return f"People: {self.lower:,} to {upper}"


class Breakdown(Shown):
    """People by one or two facets: a range per cell over all sites, and each site's own answer."""

    def __init__(self, result: BreakdownResult) -> None:
        self.result = result

    @property
    def by(self) -> Facets:
        """The facets, in the order of each cell's values."""
        return self.result.by

    @property
    def cells(self) -> tuple[TotalCell, ...]:
        """The cells over all sites."""
        return self.result.cells

    @property
    def sites(self) -> tuple[SiteBreakdown, ...]:
        """What each site answered."""
        return self.result.sites

    @property
    def count(self) -> Count:
        """The whole: how many people match, whatever their cell."""
        counts = [site.count for site in self.sites]
        return Count(CountResult.of(self.result.query, counts, left=self.result.left))

    def to_frame(self) -> pd.DataFrame:
        """Return one row per cell and site, with numbers: `lower` and `upper`, and `n` where it was released.

        Rows of the site `all sites` are the sums. A suppressed cell is 0 to one less than its bound.
        """
        rows = [(*c.values, ALL_SITES, c.lower, c.upper, None, "total") for c in self.cells]
        rows.extend(
            (*cell.values, cell.count.site, *_bounds(cell.count), cell.count.status)
            for site in self.sites
            for cell in site.cells
        )
        columns = (*self.by, "site", "lower", "upper", "n", "status")
        return Table(title="", columns=columns, rows=tuple(rows), empty="").frame()

    def _table(self) -> Table:
        answers = {site.count.site: {c.values: c.count for c in site.cells} for site in self.sites}
        shown = [cell for cell in self.cells if _anybody(cell, answers)]
        silent = [site.count for site in self.sites if not isinstance(site.count, Released | Suppressed)]
        hidden = len(self.cells) - len(shown)
        notes = [f"Query: {self.result.query.describe()}. A person can stand in several cells."]
        if hidden:
            notes.append(f"{hidden} cells with too few people at every site are not listed here.")
        notes.extend(f"{answer.site}: {answer_words(answer)[1]}" for answer in silent)
        with_cells = [site for site, cells in answers.items() if cells]
        return Table(
            title="People by " + " and ".join(facet.replace("_", " ") for facet in self.by),
            columns=(*self.by, ALL_SITES, *with_cells),
            rows=tuple(
                (*c.values, _range(c), *(_cell_words(answers[s].get(c.values)) for s in with_cells))
                for c in shown
            ),
            empty="Too few people in every cell." if hidden else "No site gave any cell.",
            note="\n".join(notes),
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


def _anybody(cell: TotalCell, answers: Mapping[str, Mapping[tuple[str, ...], Any]]) -> bool:
    return any(isinstance(cells.get(cell.values), Released) for cells in answers.values())


def _range(cell: TotalCell) -> str:
    return f"{cell.lower:,} to {cell.upper:,}" if cell.upper is not None else f"at least {cell.lower:,}"


def _cell_words(answer: CountAnswer | None) -> str | None:
    return answer_words(answer)[0] if answer is not None else None


def _bounds(count: Released | Suppressed) -> tuple[int, int, int | None]:
    if isinstance(count, Released):
        return count.low, count.high, count.n
    return 0, count.below - 1, None
