"""The rows on images and counts: batches for training, opening a collection, counting people.

The loop that everyone writes first is the peer: `pydicom.dcmread`, `pixel_array`, slope and intercept, stack.
Ours and the loop's batches are compared once, value by value, before they are timed.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import duckdb
import numpy as np
import pydicom
import torch
import xarray as xr
from _collection import write_collection
from _harness import Contest, Row, Spent, at_most, skipped, timed
from numpy.typing import NDArray

from unica_sdk.node import cohort
from unica_sdk.node.home import NodeHome
from unica_sdk.node.imaging.backend import UnicaBackend, as_dataset
from unica_sdk.node.imaging.opening import open_cases
from unica_sdk.node.imaging.reader import CaseReader
from unica_sdk.node.imaging.table import CaseTable
from unica_sdk.node.imaging.training import CaseImages
from unica_sdk.node.index import PROFILES, Index, publish
from unica_sdk.node.index_tables import SCHEMA, TABLES, DatasetInfo, InstanceRow
from unica_sdk.schemas.cohort import AgeRange, CohortQuery

SIDE, IMAGES, BATCH = 512, 256, 32
OPENED = 50_000
MAX_GIB = 8
"""Free disk that the large index asks for."""


class Setting(Protocol):
    """What these rows need of a run's setting."""

    @property
    def folder(self) -> Path: ...
    @property
    def repetitions(self) -> int: ...
    @property
    def instances(self) -> int: ...


