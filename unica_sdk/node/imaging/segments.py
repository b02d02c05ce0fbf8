"""One file of prepared cases, of which the cache has as many as it takes.

    0         what this is, how many cases there is room for, bytes of each, 0: four numbers of 8 bytes
    32        16 bytes for each case there is room for: its key, zeros where there is none yet
    4096 · n  the cases one after the other, 16-bit little endian, 0…65535 for 0…1

A file only ever grows: a case is on the disk before its key is, and neither is changed afterwards. What is
to go is left out of a new file, and the old one removed. Names are random and never come back. So whoever
has a file mapped reads right values for as long as they like, whatever others do.
"""

from __future__ import annotations

import mmap
import os
import secrets
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from unica_sdk.files import sync

SUFFIX = ".cases"
PARTIAL = ".partial"
"""How a file ends that is being written."""

MOST = 4096
"""Cases of one file, however small they are: their keys are read at once."""

KEY, LEVEL = np.dtype("V16"), np.dtype("<u2")

Levels: TypeAlias = NDArray[np.uint16]

_HEAD = struct.Struct("<8sQQQ")
_WHAT = b"unica-1\n"
_PAGE = 4096
_MODE = 0o600
_BUFFER = 1 << 22


@dataclass(frozen=True, kw_only=True, eq=False)
class Segment:
    """A file as it was when it was looked at.

    Attributes:
        name: the file's, within its folder.
        capacity: how many cases it has room for.
        keys: (n,) of the cases that it has.
        frames: (n, *shape) their values, mapped.
    """

    name: str
    capacity: int
    keys: NDArray[np.void]
    frames: Levels

    @property
    def full(self) -> bool:
        """Whether it will never have more cases than now."""
        return len(self.keys) == self.capacity


def read_segment(path: Path, shape: tuple[int, ...]) -> Segment | None:
    """Return a file's cases; None where it is gone, or is no file of cases of this shape.

    Raises:
        OSError: it cannot be read.
    """
    size = _bytes_of(shape)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        head = os.pread(descriptor, _HEAD.size, 0)
        if len(head) < _HEAD.size:
            return None
        what, capacity, there, _ = _HEAD.unpack(head)
        if (what, there) != (_WHAT, size) or not 0 < capacity <= MOST:
            return None
        start = _start_of(capacity)
        keys = _keys_in(os.pread(descriptor, capacity * KEY.itemsize, _HEAD.size))
        # A key without its case would be a fault of the disk; whoever mapped that would die of it.
        keys = keys[: max(0, os.fstat(descriptor).st_size - start) // size]
        frames: Levels = np.empty((0, *shape), LEVEL)
        if len(keys):
            mapped = mmap.mmap(descriptor, start + len(keys) * size, access=mmap.ACCESS_READ)
            frames = np.frombuffer(mapped, LEVEL, offset=start).reshape(len(keys), *shape)
        return Segment(name=path.name, capacity=capacity, keys=keys, frames=frames)
    finally:
        os.close(descriptor)


def create_segment(
    folder: Path, *, capacity: int, shape: tuple[int, ...], cases: Iterable[tuple[bytes, Levels]]
) -> None:
    """Write a new file of at most `capacity` cases; nobody sees it before all of them are on the disk.

    Raises:
        OSError: it cannot be written; nothing is left of it.
    """
    aside = folder / f".{secrets.token_hex(8)}{PARTIAL}"
    keys = bytearray()
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        with os.fdopen(descriptor, "wb", buffering=_BUFFER) as file:
            file.write(_HEAD.pack(_WHAT, capacity, _bytes_of(shape), 0))
            file.seek(_start_of(capacity))
            for key, levels in cases:
                keys += key
                file.write(np.ascontiguousarray(levels, LEVEL).data)
            file.seek(_HEAD.size)
            # With the zeros of those to come, whose keys then need no more of the disk.
            file.write(keys.ljust(_start_of(capacity) - _HEAD.size, b"\0"))
            file.flush()
            os.fsync(file.fileno())
        aside.rename(folder / (secrets.token_hex(8) + SUFFIX))
    finally:
        aside.unlink(missing_ok=True)
    sync(folder)


def append_cases(folder: Path, segment: Segment, cases: Mapping[bytes, Levels]) -> None:
    """Add cases for which a file has room; the caller alone may do so, and has just looked at the file.

    Raises:
        OSError: they cannot be written; the file has those it had, and takes no more of the disk.
    """
    size, start = _bytes_of(segment.frames.shape[1:]), _start_of(segment.capacity)
    end = start + len(segment.keys) * size
    descriptor = os.open(folder / segment.name, os.O_WRONLY | os.O_CLOEXEC)
    try:
        try:
            _write(descriptor, end, b"".join(levels.tobytes() for levels in cases.values()))
        except OSError:
            os.ftruncate(descriptor, end)
            raise
        _write(descriptor, _HEAD.size + len(segment.keys) * KEY.itemsize, b"".join(cases))
    finally:
        os.close(descriptor)


def survivors(segment: Segment, dead: NDArray[np.bool_]) -> Iterator[tuple[bytes, Levels]]:
    """Yield the cases of a file that are not marked, with their keys."""
    for place in np.flatnonzero(~dead).tolist():
        yield segment.keys[place].tobytes(), segment.frames[place]


def _bytes_of(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape)) * LEVEL.itemsize


def _start_of(capacity: int) -> int:
    """Where the first case lies: on a page of its own."""
    return -(-(_HEAD.size + capacity * KEY.itemsize) // _PAGE) * _PAGE


def _keys_in(raw: bytes) -> NDArray[np.void]:
    """Return the keys up to the first that is none."""
    halves = np.frombuffer(raw[: len(raw) // KEY.itemsize * KEY.itemsize], np.uint64).reshape(-1, 2)
    none = np.flatnonzero(~halves.any(axis=1))
    number = int(none[0]) if len(none) else len(halves)
    return np.frombuffer(raw[: number * KEY.itemsize], KEY)


def _write(descriptor: int, offset: int, content: bytes) -> None:
    """Write at a place and flush; a short write is a full disk, which the next try reports."""
    view = memoryview(content)
    while view.nbytes:
        done = os.pwrite(descriptor, view, offset)
        view, offset = view[done:], offset + done
    os.fdatasync(descriptor)
