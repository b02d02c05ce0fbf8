"""What the codestreams of compressed pixels say in words, blanked where it stands.

A copy keeps its pixels compressed as they are, and a codestream has room for a maker's software, a date, a
name, a thumbnail. The content of such segments becomes zeros and nothing moves: lengths, offset tables and
the decoded image stay as they were. Plain Python without a codec, since it runs beside the site key; what it
cannot read is refused. Fragments: DICOM PS3.5 annex A.4. RLE (annex G) has no place for words but what its
header leaves unused; text within the compressed data itself would only show by decoding it. Uncompressed
pixels end where the image does: what is behind them is blanked too.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Final, NamedTuple, TypeAlias

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from unica_sdk.node.deidentify import jpeg, jpeg2000
from unica_sdk.node.deidentify.codestream import Codestream, Steps, unreadable
from unica_sdk.node.deidentify.values import text_of
from unica_sdk.node.header_values import Header
from unica_sdk.node.manifest import expected_length
from unica_sdk.node.syntaxes import UNCOMPRESSED

RLE: Final = "1.2.840.10008.1.2.5"
WALKED: Final = frozenset(
    f"1.2.840.10008.1.2.4.{number}" for number in (*range(50, 71), 80, 81, *range(90, 94), *range(201, 204))
)
"""JPEG, JPEG-LS, JPEG 2000 and its high throughput. Which of them a frame is, its first bytes tell."""

_SYNTAX, _PIXELS = BaseTag(0x00020010), BaseTag(0x7FE00010)
_FLOATS: Final = (BaseTag(0x7FE00008), BaseTag(0x7FE00009))
"""Float and Double Float Pixel Data: in place of Pixel Data, never beside it (PS3.3 C.7.6.24 and 25)."""

_SIZE: Final = {
    "Rows": BaseTag(0x00280010),
    "Columns": BaseTag(0x00280011),
    "BitsAllocated": BaseTag(0x00280100),
    "SamplesPerPixel": BaseTag(0x00280002),
    "NumberOfFrames": BaseTag(0x00280008),
    "PhotometricInterpretation": BaseTag(0x00280004),
}
_WORDS: Final = ("NumberOfFrames", "PhotometricInterpretation")
_RLE_HEADER: Final = struct.Struct("<16L")
_UNDEFINED: Final = 0xFFFFFFFF
_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_BEGINNINGS: Final = (jpeg.SIGNATURE, jpeg2000.SIGNATURE, jpeg2000.BOXES)

Place: TypeAlias = tuple[int, int]
"""From where to where."""


class Cleaned(NamedTuple):
    """Compressed pixels without text, and how many places of them had some."""

    value: bytes
    texts: int


def blank_frames(dataset: Dataset) -> int:
    """Blank the text in a dataset's pixel data, in place; return how many places had some.

    Raises:
        DataError: it is compressed in a way that is not known, or not as it should be.
    """
    element = dataset._dict.get(_PIXELS)
    if element is None:
        return sum(_blank_behind(dataset, tag) for tag in _FLOATS)
    beside = sum(dataset._dict.pop(tag, None) is not None for tag in _FLOATS)
    if not element.value:
        return beside
    meta = dataset.__dict__.get("file_meta")
    said = None if meta is None else meta._dict.get(_SYNTAX)
    syntax = "" if said is None else text_of(said)
    if syntax in UNCOMPRESSED:
        # Nobody has decoded it, as somebody has what its transfer syntax calls compressed.
        if _in_fragments(element):
            raise unreadable("Their transfer syntax has no fragments.")
        return beside + _blank_behind(dataset, _PIXELS)
    cleaned = clean_frames(element.value, transfer_syntax=syntax)
    if cleaned.texts:
        dataset._dict[_PIXELS] = _with_value(element, cleaned.value)
    return beside + cleaned.texts


def _blank_behind(dataset: Dataset, tag: BaseTag) -> int:
    """Blank what lies behind the end of an uncompressed image."""
    element = dataset._dict.get(tag)
    value = None if element is None else element.value
    if element is None or not isinstance(value, bytes):
        return 0
    # Not by pydicom's getters: they convert elements, which have to be encoded again then.
    said = {name: _plain(dataset._dict.get(at), name) for name, at in _SIZE.items()}
    end = expected_length(Header(said, "", None, "unica")) or 0
    end += end % 2  # big endian swaps the bytes of a word: the last pixel may lie behind the padding
    if not end or not value[end:].strip(b"\0"):
        return 0
    dataset._dict[tag] = _with_value(element, _blanked(value, [(end, len(value))]))
    return 1


def _plain(element: DataElement | RawDataElement | None, name: str) -> int | str | None:
    if element is None or element.value is None:
        return None
    if isinstance(element, RawDataElement) and name not in _WORDS:
        return int.from_bytes(element.value, "little" if element.is_little_endian else "big")
    text = text_of(element)
    return text if name == _WORDS[1] else int(text) if text.isdecimal() else None


def clean_frames(value: bytes, *, transfer_syntax: str) -> Cleaned:
    r"""Return the value of an encapsulated Pixel Data with the text in its codestreams blanked.

    Args:
        value: the items, offset table first, with or without the delimiter behind them.
        transfer_syntax: its UID.

    Raises:
        DataError: a syntax whose codestreams are not known here, or pixels that are not as they should be.

    Example:
        >>> table, frame = b"\xfe\xff\0\xe0\0\0\0\0", b"\xff\xd8\xff\xfe\0\x05Doe\xff\xd9"
        >>> item = b"\xfe\xff\0\xe0\x0b\0\0\0" + frame
        >>> clean_frames(table + item, transfer_syntax="1.2.840.10008.1.2.4.50").value[16:]
        b'\xff\xd8\xff\xfe\x00\x05\x00\x00\x00\xff\xd9'
    """
    if transfer_syntax != RLE and transfer_syntax not in WALKED:
        raise unreadable("Where such have text is not known.")
    steps = Steps()
    fragments = _fragments(value, steps)
    if transfer_syntax == RLE:
        places: Iterable[Place] = (_unused_in_rle(value, fragment) for fragment in fragments)
    else:
        places = (text for frame in _frames(value, fragments) for text in _texts(value, frame, steps))
    # Zeros and FF also fill a fragment up.
    texts = [text for text in places if value[slice(*text)].strip(b"\0\xff")]
    return Cleaned(_blanked(value, texts) if texts else value, len(texts))


def _fragments(value: bytes, steps: Steps) -> Iterator[Place]:
    """Yield where the content of each fragment is; the first item is the offset table."""
    place, first = 0, True
    while place < len(value):
        steps.take()
        head, length = value[place : place + 4], int.from_bytes(value[place + 4 : place + 8], "little")
        after = place + 8 + length
        if head == _END and after == len(value):
            return
        if head != _ITEM or after > len(value):
            raise unreadable("They are not in fragments as they should be.")
        if length and not first:
            yield place + 8, after
        place, first = after, False


def _frames(value: bytes, fragments: Iterable[Place]) -> Iterator[list[Place]]:
    """Yield the fragments of each codestream: a new one is told by its first bytes, not by a table.

    A frame that is cut where it only looks so has parts that cannot be walked, and is refused.
    """
    frame: list[Place] = []
    for fragment in fragments:
        if frame and value.startswith(_BEGINNINGS, *fragment):
            yield frame
            frame = []
        frame.append(fragment)
    if frame:
        yield frame


def _unused_in_rle(value: bytes, fragment: Place) -> Place:
    """Return where the header of a frame has no offset: it is one fragment, and begins with 16 numbers."""
    start, end = fragment
    if end - start < _RLE_HEADER.size:
        raise unreadable("There is no header of RLE where one should be.")
    segments, first, *_ = _RLE_HEADER.unpack_from(value, start)
    if not 1 <= segments <= 15 or first != _RLE_HEADER.size:
        raise unreadable("There is no header of RLE where one should be.")
    return start + 4 * (1 + segments), start + _RLE_HEADER.size


def _texts(value: bytes, frame: list[Place], steps: Steps) -> list[Place]:
    if len(frame) == 1:
        return _walk(Codestream(value, *frame[0], steps))
    view = memoryview(value)
    whole = b"".join([view[start:end] for start, end in frame])
    return list(_spread(_walk(Codestream(whole, 0, len(whole), steps)), frame))


def _walk(stream: Codestream) -> list[Place]:
    if not stream.data.startswith(_BEGINNINGS, stream.start, stream.end):
        raise unreadable("There is no codestream where one should begin.")
    is_jpeg = stream.data.startswith(jpeg.SIGNATURE, stream.start, stream.end)
    (jpeg if is_jpeg else jpeg2000).walk(stream)
    return stream.texts


def _spread(texts: Iterable[Place], frame: list[Place]) -> Iterator[Place]:
    """Yield places of a frame that was put together as places of its fragments."""
    starts = [0, *accumulate(end - start for start, end in frame)]
    for start, end in texts:
        while start < end:
            which = bisect_right(starts, start) - 1
            upto = min(end, starts[which + 1])
            shift = frame[which][0] - starts[which]
            yield start + shift, upto + shift
            start = upto


def _blanked(value: bytes, texts: Iterable[Place]) -> bytes:
    view, place = memoryview(value), 0
    parts: list[bytes | memoryview] = []
    for start, end in texts:
        parts += (view[place:start], bytes(end - start))
        place = end
    return b"".join([*parts, view[place:]])


def _in_fragments(element: DataElement | RawDataElement) -> bool:
    if isinstance(element, RawDataElement):
        return element.length == _UNDEFINED
    return bool(element.is_undefined_length)


def _with_value(element: DataElement | RawDataElement, value: bytes) -> DataElement | RawDataElement:
    if isinstance(element, RawDataElement):
        return element._replace(value=value)
    changed = DataElement(element.tag, element.VR, value, already_converted=True)
    changed.is_undefined_length = element.is_undefined_length
    return changed
