"""The faces of a reader: xarray's engine, dask, torch; and the cache they share."""

import pickle
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from imaging_files import by_pydicom, write_image, write_volume

from unica_sdk.errors import DataError, InvalidRequest, NotFound
from unica_sdk.node.consent import ConsentRegistry
from unica_sdk.node.home import NodeHome
from unica_sdk.node.imaging.backend import UnicaBackend, as_dataset
from unica_sdk.node.imaging.cache import LEVELS, PreparedCache
from unica_sdk.node.imaging.memory import SMALL, Recycled
from unica_sdk.node.imaging.opening import image_cache, open_cases
from unica_sdk.node.imaging.preparation import Preparation
from unica_sdk.node.imaging.reader import CaseReader
from unica_sdk.node.imaging.table import CaseTable
from unica_sdk.node.imaging.training import CaseImages
from unica_sdk.node.ingest import patient_pseudonym
from unica_sdk.node.pixels import prepare

ROOT = Path(__file__).parents[2]
CASES = 12


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> CaseTable:
    folder = tmp_path_factory.mktemp("images")
    dice = np.random.default_rng(7)
    paths = [
        write_image(
            folder / f"{n}.dcm",
            dice.integers(0, 4096, (12, 10)).astype(np.uint16),
            number=n + 1,
            BitsStored=12,
            PixelSpacing=[0.1, 0.2],
            PhotometricInterpretation="MONOCHROME1" if n % 3 == 0 else "MONOCHROME2",
        )
        for n in range(CASES)
    ]
    return CaseTable.from_files(paths)


@pytest.fixture(scope="module")
def everything(table: CaseTable) -> np.ndarray:
    return np.stack([by_pydicom(path) for path in table.path.tolist()])


@pytest.fixture
def dataset(table: CaseTable) -> xr.Dataset:
    return xr.open_dataset(table, engine=UnicaBackend)  # type: ignore[arg-type]


# --- xarray ------------------------------------------------------------------------------------------


def test_the_engine_is_found_by_its_entry_point(
    table: CaseTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    installed = tmp_path / "unica_entry_points-0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: unica-entry-points\nVersion: 0\n")
    lines = [f"{name} = {target}" for name, target in points["xarray.backends"].items()]
    (installed / "entry_points.txt").write_text("\n".join(["[xarray.backends]", *lines]))
    monkeypatch.syspath_prepend(tmp_path)
    xr.backends.refresh_engines()
    try:
        found = xr.open_dataset(table, engine="unica")  # type: ignore[arg-type]
        assert found.image.dims == ("case", "y", "x")
    finally:
        monkeypatch.undo()
        xr.backends.refresh_engines()


def test_a_dataset_says_what_its_cases_are(dataset: xr.Dataset, table: CaseTable) -> None:
    assert dataset.image.dtype == np.float32
    assert dataset.image.shape == (CASES, 12, 10)
    assert dataset.case.to_numpy().tolist() == table.instance.tolist()
    assert dataset.patient.to_numpy().tolist() == table.patient.tolist()
    np.testing.assert_allclose(dataset.row_spacing, 0.1)
    np.testing.assert_allclose(dataset.column_spacing, 0.2)
    assert dataset.row_spacing.attrs == {"units": "mm"}
    assert dataset.inverted.to_numpy().tolist() == [n % 3 == 0 for n in range(CASES)]
    assert "refused" not in dataset.attrs
    assert "P1" not in str(dataset.to_dict(data=True))


def test_opening_reads_no_pixels(table: CaseTable, tmp_path: Path) -> None:
    gone = CaseTable.from_files(table.path.tolist())
    gone.path[:] = str(tmp_path / "gone")
    opened = xr.open_dataset(gone, engine=UnicaBackend)  # type: ignore[arg-type]
    assert opened.sizes == {"case": CASES, "y": 12, "x": 10}
    assert "image" in repr(opened)
    with pytest.raises(DataError, match="cannot be opened"):
        opened.image[3].load()


