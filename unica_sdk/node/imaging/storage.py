"""The folder in which all preparations' cases are: its lock, its size, and what goes first where it is full.

A bound is kept by taking out whole preparations, the one that was used longest ago first. Those who read a
preparation go on reading it; their files' room on the disk comes back when they are done.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from unica_sdk.errors import DataError, InvalidRequest
from unica_sdk.files import locked
from unica_sdk.node.imaging.preparation import Preparation
from unica_sdk.node.imaging.segments import PARTIAL, SUFFIX
from unica_sdk.schemas.contract import canonical_json, sha256

ABOUT = "about.json"
"""Says which preparation a folder is of; its time is that of the last use."""

SPARE = 2 << 30
"""Bytes of the disk that what is prepared ahead leaves free: copies and index come first."""


@dataclass(frozen=True)
class CacheFolder:
    """Where caches of all preparations are. Making one reads nothing.

    Attributes:
        path: of the folder; made when the first case is kept.
        limit: bytes that all preparations together may take; None where nobody counts.
    """

    path: Path
    limit: int | None = None

    def of(self, preparation: Preparation) -> Path:
        """Return where the cases of a preparation are, or would be."""
        return self.path / sha256(canonical_json(preparation.meaning())).removeprefix("sha256:")[:32]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one who changes anything in the folder.

        Raises:
            OSError: it cannot be made.
        """
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self.path / ".lock"):
            yield

    def size(self) -> int:
        """Return how many bytes all cases take.

        Raises:
            OSError: the folder cannot be read.
        """
        return sum(_size_of(folder) for folder in self._folders())

    def room(self) -> int:
        """Return how many bytes may be added ahead of any need: within the limit, and with disk to spare.

        Raises:
            OSError: the folder cannot be read.
        """
        there = next(place for place in (self.path, *self.path.parents) if place.exists())
        disk = os.statvfs(there)
        spare = disk.f_bavail * disk.f_frsize - SPARE
        return max(0, spare if self.limit is None else min(spare, self.limit - self.size()))

    def make_room(self, needed: int = 0, *, keep: Path | None = None) -> None:
        """Take preparations out until so many bytes more are within the limit, or none is left that may go.

        The caller holds the lock.

        Args:
            needed: how much more.
            keep: the folder of a preparation that stays.

        Raises:
            OSError: a folder cannot be changed.
        """
        folders = self._folders()
        for folder in folders:
            # What a process left that was killed while it wrote.
            for leftover in folder.glob(f"*{PARTIAL}"):
                leftover.unlink()
        if self.limit is None:
            return
        sizes = {folder: _size_of(folder) for folder in folders}
        for folder in sorted(sizes, key=_last_use):
            if sum(sizes.values()) + needed <= self.limit:
                break
            if folder != keep:
                shutil.rmtree(folder)
                del sizes[folder]

    def keep_within(self) -> None:
        """Take preparations out until the others are within the limit, the one used longest ago first.

        Raises:
            DataError: the folder cannot be changed.
        """
        with writable(self.path):
            if self.path.exists():
                with self.locked():
                    self.make_room()

    def sweep(self) -> list[Preparation]:
        """Remove what is of no preparation of today, and return those of which there may be cases.

        Raises:
            DataError: the folder cannot be read or changed.
        """
        found = []
        with writable(self.path):
            if not self.path.exists():
                return []
            with self.locked():
                for folder in self._folders():
                    preparation = _read(folder / ABOUT)
                    if preparation is not None and self.of(preparation) == folder:
                        found.append(preparation)
                    else:
                        shutil.rmtree(folder)
        return found

    def clear(self) -> None:
        """Remove all cases.

        Raises:
            DataError: the folder cannot be changed.
        """
        with writable(self.path):
            if self.path.exists():
                with self.locked():
                    for folder in self._folders():
                        shutil.rmtree(folder)

    def _folders(self) -> list[Path]:
        if not self.path.exists():
            return []
        return sorted(entry for entry in self.path.iterdir() if entry.is_dir())


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Say of a disk that is full, or of a folder that nobody may write, which cache it is about."""
    try:
        yield
    except OSError as err:
        raise DataError(
            "Prepared images cannot be kept.", where=str(folder), hint=err.strerror or ""
        ) from err


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """As `writable`, where cases are only read."""
    try:
        yield
    except OSError as err:
        raise DataError(
            "Prepared images cannot be read.", where=str(folder), hint=err.strerror or ""
        ) from err


def _read(about: Path) -> Preparation | None:
    """Return the preparation that a folder says it is of; None where it says nothing that is one."""
    try:
        said = json.loads(about.read_bytes())
        window = said["window"] and (float(said["window"][0]), float(said["window"][1]))
        return Preparation(
            rows=said["rows"], columns=said["columns"], slices=said["slices"], window=window or None
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError, InvalidRequest):
        return None


def _size_of(folder: Path) -> int:
    total = 0
    for entry in os.scandir(folder):
        if entry.name.endswith(SUFFIX):
            total += entry.stat().st_size
    return total


def _last_use(folder: Path) -> float:
    about = folder / ABOUT
    return about.stat().st_mtime if about.exists() else 0.0
