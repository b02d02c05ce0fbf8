"""A process that writes de-identified copies: `python -m unica_sdk.node.copy_worker`.

It holds the site key and parses foreign files, in Python; it never decodes a pixel, so no codec runs beside
the key. A file that hangs or kills it costs this process. It reads the key from its file: no pipe and no
argument has it.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import stat
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.tag import BaseTag

from unica_sdk.errors import ConfigurationError, DataError, UnicaError
from unica_sdk.files import private_folder
from unica_sdk.node.deidentify import Engine
from unica_sdk.node.deidentify.burned_in import JUDGED, burned_in
from unica_sdk.node.deidentify.encoding import encoded
from unica_sdk.node.deidentify.engine import patient_of
from unica_sdk.node.deidentify.frames import blank_frames
from unica_sdk.node.deidentify.values import text_of
from unica_sdk.node.keys import SiteKey
from unica_sdk.node.scan import Reason
from unica_sdk.node.store import Store
from unica_sdk.node.worker import serve

UNDEFINED_LENGTH = 0xFFFFFFFF
"""The length of an element that ends with a delimiter instead: DICOM PS3.5 section 7.1."""

_STORED = 0o600
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_KEPT_BYTES = 1 << 28
_BIRTH_DATE = BaseTag(0x00100030)


class _Skip(Exception):  # noqa: N818 - a verdict on a file, caught below
    def __init__(self, reason: Reason, detail: str = "", *, passing: bool = False) -> None:
        super().__init__(reason)
        self.fields = {"reason": reason, "detail": detail, "passing": passing}


def answer(request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Copy the file of one request; see `copies.CopyPool` for what is in it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom warns of every oddity; a site's files have many
            return _copy(request), b""
    except _Skip as skip:
        return {"kind": "skipped", "fields": {"path": request["path"], **skip.fields}}, b""
    except ConfigurationError as err:
        return {"kind": "misconfigured", "detail": err.message, "hint": err.hint}, b""
    except OSError as err:
        # Not the file's fault but the store's: a full disk, most of the time.
        return {"kind": "stopped", "detail": err.strerror or type(err).__name__}, b""
    except Exception as err:
        # Whatever else the file provoked is an answer about the file; its words may quote it.
        fields = {"path": request["path"], "reason": "deidentification", "detail": type(err).__name__}
        return {"kind": "skipped", "fields": fields}, b""


def _copy(request: dict[str, Any]) -> dict[str, Any]:
    engine, key = _keyed(request["key_file"])
    dataset = _read(Path(request["path"]), size=request["size"], modified=request["modified"])
    clean = cleaned(engine, dataset)
    # A scan ends at the pixels; what stands behind them may say something else.
    verdict = burned_in({keyword: _text(clean, keyword) for keyword in JUDGED if keyword in clean})
    if not verdict.passes:
        raise _Skip("burned_in", verdict.text)
    store = Store(Path(request["store"]))
    try:
        name = store.name(
            patient=_text(clean, "PatientID"), instance=_text(clean, "SOPInstanceUID"), stamp=request["stamp"]
        )
    except DataError as err:
        raise _Skip("deidentification", err.message) from err
    whole = _write(clean, store.path(name))
    return {"kind": "copied", "copy": name, "birth": _birth(key, dataset), **whole}


def cleaned(engine: Engine, dataset: Dataset) -> Dataset:
    """Return what a copy holds of a file's dataset, pixels included."""
    try:
        clean = engine.deidentify(dataset)
        blank_frames(clean)
        return clean
    except ConfigurationError:
        raise
    except UnicaError as err:
        raise _Skip("deidentification", " ".join((err.message, err.hint)).strip()) from err


def _text(clean: Dataset, keyword: str) -> str:
    """Return what the engine wrote, as it wrote it: a converted element would have to be encoded again."""
    return text_of(clean.get_item(keyword))


