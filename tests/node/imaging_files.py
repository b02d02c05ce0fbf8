"""Synthetic images and volumes for the imaging tests, and what pydicom makes of them."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from dicom_files import ROOT, write_dicom
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from pydicom.pixels.processing import apply_modality_lut
from pydicom.uid import ExplicitVRBigEndian


def by_pydicom(path: Path | str) -> NDArray[Any]:
    """Modality values as pydicom gives them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path)
        return apply_modality_lut(dataset.pixel_array, dataset)


def write_image(path: Path, stored: NDArray[Any], *, number: int = 1, **headers: Any) -> Path:
    """Write stored values as they are, with the bits and the sign of their type unless said otherwise."""
    bits = stored.dtype.itemsize * 8
    fields = {
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": headers.get("BitsStored", bits) - 1,
        "PixelRepresentation": int(stored.dtype.kind == "i"),
        **headers,
    }
    patient = fields.pop("patient", f"P{number}")
    return write_dicom(path, patient=patient, number=number, pixels=stored, **fields)


def as_big_endian(path: Path) -> Path:
    """Write an image of 16 bits anew, in big endian."""
    dataset = pydicom.dcmread(path)
    dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    pydicom.dcmwrite(path, dataset, implicit_vr=False, little_endian=False, enforce_file_format=True)
    return path


def write_volume(
    folder: Path, *, places: list[float], series: int = 1, oblique: bool = False, **headers: Any
) -> list[Path]:
    """Write a CT series of constant slices, each with its place along the normal as its value."""
    tilt = np.deg2rad(30) if oblique else 0.0
    normal = np.array([0.0, -np.sin(tilt), np.cos(tilt)])
    orientation = [1.0, 0.0, 0.0, 0.0, float(np.cos(tilt)), float(np.sin(tilt))]
    paths = []
    for number, place in enumerate(places):
        fields = {
            "Modality": "CT",
            "SeriesInstanceUID": f"{ROOT}.2.{series}",
            "ImageOrientationPatient": [f"{one:.10f}" for one in orientation],
            "ImagePositionPatient": [f"{one:.6f}" for one in place * normal],
            "PixelSpacing": [0.5, 0.75],
            "RescaleSlope": 1,
            "RescaleIntercept": -1024,
            "patient": f"P{series}",
            **headers,
        }
        paths.append(
            write_image(
                folder / f"{series}-{number:03d}.dcm",
                np.full((6, 8), 1024 + place, np.uint16),
                number=series * 1000 + number,
                **fields,
            )
        )
    return paths


def panicking(path: Path) -> Path:
    """Write a file whose RLE codec panics, which ends the process that decodes it."""
    from unica_sdk.node.imaging.table import CaseTable

    source = get_testdata_file("MR_small_RLE.dcm")
    (offset,) = CaseTable.from_files([str(source)]).pixel_offset.tolist()
    content = bytearray(Path(str(source)).read_bytes())
    content[offset + 84] = 177  # runs over the end of its segment
    path.write_bytes(content)
    return path
