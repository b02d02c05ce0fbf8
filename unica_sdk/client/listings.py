"""Lists a researcher looks through: nodes, apps, permits; each a sequence, shown as a table."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import ClassVar, Generic, TypeVar, overload

from unica_sdk.client.display import Shown, Table, joined
from unica_sdk.errors import NotFound
from unica_sdk.schemas.app import App
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
