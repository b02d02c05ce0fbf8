"""From a DICOM file's pixels to an array at training resolution. Runs in a worker process.

The steps, in this order: decode (pydicom with its codecs), modality LUT (PS3.3 C.11.1: a negative slope turns
an image round), scale the 1st–99th percentile to 0…1, invert MONOCHROME1 (PS3.3 C.7.6.3.1.2), area mean.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut
from pydicom.pixels.utils import pixel_array

from unica_sdk.errors import DataError

PERCENTILES = (1.0, 99.0)
"""What is mapped to 0 and 1: single hot or dead pixels do not set the scale."""


def prepare(path: Path, *, rows: int, columns: int) -> NDArray[np.float32]:
    """Return one grey image as (rows, columns) float32 in [0, 1].

    Raises:
        DataError: more than one frame or sample per pixel. Codecs raise whatever the bytes provoke.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of padding and odd values that do no harm here
        dataset = pydicom.dcmread(path)
        stored = decode_frame(dataset)
        if stored.ndim != 2:
            raise DataError(f"Not a grey image: its pixels have the shape {stored.shape}.", where=str(path))
        image = scale(apply_modality_lut(stored, dataset))
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        image = 1.0 - image
    return area_mean(image, rows=rows, columns=columns)


def decode_frame(dataset: Dataset) -> NDArray[np.generic]:
    """Return the first frame as it is stored: (rows, columns) or (rows, columns, samples)."""
    return pixel_array(dataset, index=0)


def scale(image: NDArray[np.generic]) -> NDArray[np.float32]:
    """Map the 1st percentile to 0 and the 99th to 1, and cut off beyond; a flat image is 0 throughout.

    Example:
        >>> scale(np.array([[0, 50], [50, 100]])).round(2).tolist()
        [[0.0, 0.5], [0.5, 1.0]]
    """
    values = image.astype(np.float32)
    low, high = np.percentile(values, PERCENTILES)
    if not high > low:
        return np.zeros_like(values)
    scaled: NDArray[np.float32] = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    return scaled


def area_mean(image: NDArray[np.float32], *, rows: int, columns: int) -> NDArray[np.float32]:
    """Return the image at another resolution, each pixel the mean of the area it covers.

    Any ratio will do: a pixel that lies in two target pixels counts in each for its part.

    Example:
        >>> area_mean(np.array([[0, 1], [1, 2]], dtype=np.float32), rows=1, columns=1).tolist()
        [[1.0]]
    """
    down = _weights(image.shape[0], rows)
    across = _weights(image.shape[1], columns)
    return np.clip(down @ image @ across.T, 0, 1).astype(np.float32)


@lru_cache(maxsize=16)
def _weights(source: int, target: int) -> NDArray[np.float32]:
    """(target, source): which part of each target cell each source cell covers; rows sum to 1."""
    edges = np.linspace(0, source, target + 1)
    cells = np.arange(source)
    upper = np.minimum(edges[1:, None], cells[None] + 1)
    lower = np.maximum(edges[:-1, None], cells[None])
    weights: NDArray[np.float32] = (np.clip(upper - lower, 0, None) / (source / target)).astype(np.float32)
    return weights
