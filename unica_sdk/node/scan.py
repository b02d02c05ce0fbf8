"""Reading a folder of DICOM: every file becomes an `Instance` or a `Skipped` with its reason.

`inspect` looks at one file and is meant to run in a worker process (`worker`), because a hostile or broken
file may take its reader down with it. Tags: DICOM PS3.6; ages (AS): PS3.5 section 6.2.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileDataset
from pydicom.pixels.utils import get_expected_length

from unica_sdk.errors import ConfigurationError
from unica_sdk.node.pixels import decode_frame

Reason = Literal[
    "empty",
    "not_dicom",
    "unreadable",
    "corrupt",
    "truncated",
    "no_pixels",
    "incomplete",
    "undecodable",
    "duplicate",
]
"""Why a file is not in the index; the detail beside it is for the site's operator alone."""

PREAMBLE = 132
"""128 bytes of anything, then `DICM`: DICOM PS3.10 section 7.1."""

UNDEFINED_LENGTH = 0xFFFFFFFF
"""The length of an element that ends with a delimiter instead: DICOM PS3.5 section 7.1."""

_T = TypeVar("_T")

_AGE = re.compile(r"^(\d{3})([DWMY])$")
_DAYS = {"D": 1.0, "W": 7.0, "M": 30.4375, "Y": 365.25}

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


@dataclass(frozen=True, kw_only=True)
class Instance:
    """What the headers of one image say, as they say it; identifiers are still the hospital's.

    Never stored like this: `ingest` replaces identifiers by pseudonyms and words by the vocabulary's.
    """

    path: str
    patient: str
    study: str
    series: str
    instance: str
    modality: str
    body_part: str
    manufacturer: str
    sex: str
    age: int | None
    rows: int
    columns: int
    frames: int
    samples: int
    transfer_syntax: str


@dataclass(frozen=True)
class Skipped:
    """A file that is not in the index, and why."""

    path: str
    reason: Reason
    detail: str = ""


class _Skip(Exception):  # noqa: N818 - a verdict on a file, caught below
    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


def files_of(folder: Path, *, leave_out: frozenset[Path] = frozenset()) -> list[Path]:
    """Return everything below a folder that is not itself a folder, in a fixed order.

    Linked folders are not entered, since they may lead in a circle; linked files are listed.

    Raises:
        ConfigurationError: the folder is not there or cannot be listed.
    """
    if not folder.is_dir():
        raise ConfigurationError("There is no such folder.", where=str(folder))
    found: list[Path] = []
    todo = [folder]
    while todo:
        here = todo.pop()
        try:
            entries = list(here.iterdir())
        except OSError as err:
            raise ConfigurationError(
                "A folder cannot be listed.", where=str(here), hint=err.strerror or ""
            ) from err
        for entry in entries:
            if entry.is_dir() and not entry.is_symlink():
                todo.append(entry)
            elif entry.resolve() not in leave_out:
                found.append(entry)
    return sorted(found)


