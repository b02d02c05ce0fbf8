"""Compressed images, decoded in worker processes that may die of them: the node's own runs no codec."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unica_sdk.node.imaging.preparation import Preparation
from unica_sdk.node.pool import Failed, WorkerPool, size_for

_AT_ONCE = 32


class Decoding:
    """Worker processes that start when they are first needed, and anew in a process that was forked."""

    def __init__(self) -> None:
        self._pool: WorkerPool | None = None
        self._owner = 0

    def __reduce__(self) -> tuple[type[Decoding], tuple[()]]:
        return Decoding, ()

    def close(self) -> None:
        """End the workers; a later request starts new ones."""
        pool, self._pool = self._pool, None
        if pool is not None and self._owner == os.getpid():
            pool.__exit__(None, None, None)

    def values(self, paths: Sequence[str]) -> Iterator[NDArray[np.generic] | Failed]:
        """Yield each file's modality values, or why there are none."""
        workers = self._workers(len(paths))
        for some in _pieces(paths):
            yield from workers.decode(some)

    def prepared(
        self, paths: Sequence[str], preparation: Preparation
    ) -> Iterator[NDArray[np.float32] | Failed]:
        """Yield each file's image at training resolution, or why there is none."""
        workers = self._workers(len(paths))
        for some in _pieces(paths):
            yield from workers.prepare(
                some, rows=preparation.rows, columns=preparation.columns, window=preparation.window
            )

    def _workers(self, files: int) -> WorkerPool:
        if self._pool is None or self._owner != os.getpid():
            self._pool, self._owner = WorkerPool(size=size_for(files)), os.getpid()
        return self._pool


def _pieces(paths: Sequence[str]) -> Iterator[list[Path]]:
    """A pool takes all it is given at once; so no more images wait in memory than are in a piece."""
    for start in range(0, len(paths), _AT_ONCE):
        yield [Path(path) for path in paths[start : start + _AT_ONCE]]
