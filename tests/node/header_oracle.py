"""What pydicom makes of a file, and files made with pydicom: what the scanner's tests judge by."""

import io
import warnings
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import BytesLengthException
from pydicom.uid import UID

from unica_sdk.node.header import Header
from unica_sdk.node.header_values import WANTED, Unconvertible, plain

_NOT_CONVERTED = (ValueError, LookupError, OSError, NotImplementedError, BytesLengthException)


def by_pydicom(source: Path | bytes) -> tuple[dict[str, Any], set[str], str]:
    """The wanted values, the keywords that pydicom cannot convert, and the transfer syntax."""
    values: dict[str, Any] = {}
    malformed = set()
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=list(WANTED))
        for tag, keyword in WANTED.items():
            if tag not in dataset:
                continue
            try:
                values[keyword] = plain(dataset[tag].value)
            except (*_NOT_CONVERTED, Unconvertible):
                malformed.add(keyword)
    return values, malformed, str(dataset.file_meta.get("TransferSyntaxUID") or "")


def assert_same(header: Header, source: Path | bytes) -> None:
    values, malformed, syntax = by_pydicom(source)
    # By their text: nan is nan, and 1 is not 1.0.
    assert {key: repr(value) for key, value in header.values.items()} == {
        key: repr(value) for key, value in values.items()
    }
    assert set(header.malformed) == malformed
    assert header.transfer_syntax == syntax


def written(dataset: Dataset, syntax: str) -> bytes:
    """The file of a data set, as pydicom writes it, whatever it thinks of the values."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.2")
    meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    meta.TransferSyntaxUID = UID(syntax)
    dataset.file_meta = meta
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def element(tag: int, vr: bytes, value: bytes, *, length: int | None = None) -> bytes:
    """One explicit little-endian element, with any length one likes."""
    head = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") + vr
    size = len(value) if length is None else length
    if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC"):
        return head + b"\0\0" + size.to_bytes(4, "little") + value
    return head + size.to_bytes(2, "little") + value


def explicit(*elements: bytes, syntax: bytes = b"1.2.840.10008.1.2.1\0") -> bytes:
    """An explicit little-endian file of such elements."""
    return bytes(128) + b"DICM" + element(0x00020010, b"UI", syntax) + b"".join(elements)
