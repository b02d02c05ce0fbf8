"""The rows on images: batches for training, opening a collection.

The loop that everyone writes first is the peer: `pydicom.dcmread`, `pixel_array`, slope and intercept, stack.
Ours and the loop's batches are compared once, value by value, before they are timed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pydicom
import torch
import xarray as xr
from _harness import Contest, Row, at_most, timed
from _setting import SIDE, Setting
from numpy.typing import NDArray

from unica_sdk.node.home import NodeHome
from unica_sdk.node.imaging.backend import UnicaBackend, as_dataset
from unica_sdk.node.imaging.opening import open_cases
from unica_sdk.node.imaging.reader import CaseReader
from unica_sdk.node.imaging.table import CaseTable
from unica_sdk.node.imaging.training import CaseImages
from unica_sdk.node.index import publish
from unica_sdk.node.index_tables import DatasetInfo, InstanceRow

BATCH = 32
OPENED = 50_000


def images_in_batches(setting: Setting) -> Iterator[Row]:
    """Shuffled batches of 32 images of 512² and 16 bits, each against the same loop over pydicom."""
    torch.set_num_threads(1)
    table = CaseTable.from_files(setting.images())
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
        ("from the cache at 512², as float32 tensors", 25, CaseImages(full).__getitems__, True),
    )
    for name, goal, read, as_float in contests:
        yield Contest(
            name=f"512² batches {name}, against pydicom",
            unit="images/CPU-s",
            goal=goal,
            ours=lambda read=read: timed(lambda: _run(len(table), read)),
            peer=lambda as_float=as_float: timed(
                lambda: _run(len(table), lambda batch: _loop(offset, batch, as_float))
            ),
        ).row(repetitions=setting.repetitions)


def _run(images: int, read: Callable[[NDArray[np.intp]], Any]) -> float:
    order = np.random.default_rng(1).permutation(images)
    for start in range(0, images, BATCH):
        read(order[start : start + BATCH])
    return images


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


def opening(setting: Setting) -> Iterator[Row]:
    """From a node's folder to an `xarray.Dataset` of fifty thousand cases."""
    home = NodeHome.create(setting.folder / "node", site="bench", name="Benchmark", country="GR")
    info = DatasetInfo(name="bench", title="Benchmark", description="Synthetic.", synthetic=True)
    cases = min(OPENED, setting.instances)
    publish(home.index_folder, info=info, source="/", instances=map(_row, range(cases)), clinical=())
    seconds = []
    for _ in range(setting.repetitions + 1):
        begin = time.process_time()
        with xr.open_dataset(home.folder, engine=UnicaBackend, modality="MG") as opened:
            assert opened.sizes["case"] == cases  # noqa: S101
        seconds.append(time.process_time() - begin)
    yield at_most(
        f"opening {cases:,} cases", ours=round(statistics.median(seconds[1:]), 3), limit=1, unit="CPU-s"
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
