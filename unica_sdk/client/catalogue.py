"""The catalogue in the client: searches that ask when they are looked at, page by page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self, overload

from pydantic import PrivateAttr

from unica_sdk.client.counts import answer_words
from unica_sdk.client.display import Shown, Table, joined
from unica_sdk.client.records import LinkedCatalogue, LinkedRecord
from unica_sdk.client.transport import Gateway, invalid_request
from unica_sdk.errors import NotFound
from unica_sdk.schemas.catalogue import AccessMode, DatasetRecord
from unica_sdk.schemas.cohort import AgeRange
from unica_sdk.schemas.search import DatasetSearch, FacetValue, SearchFacet, SearchPage

if TYPE_CHECKING:
    import pandas as pd

    from unica_sdk.client.browser import CatalogueBrowser

SHOWN = 20
"""How many datasets a table shows, and the first page has."""

AT_ONCE = 200
"""How many the pages after it have: whoever goes on wants them all."""

SHOWN_VALUES = 6
"""How many values of a facet a table shows."""

Words = str | Iterable[str] | None


class Dataset(Shown, LinkedRecord, DatasetRecord):
    """One dataset, as its site describes it; `to_turtle()` and `to_jsonld()` give it as linked data."""

    _gateway: Gateway = PrivateAttr()

    def reached_by(self, gateway: Gateway) -> Self:
        """Say where more of it can be asked for."""
        self._gateway = gateway
        return self

    def _table(self) -> Table:
        synthetic = "SYNTHETIC: computer-made, of people who do not exist" if self.synthetic else "real"
        details = {
            "dataset": self.id,
            "description": self.description,
            "data": synthetic,
            "patients": ", ".join(answer_words(self.patients)),
            "studies": ", ".join(answer_words(self.studies)),
            "modalities": joined(self.modalities),
            "body parts": joined(self.body_parts),
            "conditions": joined(self.conditions),
            "sexes": joined(self.sexes),
            "ages": _ages(self.ages),
            "manufacturers": joined(self.manufacturers),
            "variables": joined(self.variables),
            "keywords": joined(self.keywords),
            "publisher": self.publisher,
            "country": self.country,
            "contact": self.contact,
            "access": self.access.value.replace("_", " ").lower(),
            "tier": f"{self.tier} of 3" + (f"; for the next: {joined(self.missing)}" if self.missing else ""),
            "legal basis": self.legal_basis,
            "index version": f"{self.index_version}, {self.issued:%Y-%m-%d}",
        }
        return Table(
            title=self.title,
            columns=("of the dataset", "as its site describes it"),
            rows=tuple((name, text) for name, text in details.items() if text not in ("", "–")),
            empty="Nothing is known of it.",
            note="Numbers are protected by the site's policy.",
        )


class Datasets(Shown, Sequence[Dataset]):
    """What a search found: nothing is asked until it is looked at, and pages come as they are needed."""

    def __init__(self, search: DatasetSearch, *, gateway: Gateway) -> None:
        self._search = search
        self._gateway = gateway
        self._items: list[Dataset] = []
        self._first: _Page | None = None
        self._next: str | None = None

    @property
    def search(self) -> DatasetSearch:
        """What is looked for."""
        return self._search

    @property
    def facets(self) -> dict[SearchFacet, tuple[FacetValue, ...]]:
        """How many datasets each value of each facet would leave, the other filters as they are."""
        return dict(self._begun().facets)

    def __len__(self) -> int:
        return self._begun().total

    def __iter__(self) -> Iterator[Dataset]:
        place = 0
        while self._reach(place):
            yield self._items[place]
            place += 1

    @overload
    def __getitem__(self, key: int | str) -> Dataset: ...

    @overload
    def __getitem__(self, key: slice) -> Sequence[Dataset]: ...

    def __getitem__(self, key: int | str | slice) -> Dataset | Sequence[Dataset]:
        """Return one dataset by its id or its place.

        Raises:
            NotFound: none that was found has this id.
        """
        if isinstance(key, str):
            return self._named(key)
        if isinstance(key, slice):
            return tuple(self[place] for place in range(*key.indices(len(self))) if self._reach(place))
        place = key + len(self) if key < 0 else key
        if place < 0 or not self._reach(place):
            raise IndexError(f"{len(self)} datasets were found")
        return self._items[place]

    def to_frame(self) -> pd.DataFrame:
        """Return all that was found as a pandas data frame, one row a dataset."""
        return self._rows(list(self)).frame()

    def _named(self, identity: str) -> Dataset:
        known = next((item for item in self._items if item.id == identity), None)
        if known is not None:
            return known
        found = self._page(id=identity, cursor=None).items if len(identity) <= 130 else ()
        if not found:
            names = ", ".join(item.id for item in self[:SHOWN])
            raise NotFound(
                f"There is no dataset {identity!r} in what was found.",
                where="dataset",
                hint=f"There are {len(self):,}; the first: {names or 'none'}.",
            )
        return found[0]

    def _reach(self, place: int) -> bool:
        """Ask for pages until this place is there, and return whether it is."""
        self._begun()
        while len(self._items) <= place and self._next is not None:
            page = self._page(cursor=self._next, limit=AT_ONCE)
            self._items.extend(page.items)
            self._next = page.next
        return place < len(self._items)

    def _begun(self) -> _Page:
        if self._first is None:
            first = self._page()
            self._items, self._next, self._first = list(first.items), first.next, first
        return self._first

    def _page(self, **changed: Any) -> _Page:
        wanted = self._search.model_copy(update=changed)
        asked = wanted.model_dump(mode="json", exclude_defaults=True)
        page = self._gateway.get("/v1/search", _Page, **asked)
        for item in page.items:
            item.reached_by(self._gateway)
        return page

    def _table(self) -> Table:
        page = self._begun()
        table = self._rows(self[:SHOWN])
        more = page.total - len(table.rows)
        notes = ["Numbers are protected by each site's policy."] if table.rows else []
        if more > 0:
            notes.append(f"{more:,} more: iterate, or narrow down.")
        notes.extend(_facet_lines(page))
        return Table(
            title=f"Datasets: {page.total:,} found" if page.total else "Datasets",
            columns=table.columns,
            rows=table.rows,
            empty=_nothing_found(self._search),
            note="\n".join(notes),
        )

    def _rows(self, items: Sequence[Dataset]) -> Table:
        return Table(
            title="Datasets",
            columns=(
                "dataset",
                "title",
                "patients",
                "modalities",
                "body parts",
                "manufacturers",
                "tier",
                "data",
            ),
            rows=tuple(
                (
                    d.id,
                    d.title,
                    answer_words(d.patients)[0],
                    joined(d.modalities),
                    joined(d.body_parts),
                    joined(d.manufacturers),
                    d.tier,
                    "SYNTHETIC" if d.synthetic else "real",
                )
                for d in items
            ),
            empty="No dataset matches.",
        )


class _Page(SearchPage):
    items: tuple[Dataset, ...]


class Catalogue(LinkedCatalogue):
    """The federated catalogue: `search()` it, `browse()` it in a notebook, or take a dataset by its id."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def __getitem__(self, dataset: str) -> Dataset:
        """Return one dataset by its id, `site/name`.

        Raises:
            NotFound: there is no such dataset.
        """
        return self.search()[dataset]

    def search(
        self,
        text: str | None = None,
        *,
        modality: Words = None,
        body_part: Words = None,
        condition: Words = None,
        sex: Words = None,
        manufacturer: Words = None,
        country: Words = None,
        site: Words = None,
        tier: int | Iterable[int] | None = None,
        synthetic: bool | None = None,
        access: Words = None,
    ) -> Datasets:
        """Return the datasets that have every word of the text and fit every filter, best first.

        A word finds the words that begin with it, in any case and with or without accents. A filter is one
        word or several, of which a dataset has one. Nothing is asked until the result is looked at.

        Raises:
            UnknownTerm: a word is not in the vocabulary.
            InvalidRequest: a text that is too long, a tier or a country that is none.
        """
        given = {
            "modality": modality,
            "body_part": body_part,
            "condition": condition,
            "sex": sex,
            "manufacturer": manufacturer,
            "country": country,
            "site": site,
            "tier": tier,
            "access": access,
        }
        with invalid_request():
            search = DatasetSearch(
                limit=SHOWN,
                text=text or "",
                synthetic=synthetic,
                **{name: _several(value) for name, value in given.items()},
            )
        search.require_known()
        return Datasets(search, gateway=self._gateway)

    def browse(self, text: str = "") -> CatalogueBrowser:
        """Return a browser for a notebook: a text, facets with numbers, the datasets, and all about one.

        Raises:
            ConfigurationError: ipywidgets is not installed.
        """
        from unica_sdk.client.browser import CatalogueBrowser

        return CatalogueBrowser(self._gateway, text=text)

    def _repr_html_(self) -> str:
        return self.search()._repr_html_()

    def __repr__(self) -> str:
        return repr(self.search())


def _several(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str | int | AccessMode) else tuple(value)


def _ages(ages: AgeRange | None) -> str:
    return f"{ages.low} to {ages.high} years, in decades that hold enough people" if ages else ""


def _facet_lines(page: SearchPage) -> list[str]:
    """Say by what the datasets can be narrowed down: facets that tell some of them from others."""
    lines = []
    for facet, values in page.facets.items():
        if sum(value.datasets > 0 for value in values) < 2:
            continue
        words = [f"{value.value} {value.datasets:,}" for value in values[:SHOWN_VALUES]]
        more = f" and {len(values) - SHOWN_VALUES} more" if len(values) > SHOWN_VALUES else ""
        lines.append(f"{facet.replace('_', ' ')}: {', '.join(words)}{more}")
    return lines


def _nothing_found(search: DatasetSearch) -> str:
    chosen = [f"{facet} {' or '.join(values)}" for facet, values in search.chosen().items()]
    if search.text:
        chosen.insert(0, f"“{search.text}”")
    if not chosen:
        return "No dataset is in the catalogue yet."
    return f"No dataset matches {' · '.join(chosen)}. Leave something out, or look at net.catalogue."
