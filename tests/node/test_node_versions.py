"""Publication of the index: readers see the old version or the new one, whatever happens to the writer."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from dicom_files import write_collection

from unica_sdk.errors import DataError, NotFound
from unica_sdk.node.home import NodeHome
from unica_sdk.node.index import DatasetInfo, Index, InstanceRow, publish
from unica_sdk.node.ingest import ingest

INGEST = """
import sys, time
from pathlib import Path
from unica_sdk.node.home import NodeHome
from unica_sdk.node.ingest import ingest

home, images, moment = NodeHome.open(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3]

def stand_still():
    print("here", flush=True)
    time.sleep(600)

def on_event(event, arguments):
    if event == "os.rename" and str(arguments[1]).endswith(moment):
        stand_still()

def progress(done, total):
    if moment == "scan" and done == 2:
        stand_still()

sys.addaudithook(on_event)
ingest(home, images, dataset="one", title="t", description="d", synthetic=True, progress=progress)
"""


def _row(number: int) -> InstanceRow:
    return InstanceRow(
        path=f"/{number}",
        patient=f"p{number}",
        study=f"s{number}",
        series=f"r{number}",
        instance=f"i{number}",
        modality="MG",
        body_part="breast",
        manufacturer=None,
        sex="female",
        age=60,
        rows=8,
        columns=8,
        frames=1,
        samples=1,
        transfer_syntax="1.2.840.10008.1.2.1",
    )


def _publish(folder: Path, patients: int) -> int:
    info = DatasetInfo(name="one", title="t", description="d", synthetic=True)
    rows = [_row(number) for number in range(patients)]
    return publish(folder, info=info, source="/", instances=rows, clinical=[]).version


def _people(folder: Path) -> int:
    with Index.open(folder) as index:
        ((n,),) = index.rows("SELECT count(*) FROM patient")
        return n


def test_an_open_reader_stays_on_its_version(tmp_path: Path) -> None:
    _publish(tmp_path, 3)
    with Index.open(tmp_path) as old:
        for more in range(4, 10):
            _publish(tmp_path, more)
        assert old.rows("SELECT count(*) FROM patient") == [(3,)]
        assert old.version == 1
    assert _people(tmp_path) == 9
    # Only a few old versions are kept; the reader's was removed under it without harm.
    assert not (tmp_path / "v0001.duckdb").exists()
    assert len(list(tmp_path.glob("v*.duckdb"))) == 3


def test_readers_at_work_while_versions_change_see_whole_versions(tmp_path: Path) -> None:
    _publish(tmp_path, 1)
    stop = threading.Event()
    seen: set[tuple[int, int]] = set()
    errors: list[BaseException] = []

    def read() -> None:
        while not stop.is_set():
            try:
                with Index.open(tmp_path) as index:
                    ((n,),) = index.rows("SELECT count(*) FROM patient")
                    seen.add((index.version, n))
            except BaseException as err:
                errors.append(err)
                return

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for patients in range(2, 9):
        _publish(tmp_path, patients)
    stop.set()
    for reader in readers:
        reader.join()
    assert errors == []
    assert seen <= {(n, n) for n in range(1, 9)}


def test_nothing_changed_is_nothing_published(tmp_path: Path) -> None:
    assert [_publish(tmp_path, n) for n in (2, 2, 3, 3)] == [1, 1, 2, 2]


def test_before_the_first_version_there_is_a_clear_answer(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no index"):
        Index.open(tmp_path)


def test_a_broken_version_is_an_error_not_an_empty_index(tmp_path: Path) -> None:
    _publish(tmp_path, 2)
    (tmp_path / "v0001.duckdb").write_bytes(b"nonsense" * 1000)
    with pytest.raises(DataError):
        Index.open(tmp_path)


@pytest.mark.parametrize("moment", ["scan", "v0002.duckdb", "CURRENT"])
def test_a_killed_ingest_leaves_the_old_version_and_the_next_one_works(
    empty_node: NodeHome, tmp_path: Path, moment: str
) -> None:
    images, _ = write_collection(tmp_path, patients=4)
    words = {"dataset": "one", "title": "t", "description": "d", "synthetic": True}
    ingest(empty_node, images, **words)
    write_collection(tmp_path, patients=3, first=10)
    process = subprocess.Popen(
        [sys.executable, "-c", INGEST, str(empty_node.folder), str(images), moment], stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        # A reader at work beside it sees the published version.
        assert _people(empty_node.index_folder) == 4
        process.kill()
    assert _people(empty_node.index_folder) == 4
    report = ingest(empty_node, images, **words)
    assert (report.version, report.patients) == (2, 7)
    assert _people(empty_node.index_folder) == 7
    left = sorted(path.name for path in empty_node.index_folder.iterdir())
    assert left == [".lock", "CURRENT", "v0001.duckdb", "v0002.duckdb"]
