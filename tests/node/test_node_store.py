"""De-identified copies: what is in them, where they are, when they are made anew and when they go."""

import os
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import ROOT, write_collection, write_dicom
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from unica_sdk.errors import ConfigurationError, DataError
from unica_sdk.node.copies import Copied, CopyPool
from unica_sdk.node.home import NodeHome
from unica_sdk.node.index import KEPT_VERSIONS, Index
from unica_sdk.node.ingest import IngestReport, ingest, patient_pseudonym
from unica_sdk.node.manifest import fingerprint
from unica_sdk.node.scan import Skipped
from unica_sdk.node.store import Store

LONG_AGO = 1_600_000_000


def _ingest(home: NodeHome, folder: Path, dataset: str = "one", **settings: object) -> IngestReport:
    return ingest(home, folder, dataset=dataset, title="t", description="d", synthetic=True, **settings)


def _old(folder: Path) -> None:
    """Date files back: one that was written just now is read again, since it may still change."""
    for path in folder.rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))


def _rows(home: NodeHome, columns: str) -> list[tuple]:
    with Index.open(home.index_folder) as index:
        return index.rows(f"SELECT {columns} FROM instance ORDER BY ALL")  # noqa: S608


def _copies(home: NodeHome) -> set[str]:
    return set(Store(home.folder / "store").names())


def test_a_copy_has_the_pixels_and_nothing_of_the_person(empty_node: NodeHome, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 4096, (16, 20)).astype(np.uint16)
    write_dicom(
        tmp_path / "d" / "Papadopoulou.dcm", patient="HOSPITAL-4711", number=1, pixels=pixels,
        PatientName="Papadopoulou^Eleni", PatientBirthDate="19610203", StudyDate="20200405",
        AccessionNumber="ACC-99",
    )  # fmt: skip
    _ingest(empty_node, tmp_path / "d")
    ((path, patient, study, offset, length),) = _rows(
        empty_node, "path, patient, study, pixel_offset, pixel_length"
    )
    content = Path(path).read_bytes()
    assert content[offset : offset + length] == pixels.tobytes()
    copy = pydicom.dcmread(path)
    assert copy.PatientID == patient == patient_pseudonym(empty_node.site_key(), "HOSPITAL-4711")
    assert copy.StudyInstanceUID == study
    assert copy.PatientIdentityRemoved == "YES"
    everything = b"".join(p.read_bytes() for p in (empty_node.folder / "store").rglob("*.dcm"))
    for secret in (
        b"4711",
        b"Papadopoulou",
        b"19610203",
        b"20200405",
        b"ACC-99",
        f"{ROOT}.1.1".encode(),
    ):
        assert secret not in everything
        assert secret.decode() not in path


def test_the_ledger_and_the_index_have_no_identifier_either(empty_node: NodeHome, tmp_path: Path) -> None:
    write_dicom(
        tmp_path / "d" / "1.dcm", patient="HOSPITAL-4711", number=1, PatientName="Papadopoulou^Eleni",
        PatientBirthDate="19610203", StudyDate="20200405",
    )  # fmt: skip
    _ingest(empty_node, tmp_path / "d")
    for path in empty_node.folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for secret in (b"HOSPITAL-4711", b"Papadopoulou", b"19610203", b"20200405"):
                assert secret not in content, path


def test_only_the_owner_may_read_what_an_ingest_writes(empty_node: NodeHome, tmp_path: Path) -> None:
    images, _ = write_collection(tmp_path, patients=2)
    _ingest(empty_node, images)
    for part in ("store", "reports", "quarantine", "ledger.sqlite"):
        place = empty_node.folder / part
        for path in [place, *place.rglob("*")]:
            assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless])
def test_a_copy_stays_in_its_transfer_syntax(empty_node: NodeHome, tmp_path: Path, syntax: str) -> None:
    path = write_dicom(tmp_path / "d" / "1.dcm", patient="P", number=1)
    dataset = pydicom.dcmread(path)
    expected = dataset.pixel_array
    if syntax == RLELossless:
        dataset.compress(syntax, generate_instance_uid=False)
        dataset.save_as(path)
    else:
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    assert _ingest(empty_node, tmp_path / "d").indexed == 1
    ((copy, found, offset, length),) = _rows(empty_node, "path, transfer_syntax, pixel_offset, pixel_length")
    assert found == syntax
    assert (offset is None) == (syntax == DeflatedExplicitVRLittleEndian)
    assert (length is None) == (syntax == RLELossless)
    np.testing.assert_array_equal(pydicom.dcmread(copy).pixel_array, expected)


