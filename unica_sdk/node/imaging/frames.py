"""One uncompressed frame from the place that the table recorded, as float32 modality values.

Stored values are little or big endian, of 8 or 16 bits of which the low `bits_stored` count, unsigned or
two's complement (PS3.5 section 8.1.1). The modality LUT is a line: slope times stored value plus intercept
(PS3.3 C.11.1). MONOCHROME1 is left as it is: it says how values are shown, not what they are.
"""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from unica_sdk.errors import DataError
from unica_sdk.node.imaging.table import CaseTable
from unica_sdk.node.syntaxes import BIG_ENDIAN

_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC  # non-blocking: a file may have become a pipe


def read_frames(table: CaseTable, rows: NDArray[np.intp], out: NDArray[np.float32]) -> None:
    """Read the images of some rows into `out`, (len(rows), rows, columns), one after the other.

    Every row must be one of `admission.at_offset`, and of out's shape.

    Raises:
        DataError: a file is gone, ends too early or was changed since the scan; it names the case.
    """
    scratch: dict[int, NDArray[np.uint8]] = {}
    for row, image in zip(rows.tolist(), out, strict=True):
        size = image.size * (int(table.bits_allocated[row]) // 8)
        stored = scratch.get(size)
        if stored is None:
            stored = scratch[size] = np.empty(size, dtype=np.uint8)
        _fetch(table, row, stored)
        _convert(table, row, stored, image)


def to_float(stored: NDArray[np.generic], image: NDArray[np.float32], slope: float, intercept: float) -> None:
    """Write slope times stored value plus intercept into `image`.

    Three passes at most: numpy converts twice as fast in a mere copy as in a product of two types.
    """
    np.copyto(image, stored, casting="unsafe")
    if slope != 1:
        np.multiply(image, np.float32(slope), out=image)
    if intercept:
        np.add(image, np.float32(intercept), out=image)


def _fetch(table: CaseTable, row: int, stored: NDArray[np.uint8]) -> None:
    try:
        descriptor = os.open(table.path[row], _OPEN)
    except OSError as err:
        raise DataError("An image's file cannot be opened.", where=str(table.instance[row])) from err
    try:
        expected = int(table.file_size[row])
        if expected >= 0:
            status = os.fstat(descriptor)
            if (status.st_size, status.st_mtime_ns) != (expected, int(table.file_mtime[row])):
                raise DataError("An image's file was changed.", where=str(table.instance[row]))
        view, offset = memoryview(stored.data), int(table.pixel_offset[row])
        while view.nbytes:
            there = os.preadv(descriptor, [view], offset)
            if there == 0:
                raise DataError("An image's file ends too early.", where=str(table.instance[row]))
            view, offset = view[there:], offset + there
    except OSError as err:
        raise DataError("An image's file cannot be read.", where=str(table.instance[row])) from err
    finally:
        os.close(descriptor)


def _convert(table: CaseTable, row: int, raw: NDArray[np.uint8], image: NDArray[np.float32]) -> None:
    allocated, signed = int(table.bits_allocated[row]), bool(table.signed[row])
    stored = raw.view(f"{'i' if signed else 'u'}{allocated // 8}").reshape(image.shape)
    if table.transfer_syntax[row] == BIG_ENDIAN:
        stored.byteswap(inplace=True)
    if unused := allocated - int(table.bits_stored[row]):
        if signed:
            np.left_shift(stored, unused, out=stored)
            np.right_shift(stored, unused, out=stored)
        else:
            np.bitwise_and(stored, stored.dtype.type((1 << (allocated - unused)) - 1), out=stored)
    to_float(stored, image, float(table.rescale_slope[row]), float(table.rescale_intercept[row]))
