"""The parts of a DICOM element's encoding that the header scanner builds on: PS3.5 section 7."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from unica_sdk.node.bounded import Refused, Window
from unica_sdk.node.header_fallback import UNDEFINED
from unica_sdk.node.header_values import Unconvertible, Value, convert, encodings_of, little_endian

MAX_SEEN = 64
"""Values of one element and length that a scanner remembers before it starts afresh."""

MAX_SEEN_LENGTH = 64
"""Bytes of a value that is remembered. With `MAX_SEEN`, what bounds a scanner's memory on hostile files."""

_SHORT = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
NESTING = (b"SQ", b"UN")  # UN of undefined length is a sequence too: PS3.5 section 6.2.2

ITEM, ITEM_END, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0"


class Odd(Exception):  # noqa: N818 - not a failure: pydicom's turn
    """A structure that this scanner leaves to pydicom."""


class Pending(NamedTuple):
    """A value that waits for the end of the header, where the character set is known."""

    tag: int
    vr: str | None
    raw: bytes | None
    """None where it is too long or a sequence."""


class Seen(dict[bytes, Value]):
    """The values of one kind of element and length, converted when they are seen for the first time.

    Raises:
        ValueError: from a look-up, where the bytes are too few, or pydicom has to convert them.
    """

    __slots__ = ("_convert", "_length")

    def __init__(self, convert_common: Callable[[bytes], Value], length: int) -> None:
        self._convert = convert_common
        self._length = length

    def __missing__(self, raw: bytes) -> Value:
        if len(raw) != self._length:
            raise ValueError
        value = self._convert(raw)
        if self._length > MAX_SEEN_LENGTH:
            return value
        if len(self) >= MAX_SEEN:
            self.clear()
        self[raw] = value
        return value


Known: TypeAlias = tuple[int, str, Seen | None]
"""What the eight bytes that open an element say: how many bytes to the next one (0: the four after them have
the length); then the keyword and the values of what is wanted. A plain tuple, which Python unpacks twice as
fast as a named one."""


class Found(NamedTuple):
    """What a walk has collected so far."""

    values: dict[str, Any]
    waiting: list[str]
    """Keywords whose value was `Pending` when it was found."""


def tag_of(head: bytes) -> int:
    """Return the tag that an element's head begins with."""
    return little_endian(head[0:2]) << 16 | little_endian(head[2:4])


def extent(head: bytes, *, explicit: bool, cut: Window | None = None) -> tuple[int, int]:
    """Return the length of an element's head and of its value.

    Raises:
        Odd: a VR that is none; Refused: the file ends in the head.
    """
    vr = head[4:6]
    need = 12 if explicit and vr in _LONG else 8
    if len(head) < need:
        raise Odd if cut is None else Refused(cut.cut, "the file ends in the middle of its header")
    if not explicit:
        return 8, little_endian(head[4:8])
    if vr in _SHORT:
        return 8, little_endian(head[6:8])
    if vr in _LONG:
        return 12, little_endian(head[8:12])
    raise Odd


def looks_explicit(head: bytes) -> bool:
    """Whether an element's fifth and sixth byte are two capitals, as a VR is; pydicom's test."""
    vr = head[4:6]
    return len(vr) == 2 and vr.isalpha() and vr.isupper()


def behind_fragments(window: Window, place: int) -> int:
    """Return the place behind encapsulated data: items of defined length, then a delimiter."""
    while len(head := window.take(place, 8)) == 8:
        length = little_endian(head[4:8])
        if head[:4] == SEQUENCE_END:
            return place + 8
        if head[:4] != ITEM or length == UNDEFINED:
            raise Odd
        place += 8 + length
    raise Refused(window.cut, "the file ends in the middle of fragments")


def pending(head: bytes, raw: bytes | None, explicit: bool) -> Pending:
    """Return a value that waits, with the tag and VR that its head has."""
    return Pending(tag_of(head), head[4:6].decode("ascii") if explicit else None, raw)


def settle(found: Found) -> tuple[str, ...]:
    """Convert in place what waited for the character set; return the keywords of what holds no value."""
    values = found.values
    # An element that came twice may have a value by now, for it is the last that counts.
    waiting = [keyword for keyword in dict.fromkeys(found.waiting) if type(values[keyword]) is Pending]
    waiting.sort(key=lambda keyword: keyword != "SpecificCharacterSet")
    malformed = []
    for keyword in waiting:
        tag, vr, raw = values[keyword]
        of_codes = keyword == "SpecificCharacterSet"
        try:
            if raw is None:
                raise Unconvertible
            encodings = [] if of_codes else encodings_of(values.get("SpecificCharacterSet"))
            values[keyword] = convert(tag, vr, raw, encodings)
        except Unconvertible:
            del values[keyword]
            malformed.append(keyword)
    return tuple(malformed)
