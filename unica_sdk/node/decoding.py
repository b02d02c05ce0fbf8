"""Whether compressed pixels can be decoded. Runs in a worker process, which a codec may take down with it."""

from __future__ import annotations

import warnings
from pathlib import Path

import pydicom

from unica_sdk.node.pixels import decode_frame
from unica_sdk.node.scan import Skipped, in_words


def check_pixels(path: Path) -> Skipped | None:
    """Decode a file's first frame; None where that works.

    Never raises for what is in the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom warns of every oddity; a site's files have many
            decode_frame(pydicom.dcmread(path))
    except Exception as err:
        # Headers and codecs raise whatever the bytes provoke; the reason word is what is fixed.
        return Skipped(str(path), "undecodable", in_words(err))
    except BaseException as err:
        # A Rust codec's panic is not an Exception; anything else that ends a process must still end it.
        if type(err).__name__ != "PanicException":
            raise
        return Skipped(str(path), "undecodable", "the decoder panicked")
    return None