INDICES = st.one_of(
    st.integers(-CASES, CASES - 1),
    st.slices(CASES),
    st.lists(st.integers(-CASES, CASES - 1), max_size=6).map(lambda each: np.array(each, dtype=int)),
)


@given(case=INDICES, y=st.one_of(st.integers(-12, 11), st.slices(12)), x=st.slices(10))
def test_any_selection_is_what_numpy_selects(
    table: CaseTable, everything: np.ndarray, case: object, y: object, x: object
) -> None:
    opened = as_dataset(open_cases(table))
    got = opened.image[case, y, x].to_numpy()  # type: ignore[index]
    np.testing.assert_array_equal(got, everything[case][..., y, x] if np.ndim(case) or isinstance(case, slice)
                                  else everything[case][y, x])  # fmt: skip


def test_selections_by_label_by_points_and_twice(dataset: xr.Dataset, everything: np.ndarray) -> None:
    np.testing.assert_array_equal(dataset.image.sel(case="image-000005"), everything[4])
    points = xr.DataArray([3, 1, 3], dims="point"), xr.DataArray([0, 5, 9], dims="point")
    np.testing.assert_array_equal(dataset.image[points[0], points[1]], everything[[3, 1, 3], [0, 5, 9]])
    np.testing.assert_array_equal(dataset.image[2:9][[5, 0]][:, ::2], everything[[7, 2], ::2])
    np.testing.assert_array_equal(dataset.image[:, [3, 1]][:, :, [0, 2]], everything[:, [3, 1]][:, :, [0, 2]])


def test_chunks_are_dask_and_equal_eager(table: CaseTable, everything: np.ndarray) -> None:
    lazy = xr.open_dataset(table, engine=UnicaBackend, chunks={"case": 5})  # type: ignore[arg-type]
    assert lazy.image.chunks == ((5, 5, 2), (12,), (10,))
    np.testing.assert_array_equal(lazy.image.compute(), everything)
    np.testing.assert_allclose(lazy.image.mean("case").compute(), everything.mean(0), rtol=1e-5)
    again = xr.open_dataset(table, engine=UnicaBackend, chunks="auto")  # type: ignore[arg-type]
    assert again.image.chunks == ((12,), (12,), (10,))
    assert as_dataset(open_cases(table)).chunk(case=4).image.chunks[0] == (4, 4, 4)
    np.testing.assert_array_equal(again.image[::-1].compute(scheduler="threads"), everything[::-1])


def test_a_dataset_travels_to_another_process(dataset: xr.Dataset, everything: np.ndarray) -> None:
    there = pickle.loads(pickle.dumps(dataset.isel(case=[1, 7])))  # noqa: S301
    np.testing.assert_array_equal(there.image, everything[[1, 7]])


def test_variables_may_be_left_out(table: CaseTable) -> None:
    without = xr.open_dataset(table, engine=UnicaBackend, drop_variables=["patient"])  # type: ignore[arg-type]
    assert "patient" not in without.coords


def test_refused_cases_are_counted_in_the_dataset(table: CaseTable, tmp_path: Path) -> None:
    frames = write_image(tmp_path / "frames", np.zeros((2, 12, 10), np.uint16), NumberOfFrames=2)
    more = CaseTable.from_files([*table.path.tolist(), frames, tmp_path / "none"])
    opened = xr.open_dataset(more, engine=UnicaBackend)  # type: ignore[arg-type]
    assert opened.sizes["case"] == CASES
    assert opened.attrs["refused"] == "1 no_pixels; 1 several_frames"


# --- a node's home -----------------------------------------------------------------------------------


