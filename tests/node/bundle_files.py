"""The files that ship with pydicom, under headers that pass every rule, and what may have become of them."""

import struct
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import pydicom
from dicom_files import MAMMOGRAPHY, ROOT
from pydicom.data import get_testdata_files
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
IMAGES = {"CT": str(CTImageStorage), "MG": MAMMOGRAPHY}

SEEDS = [
    "CT_small.dcm", "MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "JPEGLSNearLossless_16.dcm", "693_J2KI.dcm",
    "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_jpeg_gdcm.dcm", "SC_rgb_small_odd.dcm", "SC_rgb_rle_2frame.dcm",
    "image_dfl.dcm", "liver_1frame.dcm", "rtdose_1frame.dcm", "nested_priv_SQ.dcm", "UN_sequence.dcm",
    "reportsi.dcm", "rtplan.dcm",
]  # fmt: skip
"""Bundled files to start from: every kind of compression, byte order, sequence and pixel."""


def bundled() -> list[Path]:
    """Every file that ships with pydicom."""
    return sorted(path for path in map(Path, set(get_testdata_files())) if path.is_file())


def passing(path: Path, *, modality: str, number: int) -> bytes | None:
    """An image under a header that passes every rule; None of what is no image, or cannot be written."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(path, force=True)
            if not any(name in dataset for name in PIXELS) or "TransferSyntaxUID" not in dataset.file_meta:
                return None
            return _under_a_header(dataset, modality=modality, number=number)
        except (TypeError, ValueError, AttributeError, NotImplementedError):
            return None  # pydicom can read some files that it cannot write


def _under_a_header(dataset: Dataset, *, modality: str, number: int) -> bytes:
    fields = {
        "SOPClassUID": IMAGES[modality],
        "Modality": modality,
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "PatientID": f"P{number}",
        "SOPInstanceUID": f"{ROOT}.3.{number}",
        "StudyInstanceUID": f"{ROOT}.1.{number}",
        "SeriesInstanceUID": f"{ROOT}.2.{number}",
    }
    for name, value in fields.items():
        setattr(dataset, name, value)
    for name in ("ConversionType", "BurnedInAnnotation"):
        dataset.pop(name, None)
    dataset.file_meta.MediaStorageSOPClassUID = fields["SOPClassUID"]
    dataset.file_meta.MediaStorageSOPInstanceUID = fields["SOPInstanceUID"]
    out = BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


# --- changed files --------------------------------------------------------------------------------------

_UNDEFINED = b"\xff\xff\xff\xff"
_ITEM, _ITEM_END, _END = b"\xfe\xff\0\xe0", b"\xfe\xff\x0d\xe0\0\0\0\0", b"\xfe\xff\xdd\xe0\0\0\0\0"
_SYNTAXES = [
    f"1.2.840.10008.1.2{end}".encode()
    for end in ("", ".1", ".2", ".1.99", ".5", ".4.50", ".4.51", ".4.70", ".4.80", ".4.81", ".4.90", ".4.91",
                ".4.100", ".4.110", ".4.201")
]  # fmt: skip
_LENGTHS = [0, 1, 2, 3, 0x7FFF, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF]

_VRS = [b"SQ", b"UN", b"OB", b"OW", b"DS", b"US", b"UI", b"ZZ"]
_BYTES = [_ITEM, _ITEM_END, _END, _UNDEFINED, bytes(16)]
_KINDS: dict[str, Callable[[Random], Any]] = {
    "bytes": lambda dice: dice.choice([*_BYTES, dice.randbytes(dice.randint(1, 8))]),
    "value": lambda dice: dice.randbytes(dice.randint(1, 12)),
    "vr": lambda dice: dice.choice(_VRS),
    "length": lambda dice: dice.choice(_LENGTHS),
    "nearly": lambda dice: dice.randint(-9, 9),
    "nest": lambda dice: dice.choice([1, 30, 33, 70, 2000]),
    "syntax": lambda dice: dice.choice(_SYNTAXES),
    "cut": lambda dice: None,
    "twice": lambda dice: dice.randint(1, 600),
}
"""Kinds of change, and what each needs besides a place: bytes anywhere or in a value, an element's VR or
length, a nest of sequences, another transfer syntax, an end too early, a piece that comes twice."""

Edit = tuple[str, float, Any]


def some_edits(dice: Random, *, most: int) -> list[Edit]:
    """A few changes, each with where it is as a share of the file or of its elements.

    By dice and not drawn one by one: hypothesis makes little of examples with hundreds of parts.
    """
    kinds = dice.choices(sorted(_KINDS), k=dice.randint(1, most))
    return [(kind, dice.random(), _KINDS[kind](dice)) for kind in kinds]


def changed(content: bytes, edit: Edit) -> bytes:
    """A file after one change; explicit little-endian elements are found, other kinds are hit blindly."""
    kind, share, what = edit
    heads = _heads(content)
    head = heads[int(share * len(heads))] if heads else 132
    place = int(share * len(content))
    if kind == "bytes":
        return content[:place] + what + content[place + len(what) :]
    if kind == "value":
        return content[: head + 8] + what + content[head + 8 + len(what) :]
    if kind == "vr":
        return content[: head + 4] + what + content[head + 6 :]
    if kind == "length":
        return _with_length(content, head, what)
    if kind == "nearly":
        return _with_length(content, head, int.from_bytes(content[head + 6 : head + 8], "little") + what)
    if kind == "nest":
        opened = b"\x08\0\x40\x11SQ\0\0" + _UNDEFINED + _ITEM + _UNDEFINED
        return content[:head] + opened * what + (_ITEM_END + _END) * what + content[head:]
    if kind == "syntax":
        return _with_syntax(content, what)
    if kind == "cut":
        return content[:place]
    return content[: place + what] + content[place:]


def _heads(content: bytes) -> list[int]:
    """Where elements begin, as far as the file is explicit little endian."""
    place, found = 132, []
    while place + 12 <= len(content) and len(found) < 500:
        found.append(place)
        vr = content[place + 4 : place + 6]
        if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT", b"OF", b"OD"):
            length = int.from_bytes(content[place + 8 : place + 12], "little")
            if length == 0xFFFFFFFF:
                break
            place += 12 + length
        elif vr.isalpha() and vr.isupper():
            place += 8 + int.from_bytes(content[place + 6 : place + 8], "little")
        else:
            break
    return found


def _with_length(content: bytes, head: int, length: int) -> bytes:
    if content[head + 4 : head + 6] in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
        return content[: head + 8] + struct.pack("<I", length & 0xFFFFFFFF) + content[head + 12 :]
    return content[: head + 6] + struct.pack("<H", length & 0xFFFF) + content[head + 8 :]


def _with_syntax(content: bytes, syntax: bytes) -> bytes:
    place = content.find(b"\x02\0\x10\0UI")
    if place < 0:
        return content
    after = place + 8 + int.from_bytes(content[place + 6 : place + 8], "little")
    uid = syntax + bytes(len(syntax) % 2)
    return content[: place + 6] + struct.pack("<H", len(uid)) + uid + content[after:]
