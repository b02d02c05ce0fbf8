"""A DICOM file's pixels, decoded with pydicom and its codecs. Runs in a worker process only.

The modality LUT (PS3.3 C.11.1: rescale slope and intercept, or a table) is applied here, everything after it
in `imaging.preparation`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.pixels.processing import apply_modality_lut
from pydicom.pixels.utils import pixel_array

from unica_sdk.errors import DataError
from unica_sdk.node.imaging.preparation import Preparation, Window, prepare_values


def prepare(path: Path, *, rows: int, columns: int, window: Window | None = None) -> NDArray[np.float32]:
    """Return one grey image as (rows, columns) float32 in [0, 1].

    Raises:
        DataError: more than one frame or sample per pixel, or a modality LUT that makes no numbers. Codecs
            raise whatever the bytes provoke.
    """
    (image,) = prepare_each(*_decoded(path), [Preparation(rows=rows, columns=columns, window=window)])
    return image


def prepare_each(
    dataset: Dataset, stored: NDArray[np.generic], preparations: Iterable[Preparation]
) -> list[NDArray[np.float32]]:
    """Return one grey image, decoded already, at several training resolutions.

    Args:
        dataset: what the file says of the image.
        stored: its first frame, from `decode_frame`.
        preparations: of images.

    Raises:
        DataError: more than one frame or sample per pixel, or a modality LUT that makes no numbers.
    """
    values = _modality_values(dataset, stored)
    inverted = dataset.get("PhotometricInterpretation") == "MONOCHROME1"
    return [prepare_values(values, preparation, inverted=inverted) for preparation in preparations]


def modality_values(path: Path) -> NDArray[np.generic]:
    """Return one grey image's values as (rows, columns): integers as stored, or float32 after a modality LUT.

    Raises:
        DataError: more than one frame or sample per pixel, or a modality LUT that makes no numbers. Codecs
            raise whatever the bytes provoke.
    """
    return _modality_values(*_decoded(path))


def _decoded(path: Path) -> tuple[Dataset, NDArray[np.generic]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of padding and odd values that do no harm here
        dataset = pydicom.dcmread(path)
        return dataset, decode_frame(dataset)


def _modality_values(dataset: Dataset, stored: NDArray[np.generic]) -> NDArray[np.generic]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as above
        photometric = str(dataset.get("PhotometricInterpretation"))
        if stored.ndim != 2 or not photometric.startswith("MONOCHROME"):
            raise DataError(f"Not a grey image: {photometric}, {stored.shape}.")
        if stored.dtype.itemsize <= 2 and _unchanged(dataset):
            return np.ascontiguousarray(stored)
        values = np.ascontiguousarray(_by_lut(dataset, stored), dtype=np.float32)
    if not np.isfinite(values).all():
        raise DataError("The modality LUT makes values that are no numbers.")
    return values


def _unchanged(dataset: Dataset) -> bool:
    """Whether the modality LUT is none."""
    slope, intercept = dataset.get("RescaleSlope", 1), dataset.get("RescaleIntercept", 0)
    return "ModalityLUTSequence" not in dataset and slope in (1, None, "") and intercept in (0, None, "")


def _by_lut(dataset: Dataset, stored: NDArray[np.generic]) -> NDArray[np.generic]:
    """Apply the modality LUT: a line as the index has it, so that no value hangs on how pixels are stored."""
    if "ModalityLUTSequence" in dataset:
        return apply_modality_lut(stored, dataset)
    slope, intercept = _first(dataset, "RescaleSlope", 1.0), _first(dataset, "RescaleIntercept", 0.0)
    line: NDArray[np.float64] = stored.astype(np.float64) * slope + intercept
    return line


def _first(dataset: Dataset, keyword: str, otherwise: float) -> float:
    """Return an element's first number; pydicom applies no line that has a slope or an intercept alone."""
    value = dataset.get(keyword)
    first = value[0] if isinstance(value, MultiValue) and value else value
    return otherwise if first is None or first == "" else float(first)


def decode_frame(dataset: Dataset) -> NDArray[np.generic]:
    """Return the first frame as it is stored: (rows, columns) or (rows, columns, samples)."""
    return pixel_array(dataset, index=0)