def inspect(path: Path) -> Instance | Skipped:
    """Read one file's headers and make sure that its pixels are all there and can be decoded.

    Never raises for what is in the file: a file that cannot be used is `Skipped`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom warns of every oddity; a site's files have many
            return _inspect(path)
    except _Skip as skip:
        return Skipped(str(path), skip.reason, skip.detail)


def _inspect(path: Path) -> Instance:
    _look_at_preamble(path)
    dataset = _read(path)
    if not any(name in dataset for name in _PIXELS):
        raise _Skip("no_pixels")
    instance = _guarded("corrupt", lambda: _headers(dataset, path))
    _check_complete(instance)
    _check_pixels(dataset)
    return instance


def _look_at_preamble(path: Path) -> None:
    if not path.is_file():
        raise _Skip("unreadable", "a broken link, a pipe or a device")
    try:
        with path.open("rb") as file:
            start = file.read(PREAMBLE)
    except OSError as err:
        raise _Skip("unreadable", err.strerror or "") from err
    if not start:
        raise _Skip("empty")
    if start[128:] != b"DICM":
        raise _Skip("not_dicom", "no DICM prefix")


def _read(path: Path) -> FileDataset:
    try:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            dataset = pydicom.dcmread(path)
    except OSError as err:
        # Without a number it is not the disk's: pydicom raises it for a header that ends in the middle.
        raise _Skip("corrupt" if err.errno is None else "unreadable", _in_words(err)) from err
    except Exception as err:
        # pydicom's readers raise whatever the bytes provoke: struct.error, ValueError, KeyError, zlib.error…
        raise _Skip("corrupt", _in_words(err)) from err
    _check_end(dataset, [str(warning.message) for warning in heard])
    return dataset


def _check_end(dataset: FileDataset, warned: list[str]) -> None:
    """Pydicom only warns where a file ends too early, and not at all within an element of known length."""
    ended = [text for text in warned if "end of file" in text.lower()]
    if ended:
        raise _Skip("truncated", ended[0].split(" in file ")[0])
    if len(dataset) == 0:
        return
    last = dataset.get_item(max(dataset.keys()))
    if isinstance(last, RawDataElement) and last.length != UNDEFINED_LENGTH:
        there = len(last.value or b"")
        if there < last.length:
            raise _Skip("truncated", f"{there} of {last.length} bytes of {last.tag}")


def _headers(dataset: FileDataset, path: Path) -> Instance:
    meta = dataset.file_meta
    return Instance(
        path=str(path),
        patient=_text(dataset, "PatientID"),
        study=_text(dataset, "StudyInstanceUID"),
        series=_text(dataset, "SeriesInstanceUID"),
        instance=_text(dataset, "SOPInstanceUID"),
        modality=_text(dataset, "Modality").upper(),
        body_part=_text(dataset, "BodyPartExamined").upper(),
        manufacturer=" ".join(_text(dataset, "Manufacturer").lower().split()),
        sex=_text(dataset, "PatientSex").upper(),
        age=years(_text(dataset, "PatientAge")),
        rows=_number(dataset, "Rows", 0),
        columns=_number(dataset, "Columns", 0),
        frames=_number(dataset, "NumberOfFrames", 1),
        samples=_number(dataset, "SamplesPerPixel", 1),
        transfer_syntax=str(meta.get("TransferSyntaxUID", "") or ""),
    )


def _check_complete(instance: Instance) -> None:
    wanted = {
        "patient identifier": instance.patient,
        "study instance UID": instance.study,
        "SOP instance UID": instance.instance,
        "transfer syntax": instance.transfer_syntax,
        "rows": instance.rows,
        "columns": instance.columns,
    }
    missing = [name for name, value in wanted.items() if not value]
    if missing:
        raise _Skip("incomplete", "no " + ", no ".join(missing))


def _check_pixels(dataset: FileDataset) -> None:
    """A header read passes every truncated file, so the pixels are looked at too."""
    if dataset.file_meta.TransferSyntaxUID.is_compressed and "PixelData" in dataset:
        _guarded("undecodable", lambda: decode_frame(dataset))
        return
    if "PixelData" in dataset:
        expected = _guarded("corrupt", lambda: get_expected_length(dataset))
        there = len(dataset.PixelData or b"")
        if there < expected:
            raise _Skip("truncated", f"{there} of {expected} bytes of pixels")


def _guarded(reason: Reason, action: Callable[[], _T]) -> _T:
    try:
        return action()
    except _Skip:
        raise
    except Exception as err:
        # Headers and codecs raise whatever the bytes provoke; the reason word is what is fixed.
        raise _Skip(reason, _in_words(err)) from err
    except BaseException as err:
        # A Rust codec's panic is not an Exception; anything else that ends a process must still end it.
        if type(err).__name__ != "PanicException":
            raise
        raise _Skip(reason, "the decoder panicked") from err


def years(age: str) -> int | None:
    """Return a DICOM age string (VR AS) in completed years; None where it says nothing usable.

    Example:
        >>> years("061Y"), years("018M"), years(""), years("61")
        (61, 1, None, None)
    """
    found = _AGE.match(age.strip().upper())
    if found is None:
        return None
    value = int(int(found[1]) * _DAYS[found[2]] / _DAYS["Y"])
    return value if value <= 120 else None


def shown(path: Path) -> str:
    """Return a path as text that any encoding can carry; bytes that are not UTF-8 show as escapes."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def nameable(path: Path) -> bool:
    """Whether a path is text: the index cannot hold one that is not."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _text(dataset: FileDataset, name: str) -> str:
    value = dataset.get(name)
    return "" if value is None else str(value).replace("\0", "").strip()


def _number(dataset: FileDataset, name: str, default: int) -> int:
    value = dataset.get(name)
    return default if value is None or value == "" else int(value)


def _in_words(err: BaseException) -> str:
    return f"{type(err).__name__}: {' '.join(str(err).split())[:120]}"
