import os
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from dicom_files import write_dicom
from pydicom import dcmread
from pydicom.data import DATA_ROOT
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

import unica_sdk
from unica_sdk.errors import ConfigurationError
from unica_sdk.node.decoding import check_pixels
from unica_sdk.node.header_values import MAX_VALUE
from unica_sdk.node.pool import Failed, WorkerPool
from unica_sdk.node.scan import (
    RULE_OF,
    Listed,
    Scanned,
    Skipped,
    Verdict,
    files_of,
    listed,
    scan_files,
    years,
)

BUNDLE = Path(DATA_ROOT)


def _scan(folder: Path, paths: list[Path] | None = None) -> dict[str, Verdict]:
    found = paths or files_of(folder)
    verdicts = scan_files(str(folder), [str(path) for path in found], unica_sdk.__version__)
    return {str(p.relative_to(folder)): v for p, v in zip(found, verdicts, strict=True)}


def _reasons(found: dict[str, Verdict]) -> dict[str, str]:
    return {name: v.reason for name, v in found.items() if isinstance(v, Skipped)}


def test_every_file_that_ships_with_pydicom_gets_a_verdict() -> None:
    found = _scan(BUNDLE)
    assert len(found) > 150
    reasons = {name.removeprefix("test_files/"): reason for name, reason in _reasons(found).items()}
    assert reasons["MR_truncated.dcm"] == "truncated"
    assert reasons["rtplan.dcm"] == "no_pixels"
    assert reasons["ExplVR_BigEnd.dcm"] == "incomplete"
    assert reasons["README.txt"] == "not_dicom"
    assert reasons["SC_rgb_jpeg_gdcm.dcm"] == "burned_in"
    assert sum(isinstance(verdict, Scanned) for verdict in found.values()) > 20


def test_what_leaves_the_scan_names_nobody() -> None:
    """A cluster's network carries verdicts: nothing of them is from a header but keywords and fixed words."""
    seen = repr(_scan(BUNDLE).values())
    dataset = dcmread(BUNDLE / "test_files" / "CT_small.dcm")
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "SOPInstanceUID", "StudyDate"):
        assert str(dataset[keyword].value) not in seen


