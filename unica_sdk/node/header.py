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
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from unica_sdk.node.bounded import Refused, Window
from unica_sdk.node.header_fallback import UNDEFINED, read_with_pydicom
from unica_sdk.node.header_values import (
    MAX_VALUE,
    PIXELS,
    WANTED,
    Header,
    NoHeader,
    Pixels,
    Unconvertible,
    Value,
    convert,
    converter,
    encodings_of,
    little_endian,
)

__all__ = ["Header", "HeaderScanner", "NoHeader", "Pixels", "Value"]

IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
STANDARD = "1.2.840.10008."

MAX_DEPTH = 64
"""Sequences within sequences; structured reports need about a dozen."""

MAX_INFLATED = 1 << 24
"""Bytes that a deflated file's header may inflate to."""

MAX_KNOWN = 8192
"""Heads of elements that a scanner remembers before it starts afresh."""

MAX_SEEN = 256
"""Values of one element and length that a scanner remembers before it starts afresh."""

_SHORT = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_NESTING = (b"SQ", b"UN")  # UN of undefined length is a sequence too: PS3.5 section 6.2.2

_PREFIX = 132
_META = b"\x02\x00"
_SYNTAX = b"\x02\x00\x10\x00UI"
_ITEM, _ITEM_END, _SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0"
_OUT_OF_PLACE = (0x0000, 0x0002, 0xFFFE)  # commands, file meta and delimiters are no part of a data set
_BARE = (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08")  # how a file without a preamble may begin


class _Odd(Exception):  # noqa: N818 - not a failure: pydicom's turn
    """A structure that this scanner leaves to pydicom."""


class _Pending(NamedTuple):
    """A value that waits for the end of the header, where the character set is known."""

    tag: int
    vr: str | None
    raw: bytes | None
    """None where it is too long or a sequence."""


class _Known(NamedTuple):
    """What the eight bytes that open an element say."""

    step: int
    """Bytes to the next element; 0 where the next four bytes have the length."""
    keyword: str
    convert: Callable[[bytes], Value]
    seen: dict[bytes, Value] | None
    """Values that were converted before; None where the element is not wanted."""


class _Found(NamedTuple):
    """What a walk has collected so far."""

    values: dict[str, Any]
    waiting: list[str]
    """Keywords whose value was `_Pending` when it was found."""


class HeaderScanner:
    """Reads headers, faster the more alike they are; keep one for each worker and let it see many files.

    What it remembers are heads of elements and some values, which then share their memory.

    Example:
        >>> from pydicom.data import get_testdata_file
        >>> header = HeaderScanner().scan(get_testdata_file("CT_small.dcm"))
        >>> header.values["Rows"], header.text("Modality"), header.pixels
        (128, 'CT', Pixels(keyword='PixelData', offset=6292, length=32768))
    """

    def __init__(self) -> None:
        self._explicit: dict[bytes, _Known] = {}
        self._implicit: dict[bytes, _Known] = {}
        self._metas: dict[bytes, int] = {}

    def scan(self, path: str | Path) -> Header | NoHeader:
        """Read one file's header. It never waits: a pipe or a device is unreadable."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
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
        except _Odd:
            return read_with_pydicom(window)

    def _little_endian(self, window: Window) -> Header:
        place, syntax = self._meta(window.data)
        if syntax == BIG_ENDIAN or not syntax.startswith(STANDARD):
            raise _Odd
        deflated = syntax == DEFLATED
        if deflated:
            window, place = _inflated(window, place), 0
        explicit = syntax != IMPLICIT
        first = window.take(place, 6)
        if len(first) == 6 and _looks_explicit(first) is not explicit:
            raise _Odd if not deflated else Refused("corrupt", "no data set in what was deflated")
        try:
            found, pixels = self._walk(window, place, explicit)
        except _Odd:
            if not deflated:
                raise
            raise Refused("corrupt", "an odd data set in what was deflated") from None
        if deflated and pixels is not None:
            pixels = Pixels(pixels.keyword, None, pixels.length)
        malformed = _settle(found) if found.waiting else ()
        return Header(found.values, syntax, pixels, "unica", malformed)

    def _meta(self, data: bytes) -> tuple[int, str]:
        """Return where the data set begins, and the transfer syntax."""
        here, syntax = _PREFIX, b""
        while True:
            head = data[here : here + 8]
            step = self._metas.get(head)
            if step is None:
                if head[:2] != _META:
                    break
                size, length = _extent(data[here : here + 12], explicit=True)
                step = size + length
                if size == 8 and head[:6] != _SYNTAX and len(self._metas) < MAX_KNOWN:
                    self._metas[head] = step
                elif head[:6] == _SYNTAX:
                    syntax = data[here + 8 : here + step]
            here += step
        if not syntax or here > len(data):
            raise _Odd
        return here, syntax.decode("latin-1").rstrip(" \0")

    def _walk(self, window: Window, place: int, explicit: bool) -> tuple[_Found, Pixels | None]:
        """Read the data set's elements up to the pixel data or the end of the file."""
        look_up = (self._explicit if explicit else self._implicit).get
        found = _Found({}, [])
        values = found.values
        while True:
            data, start = window.data, window.start
            here = place - start
            # The whole speed of the scanner is in this loop: no call in it where the value was seen before.
            while (known := look_up(data[here : here + 8])) is not None:
                step, keyword, _, seen = known
                if seen is not None:
                    raw = data[here + 8 : here + step]
                    value = seen.get(raw)
                    if value is None:
                        if len(raw) + 8 != step:
                            break
                        value = _unseen(known, data[here : here + 8], raw, explicit, found.waiting)
                    values[keyword] = value
                elif step == 0:
                    length = little_endian(data[here + 8 : here + 12])
                    if length == UNDEFINED or here + 12 > len(data):
                        break
                    step = 12 + length
                here += step
            after = self._step(window, start + here, explicit, found)
            if not isinstance(after, int):
                return found, after
            place = after

    def _step(self, window: Window, place: int, explicit: bool, found: _Found) -> int | Pixels | None:
        """Read the one element at a place; return the next one's place, or what ends the header."""
        head = window.take(place, 12)
        if not head and place == window.size:
            return None
        size, length = _extent(head, explicit=explicit, cut=window)
        tag = _tag(head)
        place += size
        if tag in PIXELS:
            return Pixels(PIXELS[tag], place, None if length == UNDEFINED else length)
        if tag >> 16 in _OUT_OF_PLACE:
            raise _Odd
        keyword = WANTED.get(tag, "")
        if length != UNDEFINED:
            self._remember(head, size, length, explicit)
        if keyword:
            raw = None
            if length <= MAX_VALUE:
                raw = window.take(place, length)
                if len(raw) < length:
                    raise Refused(window.cut, "the file ends in the middle of a value")
            found.values[keyword] = _pending(head, raw, explicit)
            found.waiting.append(keyword)
        if length == UNDEFINED:
            return self._end_of_undefined(window, place, head, explicit)
        return place + length

    def _remember(self, head: bytes, size: int, length: int, explicit: bool) -> None:
        """Put an element's head into the table, if it is one that the fast loops may pass by."""
        known = self._explicit if explicit else self._implicit
        tag, vr = _tag(head), head[4:6].decode("ascii") if explicit else None
        keyword = WANTED.get(tag, "")
        if tag in PIXELS or (keyword and (size != 8 or length > MAX_VALUE)):
            return
        if len(known) >= MAX_KNOWN:
            known.clear()
        if keyword:
            known[head[:8]] = _Known(8 + length, keyword, converter(tag, vr, length), {})
        else:
            known[head[:8]] = _Known(8 + length if size == 8 else 0, "", converter(tag, "UN", 1), None)

    def _end_of_undefined(self, window: Window, place: int, head: bytes, explicit: bool) -> int:
        if explicit and head[4:6] not in _NESTING:
            return _end_of_fragments(window, place)
        return self._end_of_sequence(window, place, explicit)

    def _end_of_sequence(self, window: Window, place: int, explicit: bool) -> int:
        """Return the place behind a sequence of undefined length, entering what is undefined within."""
        outer = [explicit]  # of each open sequence: whether the item that it stands in is explicit
        while outer:
            head = _whole(window, place, 8)
            place += 8
            if head[:4] == _SEQUENCE_END:
                explicit = outer.pop()
                if not outer:
                    break
            elif head[:4] != _ITEM:
                raise _Odd
            elif (length := little_endian(head[4:8])) != UNDEFINED:
                place += length
                continue
            else:
                # An item may be implicit within an explicit file, never the other way round.
                explicit = outer[-1] and _looks_explicit(window.take(place, 6))
            place, opened = self._end_of_item(window, place, explicit)
            if opened:
                if len(outer) >= MAX_DEPTH:
                    raise Refused("excessive", "sequences nested too deep")
                outer.append(explicit)
        return place

    def _end_of_item(self, window: Window, place: int, explicit: bool) -> tuple[int, bool]:
        """Go on in an item to its end, or to the next sequence of undefined length that opens in it."""
        look_up = (self._explicit if explicit else self._implicit).get
        while True:
            data, start = window.data, window.start
            here = place - start
            while (known := look_up(data[here : here + 8])) is not None and known[0]:
                here += known[0]
            place = start + here
            if _whole(window, place, 8)[:4] == _ITEM_END:
                return place + 8, False
            head = window.take(place, 12)
            size, length = _extent(head, explicit=explicit, cut=window)
            if _tag(head) >> 16 in _OUT_OF_PLACE:
                raise _Odd
            place += size
            if length != UNDEFINED:
                self._remember(head, size, length, explicit)
                place += length
            elif explicit and head[4:6] not in _NESTING:
                place = _end_of_fragments(window, place)
            else:
                return place, True


def _tag(head: bytes) -> int:
    return little_endian(head[0:2]) << 16 | little_endian(head[2:4])


def _extent(head: bytes, *, explicit: bool, cut: Window | None = None) -> tuple[int, int]:
    """Return the length of an element's head and of its value.

    Raises:
        _Odd: a VR that is none; Refused: the file ends in the head.
    """
    vr = head[4:6]
    need = 12 if explicit and vr in _LONG else 8
    if len(head) < need:
        raise _Odd if cut is None else Refused(cut.cut, "the file ends in the middle of its header")
    if not explicit:
        return 8, little_endian(head[4:8])
    if vr in _SHORT:
        return 8, little_endian(head[6:8])
    if vr in _LONG:
        return 12, little_endian(head[8:12])
    raise _Odd


def _looks_explicit(head: bytes) -> bool:
    """Whether an element's fifth and sixth byte are two capitals, as a VR is; pydicom's test."""
    return len(head) >= 6 and 0x40 < head[4] < 0x5B and 0x40 < head[5] < 0x5B


def _whole(window: Window, place: int, length: int) -> bytes:
    data = window.take(place, length)
    if len(data) < length:
        raise Refused(window.cut, "the file ends in the middle of a sequence")
    return data


def _end_of_fragments(window: Window, place: int) -> int:
    """Return the place behind encapsulated data: items of defined length, then a delimiter."""
    while (head := _whole(window, place, 8))[:4] == _ITEM:
        length = little_endian(head[4:8])
        if length == UNDEFINED:
            raise _Odd
        place += 8 + length
    if head[:4] != _SEQUENCE_END:
        raise _Odd
    return place + 8


def _pending(head: bytes, raw: bytes | None, explicit: bool) -> _Pending:
    return _Pending(_tag(head), head[4:6].decode("ascii") if explicit else None, raw)


def _unseen(known: _Known, head: bytes, raw: bytes, explicit: bool, waiting: list[str]) -> Any:
    """Convert a value for the first time, or leave it to pydicom at the header's end."""
    try:
        value = known.convert(raw)
    except ValueError:
        waiting.append(known.keyword)
        return _pending(head, raw, explicit)
    if known.seen is not None:
        if len(known.seen) >= MAX_SEEN:
            known.seen.clear()
        known.seen[raw] = value
    return value


def _settle(found: _Found) -> tuple[str, ...]:
    """Convert in place what waited for the character set; return the keywords of what holds no value."""
    values = found.values
    # An element that came twice may have a value by now, for it is the last that counts.
    waiting = [keyword for keyword in dict.fromkeys(found.waiting) if type(values[keyword]) is _Pending]
    waiting.sort(key=lambda keyword: keyword != "SpecificCharacterSet")
    malformed = []
    for keyword in waiting:
        tag, vr, raw = values.pop(keyword)
        of_codes = keyword == "SpecificCharacterSet"
        try:
            if raw is None:
                raise Unconvertible
            encodings = [] if of_codes else encodings_of(values.get("SpecificCharacterSet"))
            values[keyword] = convert(tag, vr, raw, encodings)
        except Unconvertible:
            malformed.append(keyword)
    return tuple(malformed)


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
