"""A de-identified dataset as the content of its file: raw values as they are, pydicom for all else.

Nearly every element of a de-identified dataset still holds, or holds again, the bytes that a file has of it.
They are put one behind the other here, without a copy of the pixels. A value that has to be encoded first is
pydicom's, and so is every dataset that is not plain little endian. What comes out is what it would write.

Encoding: DICOM PS3.5 section 7.1 (elements), 7.5 (sequences), A.4 (fragments); PS3.10 section 7.1 (meta).
"""

from __future__ import annotations

import re
from functools import lru_cache
from io import BytesIO
from struct import Struct
from typing import Any, Final, NamedTuple

from pydicom import __version_info__ as pydicom_version
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.tag import BaseTag
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, UID
from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

from unica_sdk.node.deidentify.values import Element, text_of

LARGE: Final = 1 << 16
"""Bytes from which a value is a piece of its own, so that it is not copied."""

_MOST: Final = 0xFFFF
"""Bytes of a value whose VR leaves two bytes for its length."""

_UNDEFINED: Final = 0xFFFFFFFF
_ITEM, _SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\0\0\0\0"

_CHARACTER_SET, _SOP_CLASS, _SOP_INSTANCE = BaseTag(0x00080005), BaseTag(0x00080016), BaseTag(0x00080018)
_META_SYNTAX, _PIXELS = BaseTag(0x00020010), BaseTag(0x7FE00010)
_UID: Final = re.compile(r"[0-9.]{1,64}")

_implicit_head: Final = Struct("<HHL").pack
_short_head: Final = Struct("<HH2sH").pack
_long_head: Final = Struct("<HH2sHL").pack
_length: Final = Struct("<L").pack


class _Odd(Exception):  # noqa: N818 - not a failure: pydicom's turn
    """A dataset that is not just put together from what it holds."""


class _Syntax(NamedTuple):
    explicit: bool
    encapsulated: bool


def encoded(dataset: Dataset) -> list[bytes]:
    """Return the content of a dataset's file, preamble and file meta included, in pieces.

    Large values are pieces of their own, the very objects that the dataset holds.

    Raises:
        Exception: whatever pydicom's writers raise of a value that cannot be encoded.

    Example:
        >>> from pydicom import dcmread
        >>> from pydicom.data import get_testdata_file
        >>> [len(piece) for piece in encoded(dcmread(get_testdata_file("CT_small.dcm")))]
        [39204]
    """
    try:
        syntax = _syntax(_text(dataset.file_meta, _META_SYNTAX))
        _check_pixels(dataset._dict.get(_PIXELS), syntax)
        pieces = [bytes(128), b"DICM", _meta(dataset)]
        _add(pieces, dataset, syntax.explicit, "iso8859")
    except _Odd:
        out = BytesIO()
        dataset.save_as(out, enforce_file_format=True)
        return [out.getvalue()]
    return _joined(pieces)


@lru_cache(maxsize=64)
def _syntax(uid: str) -> _Syntax:
    syntax = UID(uid)
    if not syntax.is_transfer_syntax or syntax.is_private:
        raise _Odd
    if not syntax.is_little_endian or syntax.is_deflated:
        raise _Odd
    return _Syntax(not syntax.is_implicit_VR, syntax.is_compressed)


def _check_pixels(pixels: Element | None, syntax: _Syntax) -> None:
    """Leave it to pydicom to bring pixel data into the form that the transfer syntax asks for."""
    if pixels is None:
        return
    if not isinstance(pixels, RawDataElement) or not isinstance(pixels.value, bytes):
        raise _Odd
    if syntax.encapsulated is not (pixels.length == _UNDEFINED):
        raise _Odd
    if len(pixels.value) % 2 or (syntax.explicit and pixels.VR not in ("OB", "OW")):
        raise _Odd


