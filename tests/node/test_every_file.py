"""Every file ends in the index or in quarantine with a reason, whatever is in it, and nothing that is indexed
harms who reads it."""

import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pydicom
import pytest
import xarray as xr
from bundle_files import IMAGES, PIXELS, SEEDS, bundled, changed, passing, some_edits
from dicom_files import write_clinical
from hypothesis import given, settings
from hypothesis import strategies as st
from imaging_files import by_pydicom
from pydicom.data import DATA_ROOT

from unica_sdk.errors import NotFound
from unica_sdk.node import cohort
from unica_sdk.node.home import NodeHome
from unica_sdk.node.images import prepare_cases
from unica_sdk.node.imaging.admission import at_offset, refusals
from unica_sdk.node.imaging.opening import open_cases
from unica_sdk.node.imaging.reader import CaseReader, find_cases
from unica_sdk.node.imaging.table import CaseTable
from unica_sdk.node.index import Index
from unica_sdk.node.ingest import IngestReport, ingest
from unica_sdk.node.scan import RULE_OF
from unica_sdk.schemas.app import AppManifest
from unica_sdk.schemas.cohort import CohortQuery

READABLE = {"CT", "MR", "MG", "DX", "CR"}


def _ingest(home: NodeHome, folder: Path, **settings: Any) -> IngestReport:
    return ingest(home, folder, dataset="one", title="t", description="d", synthetic=True, **settings)


