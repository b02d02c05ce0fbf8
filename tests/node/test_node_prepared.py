"""An ingest leaves prepared images behind: decoded once, of nobody who may not be read, within bounds."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from dicom_files import write_clinical, write_dicom
from imaging_files import write_image, write_volume
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless
from typer.testing import CliRunner

from unica_sdk.cli import app
from unica_sdk.errors import ConfigurationError, InvalidRequest
from unica_sdk.node import cohort
from unica_sdk.node.admitted import open_admitted
from unica_sdk.node.consent import ConsentRegistry
from unica_sdk.node.decoding import check_pixels
from unica_sdk.node.home import NodeHome
from unica_sdk.node.images import prepare_cases
from unica_sdk.node.imaging.cache import LEVELS, PreparedCache
from unica_sdk.node.imaging.opening import image_cache, open_cases
from unica_sdk.node.imaging.preparation import Preparation
from unica_sdk.node.imaging.reader import CaseReader
from unica_sdk.node.imaging.settings import ImageSettings
from unica_sdk.node.imaging.table import content_key
from unica_sdk.node.index import KEPT_VERSIONS, Index
from unica_sdk.node.ingest import IngestReport, ingest, patient_pseudonym
from unica_sdk.node.pixels import prepare
from unica_sdk.node.rotation import rotate
from unica_sdk.node.scan import Skipped
from unica_sdk.schemas.app import AppManifest
from unica_sdk.schemas.cohort import CohortQuery

CODECS = (RLELossless, JPEG2000Lossless, JPEGLSLossless)
LONG_AGO = 1_600_000_000
SMALL = Preparation(rows=8, columns=10)
"""What the tests' app trains on."""


def _image(path: Path, number: int, **headers: Any) -> Path:
    values = np.random.default_rng(number).integers(0, 4096, (40, 50)).astype(np.uint16)
    fields = {"transfer_syntax": CODECS[number % 3], "patient": f"P{number}", "BitsStored": 12, **headers}
    write_image(path, values, number=number, **fields)
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Six compressed mammograms of six people, of the codecs that are taken, scaled and inverted ones too."""
    kinds: list[dict[str, Any]] = [
        {},
        {},
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"RescaleSlope": 2, "RescaleIntercept": -1024},
        {"Modality": "DX", "PhotometricInterpretation": "MONOCHROME1", "RescaleSlope": "0.5"},
        {"Modality": "CR"},
    ]
    for number, headers in enumerate(kinds, 1):
        _image(tmp_path / "dicom" / f"{number}", number, **headers)
    return tmp_path / "dicom"


def _set(home: NodeHome, *settings: str) -> None:
    """Write the node's settings of images."""
    file = home.folder / "node.toml"
    identity = file.read_text().split("[images]")[0]
    file.write_text(identity + "\n".join(["[images]", *settings]))


def _ingest(home: NodeHome, folder: Path, *, dataset: str = "one", **settings: Any) -> IngestReport:
    words = {"title": "t", "description": "d", "synthetic": True, "prepare": ["8x10"], **settings}
    return ingest(home, folder, dataset=dataset, **words)


def _keys(home: NodeHome, preparation: Preparation = SMALL) -> set[bytes]:
    return {key.tobytes() for key in PreparedCache(image_cache(home), preparation).all_keys()}


def _indexed(home: NodeHome, where: str = "true") -> set[bytes]:
    """The keys of images of the current version."""
    with Index.open(home.index_folder) as index:
        found = index.rows(f"SELECT sha256 FROM instance WHERE {where}")  # noqa: S608
    return {content_key(digest) for (digest,) in found}


def _spoil_copies(home: NodeHome) -> None:
    """Make every compressed copy one that no codec decodes: what works now has decoded nothing."""
    for path in (home.folder / "store").rglob("*.dcm"):
        content = path.read_bytes()
        if dcmread(path).file_meta.TransferSyntaxUID.is_compressed:
            pixels = content.rindex(b"\xe0\x7f\x10\x00")
            path.write_bytes(content[: pixels + 40] + b"\xff" * (len(content) - pixels - 40))
            assert isinstance(check_pixels(path), Skipped)


def _by_instance(reader: CaseReader) -> dict[str, np.ndarray]:
    images = reader.read(np.arange(len(reader))).copy()
    return dict(zip(reader.cases.names.tolist(), images, strict=True))


# --- one decode --------------------------------------------------------------------------------------


