"""Which images can be read as arrays, and why the others cannot: one fixed word each.

Grey, one frame, 8 or 16 bits. Of several frames (tomosynthesis, enhanced CT and MR) none is taken: where each
lies in space is in functional groups that nobody reads here yet.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unica_sdk.node.imaging.table import CaseTable, Texts
from unica_sdk.node.syntaxes import BIG_ENDIAN, EXPLICIT, IMPLICIT, NATIVE, UNCOMPRESSED

Reason = Literal[
    "no_pixels",
    "not_grey",
    "several_frames",
    "bits",
    "truncated",
    "modality",
    "no_position",
    "single_slice",
    "mixed",
    "duplicate_position",
    "gap",
]
"""Why a case is not among the arrays. The last five are of volumes: see `volumes`."""


def refusals(table: CaseTable) -> Texts:
    """Return for each image the reason why it cannot be read, empty where it can."""
    found = np.full(len(table), "", dtype=np.dtypes.StringDType())
    # The last one that holds is what stands: what is most basic comes last.
    rules: tuple[tuple[Reason, NDArray[np.bool_]], ...] = (
        ("truncated", _uncompressed(table) & _cut_off(table)),
        ("bits", ~_bits(table)),
        ("several_frames", table.frames != 1),
        ("not_grey", (table.samples != 1) | ~_is(table.photometric, "MONOCHROME1", "MONOCHROME2")),
        ("no_pixels", _absent(table)),
    )
    for reason, holds in rules:
        found[holds] = reason
    return found


def at_offset(table: CaseTable) -> NDArray[np.bool_]:
    """Return which readable images can be read where they lie, without a codec."""
    # Bytes of 8-bit pixels may lie swapped in big endian's words; that is for pydicom to tell.
    swapped = _is(table.transfer_syntax, BIG_ENDIAN) & (table.bits_allocated == 16)
    plain = _is(table.transfer_syntax, IMPLICIT, EXPLICIT) | swapped
    return np.asarray(plain & (table.pixel_offset >= 0) & ~_cut_off(table) & ~table.nonlinear)


def compressed(table: CaseTable) -> NDArray[np.bool_]:
    """Return which images take a codec to read."""
    return ~_is(table.transfer_syntax, *UNCOMPRESSED)


def _is(texts: Texts, *words: str) -> NDArray[np.bool_]:
    return np.asarray(np.logical_or.reduce([texts == word for word in words]), dtype=np.bool_)


def _uncompressed(table: CaseTable) -> NDArray[np.bool_]:
    return _is(table.transfer_syntax, *NATIVE) & (table.pixel_offset >= 0)


def _absent(table: CaseTable) -> NDArray[np.bool_]:
    nowhere = (table.pixel_offset < 0) & (table.pixel_length < 0)
    return nowhere | (table.rows < 1) | (table.columns < 1)


def _bits(table: CaseTable) -> NDArray[np.bool_]:
    allocated = (table.bits_allocated == 8) | (table.bits_allocated == 16)
    stored = (table.bits_stored >= 1) & (table.bits_stored <= table.bits_allocated)
    # PS3.5 section 8.1.1: the high bit is one less than the bits stored, and -1 is not known.
    right = (table.high_bit < 0) | (table.high_bit == table.bits_stored - 1)
    return np.asarray(allocated & stored & right)


def _cut_off(table: CaseTable) -> NDArray[np.bool_]:
    needed = needed_bytes(table)
    beyond = (table.file_size >= 0) & (table.pixel_offset + needed > table.file_size)
    return np.asarray((table.pixel_length < needed) | beyond)


def needed_bytes(table: CaseTable) -> NDArray[Any]:
    """Return how many bytes one uncompressed frame of each image takes."""
    return table.rows.astype(np.int64) * table.columns * (table.bits_allocated // 8)
