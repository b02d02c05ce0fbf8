import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from dicom_files import write_clinical, write_collection, write_dicom
from pydicom.data import DATA_ROOT

from unica_sdk.errors import AuditBroken, ConfigurationError, DataError, InvalidRequest
from unica_sdk.node.clinical import Unmapped, read_clinical
from unica_sdk.node.home import NodeHome
from unica_sdk.node.index import Index
from unica_sdk.node.ingest import IngestReport, ingest


def _ingest(home: NodeHome, folder: Path, dataset: str = "one", clinical: Path | None = None) -> IngestReport:
    return ingest(
        home,
        folder,
        dataset=dataset,
        title="Title",
        description="Synthetic.",
        synthetic=True,
        clinical=clinical,
    )


def _all(home: NodeHome, table: str) -> list[tuple]:
    with Index.open(home.index_folder) as index:
        return index.rows(f"FROM {table} ORDER BY ALL")


def test_the_files_that_ship_with_pydicom(empty_node: NodeHome) -> None:
    report = _ingest(empty_node, Path(DATA_ROOT))
    reasons = Counter(skip.reason for skip in report.skipped)
    every = [path for path in Path(DATA_ROOT).rglob("*") if not path.is_dir()]
    # Every file is indexed or in quarantine with its reason, and none is both.
    assert report.indexed + len(report.skipped) == len(every)
    assert len({skip.path for skip in report.skipped}) == len(report.skipped)
    assert report.indexed > 20
    assert {"not_dicom", "no_pixels", "truncated", "incomplete", "burned_in"} <= set(reasons)


def test_a_second_ingest_gives_the_same_index_and_version(empty_node: NodeHome, tmp_path: Path) -> None:
    images, clinical = write_collection(tmp_path, patients=6)
    first = _ingest(empty_node, images, clinical=clinical)
    tables = [_all(empty_node, table) for table in ("instance", "patient", "clinical", "dataset", "meta")]
    assert _ingest(empty_node, images, clinical=clinical) == first
    assert tables == [_all(empty_node, t) for t in ("instance", "patient", "clinical", "dataset", "meta")]


def test_folders_and_datasets_live_side_by_side(empty_node: NodeHome, tmp_path: Path) -> None:
    one, one_table = write_collection(tmp_path / "one", patients=4)
    two, two_table = write_collection(tmp_path / "two", patients=3, first=2)
    _ingest(empty_node, one, "one", one_table)
    _ingest(empty_node, two, "two", two_table)
    datasets = {row[0]: row[-1] for row in _all(empty_node, "patient")}
    assert sorted(datasets.values()) == [["one"], ["one"], ["one", "two"], ["one", "two"], ["two"]]
    # The same dataset from a second folder: images it has already are named, not counted twice.
    report = _ingest(empty_node, two, "one", two_table)
    assert report.indexed == 1
    assert [skip.reason for skip in report.skipped] == ["duplicate", "duplicate"]
    assert len(_all(empty_node, "patient")) == 5


def test_a_later_ingest_of_a_folder_replaces_what_it_gave(empty_node: NodeHome, tmp_path: Path) -> None:
    images, clinical = write_collection(tmp_path, patients=5)
    first = _ingest(empty_node, images, clinical=clinical)
    (images / "0000.dcm").unlink()
    second = _ingest(empty_node, images, clinical=clinical)
    assert (first.indexed, second.indexed) == (5, 4)
    assert second.version == first.version + 1
    assert second.without_images == 1
    assert len(_all(empty_node, "patient")) == 4


def test_nothing_of_a_person_but_pseudonyms_is_in_the_index(empty_node: NodeHome, tmp_path: Path) -> None:
    images = tmp_path / "dicom"
    write_dicom(images / "x.dcm", patient="HOSPITAL-4711", number=1, PatientName="Papadopoulou^Eleni")
    table = write_clinical(
        tmp_path / "c.csv", [{"patient_id": "HOSPITAL-4711", "outcome": "negative", "diagnosis": "none"}]
    )
    _ingest(empty_node, images, clinical=table)
    content = b"".join(path.read_bytes() for path in empty_node.index_folder.iterdir())
    for secret in (b"HOSPITAL-4711", b"Papadopoulou", b"1.2.826.0.1.3680043.8.498"):
        assert secret not in content
    assert b"negative" in content