def test_what_an_ingest_decoded_no_job_decodes_again(empty_node: NodeHome, images: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = _ingest(
        empty_node, images, prepare=["8x10", "6x5"], progress=lambda done, of: seen.append((done, of))
    )
    assert (report.indexed, report.cache.prepared, report.cache.left) == (6, 12, 0)
    # Nothing was left to be prepared after the files had been read.
    assert seen[-1] == (6, 6)
    copies = {path.stem: path for path in (empty_node.folder / "store").rglob("*.dcm")}
    expected = {
        shape: {name: prepare(path, rows=shape[0], columns=shape[1]) for name, path in copies.items()}
        for shape in ((8, 10), (6, 5))
    }
    _spoil_copies(empty_node)
    for (rows, columns), images_of in expected.items():
        for modality, number in (("MG", 4), ("DX", 1), ("CR", 1)):
            reader = open_cases(empty_node, modality=modality, rows=rows, columns=columns)
            found = _by_instance(reader)
            assert len(found) == number
            for name, image in found.items():
                (stem,) = (stem for stem in images_of if stem.startswith(f"{name}."))
                np.testing.assert_allclose(image, images_of[stem], atol=1 / LEVELS)
                assert image.std() > 0.01


def test_an_app_gets_images_that_only_the_ingest_decoded(
    empty_node: NodeHome, images: Path, manifest: AppManifest, tmp_path: Path
) -> None:
    rows = [{"patient_id": f"P{n}", "outcome": "negative", "diagnosis": "none"} for n in range(1, 7)]
    _ingest(empty_node, images, clinical=write_clinical(tmp_path / "c.csv", rows))
    _spoil_copies(empty_node)
    with open_admitted(empty_node) as index:
        frozen = cohort.freeze(
            empty_node, index, CohortQuery(), permit="p", project="p", holder="alice", datasets=("one",)
        )
        prepared = prepare_cases(empty_node, index, frozen, manifest)
    assert (prepared.people.all, prepared.unreadable) == (4, 0)


def test_another_ingest_decodes_nothing_again(empty_node: NodeHome, images: Path) -> None:
    _ingest(empty_node, images)
    before = _keys(empty_node)
    _spoil_copies(empty_node)
    report = _ingest(empty_node, images)
    assert (report.read, report.cache.prepared, report.cache.left) == (0, 0, 0)
    assert _keys(empty_node) == before == _indexed(empty_node)


def test_a_resolution_that_is_wanted_later_or_was_lost_comes_with_the_next_ingest(
    empty_node: NodeHome, images: Path
) -> None:
    seen: list[tuple[int, int]] = []
    assert _ingest(empty_node, images, prepare=[]).cache.prepared == 0
    assert list(empty_node.cache_folder.rglob("*.cases")) == []
    report = _ingest(empty_node, images, progress=lambda done, of: seen.append((done, of)))
    assert (report.read, report.cache.prepared, report.cache.left) == (0, 6, 0)
    assert seen[-1][0] == seen[-1][1]
    image_cache(empty_node).clear()
    assert _ingest(empty_node, images).cache.prepared == 6
    assert _keys(empty_node) == _indexed(empty_node)


def test_a_node_prepares_what_its_settings_say(empty_node: NodeHome, images: Path) -> None:
    assert empty_node.images() == ImageSettings()
    assert empty_node.images().prepare == ("512x512",)
    words = {"dataset": "one", "title": "t", "description": "d", "synthetic": True}
    _set(empty_node, 'prepare = ["8x10"]', "cache_gib = 1")
    assert ingest(empty_node, images, **words).cache.prepared == 6
    assert _keys(empty_node) == _indexed(empty_node)
    for wrong in ("8", "8x", "0x8", "8x8x8x8", "99999x8", "8X8"):
        _set(empty_node, f'prepare = ["{wrong}"]')
        with pytest.raises(ConfigurationError, match="prepare"):
            ingest(empty_node, images, **words)
    assert empty_node.site == "lt"
    for wrong in ("8", "x", "0x8", "٣x٣", "9999x9999"):
        with pytest.raises(InvalidRequest):
            _ingest(empty_node, images, prepare=[wrong])


# --- who and what is in it ---------------------------------------------------------------------------


def test_nothing_is_prepared_that_is_not_in_the_index_as_an_image(
    empty_node: NodeHome, images: Path, tmp_path: Path
) -> None:
    _image(images / "burned", 11, BurnedInAnnotation="YES")
    _image(images / "ct", 12, Modality="CT", SeriesInstanceUID="1.2.3")
    _image(images / "secondary", 13, Modality="OT")
    write_image(images / "plain", np.zeros((40, 50), np.uint16), number=14)
    frames = np.random.default_rng(0).integers(0, 999, (2, 24, 30)).astype(np.uint16)
    write_image(images / "frames", frames, number=15, NumberOfFrames=2, transfer_syntax=RLELossless)
    spoilt = dcmread(_image(images / "spoilt", 16))
    spoilt.PixelData = encapsulate([b"\xff" * 64])
    spoilt.save_as(images / "spoilt")
    _image(images / "another", 1, PatientAge="061Y")  # the same image's name, other content
    report = _ingest(empty_node, images)
    reasons = {Path(skip.path).name: skip.reason for skip in report.skipped}
    assert reasons["burned"] == "burned_in"
    assert reasons["spoilt"] == "undecodable"
    assert "duplicate" in reasons.values()
    assert "frames" not in reasons
    wanted = _indexed(
        empty_node,
        "modality IN ('MG', 'DX', 'CR') AND frames = 1 AND transfer_syntax <> '1.2.840.10008.1.2.1'",
    )
    assert _keys(empty_node) == wanted
    assert 5 <= len(wanted) <= 6


def test_whoever_does_not_consent_is_not_prepared_and_leaves_with_the_next_ingest(
    empty_node: NodeHome, images: Path
) -> None:
    registry = ConsentRegistry.of(empty_node)
    registry.withdraw(["P1"])
    key = empty_node.site_key()
    assert _ingest(empty_node, images).cache.prepared == 5
    said = {n: f"patient = '{patient_pseudonym(key, f'P{n}')}'" for n in range(1, 7)}
    assert _keys(empty_node) == _indexed(empty_node) - _indexed(empty_node, said[1])
    reader = open_cases(empty_node, modality="MG", rows=8, columns=10)
    held = _by_instance(reader)
    registry.withdraw(["P2"])
    assert len(open_cases(empty_node, modality="MG", rows=8, columns=10)) == len(held) - 1
    report = _ingest(empty_node, images)
    assert (report.read, report.cache.prepared, report.version) == (0, 0, 1)
    without = _indexed(empty_node) - _indexed(empty_node, said[1]) - _indexed(empty_node, said[2])
    assert _keys(empty_node) == without
    # The job that began before goes on with what it has.
    again = _by_instance(reader)
    assert set(again) == set(held)
    assert all(np.array_equal(again[name], held[name]) for name in held)
    reader.close()
    registry.add(["P2"])
    assert _ingest(empty_node, images).cache.prepared == 1
    assert _keys(empty_node) == without | _indexed(empty_node, said[2])


def test_a_case_leaves_with_the_last_version_that_has_it(empty_node: NodeHome, images: Path) -> None:
    _ingest(empty_node, images)
    first = _indexed(empty_node)
    (images / "1").unlink()
    for turn in range(KEPT_VERSIONS):
        with_it = turn < KEPT_VERSIONS - 1
        _image(images / "turning", 100 + turn)
        report = _ingest(empty_node, images)
        assert report.version == turn + 2
        assert (first <= _keys(empty_node)) is with_it
        assert _indexed(empty_node) <= _keys(empty_node)
    assert len(first - _keys(empty_node)) == 1
    assert len(_keys(empty_node)) == 5 + KEPT_VERSIONS


def test_a_version_of_older_tables_holds_nothing_back(empty_node: NodeHome, images: Path) -> None:
    """Nobody opens it any more; what its tables were, today's software need not know."""
    _ingest(empty_node, images)
    with duckdb.connect(empty_node.index_folder / "v0001.duckdb") as connection:
        connection.execute("UPDATE meta SET tables = 1")
        connection.execute("DROP TABLE clinical")
    (images / "1").unlink()
    ConsentRegistry.of(empty_node).withdraw(["P2"])
    assert _ingest(empty_node, images).version == 2
    assert len(_keys(empty_node)) == 4
    assert _keys(empty_node) < _indexed(empty_node)


def test_other_datasets_keep_theirs(empty_node: NodeHome, images: Path, tmp_path: Path) -> None:
    _ingest(empty_node, images)
    _image(tmp_path / "other" / "x", 50)
    assert _ingest(empty_node, tmp_path / "other", dataset="two").cache.prepared == 1
    assert len(_keys(empty_node)) == 7
    assert _keys(empty_node) == _indexed(empty_node)


def test_changing_the_key_leaves_nothing_under_the_old_names(empty_node: NodeHome, images: Path) -> None:
    _set(empty_node, 'prepare = ["8x10"]')
    _ingest(empty_node, images)
    before = _keys(empty_node)
    ConsentRegistry.of(empty_node).withdraw(["P4"])
    (report,) = rotate(empty_node)
    after = _keys(empty_node)
    assert (report.cache.prepared, len(after)) == (5, 5)
    assert after.isdisjoint(before)
    assert after < _indexed(empty_node)


# --- volumes -----------------------------------------------------------------------------------------


def _volumes(folder: Path) -> Path:
    for series, codec in ((1, RLELossless), (2, JPEGLSLossless), (3, None)):
        headers = {} if codec is None else {"transfer_syntax": codec}
        places = [2.0 * series, 4.0 * series, 6.0 * series]
        for path in write_volume(folder, places=places, series=series, patient=f"P{series}", **headers):
            os.utime(path, (LONG_AGO, LONG_AGO))
    return folder


def test_compressed_volumes_are_prepared_where_the_site_asks_for_slices(
    empty_node: NodeHome, tmp_path: Path
) -> None:
    folder = _volumes(tmp_path / "ct")
    assert _ingest(empty_node, folder).cache.prepared == 0
    assert list(empty_node.cache_folder.rglob("*.cases")) == []
    report = _ingest(empty_node, folder, prepare=["8x10", "2x3x4"])
    assert (report.read, report.cache.prepared, report.cache.left) == (0, 2, 0)
    volume = Preparation(rows=3, columns=4, slices=2)
    assert len(_keys(empty_node, volume)) == 2
    reader = open_cases(empty_node, modality="CT", rows=3, columns=4, slices=2)
    assert (len(reader), len(reader.missing())) == (3, 1)
    expected = _by_instance(reader)
    reader.close()
    _spoil_copies(empty_node)
    found = _by_instance(open_cases(empty_node, modality="CT", rows=3, columns=4, slices=2))
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert len(_keys(empty_node, volume)) == 3
    # The uncompressed one is of nobody's version less than the others: it stays.
    assert _ingest(empty_node, folder, prepare=["2x3x4"]).cache.prepared == 0
    assert len(_keys(empty_node, volume)) == 3
    ConsentRegistry.of(empty_node).withdraw(["P1"])
    _ingest(empty_node, folder, prepare=["2x3x4"])
    assert len(_keys(empty_node, volume)) == 2
    left = open_cases(empty_node, modality="CT", rows=3, columns=4, slices=2)
    assert (len(left), len(left.missing())) == (2, 0)


def test_a_series_that_two_datasets_share_keeps_the_volumes_of_each(
    empty_node: NodeHome, tmp_path: Path
) -> None:
    folder = _volumes(tmp_path / "ct")
    (tmp_path / "part").mkdir()
    for number in (1, 2):
        (tmp_path / "part" / f"{number}").write_bytes((folder / f"1-00{number}.dcm").read_bytes())
    _ingest(empty_node, folder, prepare=["2x3x4"])
    _ingest(empty_node, tmp_path / "part", dataset="two", prepare=["2x3x4"])
    volume = Preparation(rows=3, columns=4, slices=2)
    assert len(_keys(empty_node, volume)) == 3
    for datasets, missing in ((["one"], 1), (["two"], 0)):
        reader = open_cases(empty_node, modality="CT", rows=3, columns=4, slices=2, datasets=datasets)
        assert len(reader.missing()) == missing


# --- killed, full, too large -------------------------------------------------------------------------

INGEST = """
import os, resource, sys
from pathlib import Path
from unica_sdk.node.home import NodeHome
from unica_sdk.node.ingest import ingest

home, images, at, most, shape = sys.argv[1:]
if int(most):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(most), int(most)))
left = int(at)

def hook(event, arguments):
    # Die at the n-th thing that is made, renamed or removed in the cache.
    global left
    changes = event in ("os.rename", "os.remove", "os.mkdir", "shutil.rmtree")
    if (changes or event == "open" and arguments[2] & os.O_WRONLY) and "/cache/images" in str(arguments[0]):
        left -= 1
        if left == 0:
            os._exit(9)

sys.addaudithook(hook)
report = ingest(
    NodeHome.open(Path(home)), Path(images), dataset="one", title="t", description="d", synthetic=True,
    prepare=[shape],
)
print(report.indexed, report.version, report.cache.prepared, report.cache.left, report.cache.why, sep="|")
"""


def _run(
    home: NodeHome, images: Path, *, at: int = 0, most: int = 0, shape: str = "8x10"
) -> subprocess.CompletedProcess[str]:
    words = [str(home.folder), str(images), str(at), str(most), shape]
    command = [sys.executable, "-c", INGEST, *words]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=200, check=False)


