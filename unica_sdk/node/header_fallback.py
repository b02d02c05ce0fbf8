"""The header of a file that our own scanner leaves to pydicom: big endian, no file meta, odd structures.

pydicom gets the bytes through a meter, for it would read a hostile file for hours, and its values go through
the same conversion as ours.
"""

from __future__ import annotations

import warnings
from typing import Any, BinaryIO, cast

from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileDataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag

from unica_sdk.node.bounded import MeteredFile, Refused, Window
from unica_sdk.node.header_values import (
    MAX_VALUE,
    PIXELS,
    WANTED,
    Header,
    Pixels,
    Unconvertible,
    Value,
    convert,
    encodings_of,
    plain,
)

UNDEFINED = 0xFFFFFFFF
_CHARACTER_SET = 0x00080005


def read_with_pydicom(window: Window) -> Header:
    """Read a header with pydicom, with or without preamble and file meta.

    Raises:
        Refused: corrupt, or excessive where it would take too much reading.
    """
    file = MeteredFile(window)
    found: list[Pixels] = []

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag not in PIXELS:
            return False
        found.append(Pixels(PIXELS[tag], file.tell(), None if length == UNDEFINED else length))
        return True

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom warns of every oddity; this is where the odd ones are
            dataset = read_partial(
                cast(BinaryIO, file), at_pixels, force=True, specific_tags=[*map(BaseTag, WANTED)]
            )
            syntax = str(dataset.file_meta.get("TransferSyntaxUID") or "")
    except Refused:
        raise
    except Exception as err:
        # pydicom's readers raise whatever the bytes provoke; OSError among them, also for a Refused within.
        raise Refused("corrupt", f"pydicom: {type(err).__name__}") from err
    values, malformed = _values_of(dataset)
    return Header(values, syntax, found[-1] if found else None, "pydicom", malformed)


def _values_of(dataset: FileDataset) -> tuple[dict[str, Value], tuple[str, ...]]:
    little = bool(dataset.original_encoding[1])
    values: dict[str, Value] = {}
    malformed: list[str] = []
    encodings: list[str] | None = []
    for tag in (_CHARACTER_SET, *(tag for tag in WANTED if tag != _CHARACTER_SET)):
        if tag not in dataset:
            continue
        try:
            values[WANTED[tag]] = _value_of(dataset.get_item(tag, keep_deferred=True), encodings, little)
        except Unconvertible:
            malformed.append(WANTED[tag])
        if tag == _CHARACTER_SET:
            encodings = encodings_of(values.get("SpecificCharacterSet"))
    return values, tuple(malformed)


def _value_of(element: Any, encodings: list[str] | None, little: bool) -> Value:
    if not isinstance(element, RawDataElement):
        return plain(element.value)  # pydicom has converted it already: a sequence, or the character set
    if element.length == UNDEFINED:
        raise Unconvertible
    raw = element.value or b""
    if len(raw) > MAX_VALUE:
        raise Unconvertible
    return convert(int(element.tag), element.VR, raw, encodings, little=little)