def test_two_sites_name_the_same_patient_differently(tmp_path: Path) -> None:
    images, _ = write_collection(tmp_path, patients=1)
    names = []
    for site in ("aa", "bb"):
        home = NodeHome.create(tmp_path / site, site=site, name=site, country="GR")
        _ingest(home, images)
        names.append(_all(home, "patient")[0][0])
    assert names[0] != names[1]


def test_headers_become_words_of_the_vocabulary_or_are_listed(empty_node: NodeHome, tmp_path: Path) -> None:
    cases = [
        {
            "BodyPartExamined": "CHEST",
            "Modality": "DX",
            "PatientSex": "M",
            "Manufacturer": "  ACME   Imaging ",
        },
        {"BodyPartExamined": "LUNG", "Modality": "IO", "PatientSex": "O"},
        {
            "BodyPartExamined": "HEAD",
            "Modality": "CR",
            "PatientSex": "X",
            "PatientAge": None,
            "Manufacturer": None,
        },
    ]
    for number, headers in enumerate(cases, 1):
        write_dicom(tmp_path / "d" / f"{number}", patient=str(number), number=number, **headers)
    report = _ingest(empty_node, tmp_path / "d")
    with Index.open(empty_node.index_folder) as index:
        found = index.rows("SELECT sex, age, modalities, body_parts, manufacturers FROM patient")
    assert sorted(found, key=str) == sorted(
        [
            ("male", 55, ["DX"], ["lung"], ["acme imaging"]),
            ("unknown", None, ["CR"], [], []),
        ],
        key=str,
    )
    assert report.unmapped == (
        Unmapped("body_part", "HEAD", 1),
        Unmapped("sex", "X", 1),
    )
    # An intra-oral image may hold a name in its pixels, as any but a few modalities.
    assert [(skip.reason, Path(skip.path).name) for skip in report.skipped] == [("burned_in", "2")]


def test_the_clinical_table_says_more_than_the_headers(empty_node: NodeHome, tmp_path: Path) -> None:
    write_dicom(tmp_path / "d" / "1", patient=" 1 ", number=1, PatientSex="F", PatientAge="050Y")
    write_dicom(tmp_path / "d" / "2", patient="2", number=2, PatientSex="F", PatientAge="050Y")
    table = write_clinical(
        tmp_path / "d" / "clinical.csv",
        [
            {"patient_id": "1", "outcome": "negative", "diagnosis": "none", "sex": "male", "age": "61.4"},
            {"patient_id": "3", "outcome": "negative", "diagnosis": "none", "sex": "", "age": ""},
        ],
    )
    report = _ingest(empty_node, tmp_path / "d", clinical=table)
    with Index.open(empty_node.index_folder) as index:
        found = index.rows("SELECT sex, age, diagnosis, outcome FROM patient")
    assert sorted(found, key=str) == [("female", 50, None, None), ("male", 61, "none", "negative")]
    # The table lies among the images and is not one of them; patient 3 has no image here.
    assert report.skipped == ()
    assert report.without_images == 1


def test_unknown_terms_of_the_table_are_listed_and_left_empty(tmp_path: Path) -> None:
    table = write_clinical(
        tmp_path / "c.csv",
        [
            {"patient_id": "1", "outcome": "Negative", "diagnosis": "C50.9", "age": "old"},
            {"patient_id": "2", "outcome": "positive", "diagnosis": "none", "age": "130"},
            {"patient_id": "2", "outcome": "negative", "diagnosis": "breast_cancer", "age": "nan"},
        ],
    )
    rows, unmapped = read_clinical(table)
    assert [(row.outcome, row.diagnosis, row.age) for row in rows] == [
        ("negative", None, None),
        ("negative", None, None),
    ]
    assert [(u.field, u.value) for u in unmapped] == [
        ("age", "130"),
        ("age", "nan"),
        ("age", "old"),
        ("diagnosis", "C50.9"),
        ("diagnosis", "contradictory: breast_cancer, none"),
        ("outcome", "positive"),
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"patient_id,outcome\n1,negative\n", "diagnosis"),
        (b"", "patient_id"),
        (b"patient_id,outcome,diagnosis\n,negative,none\n", "Row 2"),
        (
            b"patient_id,outcome,diagnosis\n1,negative,none\nDoe, Jane,negative,none\n",
            "Row 3 has more values",
        ),
        (b"\xff\xfe\x00", "CSV"),
        (b'patient_id,outcome,diagnosis\n"1,negative', "CSV"),
    ],
)
def test_a_table_that_cannot_be_read_says_why(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "c.csv").write_bytes(content)
    with pytest.raises(DataError, match=says):
        read_clinical(tmp_path / "c.csv")