@pytest.mark.parametrize("name", ["CT_small", "MR_small_RLE", "MR_small_jp2klossless", "MR_small_implicit"])
def test_a_cut_file_passes_only_if_its_pixels_are_whole(tmp_path: Path, name: str) -> None:
    whole = (BUNDLE / "test_files" / f"{name}.dcm").read_bytes()
    cuts = [*range(0, len(whole), len(whole) // 20), len(whole) - 1]
    for cut in cuts:
        (tmp_path / f"{cut:06d}.dcm").write_bytes(whole[:cut])
    found = _scan(tmp_path)
    # What lies behind the pixels is cut off in these; the copying process reads to the end and notices.
    passed = [name for name, verdict in found.items() if isinstance(verdict, Scanned)]
    assert all(int(name[:6]) > 0.9 * len(whole) for name in passed)
    assert _reasons(found)["000000.dcm"] == "empty"


def test_changed_bytes_never_raise_nor_stop_the_scan(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    for name in ("MR_small_RLE", "CT_small", "MR_small_jpeg_ls_lossless", "SC_rgb_small_odd_jpeg"):
        whole = np.frombuffer((BUNDLE / "test_files" / f"{name}.dcm").read_bytes(), dtype=np.uint8)
        for turn in range(25):
            broken = whole.copy()
            where = rng.integers(132, len(broken), 1 + turn)
            broken[where] = rng.integers(0, 256, len(where))
            (tmp_path / f"{name}-{turn}.dcm").write_bytes(broken.tobytes())
    found = _scan(tmp_path)
    assert len(found) == 100
    assert _reasons(found)


def test_what_is_no_image_is_said_in_one_word(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("DICM" + "not an image" * 100)
    (tmp_path / "prefix").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    write_dicom(tmp_path / "anonymous", patient="", number=1)
    write_dicom(tmp_path / "ultrasound", patient="P", number=2, Modality="US")
    write_dicom(tmp_path / "marked", patient="P", number=3, BurnedInAnnotation="YES")
    found = _reasons(_scan(tmp_path))
    assert found == {
        "anonymous": "incomplete",
        "empty": "empty",
        "link": "unreadable",
        "marked": "burned_in",
        "pipe": "unreadable",
        "prefix": "no_pixels",
        "text": "not_dicom",
        "ultrasound": "burned_in",
    }
    assert set(found.values()) <= set(RULE_OF)


def test_only_what_may_be_otherwise_next_time_is_passing(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "empty").touch()
    found = _scan(tmp_path)
    assert {name: v.passing for name, v in found.items() if isinstance(v, Skipped)} == {
        "empty": False,
        "link": True,
    }


def test_what_is_no_file_has_signs_that_no_file_has(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"1234")
    assert listed(tmp_path / "pipe") == Listed(str(tmp_path / "pipe"), -1, -2)
    assert listed(tmp_path / "gone").modified == -2
    assert (listed(tmp_path / "file").size, listed(tmp_path / "file").modified > 0) == (4, True)


def test_linked_folders_are_not_entered_and_some_are_left_out(tmp_path: Path) -> None:
    for name in ("a", "home"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "one").touch()
    (tmp_path / "a" / "round").symlink_to(tmp_path)
    found = files_of(tmp_path, leave_out=frozenset([tmp_path / "home"]))
    assert [str(path.relative_to(tmp_path)) for path in found] == ["a/one", "a/round"]


def test_missing_pixel_bytes_are_noticed_though_the_element_is_whole(tmp_path: Path) -> None:
    write_dicom(tmp_path / "short.dcm", patient="P", number=1, Rows=64)
    assert _reasons(_scan(tmp_path)) == {"short.dcm": "truncated"}


def test_a_file_that_is_written_while_it_is_read_is_said_to_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the one place where the world can get in between: the digest of the file."""
    from unica_sdk.node import scan

    path = write_dicom(tmp_path / "one.dcm", patient="P", number=1)
    take = scan.fingerprint

    def grow(file: str) -> object:
        with path.open("ab") as more:
            more.write(b"more")
        return take(file)

    monkeypatch.setattr(scan, "fingerprint", grow)
    (verdict,) = _scan(tmp_path).values()
    assert isinstance(verdict, Skipped)
    assert (verdict.reason, verdict.passing) == ("changed", True)


def test_equal_pixels_show_under_any_header(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a", patient="P", number=1)
    write_dicom(tmp_path / "b", patient="Q", number=2)
    write_dicom(tmp_path / "c", patient="Q", number=3, pixels=np.zeros((16, 20), np.uint16))
    found = _scan(tmp_path)
    digests = [v.pixels for v in found.values() if isinstance(v, Scanned)]
    assert digests[0] == digests[1] != digests[2]


def test_only_compressed_pixels_are_for_a_decoder(tmp_path: Path) -> None:
    write_dicom(tmp_path / "native", patient="P", number=1)
    write_dicom(tmp_path / "rle", patient="P", number=2, transfer_syntax=RLELossless)
    dataset = dcmread(tmp_path / "native")
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(tmp_path / "deflated")
    encoded = {name: v.encoded for name, v in _scan(tmp_path).items() if isinstance(v, Scanned)}
    assert encoded == {"deflated": False, "native": False, "rle": True}


def test_a_deflated_file_whose_pixels_are_too_few_is_noticed(tmp_path: Path) -> None:
    dataset = dcmread(write_dicom(tmp_path / "native", patient="P", number=1))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(tmp_path / "whole")
    dataset.Rows += 1
    dataset.save_as(tmp_path / "short")
    assert _reasons(_scan(tmp_path)) == {"short": "truncated"}


@pytest.mark.parametrize(
    ("keyword", "head"),
    [("BurnedInAnnotation", b"\x28\0\x01\x03CS"), ("ConversionType", b"\x08\0\x64\0CS")],
)
def test_what_cannot_be_read_may_have_warned_of_a_text_in_the_pixels(
    tmp_path: Path, keyword: str, head: bytes
) -> None:
    path = write_dicom(tmp_path / "x.dcm", patient="P", number=1, **{keyword: "NO"})
    before, after = path.read_bytes().split(head + b"\x02\0NO")
    long = b"YES".ljust(MAX_VALUE + 2)
    path.write_bytes(before + head + len(long).to_bytes(2, "little") + long + after)
    (verdict,) = _scan(tmp_path).values()
    assert isinstance(verdict, Skipped)
    assert (verdict.reason, verdict.detail) == ("burned_in", f"{keyword} cannot be read.")


def test_compressed_pixels_that_do_not_decode_are_noticed(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "rle.dcm", patient="P", number=1, transfer_syntax=RLELossless)
    assert check_pixels(path) == []
    dataset = dcmread(path)
    dataset.PixelData = encapsulate([b"\xff" * 64])
    dataset.save_as(path)
    found = check_pixels(path)
    assert isinstance(found, Skipped)
    assert found.reason == "undecodable"


def test_a_worker_that_sees_no_folder_or_is_of_another_version_stops_the_ingest(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not see"):
        scan_files(str(tmp_path / "elsewhere"), [], unica_sdk.__version__)
    with pytest.raises(ConfigurationError, match="version"):
        scan_files(str(tmp_path), [], "0.0.0")


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("061Y", 61),
        ("000Y", 0),
        ("023M", 1),
        ("364D", 0),
        ("", None),
        ("61", None),
        ("999Y", None),
        ("-1Y", None),
    ],
)
def test_dicom_ages(text: str, age: int | None) -> None:
    assert years(text) == age


def test_a_file_that_never_ends_costs_one_worker_not_the_scan(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    good = write_dicom(tmp_path / "good.dcm", patient="P", number=1)
    with WorkerPool(size=1, seconds=3) as pool:
        hung, fine = pool.prepare([tmp_path / "pipe", good], rows=8, columns=8)
        assert pool.check(good) == []
        refused = pool.check(tmp_path / "pipe")
    assert isinstance(hung, Failed)
    assert "longer than 3 s" in hung.detail
    assert isinstance(fine, np.ndarray)
    assert isinstance(refused, Skipped)
    assert (refused.reason, refused.passing) == ("undecodable", True)


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    good = write_dicom(tmp_path / "good.dcm", patient="P", number=1)
    others = set(psutil.Process().children())
    with WorkerPool(size=1) as pool:
        assert pool.check(good) == []
        results = pool.prepare([tmp_path / "pipe", good], rows=8, columns=8)
        (worker,) = set(psutil.Process().children()) - others
        worker.kill()
        died, fine = results
    assert isinstance(died, Failed)
    assert "died" in died.detail
    assert isinstance(fine, np.ndarray)
    assert set(psutil.Process().children()) <= others


def test_an_installation_that_cannot_read_is_not_taken_for_bad_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = write_dicom(tmp_path / "good.dcm", patient="P", number=1)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with WorkerPool(size=1) as pool, pytest.raises(ConfigurationError, match="does not start"):
        pool.check(good)
