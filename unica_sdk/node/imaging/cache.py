"""Prepared cases on disk, so that each is decoded once: by every cohort, job and session of the site.

    images/<digest of the preparation>/frames.u2    prepared cases, one after the other
                                       keys         16 bytes for each: its files' content
                                       .lock        held by whoever adds cases

A key is written after its case has been flushed, so a process that is killed, or a power cut, leaves cases
without keys, which the next one overwrites. Values are 16-bit, 0…65535 for 0…1: measured against float32 they
are read into float32 batches as fast, take half the disk, and are finer than any detector. The folder may be
removed at any time; nothing in it names anybody.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unica_sdk.errors import DataError
from unica_sdk.files import locked
from unica_sdk.node.imaging.frames import to_float
from unica_sdk.node.imaging.preparation import Preparation
from unica_sdk.schemas.contract import canonical_json, sha256

LEVELS = 65535
"""What 1.0 is kept as."""

_KEY, _LEVEL = np.dtype("V16"), np.dtype("<u2")
_BATCH_BYTES = 1 << 24
"""Written and flushed at a time: what a killed process loses."""


class _Seen(NamedTuple):
    """What was on disk when it was last looked at; replaced as a whole, so that threads need no lock."""

    keys: NDArray[np.void]
    order: NDArray[np.intp]
    frames: NDArray[np.uint16]


class PreparedCache:
    """The cache of one preparation. Making one reads nothing; several processes may use it at once.

    Args:
        folder: where caches of all preparations are.
        preparation: what was done to the cases.
    """

    def __init__(self, folder: Path, preparation: Preparation) -> None:
        digest = sha256(canonical_json(preparation.meaning())).removeprefix("sha256:")
        self.folder = folder
        self._folder = folder / digest[:32]
        self._preparation, self._shape = preparation, preparation.shape
        self._size = int(np.prod(preparation.shape)) * 2
        self._seen = _Seen(np.empty(0, _KEY), np.empty(0, np.intp), np.empty((0, *self._shape), _LEVEL))

    def __reduce__(self) -> tuple[type[PreparedCache], tuple[Path, Preparation]]:
        return PreparedCache, (self.folder, self._preparation)

    def slots(self, keys: NDArray[np.void]) -> NDArray[np.intp]:
        """Return where each key's case is; -1 where the cache has none yet."""
        found = self._find(keys)
        if (found < 0).any() and self._refresh():
            found = self._find(keys)
        return found

    def read(self, slots: NDArray[np.intp], out: NDArray[np.float32]) -> None:
        """Write the cases of some slots into `out`, as float32 in [0, 1]."""
        frames = self._seen.frames
        for slot, case in zip(slots.tolist(), out, strict=True):
            to_float(frames[slot], case, 1 / LEVELS, 0)

    def read_levels(self, slots: NDArray[np.intp], out: NDArray[np.uint16]) -> None:
        """Write the cases of some slots into `out` as they are kept, 0…65535."""
        np.take(self._seen.frames, slots, axis=0, out=out, mode="clip")

    def add(self, cases: Iterable[tuple[bytes, NDArray[np.float32]]]) -> None:
        """Keep prepared cases under their keys; what is there already is left as it is.

        Raises:
            DataError: the disk is full, or the folder cannot be written. What was added before stays.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            most = max(1, _BATCH_BYTES // self._size)
            waiting: dict[bytes, NDArray[np.uint16]] = {}
            for key, case in cases:
                waiting[key] = np.rint(case * np.float32(LEVELS)).astype(_LEVEL)
                if len(waiting) >= most:
                    self._append(waiting)
                    waiting = {}
            self._append(waiting)
        except OSError as err:
            raise DataError(
                "Prepared images cannot be kept.", where=str(self._folder), hint=err.strerror or ""
            ) from err

    def _append(self, cases: dict[bytes, NDArray[np.uint16]]) -> None:
        with locked(self._folder / ".lock"):
            self._refresh()
            there = self._find(np.frombuffer(b"".join(cases), _KEY))
            fresh = {key: case for (key, case), slot in zip(cases.items(), there, strict=True) if slot < 0}
            if not fresh:
                return
            slot = len(self._seen.keys)
            levels = b"".join(case.tobytes() for case in fresh.values())
            _write(self._folder / "frames.u2", slot * self._size, levels)
            _write(self._folder / "keys", slot * _KEY.itemsize, b"".join(fresh))
            self._refresh()

    def _find(self, keys: NDArray[np.void]) -> NDArray[np.intp]:
        seen = self._seen
        if len(seen.keys) == 0:
            return np.full(len(keys), -1, np.intp)
        ordered = seen.keys[seen.order]
        place = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
        return np.where(ordered[place] == keys, seen.order[place], -1)

    def _refresh(self) -> bool:
        """Look at what is on disk now; say whether it is something else than before."""
        try:
            raw = (self._folder / "keys").read_bytes()
        except FileNotFoundError:
            raw = b""
        keys = np.frombuffer(raw[: len(raw) // _KEY.itemsize * _KEY.itemsize], _KEY)
        if np.array_equal(keys, self._seen.keys):
            return False
        frames: NDArray[np.uint16] = np.empty((0, *self._shape), _LEVEL)
        if len(keys):
            shape = (len(keys), *self._shape)
            frames = np.asarray(np.memmap(self._folder / "frames.u2", _LEVEL, "r", shape=shape))
        self._seen = _Seen(keys, np.argsort(keys, kind="stable"), frames)
        return True


def _write(path: Path, offset: int, content: bytes) -> None:
    """Write at a place and flush; a short write is a full disk, which the next try reports."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(content)
        while view.nbytes:
            done = os.pwrite(descriptor, view, offset)
            view, offset = view[done:], offset + done
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
