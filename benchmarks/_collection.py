"""Synthetic DICOM files by the thousand: four kinds of image as vendors write them, all values invented.

pydicom writes one of each kind with marks of a fixed length in it; each file is that one with its own values
in the marks' place, which is a hundred times faster than writing each and just as valid.
"""

from __future__ import annotations

import io
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

SIDE = 32
"""Rows and columns of an image, unless asked for otherwise."""

_ROOT = "1.2.826.0.1.3680043.10.1234."  # an example root; 52 characters with the marks below

_MARKS = {"study": "7" * 24, "series": "8" * 24, "instance": "9" * 24, "patient": "P" * 10}
_NUMBERS = {
    "number": "0000007777",
    "age": "777Y",
    "place": "-7777.777777",
    "date": "77770101",
    "slope": "7.777777",
}
_ANY_MARK = re.compile("|".join(map(re.escape, (*_MARKS.values(), *_NUMBERS.values()))).encode())


@dataclass(frozen=True)
class Kind:
    """One vendor's way of writing one modality."""

    modality: str
    sop_class: str
    syntax: str
    vendor: tuple[str, str]
    undefined: bool
    """Whether its sequences have an undefined length."""


KINDS = (
    Kind(
        "MG",
        "1.2.840.10008.5.1.4.1.1.1.2",
        ExplicitVRLittleEndian,
        ("HOLOGIC, Inc.", "Selenia"),
        False,
    ),
    Kind("CT", "1.2.840.10008.5.1.4.1.1.2", ExplicitVRLittleEndian, ("SIEMENS", "SOMATOM Force"), True),
    Kind("MR", "1.2.840.10008.5.1.4.1.1.4", ImplicitVRLittleEndian, ("Philips Healthcare", "Ingenia"), True),
    Kind(
        "DX",
        "1.2.840.10008.5.1.4.1.1.1.1",
        ExplicitVRLittleEndian,
        ("GE MEDICAL SYSTEMS", "XR656"),
        False,
    ),
)


def write_collection(folder: Path, *, files: int, seed: int = 20260101, side: int = SIDE) -> list[Path]:
    """Write so many files (4 KiB of header, black pixels of 16 bits) and return their paths, shuffled."""
    folder.mkdir(parents=True, exist_ok=True)
    dice = random.Random(seed)  # noqa: S311 - values of synthetic images
    templates = [_template(kind, side) for kind in KINDS]
    paths = []
    for number in range(files):
        path = folder / f"{number:06d}.dcm"
        path.write_bytes(_filled(templates[number % len(templates)], number, dice))
        paths.append(path)
    dice.shuffle(paths)
    return paths


def write_images(folder: Path, *, files: int, side: int, seed: int = 20260101) -> list[Path]:
    """Write a collection whose pixels are noise of 12 bits."""
    dice = np.random.default_rng(seed)
    paths = write_collection(folder, files=files, seed=seed, side=side)
    for path in paths:
        header = path.read_bytes()[: -side * side * 2]
        path.write_bytes(header + dice.integers(0, 4096, (side, side), dtype=np.uint16).tobytes())
    return paths


def _filled(template: bytes, number: int, dice: random.Random) -> bytes:
    series, patient = number // 40, number // 160
    values = {
        _MARKS["study"]: f"{patient:024d}".replace("0", "1", 1),
        _MARKS["series"]: f"{series:024d}".replace("0", "2", 1),
        _MARKS["instance"]: f"{number:024d}".replace("0", "3", 1),
        _MARKS["patient"]: f"HOSP{patient:06d}",
        _NUMBERS["number"]: f"{number % 40 + 1:<10d}",
        _NUMBERS["age"]: f"{patient % 60 + 30:03d}Y",
        _NUMBERS["place"]: f"{dice.uniform(-500, 500):+012.6f}",
        _NUMBERS["date"]: f"20{patient % 25:02d}{patient % 12 + 1:02d}{patient % 28 + 1:02d}",
        _NUMBERS["slope"]: f"{dice.uniform(0.5, 2):8.6f}",
    }
    return _ANY_MARK.sub(lambda found: values[found[0].decode()].encode(), template)


def _template(kind: Kind, side: int) -> bytes:
    dataset = _image(kind, side)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = kind.sop_class
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = kind.syntax
    meta.ImplementationClassUID = _ROOT + "1"
    meta.ImplementationVersionName = "UNICA_SYNTH"
    dataset.file_meta = meta
    dataset.preamble = b"\0" * 128
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _image(kind: Kind, side: int) -> Dataset:
    dataset = Dataset()
    _identity(dataset, kind)
    _equipment(dataset, kind)
    _geometry(dataset, kind, side)
    for keyword, sequence in _sequences(kind):
        setattr(dataset, keyword, sequence)
        dataset[keyword].is_undefined_length = kind.undefined
        for item in sequence:
            item.is_undefined_length_sequence_item = kind.undefined
    _private(dataset)
    dataset.PixelData = bytes(side * side * 2)
    dataset["PixelData"].VR = "OW"
    return dataset


