"""What de-identifying a header costs, beside dicom-anonymizer doing what it can of it, in one run.

For the project's benchmarks; nothing here is needed to de-identify. The headers are synthetic: the attributes
that a mammography unit and a CT scanner write, sequences and private blocks included, and no pixels.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from io import BytesIO
from time import process_time
from typing import Any, Final, TypedDict

from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from unica_sdk.errors import ConfigurationError
from unica_sdk.node.deidentify.engine import Engine
from unica_sdk.node.deidentify.table import EDITION

GOAL: Final = 3.0
ROUNDS: Final = 15
COPIES: Final = 20

_ROOT: Final = "1.2.826.0.1.3680043.9.9999."
_COMMON: Final = {
    "SpecificCharacterSet": "ISO_IR 100",
    "ImageType": ["ORIGINAL", "PRIMARY"],
    "InstanceCreationDate": "20240311",
    "InstanceCreationTime": "101512.123",
    "SOPInstanceUID": _ROOT + "3.1",
    "StudyDate": "20240311",
    "SeriesDate": "20240311",
    "AcquisitionDate": "20240311",
    "ContentDate": "20240311",
    "StudyTime": "101500",
    "SeriesTime": "101501",
    "AcquisitionTime": "101502.5",
    "ContentTime": "101503",
    "AccessionNumber": "A4711",
    "Manufacturer": "Phantom Imaging",
    "InstitutionName": "Synthetic Hospital",
    "InstitutionAddress": "1 Nowhere Street",
    "ReferringPhysicianName": "REFERRER^SYNTHETIC",
    "StationName": "ROOM1",
    "InstitutionalDepartmentName": "Radiology",
    "PerformingPhysicianName": "PERFORMER^SYNTHETIC",
    "OperatorsName": "OPERATOR^SYNTHETIC",
    "ManufacturerModelName": "Model 7",
    "PatientName": "SYNTHETIC^PATIENT",
    "PatientID": "4711",
    "PatientBirthDate": "19600101",
    "PatientSex": "F",
    "PatientAge": "064Y",
    "PatientSize": "1.68",
    "PatientWeight": "70",
    "AdditionalPatientHistory": "none",
    "DeviceSerialNumber": "12345",
    "SoftwareVersions": ["1.2", "3.4"],
    "ProtocolName": "Routine",
    "StudyInstanceUID": _ROOT + "1",
    "SeriesInstanceUID": _ROOT + "2",
    "StudyID": "1",
    "SeriesNumber": "1",
    "AcquisitionNumber": "1",
    "InstanceNumber": "1",
    "FrameOfReferenceUID": _ROOT + "4",
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "Rows": 512,
    "Columns": 512,
    "PixelSpacing": ["0.7", "0.7"],
    "BitsAllocated": 16,
    "BitsStored": 12,
    "HighBit": 11,
    "PixelRepresentation": 0,
    "WindowCenter": "40",
    "WindowWidth": "400",
    "RescaleIntercept": "-1024",
    "RescaleSlope": "1",
    "RequestingPhysician": "REQUESTER^SYNTHETIC",
    "PerformedProcedureStepStartDate": "20240311",
    "PerformedProcedureStepStartTime": "101500",
    "PerformedProcedureStepID": "P1",
    "PerformedProcedureStepDescription": "Routine",
}
_MG: Final = {
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.2",
    "Modality": "MG",
    "PresentationIntentType": "FOR PRESENTATION",
    "StudyDescription": "Screening mammography",
    "SeriesDescription": "R CC",
    "BodyPartExamined": "BREAST",
    "ImageLaterality": "R",
    "ViewPosition": "CC",
    "KVP": "28",
    "Exposure": "80",
    "ExposureInuAs": "80000",
    "AnodeTargetMaterial": "TUNGSTEN",
    "FilterMaterial": "RHODIUM",
    "BodyPartThickness": "55",
    "CompressionForce": "100",
    "DistanceSourceToDetector": "650",
    "DetectorID": "D1",
    "DateOfLastDetectorCalibration": "20240301",
    "OrganDose": "0.01",
    "BurnedInAnnotation": "NO",
    "PatientOrientation": ["A", "R"],
}
_CT: Final = {
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
    "Modality": "CT",
    "StudyDescription": "CT chest low dose",
    "SeriesDescription": "Axial thin 1.0 lung",
    "BodyPartExamined": "CHEST",
    "SliceThickness": "1",
    "KVP": "120",
    "DataCollectionDiameter": "500",
    "ReconstructionDiameter": "360",
    "GantryDetectorTilt": "0",
    "TableHeight": "150",
    "RotationDirection": "CW",
    "ExposureTime": "500",
    "XRayTubeCurrent": "40",
    "Exposure": "20",
    "FilterType": "BODY",
    "GeneratorPower": "30",
    "FocalSpots": "1.2",
    "ConvolutionKernel": "B60f",
    "PatientPosition": "HFS",
    "ImagePositionPatient": ["-180", "-180", "-100"],
    "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
    "SliceLocation": "-100",
}


class Row(TypedDict):
    """One line of a benchmark, as every benchmark of the project prints it."""

    name: str
    ours: float
    peer: float
    ratio: float
    unit: str
    goal: float
    met: bool


def typical_files() -> dict[str, bytes]:
    """Return a synthetic mammogram's and a synthetic CT slice's header, each as the bytes of a DICOM file."""
    return {"MG": _file(_MG), "CT": _file(_CT)}


def rows(files: dict[str, bytes] | None = None, *, rounds: int = ROUNDS) -> list[Row]:
    """Return headers per CPU-second beside dicom-anonymizer, without and with reading and writing each file.

    Both sides take turns in one process and apply the same edition of the table; each gets freshly read
    datasets. The peer leaves out what it cannot do: pseudonyms, dates, descriptors, sequences, markers.

    Args:
        files: DICOM files by name; else `typical_files()`.
        rounds: How often both sides take their turn; the best turn of each side counts.

    Raises:
        ConfigurationError: dicom-anonymizer with its dependencies cannot be imported here.
    """
    peer = _peer()
    ours = Engine(bytes(range(32))).deidentify
    found: list[Row] = []
    for name, content in (files or typical_files()).items():
        for label, whole in (("de-identify", False), ("read, de-identify and write", True)):
            best = [float("inf"), float("inf")]
            for _ in range(rounds):
                for side, work in enumerate((ours, peer)):
                    best[side] = min(best[side], _turn(work, content, whole=whole))
            ratio = best[1] / best[0]
            found.append(
                Row(
                    name=f"{label} {name} header",
                    ours=round(1 / best[0]),
                    peer=round(1 / best[1]),
                    ratio=round(ratio, 2),
                    unit="headers per CPU-second",
                    goal=GOAL,
                    met=ratio >= GOAL,
                )
            )
    return found


def _turn(work: Callable[[Dataset], Any], content: bytes, *, whole: bool) -> float:
    """Return the CPU-seconds of one header."""
    if whole:
        start = process_time()
        for _ in range(COPIES):
            dataset = dcmread(BytesIO(content))
            dcmwrite(BytesIO(), work(dataset) or dataset)
    else:
        datasets = [dcmread(BytesIO(content)) for _ in range(COPIES)]
        start = process_time()
        for dataset in datasets:
            work(dataset)
    return (process_time() - start) / COPIES


def _peer() -> Callable[[Dataset], Any]:
    try:
        module = importlib.import_module("dicomanonymizer.simpledicomanonymizer")
    except ImportError as err:
        raise ConfigurationError("dicom-anonymizer cannot be imported here.", hint=str(err)) from err
    # Made once, though the peer makes them for each header by itself.
    actions = module.initialize_actions(f"dicomfields_{EDITION}")

    def work(dataset: Dataset) -> None:
        module.anonymize_dataset(dataset, base_rules_gen=lambda: actions)

    return work


def _file(own: dict[str, Any]) -> bytes:
    header = Dataset()
    for keyword, value in {**_COMMON, **own}.items():
        setattr(header, keyword, value)
    _add_sequences(header)
    for group, vendor in ((0x0019, "PHANTOM ACQU"), (0x0029, "PHANTOM HEADER"), (0x0051, "PHANTOM DISPLAY")):
        block = header.private_block(group, vendor, create=True)
        for number in range(8):
            block.add_new(number, "LO", f"value {number}")
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    out = BytesIO()
    dcmwrite(out, header, enforce_file_format=True)
    return out.getvalue()


def _add_sequences(header: Dataset) -> None:
    header.ProcedureCodeSequence = [_code("1", "L", "Imaging")]
    header.AnatomicRegionSequence = [_code("76752008", "SCT", "Breast")]
    view = _code("399162004", "SCT", "cranio-caudal")
    view.ViewModifierCodeSequence = [_code("399161006", "SCT", "medial")]
    header.ViewCodeSequence = [view]
    study = Dataset()
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.1", _ROOT + "5"
    header.ReferencedStudySequence = [study]
    image = Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = header.SOPClassUID, _ROOT + "6"
    header.SourceImageSequence = [image]
    request = Dataset()
    request.ScheduledProcedureStepDescription, request.RequestedProcedureID = "Routine", "R1"
    header.RequestAttributesSequence = [request]


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code
