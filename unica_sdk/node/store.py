"""The node's own store of de-identified copies: what the index refers to, and all that jobs ever read.

    store/1f/1f0c…/2.25.37….9b1e4f6a02c7d853.dcm
          │  │     │        └ of the content it was made from, under the site key
          │  │     └ the image's new UID
          │  └ the patient's pseudonym
          └ its first two digits, so that no folder grows too wide

A name is of one content only. A copy is therefore never written over with another one: a version of the index
and a job that reads by it keep theirs, until no version that is kept refers to it.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from unica_sdk.errors import DataError
from unica_sdk.files import sync

NAME = re.compile(r"([0-9a-f]{2})/(\1[0-9a-f]{30})/([0-9.]{1,64})\.([0-9a-f]{16})\.dcm")
"""What a copy may be called within the store."""


class Store:
    """The folder of the copies.

    Example:
        >>> store = Store(Path("/nodes/gr/store"))
        >>> store.name(patient="1f" + "0" * 30, instance="2.25.37", stamp="9b1e4f6a02c7d853")
        '1f/1f000000000000000000000000000000/2.25.37.9b1e4f6a02c7d853.dcm'
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __repr__(self) -> str:
        return f"Store({str(self.folder)!r})"

    def name(self, *, patient: str, instance: str, stamp: str) -> str:
        """Return a copy's name within the store.

        Raises:
            DataError: one of its parts is not what it should be.
        """
        found = f"{patient[:2]}/{patient}/{instance}.{stamp}.dcm"
        if not NAME.fullmatch(found):
            raise DataError("This is no name of a copy.", where=found[:120])
        return found

    def path(self, name: str) -> Path:
        """Return where a copy of that name is, or would be.

        Raises:
            DataError: this is no name of a copy.
        """
        if not NAME.fullmatch(name):
            raise DataError("This is no name of a copy.", where=name[:120])
        return self.folder / name

    def there(self, name: str, size: int) -> bool:
        """Whether a copy is there and as long as it was."""
        try:
            return os.stat(f"{self.folder}/{name}").st_size == size  # noqa: PTH116 - one for each image
        except OSError:
            return False

    def flush(self) -> None:
        """Bring everything that was written to disk: once for many copies, not once for each.

        Raises:
            DataError: it could not be written.
        """
        if not self.folder.exists():
            return
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
                raise DataError(
                    "The copies cannot be written.",
                    where=str(self.folder),
                    hint=os.strerror(ctypes.get_errno()),
                )
        finally:
            os.close(descriptor)

    def names(self) -> Iterator[str]:
        """Yield the name of every file in the store, leftovers of a killed writer included."""
        for shard in _entries(self.folder):
            for patient in _entries(shard):
                for file in _entries(patient):
                    yield f"{shard.name}/{patient.name}/{file.name}"

    def remove(self, names: Iterable[str]) -> int:
        """Delete copies, and folders that are then empty; return how many copies there were."""
        number = 0
        touched: set[Path] = set()
        for name in names:
            path = self.folder / name
            try:
                path.unlink()
            except FileNotFoundError:
                continue
            number += 1
            touched.add(path.parent)
        for folder in touched:
            if not any(folder.iterdir()):
                folder.rmdir()
                sync(folder.parent)
        return number


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
