"""Reading a stranger's file within bounds: never more than a fixed number of bytes, calls or seconds.

Nothing here trusts a length that a file declares. `Window` serves our own scanner, `MeteredFile` lends the
same bytes to pydicom, and both end with `Refused` where the budget does.
"""

from __future__ import annotations

import os
from typing import Literal

Reason = Literal["unreadable", "empty", "not_dicom", "corrupt", "truncated", "excessive"]
"""Why a file has no header for us: fixed words that may be counted and shown."""

FIRST = 8192
"""Bytes of the first read: the whole header of most single-frame images."""

PIECE = 65536
"""Bytes of every later read."""

MAX_READS = 1024
"""Later reads a header may take: 64 MiB of it, or as many jumps."""

MAX_CALLS = 500_000
"""Reads and seeks that pydicom may do on one file: a few seconds."""

MAX_LENT = 1 << 26
"""Bytes that pydicom may read of one file."""


MAX_CHARACTER_SETS = 1 << 16
"""Bytes of character sets that pydicom may look up, one of Python's modules for each unknown name."""

_CHARACTER_SET = (b"\x08\x00\x05\x00", b"\x00\x08\x00\x05")


class Refused(Exception):  # noqa: N818 - a verdict on a file, turned into `NoHeader` by the scanner
    """This file has no header that we may use."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason)
        self.reason: Reason = reason
        self.detail = detail


class Window:
    """The part of a file that is in memory, moved forward as its reader asks for more.

    Fast readers look into `data` themselves, whose first byte is the file's byte number `start`; everyone
    else calls `take`. `cut` is what it means that the bytes end in the middle of something.

    Raises:
        OSError: the file cannot be read, or is a pipe, a folder or a socket.
    """

    __slots__ = ("_content", "_descriptor", "_left", "cut", "data", "start")

    def __init__(self, descriptor: int = -1, content: bytes = b"", cut: Reason = "truncated") -> None:
        self._descriptor = descriptor
        self._content = content
        self._left = MAX_READS
        self.cut: Reason = cut
        self.start = 0
        self.data = content[:FIRST] if descriptor < 0 else os.pread(descriptor, FIRST, 0)

    @property
    def size(self) -> int:
        """The file's length in bytes."""
        return len(self._content) if self._descriptor < 0 else os.fstat(self._descriptor).st_size

    def _read(self, length: int, place: int) -> bytes:
        if self._descriptor < 0:
            return self._content[place : place + length]
        return os.pread(self._descriptor, length, place)

    def take(self, place: int, length: int) -> bytes:
        """Return the bytes at a place: fewer than asked for only at the end of the file.

        Raises:
            Refused: excessive, after `MAX_READS` pieces.
            OSError: the file cannot be read any more.
        """
        here = place - self.start
        if here >= 0 and here + length <= len(self.data):
            return self.data[here : here + length]
        self._left -= 1 + length // PIECE
        if self._left < 0:
            raise Refused("excessive", "the header is too long or too scattered")
        data = self._read(max(length, PIECE), place)
        while 0 < len(data) < length and (more := self._read(length - len(data), place + len(data))):
            data += more  # a network's file system may answer with less than there is
        self.start, self.data = place, data
        return data[:length]


class MeteredFile:
    """A file as pydicom wants it, which ends with `Refused` when it was read or moved about too much."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._place = 0
        self._calls = MAX_CALLS
        self._bytes = MAX_LENT
        self._character_sets = MAX_CHARACTER_SETS
        self._in_character_set = False
        self._end = window.size

    def read(self, length: int = -1) -> bytes:
        """Return the next bytes.

        Raises:
            Refused: excessive; also for a read without a length, which pydicom does before it inflates.
        """
        length = min(length, max(0, self._end - self._place)) if length >= 0 else MAX_LENT + 1
        self._charge(length)
        data = self._window.take(self._place, length)
        self._place += len(data)
        self._watch_character_sets(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place, which may lie behind the end, and return it."""
        self._charge(0)
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._end}[whence]
        self._place = max(0, base + offset)
        return self._place

    def tell(self) -> int:
        """Return the place of the next read."""
        return self._place

    def _watch_character_sets(self, data: bytes) -> None:
        """Charge the value that follows the head of a (0008,0005), at any depth."""
        if len(data) == 8:
            self._in_character_set = data[:4] in _CHARACTER_SET
        if self._in_character_set:
            self._character_sets -= len(data)
            if self._character_sets < 0:
                raise Refused("excessive", "too many character sets")
            self._in_character_set = len(data) in (4, 8)  # the head, perhaps with a length of its own

    def _charge(self, length: int) -> None:
        self._calls -= 1
        self._bytes -= length
        if self._calls < 0 or self._bytes < 0:
            raise Refused("excessive", "pydicom would have to read too much of it")