def test_a_table_from_a_spreadsheet_is_read(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_bytes(
        "\ufeffPatient_ID , outcome,diagnosis,extra\r\nÄ1,negative,none,x\r\n".encode()
    )
    rows, _ = read_clinical(tmp_path / "c.csv")
    assert [(row.patient, row.outcome) for row in rows] == [("Ä1", "negative")]


def test_cells_that_say_nothing_are_no_rows_and_no_columns(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_bytes(b"patient_id,outcome,diagnosis\n1,negative,none,, \n,,\n, ,,,\n")
    rows, unmapped = read_clinical(tmp_path / "table.csv")
    assert [(row.patient, row.outcome, row.diagnosis) for row in rows] == [("1", "negative", "none")]
    assert not unmapped


def test_wrong_names_and_folders_do_nothing(empty_node: NodeHome, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest):
        _ingest(empty_node, tmp_path, "../x")
    with pytest.raises(ConfigurationError):
        _ingest(empty_node, tmp_path / "nowhere")
    assert list(empty_node.index_folder.iterdir()) == []


def test_the_nodes_own_copies_are_no_source(empty_node: NodeHome, tmp_path: Path) -> None:
    """They would come in again, as images of other people."""
    images, _ = write_collection(tmp_path, patients=2)
    _ingest(empty_node, images)
    (tmp_path / "link").symlink_to(empty_node.folder / "store")
    for folder in (empty_node.folder, empty_node.folder / "store", tmp_path / "link"):
        with pytest.raises(ConfigurationError, match="the node's own"):
            _ingest(empty_node, folder)


def test_a_name_that_is_not_utf8_is_skipped_and_listed(empty_node: NodeHome, tmp_path: Path) -> None:
    images, _ = write_collection(tmp_path, patients=1)
    strange = Path(str(images / "0000") + "\udcff.dcm")
    shutil.copy(images / "0000.dcm", strange)
    report = _ingest(empty_node, images)
    assert report.indexed == 1
    (skip,) = report.skipped
    assert (skip.reason, skip.path.endswith("0000\\xff.dcm")) == ("unreadable", True)


def test_progress_counts_every_file(empty_node: NodeHome, tmp_path: Path) -> None:
    images, _ = write_collection(tmp_path, patients=3)
    seen: list[tuple[int, int]] = []
    ingest(
        empty_node,
        images,
        dataset="one",
        title="",
        description="",
        synthetic=True,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_without_an_audit_nothing_is_published(empty_node: NodeHome, tmp_path: Path) -> None:
    images, _ = write_collection(tmp_path, patients=1)
    (empty_node.folder / "audit.jsonl").write_text("not an entry\n")
    with pytest.raises(AuditBroken):
        _ingest(empty_node, images)
    assert not (empty_node.index_folder / "CURRENT").exists()


def test_what_a_table_says_besides_is_kept_in_the_common_data_model(
    empty_node: NodeHome, tmp_path: Path
) -> None:
    write_dicom(tmp_path / "d" / "1", patient="1", number=1)
    row = {"patient_id": "1", "outcome": "negative", "diagnosis": "none", "age": "61.47", "birads": "2"}
    table = write_clinical(tmp_path / "c.csv", [row])
    _ingest(empty_node, tmp_path / "d", clinical=table)
    with Index.open(empty_node.index_folder) as index:
        ((age, extra),) = index.rows("SELECT age, extra FROM clinical")
    assert (age, json.loads(extra)) == (61, {"age": 61.4, "birads": "2"})
