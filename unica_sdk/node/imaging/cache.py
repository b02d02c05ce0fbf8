"""Prepared cases on disk, so that each is decoded once: by every cohort, job and session of the site.

    images/.lock                                    held by whoever changes anything below
    images/<digest of the preparation>/about.json   which preparation; its time is that of the last use
                                       *.cases      prepared cases and their keys: see `segments`

A key is of the content of a case's files. Killed at any moment, or without power, what is left is right: a
case without a key, or a file without a name, which the next writer clears away. Values are 16-bit, 0…65535
for 0…1: measured against float32 they are read into float32 batches as fast, take half the disk, and are
finer than any detector. The folder may be removed at any time; nothing in it names anybody.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unica_sdk.files import write_private
from unica_sdk.node.imaging.frames import to_float
from unica_sdk.node.imaging.preparation import Preparation
from unica_sdk.node.imaging.segments import (
    KEY,
    LEVEL,
    MOST,
    SUFFIX,
    Levels,
    Segment,
    append_cases,
    create_segment,
    read_segment,
    survivors,
)
from unica_sdk.node.imaging.storage import ABOUT, CacheFolder, readable, writable
from unica_sdk.schemas.contract import canonical_json

LEVELS = 65535
"""What 1.0 is kept as."""

SEGMENT_BYTES = 1 << 30
"""Of one file, about: what is copied where one of its cases has to go."""

_BATCH_BYTES = 1 << 24
"""Written and flushed at a time: what a killed process loses."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _View:
    """What was on disk when it was last looked at; replaced as a whole, so that threads need no lock."""

    segments: tuple[Segment, ...]
    frames: tuple[Levels, ...]
    keys: NDArray[np.void]
    """(n,) of all segments, sorted."""
    segment: NDArray[np.intp]
    place: NDArray[np.intp]

    @classmethod
    def of(cls, segments: Iterable[Segment]) -> _View:
        found = tuple(segments)
        keys = np.concatenate([np.empty(0, KEY), *(one.keys for one in found)])
        numbers = [len(one.keys) for one in found]
        places = np.concatenate([np.empty(0, np.intp), *(np.arange(number) for number in numbers)])
        order = np.argsort(keys, kind="stable")
        return cls(
            segments=found,
            frames=tuple(one.frames for one in found),
            keys=keys[order],
            segment=np.repeat(np.arange(len(found)), numbers)[order],
            place=places[order],
        )

    def of_these(self, segments: list[Segment]) -> _View:
        """Return a view of some segments: this one, where it is of the same."""
        return self if list(map(id, segments)) == list(map(id, self.segments)) else _View.of(segments)

    def find(self, keys: NDArray[np.void]) -> Found:
        if len(self.keys) == 0:
            nowhere = np.full(len(keys), -1, np.intp)
            return Found(frames=(), segment=nowhere, place=nowhere)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        there = self.keys[at] == keys
        segment = np.where(there, self.segment[at], -1)
        return Found(frames=self.frames, segment=segment, place=self.place[at])


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """Where some cases are, in files that stay as they are for as long as this is held."""

    frames: tuple[Levels, ...]
    segment: NDArray[np.intp]
    place: NDArray[np.intp]

    @property
    def missing(self) -> NDArray[np.bool_]:
        """(n,) which cases the cache did not have."""
        return np.asarray(self.segment < 0, dtype=np.bool_)

    def read(self, out: NDArray[np.float32]) -> None:
        """Write the cases, none of which is missing, into `out`, as float32 in [0, 1]."""
        for segment, place, case in zip(self.segment.tolist(), self.place.tolist(), out, strict=True):
            to_float(self.frames[segment][place], case, 1 / LEVELS, 0)

    def read_levels(self, out: NDArray[np.uint16]) -> None:
        """Write the cases, none of which is missing, into `out` as they are kept, 0…65535."""
        for segment, place, case in zip(self.segment.tolist(), self.place.tolist(), out, strict=True):
            np.copyto(case, self.frames[segment][place])


