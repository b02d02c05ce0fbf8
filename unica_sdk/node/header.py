"""Our own DICOM header scanner: little endian, explicit and implicit; pydicom reads what it does not.

`HeaderScanner.scan` answers with a `Header` or a `NoHeader` and raises for nothing that a file may hold. It
reads a file's first 8 KiB, and more only if the header is longer; it never reads the pixels but says where
they are. Encoding: DICOM PS3.5 section 7, PS3.10 section 7.

Its speed comes from one observation: the eight bytes that open an element (tag, VR, length) are nearly always
eight bytes that some file before had too. They are looked up whole, in a table that fills as files are read.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

from unica_sdk.node.bounded import Refused, Window
from unica_sdk.node.header_elements import (
    ITEM,
    ITEM_END,
    NESTING,
    SEQUENCE_END,
    Found,
    Known,
    Odd,
    Seen,
    behind_fragments,
    extent,
    looks_explicit,
    pending,
    settle,
    tag_of,
)
from unica_sdk.node.header_fallback import UNDEFINED, read_with_pydicom
from unica_sdk.node.header_values import (
    MAX_VALUE,
    PIXELS,
    WANTED,
    Header,
    NoHeader,
    Pixels,
    Value,
    converter,
    little_endian,
)
from unica_sdk.node.syntaxes import BIG_ENDIAN, DEFLATED, IMPLICIT

__all__ = ["Header", "HeaderScanner", "NoHeader", "Pixels", "Value"]

STANDARD = "1.2.840.10008."

MAX_DEPTH = 64
"""Sequences within sequences; structured reports need about a dozen."""

MAX_INFLATED = 1 << 24
"""Bytes that a deflated file's header may inflate to."""

MAX_KNOWN = 4096
"""Heads of elements that a scanner remembers before it starts afresh."""

MAX_SEQUENCE = 512
"""Bytes of a sequence that a scanner remembers."""

