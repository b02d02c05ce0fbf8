"""What a file held when it was ingested: its SHA-256, and whether its pixel data is all there.

A header reads well in a file that was cut short, and flipped bits decode to an image like any other: only a
digest catches the latter. `fingerprint` takes it, `missing` finds the former. SHA-256: FIPS 180-4;
encapsulated pixel data: DICOM PS3.5 annex A.4.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unica_sdk.errors import DataError
from unica_sdk.node.header_values import Header, Pixels, little_endian
from unica_sdk.node.syntaxes import UNCOMPRESSED

Gap = Literal["no_pixels", "cut_off", "too_short", "unterminated", "odd_fragments"]
"""What is wrong with a file's pixel data: none declared; the file ends before it does; it is shorter than its
own rows and columns; no delimiter ends its fragments; something that is no fragment lies among them, or more
than a million do."""

MAX_FRAGMENTS = 1 << 20
"""Fragments that are followed; a second's work."""

_ITEM, _SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_UNDEFINED = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A file's content, and the cheap signs by which a later run sees that it is still the same."""

    sha256: str
    size: int
    modified: int
    """Nanoseconds since 1970, as the file system has it."""


def fingerprint(path: str | Path) -> Fingerprint:
    """Return a file's fingerprint, reading it once, a piece at a time.

    Raises:
        DataError: it cannot be read, is no regular file, or changed while it was read.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     fingerprint(file.name).sha256[:12]
        'e3b0c44298fc'
    """
    try:
        # Without blocking: nobody may ever write into a pipe that somebody left in the folder.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as err:
        raise DataError("The file cannot be opened.", where=str(path)) from err
    try:
        with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 - a descriptor, not a path
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                raise DataError("This is no regular file.", where=str(path))
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            after = os.fstat(descriptor)
    except OSError as err:
        raise DataError("The file cannot be read.", where=str(path)) from err
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise DataError("The file changed while it was read.", where=str(path), hint="Run it again.")
    return Fingerprint(digest, after.st_size, after.st_mtime_ns)


def unchanged(path: str | Path, known: Fingerprint) -> bool:
    """Whether a file still has the size and time it had; its content is not read."""
    try:
        now = os.stat(path)  # noqa: PTH116 - thousands of paths, most of them text
    except (OSError, ValueError):
        return False
    return (now.st_size, now.st_mtime_ns) == (known.size, known.modified)


def missing(path: str | Path, header: Header) -> Gap | None:
    """Say what of a file's pixel data is not there; None where all is.

    Native pixel data is judged by its declared length, the file's, and the image's dimensions; encapsulated
    data by following its fragments to the delimiter. Pixels are not read. Those of a deflated file are judged
    by their declared length alone: that all of it is there shows when the file is inflated for its copy.

    Raises:
        DataError: the file cannot be read.
    """
    pixels = header.pixels
    if pixels is None:
        return "no_pixels"
    if pixels.offset is None:
        return _too_short(header, pixels)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as err:
        raise DataError("The file cannot be opened.", where=str(path)) from err
    try:
        if pixels.length is None:
            return _fragments_gap(descriptor, pixels.offset)
        return _native_gap(header, pixels, pixels.offset, os.fstat(descriptor).st_size)
    except OSError as err:
        raise DataError("The file cannot be read.", where=str(path)) from err
    finally:
        os.close(descriptor)


def expected_length(header: Header) -> int | None:
    """Return the bytes of native pixel data that a header implies, padding aside; None where it does not say.

    Example:
        >>> values = {"Rows": 4, "Columns": 5, "BitsAllocated": 16}
        >>> expected_length(Header(values, "1.2.840.10008.1.2.1", None, "unica"))
        40
    """
    rows, columns, bits = (header.whole(name) for name in ("Rows", "Columns", "BitsAllocated"))
    if rows is None or columns is None or bits is None:
        return None
    samples = header.whole("SamplesPerPixel") or 1
    frames = max(1, header.whole("NumberOfFrames") or 1)
    pixels = rows * columns * frames
    if header.text("PhotometricInterpretation") == "YBR_FULL_422":
        return pixels * 2 * bits // 8  # two pixels share their chroma
    return (pixels * samples * bits + 7) // 8


def _native_gap(header: Header, pixels: Pixels, offset: int, size: int) -> Gap | None:
    return "cut_off" if offset + (pixels.length or 0) > size else _too_short(header, pixels)


def _too_short(header: Header, pixels: Pixels) -> Gap | None:
    if header.transfer_syntax in UNCOMPRESSED and pixels.keyword == "PixelData":
        expected = expected_length(header)
        if expected is not None and (pixels.length or 0) < expected:
            return "too_short"
    return None


def _fragments_gap(descriptor: int, place: int) -> Gap | None:
    size = os.fstat(descriptor).st_size
    for _ in range(MAX_FRAGMENTS):
        if place + 8 > size:
            return "unterminated" if place <= size else "cut_off"
        head = os.pread(descriptor, 8, place)
        length = little_endian(head[4:8])
        if head[:4] == _SEQUENCE_END:
            return None
        if head[:4] != _ITEM or length == _UNDEFINED:
            return "odd_fragments"
        place += 8 + length
    return "odd_fragments"