def test_what_the_index_says_of_a_copy_is_what_the_copy_says(empty_node: NodeHome, tmp_path: Path) -> None:
    write_dicom(
        tmp_path / "d" / "1", patient="P", number=1, Modality="CT", PixelSpacing=[0.5, 0.75],
        SliceThickness=2.5, ImagePositionPatient=[1, 2, 3.5], ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        RescaleSlope=2, RescaleIntercept=-1024, WindowCenter=[40, 400], WindowWidth=[80, 2000],
        InstanceNumber=7, PixelRepresentation=1,
    )  # fmt: skip
    write_dicom(tmp_path / "d" / "2", patient="P", number=2, ImageLaterality="R", ViewPosition="MLO")
    _ingest(empty_node, tmp_path / "d")
    ct, mg = _rows(
        empty_node,
        "modality, row_spacing, column_spacing, slice_thickness, position, orientation, rescale_slope,"
        " rescale_intercept, window_center, window_width, number, signed, laterality, view, bits_stored",
    )
    assert ct == (
        "CT", 0.5, 0.75, 2.5, [1, 2, 3.5], [1, 0, 0, 0, 1, 0], 2, -1024, 40, 80, 7, True, None, None, 16,
    )  # fmt: skip
    assert mg[-4:] == (False, "R", "MLO", 16)
    for path, digest in _rows(empty_node, "path, sha256"):
        assert fingerprint(path).sha256 == digest


def test_the_same_key_and_files_give_the_same_copies(tmp_path: Path) -> None:
    images, _ = write_collection(tmp_path, patients=3)
    one = NodeHome.create(tmp_path / "one", site="aa", name="A", country="GR")
    two = NodeHome.create(tmp_path / "two", site="aa", name="A", country="GR")
    shutil.copyfile(one.folder / "site.key", two.folder / "site.key")
    other = NodeHome.create(tmp_path / "other", site="aa", name="A", country="GR")
    for home in (one, two, other):
        _ingest(home, images)
    assert _copies(one) == _copies(two)
    assert _rows(one, "sha256") == _rows(two, "sha256")
    assert _copies(one).isdisjoint(_copies(other))


def test_a_second_ingest_reads_only_what_changed(empty_node: NodeHome, tmp_path: Path) -> None:
    images, _ = write_collection(tmp_path, patients=4)
    (images / "note.txt").write_text("not an image")
    _old(images)
    first = _ingest(empty_node, images)
    assert first.read == 5
    assert _ingest(empty_node, images).read == 0
    write_dicom(images / "0001.dcm", patient="P0001", number=2, pixels=np.ones((16, 20), np.uint16))
    second = _ingest(empty_node, images)
    assert (second.read, second.version) == (1, first.version + 1)
    # A copy that somebody removed is made again, from a file that did not change.
    os.utime(images / "0001.dcm", (LONG_AGO, LONG_AGO))
    _ingest(empty_node, images)
    Path(_rows(empty_node, "path")[0][0]).unlink()
    third = _ingest(empty_node, images)
    assert (third.read, third.version) == (1, second.version)
    assert _ingest(empty_node, images, reread=True).read == 5


def test_a_file_written_just_now_is_read_again(empty_node: NodeHome, tmp_path: Path) -> None:
    """Its time may not show that it changed once more; a version does not come of it."""
    images, _ = write_collection(tmp_path, patients=1)
    for path in images.iterdir():
        os.utime(path, (4_000_000_000, 4_000_000_000))
    assert [_ingest(empty_node, images).version for _ in range(2)] == [1, 1]
    assert _ingest(empty_node, images).read == 1


def test_old_copies_go_when_no_version_has_them_any_more(empty_node: NodeHome, tmp_path: Path) -> None:
    images, _ = write_collection(tmp_path, patients=3)
    _ingest(empty_node, images)
    (gone,) = _copies(empty_node) - _without(empty_node, images, "0001.dcm")
    assert gone in _copies(empty_node)
    for turn in range(KEPT_VERSIONS):
        pixels = np.full((16, 20), turn + 2, np.uint16)
        write_dicom(images / "0002.dcm", patient="P0002", number=3, pixels=pixels)
        _ingest(empty_node, images)
    assert gone not in _copies(empty_node)
    referenced = {path for (path,) in _rows(empty_node, "path")}
    assert referenced <= {f"{empty_node.folder}/store/{name}" for name in _copies(empty_node)}
    assert len(_copies(empty_node)) == 2 + KEPT_VERSIONS - 1


def _without(home: NodeHome, images: Path, name: str) -> set[str]:
    (images / name).unlink()
    _ingest(home, images)
    store = f"{home.folder}/store/"
    return {path.removeprefix(store) for (path,) in _rows(home, "path")}


def test_a_copy_that_another_dataset_has_stays(empty_node: NodeHome, tmp_path: Path) -> None:
    images, _ = write_collection(tmp_path / "a", patients=2)
    shutil.copytree(images, tmp_path / "b")
    _ingest(empty_node, images, "one")
    _ingest(empty_node, tmp_path / "b", "two")
    assert len(_copies(empty_node)) == 2
    (images / "0000.dcm").unlink()
    for turn in range(KEPT_VERSIONS + 1):
        write_dicom(images / "x.dcm", patient="X", number=100 + turn)
        _ingest(empty_node, images, "one")
    with Index.open(empty_node.index_folder) as index:
        paths = index.rows("SELECT path FROM instance WHERE dataset = 'two'")
    assert len(paths) == 2
    assert all(Path(path).exists() for (path,) in paths)