def images_in_batches(setting: Setting) -> Iterator[Row]:
    """Shuffled batches of 32 images of 512² and 16 bits, each against the same loop over pydicom."""
    torch.set_num_threads(1)
    table = CaseTable.from_files(_images(setting.folder / "images"))
    cache = setting.folder / "cache"
    offset = open_cases(table, volumes=False)
    full = open_cases(table, volumes=False, rows=SIDE, columns=SIDE, cache_folder=cache)
    half = open_cases(table, volumes=False, rows=SIDE // 2, columns=SIDE // 2, cache_folder=cache)
    for reader in (full, half):
        if reader.prepare():
            raise SystemExit("a generated image was not prepared")
        reader.close()
    _check(offset)
    arrays = as_dataset(offset).image
    tensors, kept, small = CaseImages(offset), full.read_levels, CaseImages(half)
    contests: tuple[tuple[str, float, Callable[[Any], Any], bool], ...] = (
        ("at their offset, as float32 tensors", 6, tensors.__getitems__, True),
        ("at their offset, through xarray", 6, lambda batch: arrays[batch].to_numpy(), True),
        ("from the cache at 512², as kept (16 bits)", 25, kept, False),
        ("from the cache at 256², as float32 tensors", 25, small.__getitems__, True),
        # One MB is written for each: half the loop's distance is the memory's, not ours.
        ("from the cache at 512², as float32 tensors", 10, CaseImages(full).__getitems__, True),
    )
    for name, goal, read, as_float in contests:
        yield Contest(
            name=f"512² batches {name}, against pydicom",
            unit="images/CPU-s",
            goal=goal,
            ours=lambda read=read: timed(lambda: _run(read)),
            peer=lambda as_float=as_float: timed(lambda: _run(lambda batch: _loop(offset, batch, as_float))),
        ).row(repetitions=setting.repetitions)


def _run(read: Callable[[NDArray[np.intp]], Any]) -> float:
    order = np.random.default_rng(1).permutation(IMAGES)
    for start in range(0, IMAGES, BATCH):
        read(order[start : start + BATCH])
    return IMAGES


def _loop(reader: CaseReader, batch: NDArray[np.intp], as_float: bool) -> Any:
    table, rows = reader.cases.table, reader.cases.rows[batch]
    out = np.empty((len(batch), SIDE, SIDE), np.float32 if as_float else np.uint16)
    for place, row in enumerate(rows.tolist()):
        dataset = pydicom.dcmread(table.path[row])
        out[place] = dataset.pixel_array
        if as_float:
            out[place] *= np.float32(dataset.RescaleSlope)
            out[place] += np.float32(dataset.RescaleIntercept)
    return torch.from_numpy(out) if as_float else out


def _check(reader: CaseReader) -> None:
    some = np.arange(8)
    if not np.allclose(reader.read(some), _loop(reader, some, as_float=True).numpy(), rtol=1e-6):
        raise SystemExit("our values are not pydicom's")


def _images(folder: Path) -> list[Path]:
    dice = np.random.default_rng(20260101)
    paths = write_collection(folder, files=IMAGES, side=SIDE)
    size = SIDE * SIDE * 2
    for path in paths:
        header = path.read_bytes()[:-size]
        path.write_bytes(header + dice.integers(0, 4096, (SIDE, SIDE), dtype=np.uint16).tobytes())
    return paths


def opening(setting: Setting) -> Iterator[Row]:
    """From a node's folder to an `xarray.Dataset` of fifty thousand cases."""
    home = NodeHome.create(setting.folder / "node", site="bench", name="Benchmark", country="GR")
    info = DatasetInfo(name="bench", title="Benchmark", description="Synthetic.", synthetic=True)
    publish(home.index_folder, info=info, source="/", instances=map(_row, range(OPENED)), clinical=())
    seconds = []
    for _ in range(setting.repetitions + 1):
        begin = time.process_time()
        with xr.open_dataset(home.folder, engine=UnicaBackend, modality="MG") as opened:
            assert opened.sizes["case"] == OPENED  # noqa: S101
        seconds.append(time.process_time() - begin)
    yield at_most(
        f"opening {OPENED:,} cases", ours=round(statistics.median(seconds[1:]), 3), limit=1, unit="CPU-s"
    )


def _row(number: int) -> InstanceRow:
    return InstanceRow(
        path=f"/a/synthetic/store/of/copies/{number // 1000:04d}/{number:032x}.dcm",
        patient=f"{number // 4:032x}",
        study=f"{number // 4:032x}",
        series=f"{number:032x}",
        instance=f"{number:032x}",
        modality="MG",
        body_part="breast",
        manufacturer="synthetic",
        sex="female",
        age=55,
        rows=3328,
        columns=2560,
        frames=1,
        samples=1,
        transfer_syntax="1.2.840.10008.1.2.1",
        pixel_keyword="PixelData",
        pixel_offset=2048 + number % 512,
        pixel_length=3328 * 2560 * 2,
        bits_allocated=16,
        bits_stored=12,
        photometric="MONOCHROME2",
        row_spacing=0.07,
        column_spacing=0.07,
        sha256=f"{number:064x}",
        high_bit=11,
    )


QUERY = CohortQuery(
    modality=("MG",), diagnosis=("breast_cancer",), sex=("female",), age=AgeRange(low=50, high=69)
)


def counting(setting: Setting) -> Iterator[Row]:
    """People who match four criteria, from the table of people; beside it, the scan of all images."""
    for patients, instances, limit in ((1_000_000, 0, 30.0), (100_000, setting.instances, 10.0)):
        name = f"count over {patients:,} patients" + (f" and {instances:,} instances" if instances else "")
        needed = MAX_GIB * instances / 60e6
        if shutil.disk_usage(setting.folder).free < needed * 2**30:
            yield skipped(
                name, unit="CPU-ms", goal=f"ours <= {limit:g}", reason=f"less than {needed:.0f} GiB free"
            )
            continue
        folder = setting.folder / f"index-{patients}"
        _write_index(folder, patients=patients, instances=instances)
        with Index.open(folder) as index:
            if not 0 < cohort.count(index, QUERY) < patients:
                raise SystemExit("the generated people do not spread over the criteria")
            ours = _milliseconds(lambda: cohort.count(index, QUERY), setting.repetitions)
            scan = "SELECT count(DISTINCT patient) FROM instance WHERE modality = 'MG'"
            peer = _milliseconds(lambda scan=scan: index.rows(scan), 1) if instances else None
        shutil.rmtree(folder)
        unit = "CPU-ms (peer: scanning the instances)" if instances else "CPU-ms"
        yield at_most(name, ours=ours, limit=limit, unit=unit, peer=peer)


def _milliseconds(action: Callable[[], Any], repetitions: int) -> float:
    spent: list[Spent] = [timed(lambda: float(bool(action()) or 1)) for _ in range(repetitions + 1)]
    return round(statistics.median(one.seconds for one in spent[-repetitions:]) * 1000, 3)


def _write_index(folder: Path, *, patients: int, instances: int) -> None:
    """Write a published version with range(): as many people as wanted, and of their images what is read."""
    folder.mkdir()
    with duckdb.connect(folder / "v0001.duckdb", config={"threads": 2}) as connection:
        connection.execute(TABLES)
        connection.execute(
            "CREATE TABLE patient AS SELECT printf('%032x', i * 2654435761) AS patient,"
            " CASE WHEN i % 10 < 7 THEN 'female' ELSE 'male' END AS sex, (30 + i % 60)::INTEGER AS age,"
            " CASE WHEN i % 7 = 0 THEN 'breast_cancer' ELSE 'none' END AS diagnosis,"
            " CASE WHEN i % 7 = 0 THEN 'screen_detected' ELSE 'negative' END AS outcome,"
            " CASE WHEN i % 3 = 0 THEN ['CT', 'MG'] ELSE ['MR'] END AS modalities, ['breast'] AS body_parts,"
            " ['vendor ' || (i % 5)] AS manufacturers, ['bench'] AS datasets FROM range(?) AS r(i)",
            [patients],
        )
        connection.execute("CREATE TABLE profile AS " + PROFILES.format(people="patient"))
        connection.execute(
            "INSERT INTO instance BY NAME SELECT 'bench' AS dataset,"
            " printf('%032x', (i // 600) * 2654435761) AS patient, i::VARCHAR AS instance,"
            " CASE WHEN i % 3 = 0 THEN 'MG' ELSE 'CT' END AS modality, 512 AS rows, 512 AS columns,"
            " 4096 + i % 512 AS pixel_offset, 524288 AS pixel_length FROM range(?) AS r(i)",
            [instances],
        )
        connection.execute(
            "CREATE TABLE meta AS SELECT 1 AS version, 'sha256:0' AS content,"
            " '2026-01-01T00:00:00+00:00' AS created, ? AS tables",
            [SCHEMA],
        )
        connection.execute("CHECKPOINT")
    (folder / "CURRENT").write_text("v0001.duckdb\n")
