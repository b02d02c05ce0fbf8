"""Where a JPEG 2000 codestream, or a JP2 file around one, may say something besides its image.

Codestream: ITU-T T.800 annex A, also of high throughput (T.814) and of several components (T.801); boxes:
T.800 annex I. What is known to hold the numbers that decoders need stays. Everything else goes: comments
(COM), boxes of XML, UUIDs and labels, colour profiles, what stands behind the end. Tiles are passed by their
length.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from unica_sdk.node.deidentify.codestream import Codestream, unreadable

SIGNATURE: Final = b"\xff\x4f\xff\x51"
BOXES: Final = b"\x00\x00\x00\x0cjP  "

_SOC, _SOT, _SOD, _EOC = 0xFF4F, 0xFF90, 0xFF93, 0xFFD9
_ALONE: Final = range(0xFF30, 0xFF40)
"""Markers without a segment."""
_NUMBERS: Final = frozenset(
    (
        *(0xFF50, 0xFF51, 0xFF52, 0xFF53, 0xFF55, 0xFF56, 0xFF57, 0xFF58, 0xFF59),
        *(0xFF5C, 0xFF5D, 0xFF5E, 0xFF5F, 0xFF60, 0xFF61, 0xFF63),
        *range(0xFF70, 0xFF7A),
    )
)
"""CAP, SIZ, COD, COC, TLM, PRF, PLM, PLT, CPF; QCD, QCC, RGN, POC, PPM, PPT, CRG; those of T.801."""

_HEADER, _COLOUR, _CODESTREAM = b"jp2h", b"colr", b"jp2c"
_KEPT: Final = (b"jP  ", b"ftyp", b"rreq")
_KEPT_IN_HEADER: Final = (b"ihdr", b"bpcc", b"pclr", b"cmap", b"cdef")
_ENUMERATED: Final = 1
"""The method of a colour specification that is one number."""


def walk(stream: Codestream) -> None:
    """Note every text of one image.

    Raises:
        DataError: it is no codestream of tiles, or has too many parts.
    """
    if stream.data.startswith(BOXES, stream.start, stream.end):
        _walk_file(stream)
    else:
        _walk_codestream(stream)


def _walk_codestream(stream: Codestream) -> None:
    if not stream.data.startswith(SIGNATURE, stream.start, stream.end):
        raise unreadable("There is no codestream where one should begin.")
    place = _behind_segments(stream, stream.start + 2, until=_SOT)
    while place < stream.end:  # one that ends without the marker of its end does no harm
        marker = stream.number(place, 2)
        if marker == _EOC:
            stream.blank(place + 2, stream.end)
            return
        if marker != _SOT or stream.number(place + 2, 2) != 10:
            raise unreadable("There is no tile where one should begin.")
        place = _behind_tile(stream, place)


def _behind_segments(stream: Codestream, place: int, *, until: int) -> int:
    """Return the place of the marker that ends a header."""
    while (marker := stream.number(place, 2)) != until:
        stream.steps.take()
        place += 2
        if marker in _ALONE:
            continue
        if not _SOC < marker < _SOT:
            raise unreadable("They have a marker where it cannot be.")
        after = stream.behind(place, stream.number(place, 2), least=2)
        if marker not in _NUMBERS:
            stream.blank(place + 2, after)
        place = after
    return place


def _behind_tile(stream: Codestream, start: int) -> int:
    """Return the place behind a part of a tile: the segments of its header, and as much data as it says."""
    stream.steps.take()
    length = stream.number(start + 6, 4)
    data = _behind_segments(stream, start + 12, until=_SOD) + 2
    if length:
        return stream.behind(start, length, least=data - start)
    # The last part may leave it open. No byte above 8F follows an FF in its data.
    end = stream.data.find(_EOC.to_bytes(2, "big"), data, stream.end)
    return end if end >= 0 else stream.end


def _walk_file(stream: Codestream) -> None:
    for kind, start, end in _boxes(stream):
        if kind == _CODESTREAM:
            _walk_codestream(stream.part(start, end))
            # Decoders read no further: another codestream is a preview, or not of this image.
            stream.blank(end, stream.end)
            return
        if kind == _HEADER:
            _blank_header(stream.part(start, end))
        elif kind not in _KEPT:
            stream.blank(start, end)


def _blank_header(header: Codestream) -> None:
    for kind, start, end in _boxes(header):
        if kind == _COLOUR:
            # Method, precedence, approximation, and the number of a colour space; or a profile.
            method = header.number(start, 1) if start < end else 0
            header.blank(min(end, start + (7 if method == _ENUMERATED else 3)), end)
        elif kind not in _KEPT_IN_HEADER:
            header.blank(start, end)


def _boxes(stream: Codestream) -> Iterator[tuple[bytes, int, int]]:
    """Yield each box's type and where its content is."""
    place = stream.start
    while place + 8 <= stream.end:
        stream.steps.take()
        length, head = stream.number(place, 4), 8
        kind = bytes(stream.data[place + 4 : place + 8])
        if length == 1:
            length, head = stream.number(place + 8, 8), 16
        elif length == 0:
            length = stream.end - place
        after = stream.behind(place, length, least=head)
        yield kind, place + head, after
        place = after
    stream.blank(place, stream.end)