@pytest.mark.parametrize("decoded_before", [False, True])
@pytest.mark.parametrize("at", [1, 3, 5, 6])
def test_killed_while_it_writes_the_cache_the_next_ingest_has_each_image_once(
    empty_node: NodeHome, images: Path, at: int, decoded_before: bool
) -> None:
    """While files are taken in, and while what they left out is prepared."""
    if decoded_before:
        _ingest(empty_node, images, prepare=[])
    assert _run(empty_node, images, at=at).returncode == 9
    held = _keys(empty_node)
    _ingest(empty_node, images)
    assert held <= _keys(empty_node) == _indexed(empty_node)
    for modality in ("MG", "DX", "CR"):
        reader = open_cases(empty_node, modality=modality, rows=8, columns=10)
        assert len(reader.missing()) == 0
        for place, row in enumerate(reader.cases.rows.tolist()):
            expected = prepare(Path(str(reader.cases.table.path[row])), rows=8, columns=10)
            np.testing.assert_allclose(reader.read([place])[0], expected, atol=1 / LEVELS)


def test_a_cache_that_cannot_be_written_is_reported_and_fails_no_ingest(
    empty_node: NodeHome, images: Path
) -> None:
    # A limit that every other file of the node keeps: one prepared image is larger.
    said = _run(empty_node, images, most=7_000_000, shape="2000x2000").stdout
    indexed, version, prepared, left, why = said.strip().split("|")
    assert (indexed, version, prepared, left) == ("6", "1", "0", "6")
    assert "cannot be kept" in why
    assert _keys(empty_node, Preparation(rows=2000, columns=2000)) == set()
    assert list(empty_node.cache_folder.rglob("*.partial")) == []
    assert _ingest(empty_node, images).cache.prepared == 6


