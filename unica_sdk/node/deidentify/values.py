"""Values as bytes: dummies that are legal for their VR (PS3.5 6.2), moved dates, raw elements.

Elements are made raw, as pydicom reads them from a file: nothing is converted that nobody asks for, and a
writer copies the bytes as they are.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Final

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.multival import MultiValue

Element = DataElement | RawDataElement

_TEXT: Final = b"ANONYMIZED"
_ITEM: Final = {True: b"\xfe\xff\x00\xe0\0\0\0\0", False: b"\xff\xfe\xe0\x00\0\0\0\0"}

DUMMIES: Final = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"), _TEXT),
    **dict.fromkeys(("US", "SS", "OB", "OW", "UN", "OB or OW", "US or SS"), bytes(2)),
    **dict.fromkeys(("UL", "SL", "FL", "OL", "OF", "AT"), bytes(4)),
    **dict.fromkeys(("FD", "OD", "UV", "SV", "OV"), bytes(8)),
    **dict.fromkeys(("DS", "IS"), b"0 "),
    "AS": b"000Y",
    "DA": b"19000101",
    "TM": b"000000",
    "DT": b"19000101000000",
    "UR": b"http://anonymized.invalid ",
}
"""A value of even length that says nothing, in either byte order, for each VR but SQ and UI."""

LENGTHS: Final = {"AE": 16, "CS": 16, "SH": 16, "LO": 64, "PN": 64}
"""The longest value of a short text VR; others hold at least 1024 characters."""

_DATE: Final = re.compile(r"(\d{4})(?:(\d\d)(\d\d)|\.(\d\d)\.(\d\d))")
_TIME: Final = re.compile(r"\d\d(?:\d\d(?:\d\d(?:\.\d{1,6})?)?)?|\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?")
_DATETIME: Final = re.compile(r"(\d{4})(\d\d)?(\d\d)?((?:\d\d){1,3}(?:\.\d{1,6})?)?(?:[+-]\d{4})?")


def raw(element: Element, vr: str, value: bytes, *, little_endian: bool = True) -> RawDataElement:
    """Return an element with the same tag and another value, padded to an even length.

    The byte order matters where the value is a number.
    """
    if len(value) % 2:
        value += b"\0" if vr == "UI" else b" "
    return RawDataElement(element.tag, vr, len(value), value, 0, False, little_endian)


def empty_item(element: Element, *, little_endian: bool) -> RawDataElement:
    """Return a sequence of one item that holds nothing: the dummy of a sequence."""
    return RawDataElement(element.tag, "SQ", 8, _ITEM[little_endian], 0, False, little_endian)


def text_of(element: Element) -> str:
    """Return a value as text, several ones with a backslash between; only ASCII in it can be relied on."""
    value = element.value
    if value is None or element.VR == "SQ":
        return ""
    if isinstance(value, bytes):
        return value.decode("latin-1").strip(" \0")
    if isinstance(value, list | MultiValue):
        return "\\".join(str(one) for one in value)
    return str(value).strip(" \0")


def moved_date(text: str, days: int) -> str | None:
    """Return a date (DA) moved by a number of days; None where it is no date.

    Example:
        >>> moved_date("20240301", -1), moved_date("someday", -1)
        ('20240229', None)
    """
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    year, month, day = found[1], found[2] or found[4], found[3] or found[5]
    return _moved(int(year), int(month), int(day), days)


def moved_datetime(text: str, days: int) -> str | None:
    """Return a date and time (DT) moved by a number of days, at its own precision; None where it is none.

    The offset from UTC is dropped, here as at Timezone Offset From UTC: it would tell summer from winter, and
    with that a part of the shift. A month or year moves from its middle.

    Example:
        >>> moved_datetime("20240301101500.5+0200", -1), moved_datetime("2024", -200)
        ('20240229101500.5', '2023')
    """
    found = _DATETIME.fullmatch(text)
    if found is None or (found[4] and not found[3]):
        return None
    moved = _moved(int(found[1]), int(found[2] or 7), int(found[3] or 15), days)
    if moved is None:
        return None
    precision = 4 if not found[2] else 6 if not found[3] else 8
    return moved[:precision] + (found[4] or "")


def unmoved_time(text: str, days: int) -> str | None:
    """Return a time of day (TM) as it is, since dates move by whole days; None where it is none."""
    return text if _TIME.fullmatch(text) else None


def _moved(year: int, month: int, day: int, days: int) -> str | None:
    try:
        moved = date.fromordinal(date(year, month, day).toordinal() + days)
    except (ValueError, OverflowError):
        return None
    return f"{moved.year:04d}{moved.month:02d}{moved.day:02d}"
