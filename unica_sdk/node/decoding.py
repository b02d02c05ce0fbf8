"""Whether compressed pixels can be decoded, and what they are at training resolution.

Runs in a worker process, which a codec may take down with it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from unica_sdk.node.imaging.preparation import IMAGES, Preparation
from unica_sdk.node.pixels import decode_frame, prepare_each
from unica_sdk.node.scan import Skipped, in_words
from unica_sdk.node.terms import word


def check_pixels(path: Path, preparations: Sequence[Preparation] = ()) -> Skipped | list[NDArray[np.float32]]:
    """Decode a file's first frame, once, and return why it cannot be, or the image at each preparation.

    None of them where the file is not of a modality whose case is one image, or is no grey image.
    Never raises for what is in the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom warns of every oddity; a site's files have many
            dataset = pydicom.dcmread(path)
            stored = decode_frame(dataset)
    except Exception as err:
        # Headers and codecs raise whatever the bytes provoke; the reason word is what is fixed.
        return Skipped(str(path), "undecodable", in_words(err))
    except BaseException as err:
        # A Rust codec's panic is not an Exception; anything else that ends a process must still end it.
        if type(err).__name__ != "PanicException":
            raise
        return Skipped(str(path), "undecodable", "the decoder panicked")
    return _prepared(dataset, stored, preparations)


def _prepared(
    dataset: Dataset, stored: NDArray[np.generic], preparations: Sequence[Preparation]
) -> list[NDArray[np.float32]]:
    try:
        if not preparations or word(str(dataset.get("Modality"))) not in IMAGES:
            return []
        return prepare_each(dataset, stored, preparations)
    except Exception:
        # It decodes, which is what was asked. Whoever wants it as an array is told then why it is none.
        return []