def test_a_home_opens_by_its_index(node: NodeHome) -> None:
    with xr.open_dataset(node.folder, engine=UnicaBackend, modality="MG") as opened:
        assert opened.sizes == {"case": 88, "y": 16, "x": 20}
        assert len(set(opened.patient.to_numpy().tolist())) == 88
        assert not any(name.startswith("P0") for name in opened.patient.to_numpy().tolist())
        stored = opened.image.to_numpy()
    assert (stored >= 0).all()
    assert (stored <= 4095).all()
    assert len(np.unique(stored.reshape(88, -1), axis=0)) == 88
    with pytest.raises(NotFound):
        open_cases(node, modality="CT")
    with pytest.raises(NotFound):
        open_cases(node, datasets=["another"])
    some = open_cases(node.folder, patients=opened.patient.to_numpy().tolist()[:3])
    assert len(some) == 3


def test_a_home_prepares_into_its_own_cache(node: NodeHome) -> None:
    with xr.open_dataset(node.folder, engine=UnicaBackend, rows=8, columns=10) as opened:
        first = opened.image[:2].to_numpy()
        np.testing.assert_allclose(opened.row_spacing, np.nan)
    assert len(PreparedCache(image_cache(node), Preparation(rows=8, columns=10)).all_keys()) == 2
    reader = open_cases(node, rows=8, columns=10)
    try:
        path = Path(str(reader.cases.table.path[reader.cases.rows[0]]))
        np.testing.assert_allclose(first[0], prepare(path, rows=8, columns=10), atol=1e-5)
    finally:
        reader.close()


def test_people_who_withdraw_are_not_among_the_cases(node: NodeHome) -> None:
    before = open_cases(node).cases
    ConsentRegistry.of(node).withdraw(["P0003"])
    after = open_cases(node).cases
    assert set(before.patients.tolist()) - set(after.patients.tolist()) == {
        patient_pseudonym(node.site_key(), "P0003")
    }


# --- torch -------------------------------------------------------------------------------------------


def test_torch_batches_equal_numpy(table: CaseTable, everything: np.ndarray) -> None:
    images = CaseImages(open_cases(table), labels=np.arange(CASES) % 2)
    batch, labels = images.__getitems__([7, 0, 7])
    assert batch.dtype == labels.dtype == torch.float32
    assert batch.shape == (3, 1, 12, 10)
    np.testing.assert_array_equal(batch[:, 0].numpy(), everything[[7, 0, 7]])
    assert labels.tolist() == [1, 0, 1]
    one, label = images[-1]
    np.testing.assert_array_equal(one[0].numpy(), everything[-1])
    assert float(label) == 1
    with pytest.raises(IndexError):
        images[CASES]
    with pytest.raises(InvalidRequest, match="one label"):
        CaseImages(open_cases(table), labels=[1])


def test_a_loader_hands_out_every_case_once(table: CaseTable, everything: np.ndarray) -> None:
    images = CaseImages(open_cases(table), labels=np.arange(CASES))
    loader = images.loader(batch_size=5, shuffle=True, generator=torch.Generator().manual_seed(1))
    batches = list(loader)  # all alive at once: none may share another's memory
    assert [len(batch) for batch, _ in batches] == [5, 5, 2]
    order = torch.cat([labels for _, labels in batches]).int().tolist()
    assert sorted(order) == list(range(CASES))
    np.testing.assert_array_equal(torch.cat([batch for batch, _ in batches])[:, 0], everything[order])
    assert len(list(CaseImages(open_cases(table)).loader(batch_size=CASES))) == 1


def test_volumes_are_tensors_too(tmp_path: Path) -> None:
    paths = write_volume(tmp_path, places=[0.0, 1.0, 2.0])
    batch = CaseImages(open_cases(CaseTable.from_files(paths))).__getitems__([0])
    assert batch.shape == (1, 1, 3, 6, 8)  # type: ignore[union-attr]