@lru_cache(maxsize=1)
def _keyed(key_file: str) -> tuple[Engine, SiteKey]:
    secret = Path(key_file).read_bytes()
    return Engine(secret), SiteKey(secret)


def _read(path: Path, *, size: int, modified: int) -> FileDataset:
    try:
        # Without blocking: nobody may ever write into a pipe that took the file's place.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            _same(file, size, modified)
            dataset = _parsed(file)
            _same(file, size, modified)
            return dataset
    except OSError as err:
        raise _Skip("unreadable", err.strerror or "", passing=True) from err


def _same(file: BinaryIO, size: int, modified: int) -> None:
    """What is copied must be what was scanned, whose digest the ledger has."""
    now = os.fstat(file.fileno())
    if not stat.S_ISREG(now.st_mode) or (now.st_size, now.st_mtime_ns) != (size, modified):
        raise _Skip("changed", "after it was scanned", passing=True)


def _parsed(file: BinaryIO) -> FileDataset:
    try:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            dataset = pydicom.dcmread(file)
    except OSError as err:
        # Without a number it is not the disk's: pydicom raises it for a header that ends in the middle.
        if err.errno is not None:
            raise
        raise _Skip("corrupt", type(err).__name__) from err
    except MemoryError as err:
        raise _Skip("excessive", "larger than a process may be") from err
    except Exception as err:
        # pydicom's readers raise whatever the bytes provoke: struct.error, ValueError, KeyError, zlib.error…
        # Their words may quote the header.
        raise _Skip("corrupt", type(err).__name__) from err
    _check_end(dataset, [str(warning.message) for warning in heard])
    return dataset


def _check_end(dataset: FileDataset, warned: list[str]) -> None:
    """Pydicom only warns where a file ends too early, and not at all within an element of known length."""
    ended = [text for text in warned if "end of file" in text.lower()]
    if ended:
        raise _Skip("truncated", ended[0].split(" in file ")[0])
    if len(dataset) == 0:
        return
    # Not by pydicom's getters: they convert a value that was left out, and raise what it provokes.
    last = dataset._dict[max(dataset._dict, key=int)]
    if isinstance(last, RawDataElement) and last.length != UNDEFINED_LENGTH:
        there = len(last.value or b"")
        if there < last.length:
            raise _Skip("truncated", f"{there} of {last.length} bytes of {last.tag}")


def _birth(key: SiteKey, dataset: Dataset) -> str:
    """Return a token that is the same for a person's same date of birth; the date itself is not kept."""
    born = dataset._dict.get(_BIRTH_DATE)
    text = "" if born is None else text_of(born)
    return key.name("birth", f"{patient_of(dataset)}\0{text}".encode()) if text else ""


def _write(clean: Dataset, target: Path) -> dict[str, Any]:
    """Write a copy aside and rename it into its place; the parent brings it to disk, with many others."""
    pieces = _encoded(clean)
    digest = hashlib.sha256()
    private_folder(target.parent)
    aside = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _STORED), "wb") as file:
            for piece in pieces:
                file.write(piece)
                digest.update(piece)
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
    return {"size": sum(map(len, pieces)), "sha256": digest.hexdigest()}


def _encoded(clean: Dataset) -> list[bytes]:
    try:
        return encoded(clean)
    except Exception as err:
        # pydicom's writers raise whatever odd values provoke, and quote them.
        raise _Skip("deidentification", f"cannot be written: {type(err).__name__}") from err


def main() -> None:
    """Answer requests until standard input ends."""
    _keep_memory()
    serve(answer, loading="pydicom")


def _keep_memory() -> None:
    """Keep the memory of a large file for the next one: the system clears every page that it gives anew.

    By glibc's own rules a block of more than 32 MB always goes back to the system when it is freed.
    """
    change = getattr(ctypes.CDLL(None), "mallopt", None)
    if change is not None:
        for rule in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
            change(rule, _KEPT_BYTES)


if __name__ == "__main__":
    main()