@pytest.fixture
def small_cache(empty_node: NodeHome) -> Iterator[Path]:
    place = empty_node.cache_folder
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs a file system of its own, which only root may mount")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.usefixtures("small_cache")
def test_an_ingest_leaves_the_last_of_a_disk_to_others(
    empty_node: NodeHome, images: Path, manifest: AppManifest
) -> None:
    report = _ingest(empty_node, images)
    assert (report.indexed, report.cache.prepared, report.cache.left) == (6, 0, 6)
    assert "GiB of the disk stay free" in report.cache.why
    # A job needs it and takes it.
    reader = open_cases(empty_node, modality="MG", rows=8, columns=10)
    assert reader.read([0, 1, 2, 3]).shape == (4, 8, 10)
    reader.close()
    assert len(_keys(empty_node)) == 4


def test_a_bound_of_nothing_keeps_nothing(empty_node: NodeHome, images: Path) -> None:
    _ingest(empty_node, images)
    assert len(_keys(empty_node)) == 6
    _set(empty_node, "cache_gib = 0")
    report = _ingest(empty_node, images)
    assert (report.cache.prepared, report.cache.left) == (0, 6)
    assert "cache_gib = 0" in report.cache.why
    assert list(empty_node.cache_folder.rglob("*.cases")) == []