_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC  # non-blocking: nobody may ever write into a pipe
_PREFIX = 132
_META = b"\x02\x00"
_SYNTAX = b"\x02\x00\x10\x00UI"
_OUT_OF_PLACE = (0x0000, 0x0002, 0xFFFE)  # commands, file meta and delimiters are no part of a data set
_BARE = (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08")  # how a file without a preamble may begin


class HeaderScanner:
    """Reads headers, faster the more alike they are; keep one for each worker and let it see many files.

    What it remembers are heads of elements and some values, which then share their memory.

    Example:
        >>> from pydicom.data import get_testdata_file
        >>> header = HeaderScanner().scan(get_testdata_file("CT_small.dcm"))
        >>> header.values["Rows"], header.text("Modality"), header.pixels
        (128, 'CT', Pixels(keyword='PixelData', offset=6300, length=32768))
    """

    def __init__(self) -> None:
        self._explicit: dict[bytes, Known] = {}
        self._implicit: dict[bytes, Known] = {}
        self._long: dict[bytes, int] = {}
        self._metas: dict[bytes, int] = {}
        self._sequences: dict[bytes, bytes] = {}

    def scan(self, path: str | Path) -> Header | NoHeader:
        """Read one file's header. It never waits: a pipe or a device is unreadable."""
        try:
            descriptor = os.open(path, _OPEN)
        except (OSError, ValueError) as err:  # ValueError: a name no file can have
            return NoHeader("unreadable", type(err).__name__)
        try:
            return self._scan(Window(descriptor))
        except Refused as refused:
            return NoHeader(refused.reason, refused.detail)
        except OSError as err:
            return NoHeader("unreadable", err.strerror or "")
        finally:
            os.close(descriptor)

    def scan_bytes(self, content: bytes) -> Header | NoHeader:
        """Read the header of a file that is in memory."""
        try:
            return self._scan(Window(content=content))
        except Refused as refused:
            return NoHeader(refused.reason, refused.detail)

    def _scan(self, window: Window) -> Header:
        if window.data[128:_PREFIX] != b"DICM":
            return _bare(window)
        try:
            return self._little_endian(window)
        except Odd:
            return read_with_pydicom(window)

    def _little_endian(self, window: Window) -> Header:
        place, syntax = self._meta(window.data)
        if syntax == BIG_ENDIAN or not syntax.startswith(STANDARD):
            raise Odd
        deflated = syntax == DEFLATED
        if deflated:
            window, place = _inflated(window, place), 0
        explicit = syntax != IMPLICIT
        first = window.data[place : place + 6]
        if len(first) == 6 and looks_explicit(first) is not explicit:
            raise Odd if not deflated else Refused("corrupt", "no data set in what was deflated")
        try:
            found, pixels = self._walk(window, place, explicit)
        except Odd:
            if not deflated:
                raise
            raise Refused("corrupt", "an odd data set in what was deflated") from None
        if deflated and pixels is not None:
            pixels = Pixels(pixels.keyword, None, pixels.length)
        malformed = settle(found) if found.waiting else ()
        return Header(found.values, syntax, pixels, "unica", malformed)

    def _meta(self, data: bytes) -> tuple[int, str]:
        """Return where the data set begins, and the transfer syntax."""
        here, syntax = _PREFIX, b""
        while True:
            head = data[here : here + 12]
            step = self._metas.get(head)
            if step is None:
                if head[:2] != _META:
                    break
                size, length = extent(head, explicit=True)
                step = size + length
                if head[:6] == _SYNTAX:
                    syntax = data[here + 8 : here + step]
                elif len(self._metas) < MAX_KNOWN:
                    self._metas[head] = step
            here += step
        if not syntax or here > len(data):
            raise Odd
        return here, syntax.decode("latin-1").rstrip(" \0")

    def _walk(self, window: Window, place: int, explicit: bool) -> tuple[Found, Pixels | None]:
        """Read the data set's elements up to the pixel data or the end of the file."""
        look_up, long = (self._explicit if explicit else self._implicit).get, self._long.get
        values: dict[str, Any] = {}
        found = Found(values, [])
        while True:
            data, start = window.data, window.start
            here = place - start
            # The whole speed of the scanner is in this loop: no call in it but for what was never seen.
            while (known := look_up(data[here : (body := here + 8)])) is not None:
                step, keyword, seen = known
                if seen is not None:
                    raw = data[body : here + step]
                    try:
                        values[keyword] = seen[raw]
                    except ValueError:
                        if len(raw) + 8 != step:
                            break
                        values[keyword] = pending(data[here:body], raw, explicit)
                        found.waiting.append(keyword)
                elif step == 0 and (step := long(data[here : here + 12], 0)) == 0:
                    place = self._behind_long(window, start + here, data[here : here + 12], explicit)
                    data, start = window.data, window.start
                    here = place - start
                    continue
                here += step
            after = self._step(window, start + here, explicit, found)
            if not isinstance(after, int):
                return found, after
            place = after

    def _step(self, window: Window, place: int, explicit: bool, found: Found) -> int | Pixels | None:
        """Read the one element at a place; return the next one's place, or what ends the header."""
        head = window.take(place, 12)
        if not head and place == window.size:
            return None
        size, length = extent(head, explicit=explicit, cut=window)
        tag = tag_of(head)
        place += size
        if tag in PIXELS:
            return Pixels(PIXELS[tag], place, None if length == UNDEFINED else length)
        if tag >> 16 in _OUT_OF_PLACE:
            raise Odd
        keyword = WANTED.get(tag, "")
        self._remember(head, size, length, explicit)
        if keyword:
            raw = None
            if length <= MAX_VALUE:
                raw = window.take(place, length)
                if len(raw) < length:
                    raise Refused(window.cut, "the file ends in the middle of a value")
            found.values[keyword] = pending(head, raw, explicit)
            found.waiting.append(keyword)
        if length == UNDEFINED:
            return self._behind_long(window, place - size, head, explicit)
        return place + length

    def _remember(self, head: bytes, size: int, length: int, explicit: bool) -> None:
        """Put an element's head into the table, if it is one that the fast loops may pass by."""
        known = self._explicit if explicit else self._implicit
        tag, vr = tag_of(head), head[4:6].decode("ascii") if explicit else None
        keyword = WANTED.get(tag, "")
        if tag in PIXELS or (keyword and (size != 8 or length > MAX_VALUE)):
            return
        if len(known) >= MAX_KNOWN:
            known.clear()
        if keyword:
            known[head[:8]] = (8 + length, keyword, Seen(converter(tag, vr, length), length))
        else:
            known[head[:8]] = (0 if size == 12 or length == UNDEFINED else 8 + length, "", None)

    def _behind_long(self, window: Window, place: int, head: bytes, explicit: bool) -> int:
        """Return the place behind an element whose length is not in its first eight bytes."""
        if not explicit:
            return self._behind_known_sequence(window, place + 8, head[:8], explicit)
        if len(head) < 12 and len(head := window.take(place, 12)) < 12:
            raise Refused(window.cut, "the file ends in the middle of its header")
        length = little_endian(head[8:12])
        if length != UNDEFINED:
            if len(self._long) >= MAX_KNOWN:
                self._long.clear()
            self._long[head] = 12 + length
            return place + 12 + length
        if head[4:6] in NESTING:
            return self._behind_known_sequence(window, place + 12, head, explicit)
        return behind_fragments(window, place + 12)

    def _behind_known_sequence(self, window: Window, place: int, head: bytes, explicit: bool) -> int:
        """Pass by a sequence whose bytes are those of the last one of its kind; walk through it otherwise.

        Codes of a procedure or a view are the same in file after file, and where a sequence ends depends on
        nothing but its own bytes.
        """
        last = self._sequences.get(head)
        if last is not None and window.data.startswith(last, place - window.start):
            return place + len(last)
        start = window.start
        end = self._behind_sequence(window, place, explicit)
        if window.start == start and end - place <= MAX_SEQUENCE and end - start <= len(window.data):
            if len(self._sequences) >= MAX_KNOWN:
                self._sequences.clear()
            self._sequences[head] = window.data[place - start : end - start]
        return end

    def _behind_sequence(self, window: Window, place: int, explicit: bool) -> int:
        """Return the place behind a sequence of undefined length, entering what is undefined within."""
        outer = [explicit]  # of each open sequence: whether the item that it stands in is explicit
        while True:
            head = window.take(place, 14)  # the head of an item, and six bytes of its first element
            if len(head) < 8:
                raise Refused(window.cut, "the file ends in the middle of a sequence")
            place += 8
            if head[:4] == SEQUENCE_END:
                explicit = outer.pop()
                if not outer:
                    return place
            elif head[:4] != ITEM:
                raise Odd
            elif (length := little_endian(head[4:8])) != UNDEFINED:
                place += length
                continue
            else:
                # An item may be implicit within an explicit file, never the other way round.
                explicit = outer[-1] and looks_explicit(head[8:])
            place, opened = self._behind_item(window, place, explicit)
            if opened:
                if len(outer) >= MAX_DEPTH:
                    raise Refused("excessive", "sequences nested too deep")
                outer.append(explicit)

    def _behind_item(self, window: Window, place: int, explicit: bool) -> tuple[int, bool]:
        """Go on in an item to its end, or to the next sequence of undefined length that opens in it."""
        look_up = (self._explicit if explicit else self._implicit).get
        while True:
            data, start = window.data, window.start
            here = place - start
            while (known := look_up(data[here : here + 8])) is not None and known[0]:
                here += known[0]
            place = start + here
            head = data[here : here + 12]
            if len(head) < 12:
                head = window.take(place, 12)
            if head[:4] == ITEM_END:
                return place + 8, False
            size, length = extent(head, explicit=explicit, cut=window)
            if tag_of(head) >> 16 in _OUT_OF_PLACE:
                raise Odd
            if known is None:
                self._remember(head, size, length, explicit)
            place += size
            if length != UNDEFINED:
                place += length
            elif explicit and head[4:6] not in NESTING:
                place = behind_fragments(window, place)
            else:
                return place, True


def _inflated(window: Window, place: int) -> Window:
    """Inflate the beginning of a deflated data set; PS3.5 annex A.5."""
    deflated = window.take(place, MAX_INFLATED)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflater.decompress(deflated, MAX_INFLATED)
    except zlib.error as err:
        raise Refused("corrupt", "cannot be inflated") from err
    return Window(content=content, cut="excessive" if len(content) >= MAX_INFLATED else "truncated")


def _bare(window: Window) -> Header:
    """Read a file without preamble, which PS3.10 calls no DICOM file, and archives hold all the same."""
    if not window.data:
        raise Refused("empty")
    if window.data[:2] not in _BARE:
        raise Refused("not_dicom", "no DICM prefix")
    try:
        header = read_with_pydicom(window)
    except Refused as refused:
        raise Refused("not_dicom", "no DICM prefix, and " + refused.reason) from refused
    if not (header.text("SOPClassUID") or header.text("Modality")):
        raise Refused("not_dicom", "no DICM prefix and no image's header")
    return header
