"""The rules: each breaks on what it is about and on nothing else; the report says so and names nobody."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import write_clinical, write_collection, write_dicom
from hypothesis import given
from hypothesis import strategies as st
from pydicom.data import DATA_ROOT

from unica_sdk.node.header_values import Header, Pixels
from unica_sdk.node.home import NodeHome
from unica_sdk.node.ingest import IngestReport, ingest, patient_pseudonym
from unica_sdk.node.quality.collection import uneven
from unica_sdk.node.quality.headers import CHECKS, identifiers, judge
from unica_sdk.node.quality.rules import RULES
from unica_sdk.node.quarantine import Quarantined, read_list
from unica_sdk.node.scan import RULE_OF

TODAY = date(2026, 11, 1)
GOOD: dict[str, Any] = {
    "PatientID": "4711",
    "PatientBirthDate": "19610203",
    "PatientSex": "F",
    "PatientAge": "059Y",
    "StudyInstanceUID": "1.2.1",
    "SOPInstanceUID": "1.2.3",
    "Modality": "MG",
    "BodyPartExamined": "BREAST",
    "Manufacturer": "Phantom Works",
    "StudyDate": "20200405",
    "AcquisitionDate": "20200405",
    "ImageLaterality": "R",
    "ViewPosition": "MLO",
    "ImagerPixelSpacing": (0.07, 0.07),
    "Rows": 16,
    "Columns": 20,
    "BitsAllocated": 16,
    "BitsStored": 12,
    "HighBit": 11,
    "PixelRepresentation": 0,
}


def _header(**changes: Any) -> Header:
    values = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    return Header(values, "1.2.840.10008.1.2.1", Pixels("PixelData", 1000, 640), "unica")


def test_a_good_header_breaks_no_rule() -> None:
    assert judge(_header(), today=TODAY) == ()
    assert identifiers(_header()) is None


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("complete.minimum", {"BodyPartExamined": None}),
        ("complete.minimum", {"Manufacturer": ""}),
        ("complete.minimum", {"AcquisitionDate": None}),
        ("complete.spacing", {"ImagerPixelSpacing": None}),
        ("complete.spacing", {"Modality": "CT"}),
        ("complete.laterality", {"ImageLaterality": None}),
        ("complete.laterality", {"ViewPosition": None}),
        ("accurate.vocabulary", {"BodyPartExamined": "HEAD"}),
        ("accurate.vocabulary", {"PatientSex": "X"}),
        ("accurate.dates", {"StudyDate": "20201345"}),
        ("accurate.dates", {"StudyDate": "20991231", "AcquisitionDate": "20991231", "PatientAge": None}),
        ("accurate.dates", {"PatientBirthDate": "20210101"}),
        ("accurate.dates", {"PatientAge": "039Y"}),
        ("accurate.spacing", {"ImagerPixelSpacing": (0.0, 0.07)}),
        ("accurate.spacing", {"PixelSpacing": (70.0, 70.0)}),
        ("accurate.spacing", {"SliceThickness": 0.0}),
        ("accurate.bits", {"BitsStored": 17, "HighBit": 16}),
        ("accurate.bits", {"HighBit": 15}),
        ("accurate.bits", {"BitsAllocated": 12}),
        ("accurate.bits", {"PixelRepresentation": None}),
        ("accurate.laterality", {"ImageLaterality": "Q"}),
        ("accurate.laterality", {"Laterality": "L"}),
        ("accurate.laterality", {"ViewPosition": "SIDEWAYS"}),
    ],
)
def test_each_rule_breaks_alone_on_what_it_is_about(rule: str, changes: dict[str, Any]) -> None:
    assert [broken for broken, _ in judge(_header(**changes), today=TODAY)] == [rule]


def test_elements_that_hold_no_value_are_named() -> None:
    header = replace(_header(), malformed=("WindowCenter",))
    assert judge(header, today=TODAY) == (("integrity.elements", "WindowCenter"),)


@pytest.mark.parametrize(
    "changes",
    [
        {"StudyDate": "2020.04.05"},  # ACR-NEMA's
        {"PatientBirthDate": None},
        {"PatientAge": None},
        {"PatientAge": "058Y"},  # rounded either way
        {"Laterality": "R"},
        {"Modality": "CT", "PixelSpacing": (0.5, 0.5), "SpacingBetweenSlices": -2.5, "ViewPosition": None},
    ],
)
def test_what_is_lawful_breaks_no_rule(changes: dict[str, Any]) -> None:
    assert judge(_header(**changes), today=TODAY) == ()


@given(
    st.dictionaries(
        st.sampled_from(sorted(GOOD)),
        st.one_of(st.none(), st.text(max_size=8), st.integers(), st.floats(), st.tuples(st.floats())),
    )
)
def test_no_header_makes_a_rule_raise_or_quote_it(changes: dict[str, Any]) -> None:
    header = _header(**changes)
    details = " ".join(detail for _, detail in judge(header, today=TODAY))
    assert "4711" not in details
    assert "1961" not in details
    identifiers(header)


def test_every_rule_is_known_and_every_reason_is_of_a_hard_one() -> None:
    assert set(CHECKS) <= set(RULES)
    assert all(not RULES[rule].hard for rule in CHECKS)
    assert all(RULES[rule].hard for rule in RULE_OF.values())
    assert {rule.id for rule in RULES.values() if rule.hard} == set(RULE_OF.values())
    dimensions = {rule.dimension for rule in RULES.values()}
    assert dimensions == {"complete", "unique", "consistent", "accurate", "integrity", "privacy"}


@given(
    st.integers(3, 60), st.floats(0.5, 10), st.floats(-500, 500), st.randoms(use_true_random=False), st.data()
)
def test_a_missing_slice_is_found_in_any_order(
    number: int, distance: float, start: float, random: Any, data: st.DataObject
) -> None:
    places = [start + distance * n for n in range(number)]
    random.shuffle(places)
    assert uneven(places) is None
    assert uneven([*places, *places]) is None  # two time points
    if number > 4:
        missing = data.draw(st.integers(1, number - 2))
        found = uneven([place for place in places if place != start + distance * missing])
        assert found is not None
        assert "1 gap" in found


def _ingest(home: NodeHome, folder: Path, clinical: Path | None = None) -> tuple[IngestReport, dict]:
    report = ingest(
        home, folder, dataset="one", title="t", description="d", synthetic=True, clinical=clinical
    )
    return report, json.loads(Path(report.quality).with_suffix(".json").read_text())


def _examples(quality: dict, rule: str) -> list[list[str]]:
    (found,) = [one for one in quality["rules"] if one["id"] == rule]
    assert found["failed"] == len(found["examples"])
    return found["examples"]


def test_rules_on_many_files(empty_node: NodeHome, tmp_path: Path) -> None:
    d = tmp_path / "d"
    rng = np.random.default_rng(0)

    def write(name: str, number: int, patient: str = "P", **headers: Any) -> None:
        pixels = rng.integers(0, 4096, (16, 20)).astype(np.uint16)
        write_dicom(d / name, patient=patient, number=number, **{"pixels": pixels, **headers})

    write("a", 1, "A", PatientBirthDate="19600101")
    write("a-other-birth", 2, "A", PatientBirthDate="19600102")
    write("a-other-sex", 3, "A", PatientSex="M")
    (d / "copy-of-a").write_bytes((d / "a").read_bytes())
    write("same-identity", 1, "A")
    write("mixed-1", 10, "B", StudyInstanceUID="1.2.99")
    write("mixed-2", 11, "C", StudyInstanceUID="1.2.99")
    grey = np.full((16, 20), 7, np.uint16)
    write("pixels-1", 20, "D", pixels=grey)
    write("pixels-2", 21, "E", pixels=grey)
    write("days-1", 30, "F", StudyInstanceUID="1.2.98", AcquisitionDate="20200101")
    write("days-2", 31, "F", StudyInstanceUID="1.2.98", AcquisitionDate="20200103")
    volume = {"Modality": "CT", "StudyInstanceUID": "1.2.97", "SeriesInstanceUID": "1.2.96"}
    plane = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [1, 1]}
    for number, z in enumerate([0, 1, 2, 4, 5]):
        write(f"ct-{z}", 40 + number, "G", ImagePositionPatient=[0, 0, z], **volume, **plane)
    write("mr-in-ct", 50, "G", **{**volume, "Modality": "MR"})

    report, quality = _ingest(empty_node, d)
    assert sorted((Path(skip.path).name, skip.reason, skip.detail) for skip in report.skipped) == [
        ("copy-of-a", "duplicate", "the folder has this image already"),
        ("mixed-1", "mixed_study", "its study has 2 patients"),
        ("mixed-2", "mixed_study", "its study has 2 patients"),
        ("same-identity", "duplicate", "another image has its identifier"),
    ]
    key = empty_node.site_key()
    assert _examples(quality, "consistent.patient") == [
        [patient_pseudonym(key, "A"), "2 sexes, 2 dates of birth"]
    ]
    assert [Path(path).name for path, _ in _examples(quality, "unique.pixels")] == ["pixels-2"]
    assert [detail for _, detail in _examples(quality, "consistent.dates")] == ["2 dates"]
    assert [detail for _, detail in _examples(quality, "consistent.series")] == ["2 modalities"]
    assert [detail for _, detail in _examples(quality, "consistent.slices")] == ["1 gap of 4"]
    assert report.indexed == len(list(d.iterdir())) - 4


def test_linkage_with_the_clinical_table(empty_node: NodeHome, tmp_path: Path) -> None:
    for number, patient in enumerate(["with", "without", "differs"], 1):
        write_dicom(tmp_path / "d" / patient, patient=patient, number=number)
    table = write_clinical(
        tmp_path / "c.csv",
        [
            {"patient_id": patient, "outcome": "negative", "diagnosis": "none", "sex": sex}
            for patient, sex in [("with", "female"), ("differs", "male"), ("no-image", "")]
        ],
    )
    _, quality = _ingest(empty_node, tmp_path / "d", table)
    key = empty_node.site_key()
    assert dict(map(tuple, _examples(quality, "consistent.clinical"))) == {
        patient_pseudonym(key, "without"): "images, and no row of the table",
        patient_pseudonym(key, "no-image"): "a row of the table, and no image",
        patient_pseudonym(key, "differs"): "another sex in the table than in the images",
    }
    _, quality = _ingest(empty_node, tmp_path / "d")
    assert _examples(quality, "consistent.clinical") == []


def test_the_quarantine_lists_every_file_that_is_left_out(empty_node: NodeHome, tmp_path: Path) -> None:
    images, _ = write_collection(tmp_path, patients=1)
    (images / "notes.txt").write_text("notes")
    write_dicom(images / "us.dcm", patient="U", number=9, Modality="US")
    report, quality = _ingest(empty_node, images)
    (path,) = (empty_node.folder / "quarantine").iterdir()
    assert read_list(path) == [Quarantined.of(skip) for skip in report.skipped]
    assert [(Path(f.path).name, f.rule, f.reason) for f in read_list(path)] == [
        ("notes.txt", "integrity.header", "not_dicom"),
        ("us.dcm", "privacy.burned_in", "burned_in"),
    ]
    assert quality["reasons"] == [["not_dicom", 1], ["burned_in", 1]]
    assert (images / "us.dcm").exists()
    # What is repaired leaves the list.
    (images / "notes.txt").unlink()
    write_dicom(images / "us.dcm", patient="U", number=9)
    _ingest(empty_node, images)
    assert read_list(path) == []


def test_a_report_names_people_by_pseudonym_and_escapes_what_a_stranger_named(
    empty_node: NodeHome, tmp_path: Path
) -> None:
    name = "<script>alert(1)</script>.dcm".replace("/", "\u2215")
    path = write_dicom(
        tmp_path / "d" / name, patient="HOSPITAL-4711", number=1, PatientName="Papadopoulou^Eleni",
        PatientBirthDate="19610203", StudyDate="19500101", BodyPartExamined="XBXHEAD",
    )  # fmt: skip
    path.write_bytes(path.read_bytes().replace(b"XBXHEAD", b"<B>HEAD"))
    report, quality = _ingest(empty_node, tmp_path / "d")
    page = Path(report.quality).read_text()
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert "<b>head" not in page.lower()
    assert "SYNTHETIC" in page
    for secret in ("HOSPITAL-4711", "Papadopoulou", "19610203", "19500101"):
        assert secret not in page
        assert secret not in json.dumps(quality)
    assert [detail for _, detail in _examples(quality, "accurate.dates")] == ["examined before birth"]
    # Nothing is fetched from anywhere.
    assert "http" not in page.replace('http-equiv="Content-Security-Policy"', "")


def test_an_empty_folder_has_a_report_too(empty_node: NodeHome, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    report, quality = _ingest(empty_node, tmp_path / "d")
    page = Path(report.quality).read_text()
    assert (quality["files"], quality["images"]) == (0, 0)
    for words in ("No file: everything", "No image.", "every word is in", "nothing to check"):
        assert words in page


def test_a_report_adds_up_over_the_files_that_ship_with_pydicom(empty_node: NodeHome) -> None:
    report, quality = _ingest(empty_node, Path(DATA_ROOT))
    assert quality["files"] == report.indexed + len(report.skipped)
    assert sum(number for _, number in quality["reasons"]) == len(report.skipped)
    hard = sum(rule["failed"] for rule in quality["rules"] if rule["hard"])
    assert hard == len(report.skipped)
    assert all(rule["failed"] <= rule["checked"] for rule in quality["rules"])
    assert {title for title, _ in quality["distributions"]} >= {"Modality", "Age", "Sex"}
    ages = dict(quality["distributions"])["Age"]
    assert ages == [["0–9", 1], ["40–49", 2], ["70–79", 1]]