def test_images_that_decode_but_cannot_be_prepared_are_counted(empty_node: NodeHome, tmp_path: Path) -> None:
    values = np.random.default_rng(5).integers(0, 4096, (40, 50)).astype(np.uint16)
    write_dicom(
        tmp_path / "d" / "1", patient="P", number=1, pixels=values, transfer_syntax=RLELossless,
        RescaleSlope="1e38", RescaleIntercept="0",
    )  # fmt: skip
    report = _ingest(empty_node, tmp_path / "d")
    assert (report.indexed, report.cache.prepared, report.cache.left) == (1, 0, 1)
    assert "no numbers" in report.cache.why


# --- the command line --------------------------------------------------------------------------------


def test_the_command_line_says_what_to_prepare_and_what_was(empty_node: NodeHome, images: Path) -> None:
    words = ["node", "ingest", str(images), "--home", str(empty_node.folder), "--dataset", "one"]
    run = CliRunner().invoke
    said = run(app, [*words, "--prepare", "none"])
    assert (said.exit_code, "Prepared" in said.output) == (0, False)
    said = run(app, [*words, "--prepare", "8x10", "--prepare", "6x5"])
    assert (said.exit_code, "Prepared 12 images" in said.output) == (0, True)
    assert (len(_keys(empty_node)), len(_keys(empty_node, Preparation(rows=6, columns=5)))) == (6, 6)
    _set(empty_node, 'prepare = ["4x4"]', "cache_gib = 0")
    said = run(app, [*words])
    assert "6 are left to the first job: no room: cache_gib = 0" in said.output
    said = run(app, [*words, "--json"])
    assert json.loads(said.output)["cache"]["left"] == 6
    assert run(app, [*words, "--prepare", "small"]).exit_code == 1