def _meta(dataset: Dataset) -> bytes:
    """Return the file meta information that pydicom writes too."""
    uids = {
        0x0002: _text(dataset, _SOP_CLASS),
        0x0003: _text(dataset, _SOP_INSTANCE),
        0x0010: _text(dataset.file_meta, _META_SYNTAX),
        0x0012: PYDICOM_IMPLEMENTATION_UID,
    }
    if not all(map(_UID.fullmatch, uids.values())):
        raise _Odd
    version = f"PYDICOM {'.'.join(map(str, pydicom_version))}".encode()
    elements = [_long_head(0x0002, 0x0001, b"OB", 0, 2) + b"\0\1"]
    for number, uid in uids.items():
        value = uid.encode() + b"\0" * (len(uid) % 2)
        elements.append(_short_head(0x0002, number, b"UI", len(value)) + value)
    version += b" " * (len(version) % 2)
    elements.append(_short_head(0x0002, 0x0013, b"SH", len(version)) + version)
    content = b"".join(elements)
    return _short_head(0x0002, 0x0000, b"UL", 4) + _length(len(content)) + content


def _add(pieces: list[bytes], dataset: Dataset, explicit: bool, encodings: Any) -> None:
    """Append a dataset's elements, in the order of their tags."""
    if dataset.original_encoding != (not explicit, True):
        raise _Odd
    said = dataset._dict.get(_CHARACTER_SET)
    if said is not None:
        encodings = dataset[_CHARACTER_SET].value or encodings
    # Plain ints: comparing pydicom's tags runs Python code.
    for tag, element in sorted((int(tag), element) for tag, element in dataset._dict.items()):
        if isinstance(element, RawDataElement):
            _add_raw(pieces, tag, element, explicit)
        elif element.VR == "SQ" and not element.is_undefined_length:
            items: list[bytes] = []
            for item in element.value:
                if getattr(item, "is_undefined_length_sequence_item", False):
                    raise _Odd
                place = len(items)
                _add(items, item, explicit, encodings)
                items.insert(place, _ITEM + _length(sum(map(len, items[place:]))))
            pieces.append(_head(tag, "SQ", sum(map(len, items)), explicit))
            pieces += items
        else:
            pieces.append(_by_pydicom(element, explicit, encodings))


def _add_raw(pieces: list[bytes], tag: int, element: RawDataElement, explicit: bool) -> None:
    value = b"" if element.value is None and not element.length else element.value
    if not isinstance(value, bytes):
        raise _Odd  # left unread so far
    undefined = element.length == _UNDEFINED
    if undefined and tag == _PIXELS and not value.startswith(_ITEM):
        raise _Odd
    pieces.append(_head(tag, element.VR, _UNDEFINED if undefined else len(value), explicit))
    pieces.append(value)
    if undefined:
        pieces.append(_SEQUENCE_END)


def _head(tag: int, vr: str | None, length: int, explicit: bool) -> bytes:
    group, number = tag >> 16, tag & 0xFFFF
    if not explicit:
        return _implicit_head(group, number, length)
    if vr is None or (vr not in EXPLICIT_VR_LENGTH_16 and vr not in EXPLICIT_VR_LENGTH_32):
        raise _Odd
    if vr in EXPLICIT_VR_LENGTH_32:
        return _long_head(group, number, vr.encode(), 0, length)
    if length > _MOST:
        raise _Odd
    return _short_head(group, number, vr.encode(), length)


def _by_pydicom(element: Element, explicit: bool, encodings: Any) -> bytes:
    out = DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = not explicit, True
    write_data_element(out, element, encodings)
    return out.getvalue()


def _text(dataset: Dataset, tag: BaseTag) -> str:
    element = dataset._dict.get(tag)
    return "" if element is None else text_of(element)


def _joined(pieces: list[bytes]) -> list[bytes]:
    """Put small pieces together."""
    joined: list[bytes] = []
    small: list[bytes] = []
    for piece in pieces:
        if len(piece) < LARGE:
            small.append(piece)
        else:
            joined += [b"".join(small), piece]
            small = []
    return [*joined, b"".join(small)]
