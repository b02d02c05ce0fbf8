"""What a DICOM header holds for us, and how the bytes of an element become a value.

Values are pydicom's, as plain Python: text, whole number, number, bytes, `None` where a number is empty, and
a tuple where there are several. The common cases are converted here; whatever they do not cover exactly is
handed to pydicom, so the two cannot differ. Tags and VRs: DICOM PS3.6; encoding: PS3.5 section 6.2.
"""

from __future__ import annotations

import codecs
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal, TypeAlias, cast

from pydicom.charset import convert_encodings, python_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.tag import BaseTag
from pydicom.valuerep import PersonName

from unica_sdk.node.bounded import Reason

One: TypeAlias = str | int | float | bytes | None
Value: TypeAlias = One | tuple[One, ...]

MAX_VALUE = 4096
"""Bytes of a value that we look at; nothing we want is a tenth as long."""

MAX_CHARACTER_SETS = 16
"""Character sets that one file may declare."""

PIXELS: Mapping[int, str] = {
    0x7FE00008: "FloatPixelData",
    0x7FE00009: "DoubleFloatPixelData",
    0x7FE00010: "PixelData",
}
"""The elements at which a header ends."""

_KEYWORDS = """
    SpecificCharacterSet ImageType SOPClassUID SOPInstanceUID StudyDate AcquisitionDate Modality
    ConversionType PresentationIntentType Manufacturer ManufacturerModelName
    PatientID PatientBirthDate PatientSex PatientAge
    BodyPartExamined SliceThickness SpacingBetweenSlices ImagerPixelSpacing ViewPosition
    StudyInstanceUID SeriesInstanceUID InstanceNumber ImagePositionPatient ImageOrientationPatient
    FrameOfReferenceUID Laterality ImageLaterality
    SamplesPerPixel PhotometricInterpretation PlanarConfiguration NumberOfFrames Rows Columns PixelSpacing
    BitsAllocated BitsStored HighBit PixelRepresentation BurnedInAnnotation WindowCenter WindowWidth
    RescaleIntercept RescaleSlope ModalityLUTSequence
"""


def _wanted() -> Mapping[int, str]:
    tags = {keyword: tag_for_keyword(keyword) for keyword in _KEYWORDS.split()}
    return {tag: keyword for keyword, tag in tags.items() if tag is not None}


WANTED: Mapping[int, str] = _wanted()
"""The elements that EUCAIM's minimum and our index need: tag to keyword."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """Where the pixel data lies: for reading it without looking at the header again."""

    keyword: str
    offset: int | None
    """The file's byte at which the value begins; None in a deflated file, which has no such place."""
    length: int | None
    """The declared length in bytes; None where it is encapsulated (a codec's fragments)."""


@dataclass(frozen=True, slots=True)
class Header:
    """What one file's header says, as it says it; identifiers are still the hospital's."""

    values: Mapping[str, Value]
    """The wanted elements that are there, by keyword."""
    transfer_syntax: str
    """The file meta's transfer syntax UID, empty where it has none."""
    pixels: Pixels | None
    reader: Literal["unica", "pydicom"]
    malformed: tuple[str, ...] = ()
    """Wanted elements that are there and hold nothing usable: their length or encoding is wrong."""

    def text(self, keyword: str) -> str:
        r"""Return an element as one line of text, several values joined by a backslash; empty if absent.

        Example:
            >>> header = Header({"ImageType": ("ORIGINAL", "PRIMARY")}, "", None, "unica")
            >>> header.text("ImageType"), header.text("Modality")
            ('ORIGINAL\\PRIMARY', '')
        """
        value = self.values.get(keyword)
        each = value if isinstance(value, tuple) else (value,)
        return "\\".join("" if one is None or isinstance(one, bytes) else str(one) for one in each).strip()

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """Return an element's numbers; none where it is absent or where one of them is not a number.

        Example:
            >>> Header({"PixelSpacing": (0.5, 0.5)}, "", None, "unica").numbers("PixelSpacing")
            (0.5, 0.5)
        """
        value = self.values.get(keyword)
        each = value if isinstance(value, tuple) else (value,)
        found = tuple(float(one) for one in each if isinstance(one, int | float))
        return found if len(found) == len(each) else ()

    def whole(self, keyword: str) -> int | None:
        """Return an element's one whole number; None where it has none or several."""
        value = self.values.get(keyword)
        return value if isinstance(value, int) else None


@dataclass(frozen=True, slots=True)
class NoHeader:
    """A file without a header that can be used, and why; the detail is for the site's operator alone."""

    reason: Reason
    detail: str = ""


class Unconvertible(Exception):  # noqa: N818 - a verdict on a value, listed in `Header.malformed`
    """An element's bytes are no value of its kind."""


# --- the common cases ---------------------------------------------------------------------------------
# Each takes the bytes of a value that is not empty and raises ValueError where pydicom has to decide.


