"""Where a JPEG or JPEG-LS codestream may say something besides its image.

Markers and segments: ITU-T T.81 annex B, for JPEG-LS T.87 annex C. Comments (COM), application data (APPn)
and extensions (JPGn) go, but for the few bytes by which decoders tell colour spaces apart; so does what lies
between segments and behind the end of the image, where no decoder looks.
"""

from __future__ import annotations

import re
from typing import Final

from unica_sdk.node.deidentify.codestream import Codestream, unreadable

SIGNATURE: Final = b"\xff\xd8\xff"

_MARKER: Final = re.compile(rb"\xff[^\x00\xff]")
_BEHIND_SCAN: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""What ends entropy-coded data: within, a zero follows each FF, and restart markers may stand."""
_BEHIND_LS_SCAN: Final = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
"""The same of JPEG-LS, where only a zero bit follows each FF: T.87 A.1."""

_ALONE: Final = frozenset((0x01, *range(0xD0, 0xD8)))
"""Markers without a segment: TEM and RSTn."""
_SOI, _EOI, _SOS, _SOF_LS, _LSE = 0xD8, 0xD9, 0xDA, 0xF7, 0xF8
_TEXT: Final = frozenset(range(0xE0, 0xFF)) - {_SOF_LS, _LSE}
"""APPn, JPGn and COM."""

_KEPT: Final = (
    (0xE0, b"JFIF\0", ((0, 12),)),  # version and the pixels' aspect; neither a thumbnail's size nor itself
    (0xE8, b"mrfx", ((0, 5),)),  # the colour transform of HP's JPEG-LS
    (0xEE, b"Adobe", ((0, 5), (11, 12))),  # the colour transform
)
"""By marker and first bytes, the parts of application data that decoders need."""


def walk(stream: Codestream) -> None:
    """Note every text of one image.

    Raises:
        DataError: it is no sequence of segments, or too long a one.
    """
    place, scan, behind_scan = stream.start + 2, _MARKER, _BEHIND_SCAN
    while (found := scan.search(stream.data, place, stream.end)) is not None:
        stream.steps.take()
        if scan is _MARKER and stream.data[place : found.start()].strip(b"\xff"):  # FF alone may fill up
            stream.blank(place, found.start())
        code, place = stream.data[found.end() - 1], found.end()
        if code == _EOI:
            stream.blank(place, stream.end)
            return
        if code in _ALONE:
            continue
        if code < 0xC0 or code == _SOI:
            raise unreadable("They have a marker where it cannot be.")
        after = stream.behind(place, stream.number(place, 2), least=2)
        if code in _TEXT:
            _blank_segment(stream, code, place + 2, after)
        if code == _SOF_LS:
            behind_scan = _BEHIND_LS_SCAN
        scan, place = (behind_scan if code == _SOS else _MARKER), after
    if scan is _MARKER:
        raise unreadable("They end before the image does.")


def _blank_segment(stream: Codestream, code: int, start: int, end: int) -> None:
    place = start
    for marker, begins, kept in _KEPT:
        if code == marker and stream.data.startswith(begins, start, end):
            for first, last in kept:
                stream.blank(place, min(start + first, end))
                place = min(start + last, end)
    stream.blank(place, end)
