"""A table of cases: one row for each DICOM image, column by column, with all that reading its pixels takes.

Columns are numpy arrays, so that fifty thousand cases open in a fraction of a second. Identifiers in it are
the index's pseudonyms, or numbers where a table comes straight from files. Missing numbers are -1 (whole) or
nan; missing text is empty.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from unica_sdk.node.header import Header, HeaderScanner, NoHeader
from unica_sdk.node.index import Index, InstanceRow

Texts: TypeAlias = NDArray[Any]
"""An array of `numpy.dtypes.StringDType`: text without an object for each."""

IDENTITY = ("instance", "patient", "series", "modality", "path")
"""The columns that say what a row is; the index holds pseudonyms in the first three."""

_STORED: Mapping[str, str] = {
    "transfer_syntax": "VARCHAR",
    "pixel_offset": "BIGINT",
    "pixel_length": "BIGINT",
    "rows": "INTEGER",
    "columns": "INTEGER",
    "frames": "INTEGER",
    "samples": "INTEGER",
    "bits_allocated": "INTEGER",
    "bits_stored": "INTEGER",
    "signed": "BOOLEAN",
    "photometric": "VARCHAR",
    "rescale_slope": "DOUBLE",
    "rescale_intercept": "DOUBLE",
    "row_spacing": "DOUBLE",
    "column_spacing": "DOUBLE",
    "sha256": "VARCHAR",
}
"""What the index's `instance` table says of each image's pixels, by the same names."""

_OPTIONAL: Mapping[str, str] = {
    "high_bit": "INTEGER",
    "nonlinear": "BOOLEAN",
    "file_size": "BIGINT",
    "file_mtime": "BIGINT",
}
"""What a scan of the file knows too; an index may."""

_VECTORS: Mapping[str, int] = {"position": 3, "orientation": 6}

KEY_BYTES = 16
KEY_DIGITS = 2 * KEY_BYTES

_EMPTY: Mapping[str, Any] = {"VARCHAR": "", "BIGINT": -1, "INTEGER": -1, "BOOLEAN": False, "DOUBLE": np.nan}
_KINDS: Mapping[str, Any] = {
    "VARCHAR": np.dtypes.StringDType(),
    "BIGINT": np.int64,
    "INTEGER": np.int32,
    "BOOLEAN": np.bool_,
    "DOUBLE": np.float64,
}


def content_key(sha256: str) -> bytes:
    """Return the 16 bytes that stand for a file of this SHA-256 in the cache: the first half of it.

    A query for a key can so be one for `KEY_DIGITS` digits of what the index holds.

    Example:
        >>> content_key("9b" * 32).hex() == "9b" * 16
        True
    """
    return bytes.fromhex(sha256[:KEY_DIGITS])


@dataclass(frozen=True, kw_only=True, eq=False)
class CaseTable:
    """Images, one in each row; all columns have the same length n.

    Attributes:
        instance, patient, series, modality, path, transfer_syntax, photometric, sha256: (n,) text.
        pixel_offset, pixel_length: (n,) int64, where the pixel data's value lies in the file, in bytes.
        file_size, file_mtime: (n,) int64, bytes and nanoseconds at the time of a scan.
        rows, columns, frames, samples, bits_allocated, bits_stored, high_bit: (n,) int32.
        signed: (n,) whether stored values are two's complement.
        nonlinear: (n,) whether the modality LUT is a table, not a line.
        rescale_slope, rescale_intercept: (n,) the modality LUT; 1 and 0 where the file has none.
        row_spacing, column_spacing: (n,) of pixels, down and across, in mm.
        position: (n, 3) ImagePositionPatient in mm.
        orientation: (n, 6) ImageOrientationPatient.
    """

    instance: Texts
    patient: Texts
    series: Texts
    modality: Texts
    path: Texts
    transfer_syntax: Texts
    photometric: Texts
    sha256: Texts
    pixel_offset: NDArray[np.int64]
    pixel_length: NDArray[np.int64]
    file_size: NDArray[np.int64]
    file_mtime: NDArray[np.int64]
    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    frames: NDArray[np.int32]
    samples: NDArray[np.int32]
    bits_allocated: NDArray[np.int32]
    bits_stored: NDArray[np.int32]
    high_bit: NDArray[np.int32]
    signed: NDArray[np.bool_]
    nonlinear: NDArray[np.bool_]
    rescale_slope: NDArray[np.float64]
    rescale_intercept: NDArray[np.float64]
    row_spacing: NDArray[np.float64]
    column_spacing: NDArray[np.float64]
    position: NDArray[np.float64]
    orientation: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.path)

    def __repr__(self) -> str:
        return f"CaseTable({len(self)} images)"

    @classmethod
    def from_files(cls, paths: Iterable[str | Path]) -> CaseTable:
        """Scan files' headers; one without a header is a row without pixels.

        No identifier of the hospital enters the table: images, patients and series are numbered.

        Example:
            >>> from pydicom.data import get_testdata_file
            >>> table = CaseTable.from_files([get_testdata_file("CT_small.dcm")])
            >>> table.pixel_offset.tolist(), table.row_spacing.round(2).tolist()
            ([6300], [0.66])
        """
        scanner = HeaderScanner()
        patients: dict[str, str] = {}
        series: dict[str, str] = {}
        identity: dict[str, list[Any]] = {name: [] for name in IDENTITY}
        pixels: list[Mapping[str, Any]] = []
        for path in map(str, paths):
            header, found = _scanned(scanner, path)
            pixels.append(found)
            row = (
                f"image-{len(pixels):06d}",
                _numbered(patients, "patient", header.text("PatientID")),
                _numbered(series, "series", header.text("SeriesInstanceUID")),
                header.text("Modality").upper(),
                path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"),
            )
            for name, value in zip(IDENTITY, row, strict=True):
                identity[name].append(value)
        names = (*_STORED, *_OPTIONAL, *_parts())
        return cls._of({**identity, **{name: [row[name] for row in pixels] for name in names}})

    @classmethod
    def from_index(
        cls,
        index: Index,
        *,
        modality: str | None = None,
        datasets: Sequence[str] | None = None,
        patients: Sequence[str] | None = None,
    ) -> CaseTable:
        """Return the index's images in a fixed order, one row for each even if two datasets have it.

        Args:
            index: a published version.
            modality: only this one; None for all, as below.
            datasets: only these, by name.
            patients: only these, by pseudonym.

        Raises:
            DataError: the index cannot be read.
        """
        there = {name for name, *_ in index.rows("DESCRIBE instance")}
        wanted = [*IDENTITY, *_STORED, *there.intersection(_OPTIONAL)]
        wanted += [f"{name}[{place}] AS {part}" for part, (name, place) in _parts().items()]
        given = {"modality": modality, "datasets": datasets, "patients": patients}
        chosen = {name: value for name, value in given.items() if value is not None}
        where = " AND ".join(_CONDITIONS[name] for name in chosen) or "true"
        found = index.columns(
            f"SELECT {', '.join(wanted)} FROM instance WHERE {where}"  # noqa: S608 - our own names
            " QUALIFY row_number() OVER (PARTITION BY instance ORDER BY dataset, path) = 1"
            " ORDER BY patient, instance",
            {name: value if isinstance(value, str) else list(value) for name, value in chosen.items()},
        )
        return cls._of(found)

    def select(self, rows: NDArray[Any]) -> CaseTable:
        """Return some rows, by number or by a mask."""
        return CaseTable(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def keys(self, rows: NDArray[np.intp]) -> NDArray[np.void]:
        """Return 16 bytes for each row that stand for the content of its file.

        `content_key` of the index's SHA-256; where there is none, of the file's path, size and time.
        """
        digests = bytearray()
        for row in rows.tolist():
            digest = self.sha256[row]
            digests += content_key(digest) if digest else self._stamp(row)
        return np.frombuffer(bytes(digests), dtype="V16")

    def _stamp(self, row: int) -> bytes:
        path, size, moment = str(self.path[row]), int(self.file_size[row]), int(self.file_mtime[row])
        if size < 0:
            size, moment = _size_and_time(path)
        return hashlib.blake2b(f"{path}\0{size}\0{moment}".encode(), digest_size=KEY_BYTES).digest()

    @classmethod
    def from_rows(cls, rows: Sequence[InstanceRow]) -> CaseTable:
        """Return rows as an ingest puts them into the index, in their order."""
        found: dict[str, Any] = {name: [getattr(row, name) for row in rows] for name in (*IDENTITY, *_STORED)}
        for name in set(InstanceRow._fields).intersection(_OPTIONAL):
            found[name] = [getattr(row, name) for row in rows]
        for part, (name, place) in _parts().items():
            vectors = [getattr(row, name) for row in rows]
            found[part] = [vector[place - 1] if vector else None for vector in vectors]
        return cls._of(found)

    @classmethod
    def _of(cls, found: Mapping[str, Any]) -> CaseTable:
        (number,) = {len(found[name]) for name in IDENTITY}
        column = {name: _filled(found[name], "VARCHAR") for name in IDENTITY}
        for name, kind in {**_STORED, **_OPTIONAL}.items():
            column[name] = _filled(found.get(name, [None] * number), kind)
        for name, value in (("rescale_slope", 1.0), ("rescale_intercept", 0.0)):
            np.copyto(column[name], value, where=np.isnan(column[name]))
        for name in ("frames", "samples"):
            np.copyto(column[name], 1, where=column[name] < 0)
        for name, size in _VECTORS.items():
            parts = [_filled(found[f"{name}_{place}"], "DOUBLE") for place in range(1, size + 1)]
            column[name] = np.stack(parts, axis=1)
        return cls(**column)


_CONDITIONS = {
    "modality": "modality = $modality",
    "datasets": "list_contains($datasets::VARCHAR[], dataset)",
    "patients": "patient IN (SELECT unnest($patients::VARCHAR[]))",
}


def _parts() -> dict[str, tuple[str, int]]:
    """Each number of the vectors, by a name of its own: which vector's, and which place from 1."""
    return {
        f"{name}_{place}": (name, place) for name, size in _VECTORS.items() for place in range(1, size + 1)
    }


