"""Small DICOM files written for these tests: synthetic images of nobody."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian

ROOT = "1.2.826.0.1.3680043.8.498"
MAMMOGRAPHY = str(DigitalMammographyXRayImageStorageForPresentation)


def write_dicom(
    path: Path,
    *,
    patient: str,
    number: int,
    pixels: NDArray[np.uint16] | None = None,
    transfer_syntax: UID = ExplicitVRLittleEndian,
    **headers: Any,
) -> Path:
    """Write one image; `number` names study, series and instance, `headers` override or add."""
    stored = np.arange(16 * 20, dtype=np.uint16).reshape(16, 20) if pixels is None else pixels
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    fields = {
        "SOPClassUID": MAMMOGRAPHY,
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "BurnedInAnnotation": "NO",
        "SOPInstanceUID": f"{ROOT}.3.{number}",
        "StudyInstanceUID": f"{ROOT}.1.{number}",
        "SeriesInstanceUID": f"{ROOT}.2.{number}",
        "PatientID": patient,
        "PatientSex": "F",
        "PatientAge": "055Y",
        "Modality": "MG",
        "BodyPartExamined": "BREAST",
        "Manufacturer": "Phantom Works",
        "PhotometricInterpretation": "MONOCHROME2",
        "SamplesPerPixel": 1,
        "Rows": stored.shape[-2],
        "Columns": stored.shape[-1],
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        **headers,
    }
    for name, value in fields.items():
        if value is not None:
            setattr(dataset, name, value)
    dataset.file_meta.MediaStorageSOPClassUID = MAMMOGRAPHY
    dataset.file_meta.MediaStorageSOPInstanceUID = f"{ROOT}.3.{number}"
    dataset.add_new("PixelData", "OW", stored.tobytes())
    if transfer_syntax != ExplicitVRLittleEndian:
        dataset.compress(transfer_syntax, generate_instance_uid=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_clinical(path: Path, rows: list[dict[str, str]]) -> Path:
    """Write a clinical table with the columns of the first row."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_collection(folder: Path, *, patients: int, first: int = 0) -> tuple[Path, Path]:
    """Write one mammogram per patient and their table, every fourth a detected cancer; return both paths."""
    images = folder / "dicom"
    rng = np.random.default_rng(first)
    for number in range(first, first + patients):
        pixels = rng.integers(0, 4096, (16, 20)).astype(np.uint16)
        write_dicom(
            images / f"{number:04d}.dcm",
            patient=f"P{number:04d}",
            number=number + 1,
            pixels=pixels,
            PatientAge=f"{40 + number % 40:03d}Y",
        )
    rows = [
        {
            "patient_id": f"P{number:04d}",
            "outcome": "negative" if number % 4 else "screen_detected",
            "diagnosis": "none" if number % 4 else "breast_cancer",
        }
        for number in range(first, first + patients)
    ]
    return images, write_clinical(folder / "clinical.csv", rows)
