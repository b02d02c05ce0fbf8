"""Compressed frames for these tests, and the words that makers write into them: synthetic, all of it."""

import struct
from io import BytesIO
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, JPEG2000Lossless, JPEGLSLossless

CANARY = b"Papadopoulou^Eleni 1961-02-03 "
PIXELS = np.random.default_rng(5).integers(0, 4096, (40, 48)).astype(np.uint16)


def image(syntax: UID) -> Dataset:
    """A grey image of 12 bits, compressed losslessly."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.Rows, dataset.Columns = PIXELS.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.add_new("PixelData", "OW", PIXELS.tobytes())
    dataset.compress(syntax, generate_instance_uid=False)
    return dataset


def compressed() -> dict[str, Dataset]:
    """One image of each kind that there is a decoder for."""
    bundled = {
        "baseline": "SC_rgb_jpeg_dcmtk.dcm",
        "baseline with JFIF": "SC_rgb_dcmtk_+eb+cy+n1.dcm",
        "baseline with Adobe": "SC_rgb_jpeg_app14_dcmd.dcm",
        "several frames": "examples_ybr_color.dcm",
        "lossless": "SC_rgb_jpeg_gdcm.dcm",
        "JPEG-LS near lossless": "JPEGLSNearLossless_16.dcm",
        "JPEG-LS with SPIFF": "SC_rgb_jls_lossy_line.dcm",
        "JPEG 2000": "MR_small_jp2klossless.dcm",
        "JPEG 2000 with boxes": "GDCMJ2K_TextGBR.dcm",
        "JPEG 2000 of Kakadu": "693_J2KI.dcm",
    }
    found = {kind: pydicom.dcmread(str(get_testdata_file(name))) for kind, name in bundled.items()}
    return {**found, "JPEG-LS": image(JPEGLSLossless), "JPEG 2000 made here": image(JPEG2000Lossless)}


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">HH", marker, len(content) + 2) + content


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content) + 8) + kind + content


def with_words(frame: bytes, words: bytes = CANARY) -> bytes:
    """The same frame with words at every place that its kind has for them."""
    if frame.startswith(b"\xff\xd8"):
        return _jpeg_with_words(frame, words)
    if frame.startswith(b"\0\0\0\x0cjP  "):
        place = frame.index(b"jp2c") - 4
        stream = _j2k_with_words(frame[place + 8 :], words)
        return (
            frame[:place]
            + box(b"xml ", words)
            + box(b"uuid", words)
            + box(b"jp2c", stream)
            + box(b"asoc", box(b"lbl ", words))
        )
    return _j2k_with_words(frame, words)


def _jpeg_with_words(frame: bytes, words: bytes) -> bytes:
    after_jfif = 2
    if frame[2:4] == b"\xff\xe0":  # JFIF has to come first
        after_jfif += 2 + int.from_bytes(frame[4:6], "big")
    segments = segment(0xFFFE, words) + segment(0xFFFE, b"")
    segments += b"".join(segment(0xFFE0 + number, b"Exif\0\0" + words) for number in range(1, 16))
    segments += segment(0xFFE0, b"JFXX\0\x10" + words)
    return frame[:after_jfif] + segments + frame[after_jfif:] + words


def _j2k_with_words(stream: bytes, words: bytes) -> bytes:
    stream = (
        stream[: stream.index(b"\xff\xd9", len(stream) - 4) + 2] if b"\xff\xd9" in stream[-4:] else stream
    )
    comment = segment(0xFF64, b"\0\1" + words)
    place = stream.index(b"\xff\x90\0\x0a")
    out = stream[:place] + comment
    while stream[place : place + 2] == b"\xff\x90":
        length = int.from_bytes(stream[place + 6 : place + 10], "big")
        end = place + length if length else len(stream)
        longer = struct.pack(">I", length + len(comment) if length else 0)
        out += stream[place : place + 6] + longer + stream[place + 10 : place + 12] + comment
        out += stream[place + 12 : end]
        place = end
    return out + stream[place:] + words


def frames_of(dataset: Dataset) -> list[bytes]:
    return list(generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames", 1))))


def with_frames(dataset: Dataset, frames: list[bytes], *, fragments: int = 1) -> Dataset:
    """A dataset with these frames for its own, as a file has them."""
    changed = pydicom.dcmread(BytesIO(_written(dataset)))
    changed.PixelData = encapsulate(frames, fragments_per_frame=fragments)
    changed["PixelData"].VR = "OB"
    return pydicom.dcmread(BytesIO(_written(changed)))


def _written(dataset: Dataset) -> bytes:
    out = BytesIO()
    for name in ("SOPClassUID", "SOPInstanceUID"):
        if name not in dataset:
            setattr(dataset, name, "1.2.3")
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def decoded(dataset: Dataset, plugin: str = "") -> NDArray[Any]:
    return pixel_array(dataset, decoding_plugin=plugin)
