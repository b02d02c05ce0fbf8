"""What an ingest lives through: kill -9, a full disk, readers at work, somebody else's machines."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dicom_files import write_collection, write_dicom
from distributed import LocalCluster

from unica_sdk.errors import ConfigurationError, DataError, InvalidRequest, Unavailable, UnicaError
from unica_sdk.node.home import NodeHome
from unica_sdk.node.index import Index
from unica_sdk.node.ingest import IngestReport, ingest
from unica_sdk.node.scan import Listed, files_of, listed
from unica_sdk.node.scanning import BATCH, WORTH_BYTES, WORTH_FILES, scan_all, workers_for
from unica_sdk.node.store import Store

LONG_AGO = 1_600_000_000
WORDS = {"dataset": "one", "title": "t", "description": "d", "synthetic": True}

INGEST = """
import os, resource, sys, time
from pathlib import Path
from unica_sdk.errors import DataError
from unica_sdk.node.home import NodeHome
from unica_sdk.node.ingest import ingest

home, images = NodeHome.open(Path(sys.argv[1])), Path(sys.argv[2])
stop_at, most = int(sys.argv[3]), int(sys.argv[4])
if most:
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

def progress(done, total):
    if done == stop_at:
        print("here", flush=True)
        time.sleep(600)

try:
    ingest(home, images, dataset="one", title="t", description="d", synthetic=True, progress=progress)
except DataError as err:
    print(err, flush=True)
"""


def _start(home: NodeHome, images: Path, *, stop_at: int = -1, most: int = 0) -> subprocess.Popen[str]:
    words = [str(home.folder), str(images), str(stop_at), str(most)]
    return subprocess.Popen([sys.executable, "-c", INGEST, *words], stdout=subprocess.PIPE, text=True)


def _twin(home: NodeHome, folder: Path) -> NodeHome:
    """Another home with the same key: what it makes of the same files must be the same."""
    twin = NodeHome.create(folder, site="aa", name="A", country="GR")
    shutil.copyfile(home.folder / "site.key", twin.folder / "site.key")
    return twin


def _content(home: NodeHome) -> list[tuple]:
    with Index.open(home.index_folder) as index:
        rows = index.rows("FROM instance ORDER BY ALL")
    return [tuple(str(value).replace(str(home.folder), "HOME") for value in row) for row in rows]


def _people(home: NodeHome) -> int:
    with Index.open(home.index_folder) as index:
        ((number,),) = index.rows("SELECT count(*) FROM patient")
    return number


def _old(folder: Path) -> None:
    for path in folder.rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))


def test_a_killed_ingest_goes_on_from_where_it_was(empty_node: NodeHome, tmp_path: Path) -> None:
    images, _ = write_collection(tmp_path, patients=2 * BATCH + 20)
    _old(images)
    with _start(empty_node, images, stop_at=BATCH + 10) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.kill()
    assert not (empty_node.index_folder / "CURRENT").exists()
    # What a writer that died with it would leave.
    shard = empty_node.folder / "store" / "00" / ("00" + "f" * 30)
    shard.mkdir(parents=True)
    (shard / ".2.25.1.0000000000000000.dcm.77.partial").write_bytes(b"half")
    report = ingest(empty_node, images, **WORDS)
    assert report.read == BATCH + 20
    assert report.indexed == 2 * BATCH + 20
    twin = _twin(empty_node, tmp_path / "twin")
    ingest(twin, images, **WORDS)
    assert _content(twin) == _content(empty_node)
    copies = set(Store(empty_node.folder / "store").names())
    assert copies == set(Store(twin.folder / "store").names())
    assert len(copies) == report.indexed


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs a file system of its own, which only root may mount")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("left_kb", [0, 40, 300, 900, 2500, 4500])
def test_a_full_disk_stops_the_ingest_and_leaves_the_version_before(
    small_disk: Path, tmp_path: Path, left_kb: int
) -> None:
    """Wherever it happens: at a copy, in the ledger, the report or the index."""
    images = tmp_path / "d"
    rng = np.random.default_rng(0)
    for number in range(2):
        write_dicom(images / f"{number}", patient=f"P{number}", number=number + 1)
    home = NodeHome.create(small_disk / "home", site="aa", name="A", country="GR")
    ingest(home, images, **WORDS)
    for number in range(2, 12):
        pixels = rng.integers(0, 4096, (300, 300)).astype(np.uint16)
        write_dicom(images / f"{number}", patient=f"P{number}", number=number + 1, pixels=pixels)
    filler = small_disk / "filler"
    _fill(filler, left_kb * 1024)
    try:
        report = ingest(home, images, **WORDS)
    except UnicaError as err:
        assert _people(home) == 2
        assert "No space" in str(err) or "full" in str(err) or "space" in str(err)
        filler.unlink()
        report = ingest(home, images, **WORDS)
    else:
        assert left_kb > 4000
    assert (report.indexed, report.version, _people(home)) == (12, 2, 12)
    twin = _twin(home, tmp_path / "twin")
    ingest(twin, images, **WORDS)
    assert _content(twin) == _content(home)


def _fill(filler: Path, left: int) -> None:
    free = os.statvfs(filler.parent)
    with filler.open("wb") as file:
        file.write(bytes(max(0, free.f_bavail * free.f_frsize - left)))


def test_a_limit_on_files_is_a_clear_error_too(empty_node: NodeHome, tmp_path: Path) -> None:
    images = tmp_path / "d"
    pixels = np.zeros((700, 700), np.uint16)
    for number in range(2):
        write_dicom(images / f"{number}", patient=f"P{number}", number=number + 1, pixels=pixels)
    with _start(empty_node, images, most=500_000) as process:
        said, _ = process.communicate()
    assert said.startswith("UNICA-700 The de-identified copies cannot be written")
    assert not (empty_node.index_folder / "CURRENT").exists()
    assert ingest(empty_node, images, **WORDS).indexed == 2


def test_readers_at_work_see_whole_versions_and_their_copies(empty_node: NodeHome, tmp_path: Path) -> None:
    images, _ = write_collection(tmp_path, patients=3)
    ingest(empty_node, images, **WORDS)
    stop = threading.Event()
    seen: set[int] = set()
    wrong: list[object] = []

    def read() -> None:
        while not stop.is_set():
            try:
                with Index.open(empty_node.index_folder) as index:
                    paths = index.rows("SELECT path FROM instance")
                    ((people,),) = index.rows("SELECT count(*) FROM patient")
                    seen.add(people)
                    if people != len(paths) or not all(Path(path).exists() for (path,) in paths):
                        wrong.append((people, paths))
            except BaseException as err:
                wrong.append(err)
                return

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for number in range(3, 7):
            write_dicom(images / f"{number:04d}.dcm", patient=f"P{number:04d}", number=number + 1)
            (images / "0000.dcm").touch()
            ingest(empty_node, images, **WORDS)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert wrong == []
    assert set() < seen <= {3, 4, 5, 6, 7}


def test_a_file_that_changes_underneath_is_left_out_and_taken_next_time(
    empty_node: NodeHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the scan and the copy: what is copied is what was scanned, or nothing."""
    from unica_sdk.node import intake

    images, _ = write_collection(tmp_path, patients=3)
    _old(images)
    scan = intake.scan_all

    def scan_and_meddle(*args: object, **settings: object) -> Iterator[object]:
        for batch in scan(*args, **settings):
            write_dicom(images / "0001.dcm", patient="P0001", number=2, PatientAge="071Y")
            yield batch

    monkeypatch.setattr(intake, "scan_all", scan_and_meddle)
    report = ingest(empty_node, images, **WORDS)
    assert [(Path(s.path).name, s.reason) for s in report.skipped] == [("0001.dcm", "changed")]
    monkeypatch.undo()
    report = ingest(empty_node, images, **WORDS)
    assert (report.read, report.indexed, report.skipped) == (1, 3, ())


