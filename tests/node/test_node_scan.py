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
from pydicom.uid import RLELossless

from unica_sdk.errors import ConfigurationError
from unica_sdk.node.pool import Failed, WorkerPool
from unica_sdk.node.scan import Instance, Skipped, files_of, inspect, years

BUNDLE = Path(DATA_ROOT)


@pytest.fixture(scope="module")
def pool():
    with WorkerPool() as workers:
        yield workers


def _bundled(pool: WorkerPool) -> dict[str, Instance | Skipped]:
    paths = files_of(BUNDLE)
    return {str(p.relative_to(BUNDLE)): r for p, r in zip(paths, pool.inspect(paths), strict=True)}


def test_every_file_that_ships_with_pydicom_gets_a_verdict(pool: WorkerPool) -> None:
    results = _bundled(pool)
    assert len(results) > 150
    reasons = {
        name.removeprefix("test_files/"): r.reason for name, r in results.items() if isinstance(r, Skipped)
    }
    assert reasons["MR_truncated.dcm"] == "truncated"
    assert reasons["rtplan.dcm"] == "no_pixels"
    assert reasons["JPGExtended.dcm"] == "undecodable"
    assert reasons["badVR.dcm"] == "corrupt"
    assert reasons["ExplVR_BigEnd.dcm"] == "incomplete"
    assert reasons["README.txt"] == "not_dicom"
    assert sum(isinstance(r, Instance) for r in results.values()) > 80


def test_headers_are_read_as_they_stand(pool: WorkerPool) -> None:
    found = _bundled(pool)["test_files/J2K_pixelrep_mismatch.dcm"]
    assert isinstance(found, Instance)
    assert (found.patient, found.modality, found.age, found.body_part) == ("JXD191021006", "CT", 76, "HEAD")
    assert (found.rows, found.columns, found.frames, found.samples) == (512, 512, 1, 1)
    assert found.transfer_syntax == "1.2.840.10008.1.2.4.90"


@pytest.mark.parametrize("name", ["CT_small", "MR_small_RLE", "MR_small_jp2klossless", "MR_small_implicit"])
def test_a_cut_file_never_passes(pool: WorkerPool, tmp_path: Path, name: str) -> None:
    whole = (BUNDLE / "test_files" / f"{name}.dcm").read_bytes()
    cuts = [*range(0, len(whole), len(whole) // 20), len(whole) - 1]
    paths = [tmp_path / f"{cut:06d}.dcm" for cut in cuts]
    for cut, path in zip(cuts, paths, strict=True):
        path.write_bytes(whole[:cut])
    results = list(pool.inspect(paths))
    assert all(isinstance(result, Skipped) for result in results)
    assert results[-1].reason == "truncated"


def test_changed_bytes_never_raise_nor_stop_the_scan(pool: WorkerPool, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    paths = []
    for name in ("MR_small_RLE", "CT_small", "MR_small_jpeg_ls_lossless", "SC_rgb_small_odd_jpeg"):
        whole = np.frombuffer((BUNDLE / "test_files" / f"{name}.dcm").read_bytes(), dtype=np.uint8)
        for turn in range(25):
            broken = whole.copy()
            where = rng.integers(132, len(broken), 1 + turn)
            broken[where] = rng.integers(0, 256, len(where))
            paths.append(tmp_path / f"{name}-{turn}.dcm")
            paths[-1].write_bytes(broken.tobytes())
    results = list(pool.inspect(paths))
    assert len(results) == 100
    assert any(isinstance(result, Skipped) for result in results)


def test_what_is_no_image_is_said_in_one_word(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("DICM" + "not an image" * 100)
    (tmp_path / "prefix").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    write_dicom(tmp_path / "anonymous", patient="", number=1)
    found = {path.name: inspect(path) for path in files_of(tmp_path)}
    assert {name: result.reason for name, result in found.items()} == {
        "anonymous": "incomplete",
        "empty": "empty",
        "link": "unreadable",
        "pipe": "unreadable",
        "prefix": "no_pixels",
        "text": "not_dicom",
    }


def test_linked_folders_are_not_entered(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one").touch()
    (tmp_path / "a" / "round").symlink_to(tmp_path)
    assert [path.name for path in files_of(tmp_path)] == ["one", "round"]


def test_missing_pixel_bytes_are_noticed_though_the_element_is_whole(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "short.dcm", patient="P", number=1, Rows=64)
    found = inspect(path)
    assert isinstance(found, Skipped)
    assert found.reason == "truncated"


def test_compressed_pixels_that_do_not_decode_are_noticed(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "rle.dcm", patient="P", number=1, transfer_syntax=RLELossless)
    assert isinstance(inspect(path), Instance)
    dataset = dcmread(path)
    dataset.PixelData = encapsulate([b"\xff" * 64])
    dataset.save_as(path)
    found = inspect(path)
    assert isinstance(found, Skipped)
    assert found.reason == "undecodable"


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
    assert isinstance(hung, Failed)
    assert "longer than 3 s" in hung.detail
    assert isinstance(fine, np.ndarray)


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    good = write_dicom(tmp_path / "good.dcm", patient="P", number=1)
    others = set(psutil.Process().children())
    with WorkerPool(size=1) as pool:
        assert isinstance(next(pool.inspect([good])), Instance)
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
        list(pool.inspect([good]))
