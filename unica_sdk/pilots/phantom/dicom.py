"""SYNTHETIC mammograms as complete DICOM objects of the Digital Mammography X-Ray Image IOD (PS3.3 A.27).

Storage class: *For Presentation*. It is what reading stations show and what screening archives keep; the raw
*For Processing* object is dropped by many of them, and needs the vendor's own processing to be looked at.
"""

from __future__ import annotations

import io
import uuid
from datetime import date, time
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian

from unica_sdk.pilots.phantom.people import Person
from unica_sdk.pilots.phantom.physics import SPACING, Image
from unica_sdk.pilots.phantom.profiles import SiteProfile

DISCLAIMER = "SYNTHETIC PHANTOM - no patient, not for clinical use"
"""Stands in every image's comments; the series and study descriptions say it in short."""

VIEWS = {"CC": ("399162004", "cranio-caudal"), "MLO": ("399368009", "medio-lateral oblique")}
"""SNOMED CT codes of the views, from context group 4014."""


def uid_of(*names: object) -> UID:
    """Return a UUID-derived UID (PS3.5 B.2) that depends on these names alone.

    Example:
        >>> uid_of("study", 1) == uid_of("study", 1), uid_of("study", 1).is_valid
        (True, True)
    """
    return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '/'.join(['unica-phantom', *map(str, names)])).int}")


def encode(image: Image, profile: SiteProfile, person: Person, *, seed: int) -> bytes:
    """Return one synthetic mammogram as the bytes of a DICOM file."""
    dataset = Dataset()
    for module in (
        _patient(person),
        _study(profile, person, seed),
        _series(profile, person, seed),
        _equipment(profile),
        _image(profile, person, image, seed),
        _acquisition(profile, person, image),
    ):
        dataset.update(module)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _module(**attributes: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    return _module(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _day(day: date) -> str:
    return day.strftime("%Y%m%d")


def _clock(person: Person) -> str:
    return time(8 + person.number % 9, person.number * 7 % 60).strftime("%H%M%S")


def _patient(person: Person) -> Dataset:
    return _module(
        PatientName=f"SYNTHETIC^PHANTOM {person.number:05d}",
        PatientID=person.patient_id,
        PatientBirthDate=_day(person.born),
        PatientSex="F",
        PatientAge=f"{person.age:03d}Y",
        PatientComments=DISCLAIMER,
    )


def _study(profile: SiteProfile, person: Person, seed: int) -> Dataset:
    return _module(
        StudyInstanceUID=uid_of(seed, profile.site, person.number, "study"),
        StudyDate=_day(person.screened),
        StudyTime=_clock(person),
        StudyID=f"{person.number:05d}",
        AccessionNumber=f"SYN{person.number:07d}",
        ReferringPhysicianName="",
        StudyDescription="SYNTHETIC PHANTOM screening mammography",
    )


def _series(profile: SiteProfile, person: Person, seed: int) -> Dataset:
    return _module(
        Modality="MG",
        PresentationIntentType="FOR PRESENTATION",
        SeriesInstanceUID=uid_of(seed, profile.site, person.number, "series"),
        SeriesNumber=1,
        SeriesDate=_day(person.screened),
        SeriesTime=_clock(person),
        SeriesDescription=f"SYNTHETIC PHANTOM {person.laterality}{person.view}",
        BodyPartExamined="BREAST",
    )


def _equipment(profile: SiteProfile) -> Dataset:
    return _module(
        Manufacturer=profile.manufacturer,
        ManufacturerModelName=profile.model,
        DeviceSerialNumber=f"SYN-{profile.country}-1",
        SoftwareVersions="UNICA phantom 1",
        InstitutionName=profile.title,
    )


def _image(profile: SiteProfile, person: Person, image: Image, seed: int) -> Dataset:
    rows, columns = image.pixels.shape
    top = 2**profile.bits - 1
    plain = profile.photometric == "MONOCHROME2"
    return _module(
        SOPClassUID=DigitalMammographyXRayImageStorageForPresentation,
        SOPInstanceUID=uid_of(seed, profile.site, person.number, "image"),
        ImageType=["ORIGINAL", "PRIMARY", ""],
        InstanceNumber=1,
        ContentDate=_day(person.screened),
        ContentTime=_clock(person),
        AcquisitionDate=_day(person.screened),
        AcquisitionTime=_clock(person),
        ImageComments=DISCLAIMER,
        BurnedInAnnotation="NO",
        LossyImageCompression="00",
        SamplesPerPixel=1,
        PhotometricInterpretation=profile.photometric,
        PresentationLUTShape="IDENTITY" if plain else "INVERSE",
        Rows=rows,
        Columns=columns,
        BitsAllocated=16,
        BitsStored=profile.bits,
        HighBit=profile.bits - 1,
        PixelRepresentation=0,
        PixelIntensityRelationship="LOG",
        PixelIntensityRelationshipSign=-1 if plain else 1,
        RescaleIntercept=0,
        RescaleSlope=1,
        RescaleType="US",
        WindowCenter=(top + 1) // 2,
        WindowWidth=top + 1,
        PixelSpacing=[SPACING, SPACING],
        ImagerPixelSpacing=[SPACING, SPACING],
        PatientOrientation=_orientation(profile, person),
        AcquisitionContextSequence=Sequence(),
        PixelData=image.pixels.astype("<u2", copy=False).tobytes(),
    )


def _acquisition(profile: SiteProfile, person: Person, image: Image) -> Dataset:
    view = _code(VIEWS[person.view][0], "SCT", VIEWS[person.view][1])
    view.ViewModifierCodeSequence = Sequence()
    return _module(
        ImageLaterality=person.laterality,
        ViewPosition=person.view,
        ViewCodeSequence=Sequence([view]),
        AnatomicRegionSequence=Sequence([_code("76752008", "SCT", "Breast")]),
        OrganExposed="BREAST",
        BreastImplantPresent="NO",
        PartialView="NO",
        PositionerType="MAMMOGRAPHIC",
        PositionerPrimaryAngle=0 if person.view == "CC" else 45,
        KVP=profile.kvp,
        AnodeTargetMaterial=profile.target,
        FilterMaterial=profile.filter,
        BodyPartThickness=image.thickness,
        CompressionForce=100,
        DetectorType="DIRECT",
        DetectorID=f"SYN-{profile.country}-1",
        FieldOfViewHorizontalFlip="YES" if profile.mirrored else "NO",
        FieldOfViewRotation=0,
        QualityControlImage="NO",
    )


def _orientation(profile: SiteProfile, person: Person) -> list[str]:
    """Return the directions of the rows and the columns: away from the chest wall, and towards the feet."""
    chest_on_right = (person.laterality == "R") != profile.mirrored
    across = "P" if chest_on_right else "A"
    # In a craniocaudal view the columns run across the body: towards its middle for both breasts here.
    down = ("R" if person.laterality == "L" else "L") if person.view == "CC" else "F"
    return [across, down]