def _scanned(scanner: HeaderScanner, path: str) -> tuple[Header, dict[str, Any]]:
    # Before the scan: a change after it is then seen when the pixels are read.
    size, moment = _size_and_time(path)
    header = scanner.scan(path)
    if isinstance(header, NoHeader):
        header = Header({}, "", None, "unica")
    return header, {**_fields(header), "file_size": size, "file_mtime": moment}


def _fields(header: Header) -> dict[str, Any]:
    pixels = header.pixels
    spacing = header.numbers("PixelSpacing") or header.numbers("ImagerPixelSpacing")
    found: dict[str, Any] = {
        "transfer_syntax": header.transfer_syntax,
        "pixel_offset": pixels.offset if pixels else None,
        "pixel_length": pixels.length if pixels else None,
        "rows": header.whole("Rows"),
        "columns": header.whole("Columns"),
        "frames": header.whole("NumberOfFrames"),
        "samples": header.whole("SamplesPerPixel"),
        "bits_allocated": header.whole("BitsAllocated"),
        "bits_stored": header.whole("BitsStored"),
        "high_bit": header.whole("HighBit"),
        "signed": header.whole("PixelRepresentation") == 1,
        "photometric": header.text("PhotometricInterpretation"),
        # A sequence is no value that the scanner hands out: that it is there is what counts.
        "nonlinear": "ModalityLUTSequence" in header.malformed,
        "rescale_slope": _one(header.numbers("RescaleSlope")),
        "rescale_intercept": _one(header.numbers("RescaleIntercept")),
        "row_spacing": spacing[0] if len(spacing) == 2 else None,
        "column_spacing": spacing[1] if len(spacing) == 2 else None,
        "sha256": None,
    }
    keywords = {"position": "ImagePositionPatient", "orientation": "ImageOrientationPatient"}
    for part, (name, place) in _parts().items():
        numbers = header.numbers(keywords[name])
        found[part] = numbers[place - 1] if len(numbers) == _VECTORS[name] else None
    return found


def _one(numbers: tuple[float, ...]) -> float | None:
    return numbers[0] if len(numbers) == 1 else None


def _size_and_time(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)  # noqa: PTH116 - for thousands of paths that are text already
    except (OSError, ValueError):
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _filled(values: Any, kind: str) -> NDArray[Any]:
    """Return a column as an array of its kind, what is missing as what stands for it."""
    empty = _EMPTY[kind]
    if isinstance(values, np.ma.MaskedArray):
        values = values.filled(empty)
    elif isinstance(values, list):
        values = [empty if value is None else value for value in values]
    return np.array(values, dtype=_KINDS[kind])


def _numbered(known: dict[str, str], kind: str, identifier: str) -> str:
    return known.setdefault(identifier, f"{kind}-{len(known) + 1:06d}")
