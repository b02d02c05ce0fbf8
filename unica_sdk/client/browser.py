"""The catalogue's browser in a notebook: a text, facets with numbers, the datasets, and all about one."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from unica_sdk.client.catalogue import Dataset, Datasets
from unica_sdk.client.counts import answer_words
from unica_sdk.client.transport import Gateway
from unica_sdk.client.widgets import Choices, Debouncer, Form, Stale, error_html
from unica_sdk.errors import UnicaError
from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.search import (
    NO,
    SEARCH_FACETS,
    VOCABULARY_OF,
    YES,
    DatasetSearch,
    FacetValue,
    SearchFacet,
)

PAUSE_SECONDS = 0.25
"""How long nobody types before the catalogue is asked."""

AT_ONCE = 25
"""How many datasets are listed, and how many more each time."""


class CatalogueBrowser(Form):
    """Looks through the catalogue as one types and ticks; `selected` is the dataset that is shown in full.

    Searching costs nothing: the catalogue is at the hub, and no site is asked.
    """

    def __init__(self, gateway: Gateway, *, text: str = "") -> None:
        super().__init__()
        self._gateway = gateway
        self._begin_with = text
        self._soon = Debouncer(seconds=PAUSE_SECONDS)
        self._listed = AT_ONCE
        self._items: Sequence[Dataset] = ()
        self.datasets = Datasets(DatasetSearch(), gateway=gateway)
        self.facets: dict[SearchFacet, Choices] = {}

    @property
    def selected(self) -> Dataset | None:
        """The dataset that is shown in full; None where none is."""
        if self._widget is None:
            return None
        identity = self.results.value
        return next((item for item in self._items if item.id == identity), None)

    def wait(self, timeout: float = 10) -> bool:
        """Return whether the list shows what was asked for last, after `timeout` seconds at the latest."""
        return self._soon.wait(timeout)

    def _built(self, ipywidgets: Any) -> Any:
        self.text = ipywidgets.Text(
            value=self._begin_with,
            placeholder="Words of title, description, keywords, site",
            description="Search",
            layout={"width": "auto"},
        )
        self.status = ipywidgets.HTML()
        self.results = ipywidgets.Select(options=[], rows=14, layout={"width": "auto"})
        self.more = ipywidgets.Button(description="More", layout={"display": "none"})
        self.detail = ipywidgets.HTML()
        for facet in SEARCH_FACETS:
            title = facet.replace("_", " ").capitalize()
            self.facets[facet] = Choices(ipywidgets, title, changed=self._edited)
        self.text.observe(lambda change: self._edited(), names="value")
        self.results.observe(lambda change: self._describe(), names="value")
        self.more.on_click(lambda button: self._list_more())
        # Whoever shows the browser sees what there is; an error here is the cell's own.
        self._show(self._found())
        return ipywidgets.HBox(
            [
                ipywidgets.VBox([choices.widget for choices in self.facets.values()]),
                ipywidgets.VBox(
                    [self.text, self.status, self.results, self.more, self.detail],
                    layout={"flex": "1", "min_width": "0"},
                ),
            ]
        )

    def _edited(self) -> None:
        self._soon.want(self._search)

    def _search(self, stale: Stale) -> None:
        try:
            datasets = self._found()
        except UnicaError as err:
            self.status.value = error_html(err)
            return
        if not stale():
            self._show(datasets)

    def _found(self) -> Datasets:
        """Ask for what is typed and ticked; the first page comes with it."""
        chosen = {facet: choices.chosen for facet, choices in self.facets.items()}
        values: dict[str, Any] = {name: words for name, words in chosen.items() if name != "synthetic"}
        ticked = chosen["synthetic"]
        search = DatasetSearch(
            **{**values, "tier": tuple(map(int, chosen["tier"]))},
            limit=AT_ONCE,
            text=self.text.value[:200],
            synthetic=ticked == (YES,) if len(ticked) == 1 else None,
        )
        datasets = Datasets(search, gateway=self._gateway)
        len(datasets)
        return datasets

    def _show(self, datasets: Datasets) -> None:
        self.datasets, self._listed = datasets, AT_ONCE
        for facet, values in datasets.facets.items():
            self.facets[facet].offer((value.value, _facet_label(facet, value)) for value in values)
        number = len(datasets)
        found = f"{number:,} dataset{'' if number == 1 else 's'}"
        self.status.value = escape(found if number else "No dataset fits. Leave something out.")
        self._list()

    def _list_more(self) -> None:
        self._listed += AT_ONCE
        try:
            self._list()
        except UnicaError as err:
            self.status.value = error_html(err)

    def _list(self) -> None:
        self._items = self.datasets[: self._listed]
        kept = self.results.value
        self.results.options = [(_line(item), item.id) for item in self._items]
        # New options would select the first of them.
        self.results.value = kept if kept in {item.id for item in self._items} else None
        left = len(self.datasets) - len(self._items)
        self.more.description = f"{left:,} more"
        self.more.layout.display = None if left > 0 else "none"

    def _describe(self) -> None:
        chosen = self.selected
        self.detail.value = chosen._repr_html_() if chosen is not None else ""


def _line(item: Dataset) -> str:
    kind = " · SYNTHETIC" if item.synthetic else ""
    return f"{item.title} · {item.id} · {answer_words(item.patients)[0]} patients{kind}"


def _facet_label(facet: SearchFacet, value: FacetValue) -> str:
    """Return what stands beside a facet's box: the value in words and its number of datasets."""
    text = value.value
    if facet in VOCABULARY_OF:
        field = VOCABULARY_OF[facet]
        known = text in vocabulary.terms(field)
        text = vocabulary.concept(field, text).label if known else text
    elif facet == "synthetic":
        text = {YES: "Synthetic", NO: "Real"}.get(text, text)
    elif facet == "tier":
        text = f"Tier {text}"
    elif facet == "access":
        text = text.replace("_", " ").capitalize()
    return f"{text} ({value.datasets:,})"