def _command(*words: str) -> str:
    command = [sys.executable, "-m", "unica_sdk.cli", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _by_command(folder: Path, home: Path) -> dict[str, Any]:
    _command("node", "init", str(home), "--site", "aa", "--name", "A", "--country", "GR")
    return json.loads(
        _command("node", "ingest", str(folder), "--home", str(home), "--dataset", "one", "--json")
    )


def _read(path: str) -> pydicom.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(path, force=True)


# --- the files that are there ---------------------------------------------------------------------------


def test_the_command_line_takes_or_names_every_file_of_the_bundle_rightly(tmp_path: Path) -> None:
    """Each reason is held against what pydicom, which nobody here wrote, finds in the file."""
    report = _by_command(Path(DATA_ROOT), tmp_path / "home")
    reasons = {skip["path"]: skip["reason"] for skip in report["skipped"]}
    every = {str(path) for path in Path(DATA_ROOT).rglob("*") if not path.is_dir()}
    assert report["indexed"] + len(reasons) == len(every)
    assert reasons.keys() <= every
    for path in every:
        reason = reasons.get(path, "")
        if reason in ("not_dicom", "truncated"):
            continue
        dataset = _read(path)
        has_pixels = any(name in dataset for name in PIXELS)
        assert has_pixels is (reason != "no_pixels"), path
        named = dataset.get("PatientID") and dataset.get("StudyInstanceUID")
        if has_pixels:
            assert bool(named and dataset.get("Rows")) is (reason != "incomplete"), path
        if reason == "burned_in":
            assert dataset.Modality not in READABLE or list(dataset.ImageType)[:2] != ["ORIGINAL", "PRIMARY"]
        if not reason:
            assert dataset.Modality in READABLE
    wrong = {Path(path).name for path, reason in reasons.items() if reason == "truncated"}
    assert wrong == {"MR_truncated.dcm", "rtplan_truncated.dcm"}
    strange = {path for path, reason in reasons.items() if reason == "not_dicom"}
    assert {Path(path).name for path in strange if _has_prefix(path)} == set()
    assert set(reasons.values()) == {"burned_in", "incomplete", "no_pixels", "not_dicom", "truncated"}


def _has_prefix(path: str) -> bool:
    return Path(path).read_bytes()[128:132] == b"DICM"


@pytest.mark.skipif("UNICA_BENCH_DATA" not in os.environ, reason="outside data: set UNICA_BENCH_DATA")
def test_the_command_line_takes_or_names_every_file_from_outside(tmp_path: Path) -> None:
    folder = Path(os.environ["UNICA_BENCH_DATA"])
    report = _by_command(folder, tmp_path / "home")
    every = [path for path in folder.rglob("*") if not path.is_dir()]
    assert report["indexed"] + len(report["skipped"]) == len(every)
    assert {skip["reason"] for skip in report["skipped"]} <= RULE_OF.keys()


@pytest.fixture(scope="module")
def all_kinds(tmp_path_factory: pytest.TempPathFactory) -> tuple[NodeHome, IngestReport]:
    """A node with every image of the bundle, once as CT and once as MG, under headers that pass."""
    folder = tmp_path_factory.mktemp("kinds")
    (folder / "d").mkdir()
    people = []
    for number, path in enumerate(bundled()):
        for modality in IMAGES:
            patient = 2 * number + (modality == "MG")
            content = passing(path, modality=modality, number=patient)
            if content is not None:
                (folder / "d" / f"{modality}-{path.parent.name}-{path.name}").write_bytes(content)
                outcome = "negative" if number % 2 else "screen_detected"
                people.append({"patient_id": f"P{patient}", "outcome": outcome, "diagnosis": "none"})
    table = write_clinical(folder / "c.csv", people)
    home = NodeHome.create(folder / "home", site="aa", name="A", country="GR")
    return home, _ingest(home, folder / "d", clinical=table)


def test_every_kind_of_pixels_is_taken_but_what_nobody_decodes(
    all_kinds: tuple[NodeHome, IngestReport],
) -> None:
    _, report = all_kinds
    assert report.indexed > 160
    assert {(Path(skip.path).name.split("-", 2)[2], skip.reason) for skip in report.skipped} == {
        ("JPEG-lossy.dcm", "undecodable"),  # 12 bits
        ("JPGExtended.dcm", "undecodable"),  # the same
        ("JPEG2000-embedded-sequence-delimiter.dcm", "undecodable"),
        ("MR_truncated.dcm", "truncated"),
        ("nested_priv_SQ.dcm", "incomplete"),  # no rows, no columns
    }


def test_what_the_backend_reads_of_it_is_what_pydicom_reads(
    all_kinds: tuple[NodeHome, IngestReport],
) -> None:
    home, report = all_kinds
    with Index.open(home.index_folder) as index:
        paths = dict(index.rows("SELECT instance, path FROM instance"))
    read = refused = 0
    for modality in IMAGES:
        with xr.open_dataset(
            home, engine="unica", modality=modality, volumes=False, rows=24, columns=24
        ) as images:
            assert np.isfinite(images.image.values).all()
            refused += sum(int(part.split()[0]) for part in images.attrs["refused"].split("; "))
            cases = images.case.values.tolist()
        for alike in _by_shape([paths[case] for case in cases]):
            with xr.open_dataset(CaseTable.from_files(alike), engine="unica", volumes=False) as some:
                for path, values in zip(alike, some.image.values, strict=True):
                    np.testing.assert_allclose(values, by_pydicom(path), rtol=1e-6, atol=1e-4)
                    read += 1
    assert read + refused == report.indexed
    assert read > 90


def _by_shape(paths: list[str]) -> list[list[str]]:
    table = CaseTable.from_files(paths)
    found: dict[tuple[int, int], list[str]] = {}
    for path, *shape in zip(paths, table.rows.tolist(), table.columns.tolist(), strict=True):
        found.setdefault((shape[0], shape[1]), []).append(path)
    return list(found.values())


@pytest.mark.parametrize("modality", IMAGES)
def test_a_job_gets_what_can_be_read_of_it_and_a_count_of_the_rest(
    all_kinds: tuple[NodeHome, IngestReport], manifest: AppManifest, modality: str
) -> None:
    home, _ = all_kinds
    wanted = manifest.model_copy(update={"image": manifest.image.model_copy(update={"modality": modality})})
    with Index.open(home.index_folder) as index:
        frozen = cohort.freeze(home, index, CohortQuery(), permit="p", holder="alice", datasets=("one",))
        prepared = prepare_cases(home, index, frozen, wanted)
    assert len(prepared.cases.images) == prepared.people.all > 40
    assert np.isfinite(prepared.cases.images).all()
    assert prepared.unreadable < 15  # bits that arrays do not hold


# --- any files ------------------------------------------------------------------------------------------


def _seeds() -> Iterator[bytes]:
    for number, path in enumerate(path for path in bundled() if path.name in SEEDS):
        yield passing(path, modality="CT" if number % 2 else "MG", number=number) or path.read_bytes()


START = list(_seeds())
BATCH = 24


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_no_file_stops_an_ingest_or_harms_a_reader(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A file that hangs would end this test by its timeout, and one that kills would end all of them."""
    folder = tmp_path_factory.mktemp("changed")
    dice = Random(seed)  # noqa: S311 - nobody's secret
    (folder / "d").mkdir()
    for number in range(BATCH):
        content = dice.choice(START)
        for edit in some_edits(dice, most=3):
            content = changed(content, edit)
        (folder / "d" / f"{number}.dcm").write_bytes(content)
    home = NodeHome.create(folder / "home", site="aa", name="A", country="GR")
    report = _ingest(home, folder / "d", workers=1)
    assert report.indexed + len(report.skipped) == BATCH
    assert {skip.reason for skip in report.skipped} <= RULE_OF.keys()
    assert _read_all(home) <= report.indexed
    shutil.rmtree(folder)


def _read_all(home: NodeHome) -> int:
    """Read every image, prepared and, where no codec is needed, as acquired; return how many there were."""
    with Index.open(home.index_folder) as index:
        modalities = [modality for (modality,) in index.rows("SELECT DISTINCT modality FROM instance")]
        table = CaseTable.from_index(index)
    read = 0
    for modality in modalities:
        with suppress(NotFound):
            reader = open_cases(home, modality=modality, volumes=False, rows=8, columns=8)
            good = reader.without(reader.prepare())
            assert np.isfinite(good.read(range(len(good)))).all()
            reader.close()
            read += len(good)
    plain = np.flatnonzero((refusals(table) == "") & at_offset(table))
    for row in plain.tolist():
        one = CaseReader(find_cases(table.select(np.array([row])), volumes=False))
        assert one.read([0]).shape == (1, table.rows[row], table.columns[row])
    return read