@pytest.mark.parametrize("module", ["cache", "reader", "opening", "training", "table", "upkeep"])
def test_nothing_but_a_batch_of_tensors_loads_torch(module: str) -> None:
    code = (
        f"import sys, unica_sdk.node.imaging.{module};"
        "sys.exit(bool({'torch', 'xarray'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# --- at training resolution: for what is on disk, see test_imaging_cache -----------------------------


def prepared(table: CaseTable, folder: Path) -> CaseReader:
    return open_cases(table, rows=6, columns=5, cache_folder=folder)


def test_prepared_cases_are_what_a_worker_prepares(table: CaseTable, tmp_path: Path) -> None:
    reader = prepared(table, tmp_path)
    seen: list[tuple[int, int]] = []
    try:
        assert reader.prepare(progress=lambda done, of: seen.append((done, of))) == ()
    finally:
        reader.close()
    assert seen[-1] == (CASES, CASES)
    expected = np.stack([prepare(Path(path), rows=6, columns=5) for path in table.path.tolist()])
    np.testing.assert_allclose(reader.read(np.arange(CASES)), expected, atol=1 / LEVELS)
    np.testing.assert_array_equal(
        reader.read_levels([3]), np.rint(reader.read([3]) * LEVELS).astype(np.uint16)
    )
    assert as_dataset(reader).image.attrs["valid_range"] == [0.0, 1.0]
    np.testing.assert_allclose(as_dataset(reader).row_spacing, 0.2)
    with pytest.raises(InvalidRequest, match="levels"):
        open_cases(table).read_levels([0])


def test_what_is_prepared_needs_no_file_any_more_and_serves_any_choice(tmp_path: Path) -> None:
    dice = np.random.default_rng(3)
    paths = [
        write_image(tmp_path / f"{n}.dcm", dice.integers(0, 999, (8, 8)).astype(np.uint16), number=n + 1)
        for n in range(3)
    ]
    table = CaseTable.from_files(paths)
    reader = prepared(table, tmp_path / "cache")
    all_of_them = reader.read([0, 1, 2]).copy()
    reader.close()
    for path in paths:
        path.unlink()
    np.testing.assert_array_equal(
        prepared(table.select(np.array([2, 0])), tmp_path / "cache").read([0, 1]), all_of_them[[2, 0]]
    )
    np.testing.assert_array_equal(reader.select([1]).read([0]), all_of_them[[1]])
    travelled: CaseReader = pickle.loads(pickle.dumps(reader))  # noqa: S301
    np.testing.assert_array_equal(travelled.read([2]), all_of_them[[2]])


def test_a_changed_file_is_prepared_anew(tmp_path: Path) -> None:
    path = write_image(tmp_path / "image.dcm", np.arange(64, dtype=np.uint16).reshape(8, 8))
    reader = prepared(CaseTable.from_files([path]), tmp_path / "cache")
    before = reader.read([0]).copy()
    reader.close()
    write_image(path, np.arange(64, dtype=np.uint16)[::-1].reshape(8, 8).copy())
    reader = prepared(CaseTable.from_files([path]), tmp_path / "cache")
    after = reader.read([0])
    reader.close()
    np.testing.assert_allclose(after, 1 - before, atol=1e-4)


# --- memory ------------------------------------------------------------------------------------------


def test_memory_in_use_is_never_handed_out_again() -> None:
    memory = Recycled()
    kept = []
    for number in range(12):
        block = memory.empty((SMALL // 4,), np.float32)
        block.fill(number)
        kept.append(torch.from_numpy(block)[1:] if number % 2 else block[1:])
        del block
    assert [float(one[0]) for one in kept] == list(range(12))


def test_a_batch_survives_later_ones() -> None:
    memory = Recycled()
    first = memory.empty((SMALL,), np.uint8)
    place = first.__array_interface__["data"][0]
    del first
    again = memory.empty((SMALL,), np.uint8)
    assert again.__array_interface__["data"][0] == place
    smaller = memory.empty((SMALL, 1), np.uint8)
    assert smaller.__array_interface__["data"][0] != place
