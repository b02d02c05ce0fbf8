"""The phantom collections: complete objects, said to be synthetic, the same ones every time."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation

from unica_sdk.errors import ConfigurationError, InvalidRequest
from unica_sdk.node.pixels import prepare
from unica_sdk.pilots.phantom import PROFILES, Collection, write_collection
from unica_sdk.schemas import vocabulary

PATIENTS = 20

TYPE_1 = """SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID Modality PresentationIntentType
BodyPartExamined ImageType BurnedInAnnotation SamplesPerPixel PhotometricInterpretation Rows Columns
BitsAllocated BitsStored HighBit PixelRepresentation PixelIntensityRelationship
PixelIntensityRelationshipSign RescaleIntercept RescaleSlope RescaleType PresentationLUTShape
LossyImageCompression WindowCenter WindowWidth ImagerPixelSpacing ImageLaterality ViewCodeSequence
AnatomicRegionSequence OrganExposed PositionerType PatientOrientation PixelData"""
"""What PS3.3 A.27 asks for with a value (types 1 and 1C) in a mammogram for presentation."""

TYPE_2 = """PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime StudyID AccessionNumber
ReferringPhysicianName SeriesNumber Manufacturer InstanceNumber AcquisitionContextSequence DetectorType"""


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Collection]:
    folder = tmp_path_factory.mktemp("phantom")
    return {site: write_collection(folder / site, site=site, patients=PATIENTS, seed=5) for site in PROFILES}


def images(collection: Collection) -> Iterator[tuple[Path, Dataset]]:
    for path in sorted(collection.dicom.rglob("*.dcm")):
        yield path, pydicom.dcmread(path)


def table(collection: Collection) -> list[dict[str, str]]:
    with collection.clinical.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("site", PROFILES)
def test_every_image_is_a_complete_mammogram(collections: dict[str, Collection], site: str) -> None:
    profile = PROFILES[site]
    found = list(images(collections[site]))
    assert len(found) == PATIENTS
    for _, dataset in found:
        assert [k for k in TYPE_1.split() if k not in dataset or dataset[k].is_empty] == []
        assert [k for k in TYPE_2.split() if k not in dataset] == []
        assert dataset.SOPClassUID == DigitalMammographyXRayImageStorageForPresentation
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert (dataset.Modality, dataset.BodyPartExamined, dataset.PatientSex) == ("MG", "BREAST", "F")
        assert dataset.BurnedInAnnotation == "NO"
        assert dataset.Manufacturer == profile.manufacturer
        pixels = dataset.pixel_array
        assert pixels.shape == (320, 256)
        assert pixels.dtype == np.uint16
        assert pixels.max() < 2**dataset.BitsStored
        assert len(np.unique(pixels)) > 200


@pytest.mark.parametrize("site", PROFILES)
def test_every_image_says_that_it_is_synthetic(collections: dict[str, Collection], site: str) -> None:
    for _, dataset in images(collections[site]):
        said = (
            dataset.PatientName.family_name,
            dataset.SeriesDescription,
            dataset.StudyDescription,
            dataset.ImageComments,
            dataset.Manufacturer,
            dataset.InstitutionName,
        )
        assert all("SYNTHETIC" in str(text).upper() for text in said)
    assert "SYNTHETIC" in collections[site].title
    assert "SYNTHETIC" in (collections[site].folder / "collection.json").read_text()


def test_identifiers_are_valid_and_nobody_shares_one(collections: dict[str, Collection]) -> None:
    uids, patients = [], []
    for collection in collections.values():
        for _, dataset in images(collection):
            uids += [dataset.SOPInstanceUID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID]
            patients.append(dataset.PatientID)
    assert all(uid.is_valid for uid in uids)
    assert len(set(uids)) == len(uids)
    assert len(set(patients)) == 3 * PATIENTS


@pytest.mark.parametrize("site", PROFILES)
def test_the_clinical_table_fits_the_headers_and_the_vocabulary(
    collections: dict[str, Collection], site: str
) -> None:
    rows = {row["patient_id"]: row for row in table(collections[site])}
    headers = {dataset.PatientID: dataset for _, dataset in images(collections[site])}
    assert set(rows) == set(headers)
    for patient, row in rows.items():
        for field in ("sex", "diagnosis", "outcome"):
            vocabulary.concept(field, row[field])  # type: ignore[arg-type]
        assert (row["diagnosis"] == "none") == (row["outcome"] == "negative")
        assert headers[patient].PatientAge == f"{int(row['age']):03d}Y"
        born, seen = headers[patient].PatientBirthDate, headers[patient].StudyDate
        years = int(seen[:4]) - int(born[:4]) - (seen[4:] < born[4:])
        assert years == int(row["age"])
    cancers = sum(row["diagnosis"] == "breast_cancer" for row in rows.values())
    assert cancers == round(PROFILES[site].cancers * PATIENTS)


@pytest.mark.parametrize("site", PROFILES)
def test_air_is_dark_and_the_chest_wall_is_where_the_header_says(
    collections: dict[str, Collection], site: str
) -> None:
    for path, dataset in images(collections[site]):
        image = prepare(path, rows=80, columns=64)
        left, right = image[30:50, :4].mean(), image[30:50, -4:].mean()
        assert (left > right) == (dataset.PatientOrientation[0] == "A")
        assert min(left, right) < 0.1
        assert max(left, right) > 0.4
        mirrored = dataset.FieldOfViewHorizontalFlip == "YES"
        assert (dataset.PatientOrientation[0] == "P") == ((dataset.ImageLaterality == "R") != mirrored)


def test_sites_differ_in_how_they_store(collections: dict[str, Collection]) -> None:
    stored = {site: next(images(c))[1] for site, c in collections.items()}
    assert {d.PhotometricInterpretation for d in stored.values()} == {"MONOCHROME1", "MONOCHROME2"}
    assert len({d.BitsStored for d in stored.values()}) == 3
    assert len({d.Manufacturer for d in stored.values()}) == 3


def test_equal_arguments_give_equal_bytes_and_others_do_not(
    collections: dict[str, Collection], tmp_path: Path
) -> None:
    again = write_collection(tmp_path / "a", site="gr", patients=PATIENTS, seed=5, workers=1)
    other = write_collection(tmp_path / "b", site="gr", patients=PATIENTS, seed=6)
    assert again.digest == collections["gr"].digest
    assert other.digest != again.digest


def test_a_second_call_writes_nothing(collections: dict[str, Collection]) -> None:
    first = collections["lt"]
    before = {path: path.stat().st_mtime_ns for path in first.folder.rglob("*")}
    second = write_collection(first.folder, site="lt", patients=PATIENTS, seed=5)
    assert (second.written, second.digest) == (0, first.digest)
    assert {path: path.stat().st_mtime_ns for path in first.folder.rglob("*")} == before


def test_what_is_missing_or_cut_short_is_written_again(tmp_path: Path) -> None:
    first = write_collection(tmp_path, site="pt", patients=12, seed=1)
    assert first.written == 12
    paths = sorted(first.dicom.rglob("*.dcm"))
    paths[0].unlink()
    paths[1].write_bytes(paths[1].read_bytes()[:1000])
    first.clinical.unlink()
    second = write_collection(tmp_path, site="pt", patients=12, seed=1)
    assert (second.written, second.digest) == (2, first.digest)


def test_other_arguments_replace_the_collection(tmp_path: Path) -> None:
    write_collection(tmp_path, site="pt", patients=12, seed=1)
    second = write_collection(tmp_path, site="pt", patients=10, seed=2)
    assert len(list(second.dicom.rglob("*.dcm"))) == 10
    assert len(table(second)) == 10


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "dicom" / "SYN-1" / "a.dcm"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"somebody's")
    with pytest.raises(ConfigurationError, match="no phantom collection"):
        write_collection(tmp_path, site="gr", patients=10)
    assert theirs.read_bytes() == b"somebody's"


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write_collection(tmp_path / "file" / "inside", site="gr", patients=10)


@pytest.mark.parametrize(("site", "patients"), [("xx", 20), ("gr", 9), ("gr", 100_000)])
def test_unknown_sites_and_odd_numbers_are_refused(tmp_path: Path, site: str, patients: int) -> None:
    with pytest.raises(InvalidRequest):
        write_collection(tmp_path, site=site, patients=patients)
    assert list(tmp_path.iterdir()) == []