class PreparedCache:
    """The cache of one preparation. Making one reads nothing; several processes may use it at once.

    Args:
        folder: where caches of all preparations are.
        preparation: what was done to the cases.
        segment_bytes: of one file.
    """

    def __init__(
        self, folder: CacheFolder, preparation: Preparation, *, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        self.folder = folder
        self.preparation = preparation
        self._folder = folder.of(preparation)
        self._shape = preparation.shape
        self._size = int(np.prod(preparation.shape)) * LEVEL.itemsize
        self._capacity = max(1, min(MOST, segment_bytes // self._size))
        self._view = _View.of(())
        self._noted = False

    def __reduce__(self) -> tuple[type[PreparedCache], tuple[CacheFolder, Preparation]]:
        return PreparedCache, (self.folder, self.preparation)

    @property
    def case_bytes(self) -> int:
        """How much of the disk one case takes."""
        return self._size

    def find(self, keys: NDArray[np.void]) -> Found:
        """Return the cases of some keys, those that are missing too.

        Raises:
            DataError: the cache cannot be read.
        """
        found = self._view.find(keys)
        if found.missing.any():
            with readable(self._folder):
                self._look()
            found = self._view.find(keys)
        self._note_use()
        return found

    def all_keys(self) -> NDArray[np.void]:
        """Return the keys of all cases that are there now.

        Raises:
            DataError: the cache cannot be read.
        """
        with readable(self._folder):
            return self._look().keys

    def add(self, cases: Iterable[tuple[bytes, NDArray[np.float32]]], *, expected: int = 0) -> int:
        """Keep prepared cases under their keys, and return how many were not there already.

        Args:
            cases: keys and values.
            expected: how many there will be; other preparations make room for so many.

        Raises:
            DataError: the disk is full, or the folder cannot be written. What was added before stays.
        """
        with writable(self._folder):
            with self.folder.locked():
                self.folder.make_room(expected * self._size, keep=self._folder)
            most = max(1, _BATCH_BYTES // self._size)
            kept = 0
            waiting: dict[bytes, Levels] = {}
            for key, case in cases:
                waiting[key] = np.rint(case * np.float32(LEVELS)).astype(LEVEL)
                if len(waiting) >= most:
                    kept += self._add(waiting)
                    waiting = {}
            return kept + self._add(waiting)

    def drop(self, keys: NDArray[np.void]) -> int:
        """Take cases out, and return how many; whoever reads them at this moment still may.

        It needs room for one file more, and does without where there is none: the cases beside those that
        go are then lost too, and prepared anew when they are next asked for.

        Raises:
            DataError: the folder cannot be written.
        """
        with writable(self._folder), self.folder.locked():
            there = self._look()
            for segment, dead in zip(there.segments, _unwanted(there.segments, keys), strict=True):
                if dead.any():
                    self._leave_out(segment, dead)
            self._look()
        return int(np.isin(np.unique(there.keys), keys).sum())

    def _leave_out(self, segment: Segment, dead: NDArray[np.bool_]) -> None:
        if not dead.all():
            left = survivors(segment, dead)
            # Without room there is no new file, and the old one goes all the same.
            with contextlib.suppress(OSError):
                create_segment(self._folder, capacity=segment.capacity, shape=self._shape, cases=left)
        (self._folder / segment.name).unlink()

    def _add(self, cases: dict[bytes, Levels]) -> int:
        if not cases:
            return 0
        with self.folder.locked():
            there = self._look(keep=True)
            missing = there.find(np.frombuffer(b"".join(cases), KEY)).missing.tolist()
            fresh = [case for case, absent in zip(cases.items(), missing, strict=True) if absent]
            if fresh:
                self._write(fresh, there.segments)
                self._look(keep=True)
            return len(fresh)

    def _write(self, fresh: list[tuple[bytes, Levels]], there: Iterable[Segment]) -> None:
        self._folder.mkdir(exist_ok=True, mode=0o700)
        if not (self._folder / ABOUT).exists():
            write_private(self._folder / ABOUT, canonical_json(self.preparation.meaning()))
        for segment in there:
            room = segment.capacity - len(segment.keys)
            if room and fresh:
                append_cases(self._folder, segment, dict(fresh[:room]))
                fresh = fresh[room:]
        while fresh:
            create_segment(
                self._folder,
                capacity=self._capacity,
                shape=self._shape,
                cases=fresh[: self._capacity],
            )
            fresh = fresh[self._capacity :]

    def _look(self, *, keep: bool = False) -> _View:
        """Look at what is on disk now, and return it.

        Args:
            keep: let readers go on with files that are gone as well. A writer does: what it added must be
                found, even where somebody takes it away at once.
        """
        known = {segment.name: segment for segment in self._view.segments}
        found = []
        for name in _names(self._folder):
            before = known.pop(name, None)
            now = before if before and before.full else read_segment(self._folder / name, self._shape)
            if now is not None:
                same = before is not None and len(before.keys) == len(now.keys)
                found.append(before if before is not None and same else now)
        there = self._view.of_these(found)
        self._view = self._view.of_these([*found, *known.values()]) if keep else there
        return there

    def _note_use(self) -> None:
        if not self._noted:
            # Whoever may only read is no user that counts; nor is one of a cache that is not there yet.
            with contextlib.suppress(OSError):
                os.utime(self._folder / ABOUT)
            self._noted = True


def _unwanted(segments: tuple[Segment, ...], keys: NDArray[np.void]) -> list[NDArray[np.bool_]]:
    """Mark in each file the cases of some keys, and those that another file has already.

    Twice is what a process leaves that is killed between a new file and the end of the old one.
    """
    every = np.concatenate([np.empty(0, KEY), *(segment.keys for segment in segments)])
    again = np.ones(len(every), np.bool_)
    again[np.unique(every, return_index=True)[1]] = False
    marked = again | np.isin(every, keys)
    ends = np.cumsum([len(segment.keys) for segment in segments], dtype=np.intp)
    return np.split(marked, ends)[:-1]


def _names(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith(SUFFIX))  # noqa: PTH208 - names only
    except FileNotFoundError:
        return []