def _codes(raw: bytes) -> Value:
    text = raw.decode("latin-1").rstrip(" \0")
    return tuple(text.split("\\")) if "\\" in text else text


def _uids(raw: bytes) -> Value:
    text = raw.decode("latin-1").rstrip(" \0")
    if text.strip() != text or "\\" in text:
        raise ValueError  # pydicom cuts off each one all that Python takes for blank
    return text


def _words(raw: bytes) -> Value:
    # Printable ASCII without an escape is itself in each of DICOM's character sets.
    text = raw.decode("ascii").rstrip("\0 ")
    if not text.isprintable() or "\\" in text:
        raise ValueError
    return text


def _decimals(raw: bytes) -> Value:
    if b"\\" in raw:
        return tuple(map(float, raw.split(b"\\")))
    return float(raw)


def _integer(raw: bytes) -> Value:
    if len(raw) > 12:  # beyond IS: where pydicom turns to floating point is pydicom's to say
        raise ValueError
    return int(raw)


def _unsigned(raw: bytes) -> Value:
    if len(raw) != 2:
        raise ValueError
    return int.from_bytes(raw, "little")


def _by_pydicom(raw: bytes) -> Value:
    raise ValueError


_COMMON: Mapping[str, Callable[[bytes], Value]] = {
    **dict.fromkeys(("AS", "CS", "DA"), _codes),
    "UI": _uids,
    **dict.fromkeys(("LO", "SH"), _words),
    "DS": _decimals,
    "IS": _integer,
    "US": _unsigned,
}
_TEXTS = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))


def converter(tag: int, vr: str | None, length: int) -> Callable[[bytes], Value]:
    """Return what converts such a value, or raises ValueError where `convert` must."""
    if length == 0:
        empty = convert(tag, vr, b"", [])
        return lambda raw: empty
    return _COMMON.get(vr or dictionary_VR(tag), _by_pydicom)


# --- everything else ----------------------------------------------------------------------------------


def convert(
    tag: int, vr: str | None, raw: bytes, encodings: list[str] | None, *, little: bool = True
) -> Value:
    """Return an element's value as pydicom reads it, as plain Python.

    Args:
        tag: the element.
        vr: its value representation; None where the file names none (implicit VR).
        raw: the bytes, at most `MAX_VALUE` of them.
        encodings: what `encodings_of` made of the file's character set.
        little: whether numbers are little endian.

    Raises:
        Unconvertible: pydicom cannot read it either, or only with a codec we do not lend to a stranger.
    """
    kind = dictionary_VR(tag) if vr in (None, "UN") else vr
    if encodings is None and kind in _TEXTS:
        return _without_codec(kind, raw)
    element = RawDataElement(BaseTag(tag), vr, len(raw), raw, 0, vr is None, little)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = convert_raw_data_element(element, encoding=encodings or None).value
    except Exception as err:
        # pydicom's converters raise whatever the bytes provoke: the keyword in `malformed` is what is kept.
        raise Unconvertible from err
    return plain(value)


def _without_codec(kind: str | None, raw: bytes) -> Value:
    """Return what a text is in every character set, or nothing: the same as from the common cases above."""
    if _COMMON.get(kind or "") is not _words:
        raise Unconvertible
    try:
        return _words(raw)
    except ValueError as err:
        raise Unconvertible from err


def plain(value: Any) -> Value:
    """Return pydicom's value without pydicom's classes, which are slow to pickle and compare oddly.

    Raises:
        Unconvertible: a sequence.
    """
    if isinstance(value, str | bytes | int | float | PersonName) or value is None:
        return _plain_one(value)
    if isinstance(value, Iterable) and not hasattr(value, "is_undefined_length"):
        return tuple(_plain_one(one) for one in value)
    raise Unconvertible


def _plain_one(value: Any) -> One:
    kind: Any
    for kind in (str, int, float, bytes):
        if isinstance(value, kind):
            return cast(One, kind(value))
    if value is None:
        return None
    if isinstance(value, PersonName):
        return str(value)
    raise Unconvertible


def encodings_of(character_set: Value) -> list[str] | None:
    """Return Python's names of the character sets that a file declares, in pydicom's reading.

    None where they are not DICOM's: pydicom takes any of Python's codecs, and some of those need time that
    grows with the square of a text.

    Example:
        >>> encodings_of("ISO_IR 192"), encodings_of(None), encodings_of("punycode")
        (['UTF8'], ['iso8859'], None)
    """
    each = list(character_set) if isinstance(character_set, tuple) else [character_set or ""]
    if len(each) > MAX_CHARACTER_SETS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = convert_encodings([str(one or "") for one in each])
    except Exception:
        return None
    return found if all(codecs.lookup(name).name in _codecs_of_dicom() for name in found) else None


@cache
def _codecs_of_dicom() -> frozenset[str]:
    return frozenset(codecs.lookup(name).name for name in python_encoding.values())


little_endian = partial(int.from_bytes, byteorder="little")
"""Return the whole number that some bytes hold."""
