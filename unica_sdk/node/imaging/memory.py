"""Memory of past batches for the next: asking the system for it anew costs more than filling it."""

from __future__ import annotations

import sys
import threading

import numpy as np
from numpy.typing import DTypeLike, NDArray

KEPT = 4
"""Blocks that are remembered: a batch in use, the one before it, and two that a loader reads ahead."""

SMALL = 1 << 20
"""Bytes below which the system's own allocator does as well."""

LINE = 64
"""Bytes of a cache line, with which large arrays begin.

The system's allocator lets them begin 16 bytes behind a page, where processors of AMD's Zen family copy
(memcpy, by `rep movsb`) at a third of their speed.
"""


class Recycled:
    """Hands out arrays, in memory that nobody refers to any more where there is some.

    A block is free when this object alone refers to it: every array, tensor or view made of it counts.

    Example:
        >>> memory = Recycled()
        >>> first = memory.empty((1 << 20,), np.uint8)
        >>> place = first.ctypes.data
        >>> place % LINE
        0
        >>> memory.empty((1 << 20,), np.uint8).ctypes.data == place  # still in use
        False
        >>> del first
        >>> memory.empty((1 << 20,), np.uint8).ctypes.data == place
        True
    """

    def __init__(self) -> None:
        self._blocks: list[NDArray[np.uint8]] = []
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[Recycled], tuple[()]]:
        return Recycled, ()

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[np.generic]:
        """Return an array with whatever the memory holds."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if size < SMALL:
            return np.empty(shape, dtype)
        with self._lock:
            return _from_line(self._block(size), size).view(dtype).reshape(shape)

    def _block(self, size: int) -> NDArray[np.uint8]:
        # Two references: the list's, and the one that getrefcount sees.
        free = [place for place in range(len(self._blocks)) if sys.getrefcount(self._blocks[place]) == 2]
        for place in free:
            if size + LINE <= self._blocks[place].nbytes <= 4 * size:
                return self._blocks[place]
        block = np.empty(size + LINE, dtype=np.uint8)
        if free:
            self._blocks[free[0]] = block
        elif len(self._blocks) < KEPT:
            self._blocks.append(block)
        return block


def _from_line(block: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return so many bytes of a block, from the beginning of a cache line on."""
    start = -block.ctypes.data % LINE
    return block[start : start + size]