def _scan(images: Path, **settings: object) -> list[object]:
    files = [listed(path) for path in files_of(images)]
    return [verdict for batch in scan_all(images, files, **settings) for verdict in batch]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixed")
    images, _ = write_collection(folder, patients=BATCH + 5)
    for number in range(20):
        (images / f"{number:04d}.dcm").write_bytes((images / f"{number:04d}.dcm").read_bytes()[: number * 60])
    _old(images)
    return images


def test_processes_of_our_own_find_the_same(mixed: Path) -> None:
    assert _scan(mixed, workers=2) == _scan(mixed, workers=1)


def test_a_hospitals_cluster_finds_the_same(mixed: Path, tmp_path: Path) -> None:
    here = NodeHome.create(tmp_path / "here", site="aa", name="A", country="GR")
    there = _twin(here, tmp_path / "there")
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, protocol="tcp", host="127.0.0.1",
        dashboard_address=None, worker_dashboard_address=None,
    ) as cluster:  # fmt: skip
        address = cluster.scheduler_address
        assert address.startswith("tcp://127.0.0.1")
        assert _scan(mixed, scheduler=address) == _scan(mixed)
        reports: list[IngestReport] = [
            ingest(here, mixed, **WORDS),
            ingest(there, mixed, **WORDS, scheduler=address),
        ]
        with pytest.raises(ConfigurationError, match="does not see"):
            files = [Listed("/nowhere/1.dcm", 1, 1)]
            list(scan_all(Path("/nowhere"), files, scheduler=address))
    assert reports[0].skipped == reports[1].skipped
    assert len(reports[0].skipped) == 20
    assert _content(here) == _content(there)


def test_a_cluster_that_is_not_there_is_said_so(
    mixed: Path, empty_node: NodeHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unica_sdk.node import scanning

    monkeypatch.setattr(scanning, "CONNECT_SECONDS", 0.5)
    with pytest.raises(Unavailable, match="scheduler"):
        ingest(empty_node, mixed, **WORDS, scheduler="tcp://127.0.0.1:9")
    with pytest.raises(InvalidRequest, match="worker"):
        ingest(empty_node, mixed, **WORDS, workers=0)
    assert not (empty_node.index_folder / "CURRENT").exists()


def test_a_demonstration_starts_no_cluster_and_a_hospital_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert workers_for([Listed("a", 500_000, 0)] * 800) == 1
    assert workers_for([Listed("a", 500_000, 0)] * (3 * WORTH_FILES)) == 4
    assert workers_for([Listed("a", WORTH_BYTES, 0)] * 3) == 4
    assert workers_for([Listed("a", WORTH_BYTES, 0)] * 100) == 16


def test_a_table_that_cannot_be_read_changes_nothing(empty_node: NodeHome, tmp_path: Path) -> None:
    images, _ = write_collection(tmp_path, patients=1)
    with pytest.raises(DataError):
        ingest(empty_node, images, **WORDS, clinical=tmp_path / "nowhere.csv")
    assert not (empty_node.folder / "ledger.sqlite").exists()