def _identity(dataset: Dataset, kind: Kind) -> None:
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"] if kind.modality == "CT" else ["ORIGINAL", "PRIMARY"]
    dataset.SOPClassUID = kind.sop_class
    dataset.SOPInstanceUID = _ROOT + _MARKS["instance"]
    dataset.StudyInstanceUID = _ROOT + _MARKS["study"]
    dataset.SeriesInstanceUID = _ROOT + _MARKS["series"]
    dataset.FrameOfReferenceUID = _ROOT + _MARKS["series"]
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        setattr(dataset, keyword, _NUMBERS["date"])
    for keyword in ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"):
        setattr(dataset, keyword, "093000.000000")
    dataset.AccessionNumber = "A0001"
    dataset.Modality = kind.modality
    dataset.PatientName = "Synthetic^Patient"
    dataset.PatientID = _MARKS["patient"]
    dataset.PatientBirthDate = "19600101"
    dataset.PatientSex = "F"
    dataset.PatientAge = _NUMBERS["age"]
    dataset.StudyID = "1"
    dataset.SeriesNumber = 3
    dataset.InstanceNumber = _NUMBERS["number"]
    dataset.StudyDescription = "Synthetic study"
    dataset.SeriesDescription = "Synthetic series"


def _equipment(dataset: Dataset, kind: Kind) -> None:
    dataset.Manufacturer, dataset.ManufacturerModelName = kind.vendor
    dataset.InstitutionName = "Synthetic hospital"
    dataset.StationName = "STATION1"
    dataset.DeviceSerialNumber = "000123"
    dataset.SoftwareVersions = ["1.0", "2.1"]
    dataset.ProtocolName = "Synthetic protocol"
    dataset.KVP = "120"
    dataset.ExposureTime = 500
    dataset.XRayTubeCurrent = 210
    dataset.Exposure = 105
    dataset.BodyPartExamined = "BREAST" if kind.modality == "MG" else "CHEST"
    dataset.PatientPosition = "HFS"
    if kind.modality == "MG":
        dataset.ImageLaterality = "L"
        dataset.ViewPosition = "MLO"
        dataset.PresentationIntentType = "FOR PRESENTATION"
        dataset.ImagerPixelSpacing = [0.07, 0.07]


def _geometry(dataset: Dataset, kind: Kind, side: int) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows = dataset.Columns = side
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelSpacing = [0.7, 0.7]
    dataset.BurnedInAnnotation = "NO"
    dataset.WindowCenter, dataset.WindowWidth = "40", "400"
    dataset.RescaleIntercept, dataset.RescaleSlope = "-1024", _NUMBERS["slope"]
    dataset.RescaleType = "HU"
    dataset.NumberOfFrames = 1
    if kind.modality in ("CT", "MR"):
        dataset.SliceThickness = "1.5"
        dataset.SpacingBetweenSlices = "1.5"
        dataset.SliceLocation = "12.5"
        dataset.ImagePositionPatient = ["-180.5", "-180.5", _NUMBERS["place"]]
        dataset.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]


def _sequences(kind: Kind) -> Iterator[tuple[str, Sequence]]:
    def code(value: str, scheme: str, meaning: str) -> Dataset:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
        return item

    reference = Dataset()
    reference.ReferencedSOPClassUID = kind.sop_class
    reference.ReferencedSOPInstanceUID = _ROOT + _MARKS["instance"]  # another in every file
    reference.PurposeOfReferenceCodeSequence = Sequence([code("121311", "DCM", "Localizer")])
    reference["PurposeOfReferenceCodeSequence"].is_undefined_length = kind.undefined
    yield "ReferencedImageSequence", Sequence([reference])
    yield "ProcedureCodeSequence", Sequence([code("241055006", "SCT", "Mammography")])
    yield "ViewCodeSequence", Sequence([code("399368009", "SCT", "medio-lateral oblique")])
    request = Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepID = "RP1", "SPS1"
    yield "RequestAttributesSequence", Sequence([request])


def _private(dataset: Dataset) -> None:
    block = dataset.private_block(0x0029, "UNICA SYNTHETIC", create=True)
    block.add_new(0x01, "LO", "vendor's own")
    block.add_new(0x02, "OB", bytes(512))
    block.add_new(0x03, "DS", ["1.5", "2.5"])
