"""What an ingest puts into the cache on its way: it decodes every compressed image anyway.

Images of MG, DX and CR, at the training resolutions of node.toml or of the command line. The cache is there
to save time: where there is no room, or it cannot be written, the ingest goes on without it, and the first
job decodes what is not there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from unica_sdk.errors import DataError, InvalidRequest
from unica_sdk.node.imaging.admission import refusals
from unica_sdk.node.imaging.cache import PreparedCache
from unica_sdk.node.imaging.preparation import IMAGES, Preparation
from unica_sdk.node.imaging.storage import CacheFolder
from unica_sdk.node.imaging.table import CaseTable, content_key
from unica_sdk.node.index import InstanceRow
from unica_sdk.node.pool import MAX_REPLY

_BATCH_BYTES = 1 << 24
"""Of images that wait to be written, at all resolutions together."""


def preparations_of(resolutions: Sequence[str]) -> tuple[Preparation, ...]:
    """Return what ROWSxCOLUMNS and SLICESxROWSxCOLUMNS stand for, each once.

    Raises:
        InvalidRequest: one is neither, or all images of one file would be too many pixels.

    Example:
        >>> [one.shape for one in preparations_of(["512x512", "64x256x256", "512x512"])]
        [(512, 512), (64, 256, 256)]
    """
    found = tuple(dict.fromkeys(Preparation.parse(text) for text in resolutions))
    pixels = sum(one.rows * one.columns for one in found if one.slices is None)
    if pixels * 4 > MAX_REPLY:
        raise InvalidRequest("Too many pixels to prepare of one image.", where=", ".join(resolutions)[:80])
    return found


class Filling:
    """Takes images as an ingest decodes them; safe in threads.

    Args:
        folder: where the cache is.
        preparations: what is to be in it; those of volumes are left to whoever has a whole series.
        admits: whether a patient, by pseudonym, allows it.
    """

    def __init__(
        self, folder: CacheFolder, preparations: Sequence[Preparation], *, admits: Callable[[str], bool]
    ) -> None:
        self._folder = folder
        self._caches = [PreparedCache(folder, one) for one in preparations if one.slices is None]
        self._admits = admits
        self._lock = threading.Lock()
        self._waiting: list[tuple[bytes, list[NDArray[np.float32]]]] = []
        self.prepared = 0

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """The (rows, columns) that each image is wanted at; none any more once there was no room."""
        return [(cache.preparation.rows, cache.preparation.columns) for cache in self._caches]

    def offer(self, row: InstanceRow, images: list[NDArray[np.float32]]) -> None:
        """Take an image at all shapes, if whoever reads by this row of the index could ask for it."""
        if not images or row.modality not in IMAGES or not row.sha256 or not self._admits(row.patient):
            return
        if refusals(CaseTable.from_rows([row]))[0]:
            return
        with self._lock:
            self._waiting.append((content_key(row.sha256), images))
            if len(self._waiting) * sum(image.nbytes for image in images) >= _BATCH_BYTES:
                self._write()

    def flush(self) -> None:
        """Bring what was taken to the disk."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            for place, cache in enumerate(self._caches if waiting else ()):
                if self._folder.room() < len(waiting) * cache.case_bytes:
                    self._caches = []
                    return
                self.prepared += cache.add((key, images[place]) for key, images in waiting)
        except (DataError, OSError):
            # Not the ingest's failure: `upkeep.tend`, which comes after it, says what is missing and why.
            self._caches = []
