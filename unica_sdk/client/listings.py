"""Lists a researcher looks through: datasets, nodes, apps, permits; each a sequence, shown as a table."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import ClassVar, Generic, TypeVar, overload

from unica_sdk.client.cohorts import answer_words
from unica_sdk.client.display import Shown, Table, joined
from unica_sdk.client.records import RecordsByName
from unica_sdk.client.transport import Gateway
from unica_sdk.errors import NotFound
from unica_sdk.schemas import vocabulary
from unica_sdk.schemas.app import App
from unica_sdk.schemas.catalogue import DatasetRecord, NodeStatus
from unica_sdk.schemas.permit import PermitSummary

ItemT = TypeVar("ItemT")


class Listing(Shown, Sequence[ItemT], Generic[ItemT]):
    """A read-only list: by position, or by the name people use for the thing."""

    noun: ClassVar[str]

    def __init__(self, items: Sequence[ItemT]) -> None:
        self._items = tuple(items)

    def _name(self, item: ItemT) -> str:
        raise AssertionError(f"{type(self).__name__} has no names")

    @overload
    def __getitem__(self, key: int | str) -> ItemT: ...

    @overload
    def __getitem__(self, key: slice) -> Sequence[ItemT]: ...

    def __getitem__(self, key: int | str | slice) -> ItemT | Sequence[ItemT]:
        """Return one item by name or position.

        Raises:
            NotFound: no item has that name; the hint lists those that exist.
        """
        if not isinstance(key, str):
            return self._items[key]
        for item in self._items:
            if self._name(item) == key:
                return item
        names = joined([self._name(item) for item in self._items])
        raise NotFound(f"There is no {self.noun} {key!r}.", where=self.noun, hint=f"There are: {names}.")

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[ItemT]:
        return iter(self._items)


class Datasets(Listing[DatasetRecord]):
    """Datasets of the catalogue, as their sites describe them."""

    noun = "dataset"

    def _name(self, item: DatasetRecord) -> str:
        return item.id

    def _table(self) -> Table:
        return Table(
            title="Datasets",
            columns=("dataset", "title", "patients", "modalities", "manufacturers", "data"),
            rows=tuple(
                (
                    d.id,
                    d.title,
                    answer_words(d.patients)[0],
                    joined(d.modalities),
                    joined(d.manufacturers),
                    "SYNTHETIC" if d.synthetic else "real",
                )
                for d in self
            ),
            empty="No dataset matches.",
            note="Numbers are protected by each site's policy.",
        )


class Nodes(Listing[NodeStatus]):
    """The sites of the network."""

    noun = "node"

    def _name(self, item: NodeStatus) -> str:
        return item.site

    def _table(self) -> Table:
        return Table(
            title="Nodes",
            columns=("site", "name", "country", "state", "datasets"),
            rows=tuple(
                (n.site, n.name, n.country, "online" if n.online else "offline", len(n.datasets))
                for n in self
            ),
            empty="No node has joined yet.",
        )


class Apps(Listing[App]):
    """The apps that were built and entered in the catalogue."""

    noun = "app"

    def _name(self, item: App) -> str:
        return item.manifest.name

    def newest(self, name: str, *, covered: Collection[str] = ()) -> App:
        """Return the newest app of a name, one that is `covered` by a permit where there is one.

        An app's identity is the hash of its bytes, so several may bear one name.

        Raises:
            NotFound: no app has that name; the hint lists those that exist.
        """
        named = [app for app in self if app.manifest.name == name] or [self[name]]
        usable = [app for app in named if app.id in covered] or named
        return max(usable, key=lambda app: tuple(map(int, app.manifest.version.split("."))))

    def _table(self) -> Table:
        return Table(
            title="Apps",
            columns=("app", "version", "title", "identity"),
            rows=tuple(
                (a.manifest.name, a.manifest.version, a.manifest.title, a.id[:19] + "…") for a in self
            ),
            empty="No app is in the catalogue yet.",
        )


class Permits(Listing[PermitSummary]):
    """Your permits."""

    noun = "permit"

    def _name(self, item: PermitSummary) -> str:
        return item.permit.id

    def _table(self) -> Table:
        return Table(
            title="Permits",
            columns=("permit", "project", "purpose", "datasets", "until", "state"),
            rows=tuple(
                (
                    p.permit.id + (" (demonstration)" if p.permit.demonstration else ""),
                    p.permit.project,
                    p.permit.purpose.value,
                    joined(p.permit.datasets),
                    f"{p.permit.expires:%Y-%m-%d}",
                    "active" if p.active else "not active",
                )
                for p in self
            ),
            empty="You have no permit; you can still search and count.",
        )


class Catalogue(RecordsByName):
    """The federated catalogue: `search()` it, or take one dataset by its id."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def search(
        self, text: str | None = None, *, modality: str | None = None, site: str | None = None
    ) -> Datasets:
        """Return the datasets whose title or description has the text, of one modality or site.

        Raises:
            UnknownTerm: the modality is not in the vocabulary.
        """
        if modality is not None:
            vocabulary.concept("modality", modality)
        found = self._gateway.get(
            "/v1/datasets", list[DatasetRecord], text=text, modality=modality, site=site
        )
        return Datasets(found)

    def _repr_html_(self) -> str:
        return self.search()._repr_html_()

    def __repr__(self) -> str:
        return repr(self.search())