def test_a_home_within_the_folder_is_no_source(tmp_path: Path) -> None:
    write_collection(tmp_path / "all", patients=2)
    home = NodeHome.create(tmp_path / "all" / "node", site="aa", name="A", country="GR")
    for _ in range(2):
        report = _ingest(home, tmp_path / "all")
        assert (report.indexed, [Path(s.path).name for s in report.skipped]) == (2, ["clinical.csv"])


def test_the_hospitals_folder_is_only_read(empty_node: NodeHome, tmp_path: Path) -> None:
    images, _ = write_collection(tmp_path, patients=2)
    (images / "broken.dcm").write_bytes(bytes(128) + b"DICM")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in images.iterdir()}
    images.chmod(0o500)
    try:
        _ingest(empty_node, images)
    finally:
        images.chmod(0o700)
    assert before == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in images.iterdir()}


@pytest.mark.parametrize("name", ["../x", "ab/abc.dcm", "/etc/passwd", "1f/1f" + "0" * 30 + "/../1.dcm", ""])
def test_a_store_has_no_other_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="no name"):
        Store(tmp_path).path(name)


@pytest.fixture
def copying(empty_node: NodeHome):
    store = Store(empty_node.folder / "store")
    with CopyPool(key_file=empty_node.folder / "site.key", store=store, size=1) as pool:
        yield pool


def test_what_changed_since_it_was_scanned_is_not_copied(copying: CopyPool, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "1.dcm", patient="P", number=1)
    scanned = fingerprint(path)
    assert isinstance(copying.copy(str(path), scanned, stamp="0" * 16), Copied)
    os.utime(path, (LONG_AGO, LONG_AGO))
    refused = copying.copy(str(path), scanned, stamp="0" * 16)
    assert isinstance(refused, Skipped)
    assert (refused.reason, refused.passing) == ("changed", True)
    # Nor what took its place, were it to wait for a writer for ever.
    path.unlink()
    os.mkfifo(path)
    refused = copying.copy(str(path), scanned, stamp="0" * 16)
    assert isinstance(refused, Skipped)
    assert refused.reason == "changed"


def test_a_tail_that_is_cut_off_is_noticed(copying: CopyPool, tmp_path: Path) -> None:
    """The scan stops at the pixels; what follows them is read by nobody but the copying process."""
    path = write_dicom(tmp_path / "1.dcm", patient="P", number=1)
    dataset = pydicom.dcmread(path)
    dataset.add_new((0xFFFC, 0xFFFC), "OB", bytes(1000))
    dataset.save_as(path)
    path.write_bytes(path.read_bytes()[:-100])
    refused = copying.copy(str(path), fingerprint(path), stamp="0" * 16)
    assert isinstance(refused, Skipped)
    assert refused.reason == "truncated"


def test_a_tail_that_pydicom_cannot_convert_costs_no_process(copying: CopyPool, tmp_path: Path) -> None:
    """It is of no known kind and empty, which pydicom takes for a value that is still to be read."""
    path = write_dicom(tmp_path / "1.dcm", patient="P", number=1)
    path.write_bytes(path.read_bytes() + b"\xfe\xbb\xa8\x97\x57\x83\0\0")
    assert isinstance(copying.copy(str(path), fingerprint(path), stamp="0" * 16), Copied)


def test_bytes_that_nobody_can_copy_are_a_reason_not_an_end(copying: CopyPool, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    whole = np.frombuffer(write_dicom(tmp_path / "1.dcm", patient="P", number=1).read_bytes(), np.uint8)
    for turn in range(40):
        broken = whole.copy()
        where = rng.integers(132, len(broken) - 640, 1 + turn % 8)
        broken[where] = rng.integers(0, 256, len(where))
        path = tmp_path / f"{turn}.bin"
        path.write_bytes(broken.tobytes())
        found = copying.copy(str(path), fingerprint(path), stamp=f"{turn:016x}")
        assert isinstance(found, Copied | Skipped)


def test_an_export_has_what_consent_admits_and_no_place(node: NodeHome, tmp_path: Path) -> None:
    import duckdb

    from unica_sdk.node.consent import ConsentRegistry
    from unica_sdk.node.export import export_parquet

    ConsentRegistry.of(node).withdraw(["P0003"])
    for _ in range(2):
        paths = export_parquet(node, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(path.name for path in paths)
    assert all(path.stat().st_mode & 0o077 == 0 for path in paths)
    with duckdb.connect() as connection:
        tables = {
            path.stem: connection.execute("SELECT * FROM read_parquet(?)", [str(path)]) for path in paths
        }
        columns = {name: {column[0] for column in table.description or ()} for name, table in tables.items()}
    assert not columns["instance"] & {"path", "folder"}
    with duckdb.connect() as connection:
        people = connection.execute("SELECT patient FROM read_parquet(?)", [str(paths[0])]).fetchall()
        images = connection.execute("SELECT pixel_offset FROM read_parquet(?)", [str(paths[1])]).fetchall()
    assert len(people) == len(images) == 87
    assert (patient_pseudonym(node.site_key(), "P0003"),) not in people
    with pytest.raises(ConfigurationError, match="own folder"):
        export_parquet(node, node.folder / "out")
