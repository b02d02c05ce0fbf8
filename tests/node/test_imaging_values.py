"""Values as acquired: at the recorded offset or through a worker, they are pydicom's."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from imaging_files import as_big_endian, by_pydicom, panicking, write_image
from pydicom.data import get_testdata_files
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, RLELossless

from unica_sdk.errors import DataError, InvalidRequest, NotFound
from unica_sdk.node.imaging.admission import at_offset, refusals
from unica_sdk.node.imaging.opening import open_cases
from unica_sdk.node.imaging.preparation import Preparation, percentiles, prepare_values
from unica_sdk.node.imaging.reader import CaseReader, find_cases
from unica_sdk.node.imaging.table import CaseTable

DICE = np.random.default_rng(20260101)
SIZE = (9, 7)


def reader_of(*paths: Path | str) -> CaseReader:
    return open_cases(CaseTable.from_files(paths), volumes=False)


def random_values(dtype: type, low: int, high: int) -> np.ndarray:
    return DICE.integers(low, high, SIZE, endpoint=True).astype(dtype)


VARIANTS: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "16 unsigned": (random_values(np.uint16, 0, 65535), {}),
    "16 signed": (random_values(np.int16, -32768, 32767), {}),
    "12 unsigned": (random_values(np.uint16, 0, 4095), {"BitsStored": 12}),
    "12 unsigned, overlay above": (random_values(np.uint16, 0, 65535), {"BitsStored": 12}),
    "12 signed": (random_values(np.int16, -2048, 2047), {"BitsStored": 12}),
    "12 signed, overlay above": (random_values(np.int16, -32768, 32767), {"BitsStored": 12}),
    "8 unsigned": (DICE.integers(0, 255, (8, 6), endpoint=True).astype(np.uint8), {}),
    "8 signed": (DICE.integers(-128, 127, (8, 6), endpoint=True).astype(np.int8), {}),
    "7 of 8": (DICE.integers(0, 255, (8, 6), endpoint=True).astype(np.uint8), {"BitsStored": 7}),
    "rescaled": (random_values(np.uint16, 0, 4095), {"RescaleSlope": "1", "RescaleIntercept": "-1024"}),
    "sloped": (random_values(np.int16, -900, 900), {"RescaleSlope": "-0.37", "RescaleIntercept": "12.5"}),
    "MONOCHROME1": (random_values(np.uint16, 0, 4095), {"PhotometricInterpretation": "MONOCHROME1"}),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_values_at_the_offset_are_pydicoms(variant: str, tmp_path: Path) -> None:
    stored, headers = VARIANTS[variant]
    path = write_image(tmp_path / "image.dcm", stored, **headers)
    reader = reader_of(path)
    assert at_offset(reader.cases.table).all()
    assert reader.read([0]).dtype == np.float32
    np.testing.assert_allclose(reader.read([0])[0], by_pydicom(path), rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("variant", [name for name in VARIANTS if not name.startswith(("7", "8"))])
def test_big_endian_is_read_where_it_lies_too(variant: str, tmp_path: Path) -> None:
    stored, headers = VARIANTS[variant]
    path = as_big_endian(write_image(tmp_path / "image.dcm", stored, **headers))
    reader = reader_of(path)
    assert at_offset(reader.cases.table).all()
    np.testing.assert_allclose(reader.read([0])[0], by_pydicom(path), rtol=1e-6, atol=1e-4)


@given(
    values=st.lists(st.integers(0, 65535), min_size=6, max_size=6),
    bits=st.integers(1, 16),
    signed=st.booleans(),
    slope=st.sampled_from(["1", "2", "0.5", "-3"]),
    intercept=st.integers(-2000, 2000),
)
def test_any_bits_any_sign(
    tmp_path_factory: pytest.TempPathFactory,
    values: list[int],
    bits: int,
    signed: bool,
    slope: str,
    intercept: int,
) -> None:
    stored = np.array(values, np.uint16).reshape(2, 3).view(np.int16 if signed else np.uint16)
    path = tmp_path_factory.getbasetemp() / "any.dcm"
    write_image(path, stored, BitsStored=bits, RescaleSlope=slope, RescaleIntercept=str(intercept))
    np.testing.assert_allclose(reader_of(path).read([0])[0], by_pydicom(path), rtol=1e-6)


def test_every_bundled_file_is_pydicoms_or_refused() -> None:
    table = CaseTable.from_files(get_testdata_files())
    good = np.flatnonzero(refusals(table) == "")
    direct = at_offset(table)
    assert direct[good].sum() > 30
    unlike = []
    for row in good.tolist():
        with_one = open_cases(table.select(np.array([row])), volumes=False)
        if direct[row]:
            ours = with_one.read([0])[0]
            if not np.allclose(ours, by_pydicom(table.path[row]), rtol=1e-6, atol=1e-4):
                unlike.append(table.path[row])
    assert unlike == []


def test_compressed_bundled_files_come_through_a_worker() -> None:
    table = CaseTable.from_files(get_testdata_files())
    rows = np.flatnonzero((refusals(table) == "") & ~at_offset(table))
    assert len(rows) >= 5
    undecodable = []
    for shape in {(int(table.rows[row]), int(table.columns[row])) for row in rows.tolist()}:
        alike = rows[(table.rows[rows] == shape[0]) & (table.columns[rows] == shape[1])]
        reader = open_cases(table.select(alike), volumes=False)
        try:
            for case, row in enumerate(alike.tolist()):
                try:
                    values = reader.read([case])[0]
                except DataError:
                    undecodable.append(table.path[row])
                else:
                    np.testing.assert_allclose(values, by_pydicom(table.path[row]), rtol=1e-6, atol=1e-4)
        finally:
            reader.close()
    assert len(undecodable) < len(rows) / 2
    for path in undecodable:
        with pytest.raises(RuntimeError, match="Unable to decode"):
            by_pydicom(path)


def test_a_table_lut_is_applied_not_passed_over(tmp_path: Path) -> None:
    path = write_image(tmp_path / "lut.dcm", np.arange(63, dtype=np.uint16).reshape(9, 7))
    dataset = pydicom.dcmread(path)
    item = Dataset()
    item.LUTDescriptor = [64, 0, 16]
    item.LUTData = [int(value) for value in 5000 - np.arange(64) ** 2]
    item["LUTDescriptor"].VR = "US"
    item["LUTData"].VR = "US"
    item.ModalityLUTType = "US"
    dataset.ModalityLUTSequence = [item]
    dataset.save_as(path)
    reader = reader_of(path)
    assert not at_offset(reader.cases.table).any()
    try:
        np.testing.assert_array_equal(reader.read([0])[0].ravel(), 5000 - np.arange(63) ** 2)
    finally:
        reader.close()


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ({"RescaleSlope": "2"}, (2, 0)),
        ({"RescaleIntercept": "-1024"}, (1, -1024)),
        ({"RescaleSlope": "2", "RescaleIntercept": ""}, (2, 0)),
    ],
)
def test_half_a_line_is_the_same_line_however_pixels_are_stored(
    said: dict[str, str], line: tuple[int, int], tmp_path: Path
) -> None:
    """pydicom applies none then, and reading at the offset did."""
    stored = random_values(np.uint16, 0, 4095)
    plain = write_image(tmp_path / "plain.dcm", stored, number=1, **said)
    packed = write_image(tmp_path / "packed.dcm", stored, number=2, transfer_syntax=RLELossless, **said)
    reader = reader_of(plain, packed)
    try:
        for image in reader.read([0, 1]):
            np.testing.assert_array_equal(image, stored.astype(np.float32) * line[0] + line[1])
    finally:
        reader.close()


@pytest.mark.parametrize(
    ("reason", "pixels", "headers"),
    [
        ("several_frames", np.zeros((3, 8, 8), np.uint16), {"NumberOfFrames": 3}),
        (
            "not_grey",
            np.zeros((8, 8, 3), np.uint8),
            {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0, "Rows": 8},
        ),
        ("not_grey", np.zeros((8, 8), np.uint8), {"PhotometricInterpretation": "PALETTE COLOR"}),
        ("bits", np.zeros((8, 8), np.uint32), {}),
        ("bits", np.zeros((8, 8), np.uint16), {"BitsStored": 12, "HighBit": 15}),
        ("truncated", np.zeros((8, 8), np.uint16), {"Rows": 9}),
    ],
)
def test_what_is_no_grey_image_is_refused_with_its_reason(
    reason: str, pixels: np.ndarray, headers: dict[str, Any], tmp_path: Path
) -> None:
    path = write_image(tmp_path / "odd.dcm", pixels, **headers)
    good = write_image(tmp_path / "good.dcm", np.zeros((8, 8), np.uint16), number=2)
    table = CaseTable.from_files([path, good, tmp_path / "not there"])
    assert refusals(table).tolist() == [reason, "", "no_pixels"]
    assert find_cases(table).refused == dict(sorted({reason: 1, "no_pixels": 1}.items()))
    with pytest.raises(NotFound, match="No case") as refused:
        reader_of(path)
    assert reason in refused.value.where


def test_a_cut_file_is_refused_and_one_cut_later_names_its_case(tmp_path: Path) -> None:
    paths = [
        write_image(tmp_path / f"{n}.dcm", np.full((8, 8), n, np.uint16), number=n + 1) for n in range(3)
    ]
    reader = reader_of(*paths)
    os.truncate(paths[1], paths[1].stat().st_size - 1)
    with pytest.raises(DataError, match="changed") as changed:
        reader.read([0, 1, 2])
    assert changed.value.where == "image-000002"
    assert reader.read([0, 2]).mean(axis=(1, 2)).tolist() == [0, 2]
    assert refusals(CaseTable.from_files(paths)).tolist() == ["", "truncated", ""]


def test_without_a_recorded_size_the_end_of_a_file_is_an_error_all_the_same(tmp_path: Path) -> None:
    path = write_image(tmp_path / "image.dcm", np.ones((8, 8), np.uint16))
    table = CaseTable.from_files([path])
    table.file_size[:] = -1  # as in the index
    reader = open_cases(table)
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(DataError, match="ends too early") as early:
        reader.read([0])
    assert early.value.where == "image-000001"
    path.unlink()
    with pytest.raises(DataError, match="cannot be opened"):
        reader.read([0])


def test_a_dying_worker_costs_its_own_case_only(tmp_path: Path) -> None:
    good = [
        write_image(
            tmp_path / f"{n}.dcm",
            DICE.integers(0, 255, (64, 64)).astype(np.uint16),
            number=n + 1,
            Modality="MR",
            transfer_syntax=RLELossless if n else JPEG2000Lossless,
        )
        for n in range(3)
    ]
    table = CaseTable.from_files([good[0], panicking(tmp_path / "bad.dcm"), *good[1:]])
    reader = open_cases(table, volumes=False, rows=16, columns=16, cache_folder=tmp_path / "cache")
    try:
        (failure,) = reader.prepare()
        assert failure.case == "image-000002"
        assert "died" in failure.detail
        with pytest.raises(DataError, match="cannot be prepared") as named:
            reader.read([1, 0])
        assert named.value.where == "image-000002"
        rest = reader.without([failure])
        assert rest.cases.names.tolist() == ["image-000001", "image-000003", "image-000004"]
        assert rest.read([0, 1, 2]).shape == (3, 16, 16)
    finally:
        reader.close()
    native = open_cases(table, volumes=False)
    try:
        with pytest.raises(DataError, match="died"):
            native.read([1])
        np.testing.assert_array_equal(native.read([2])[0], by_pydicom(good[1]))
    finally:
        native.close()


def test_different_shapes_need_a_training_resolution(tmp_path: Path) -> None:
    paths = [
        write_image(tmp_path / f"{n}.dcm", np.zeros((4 + n, 8), np.uint16), number=n + 1) for n in range(2)
    ]
    with pytest.raises(InvalidRequest, match="2 shapes") as refused:
        reader_of(*paths)
    assert "rows=" in refused.value.hint
    with pytest.raises(InvalidRequest, match="rows and columns"):
        open_cases(CaseTable.from_files(paths), rows=8)
    with pytest.raises(InvalidRequest, match="place on disk"):
        open_cases(CaseTable.from_files(paths), rows=8, columns=8)


@given(st.integers(0, 3), st.integers(2, 300), st.sampled_from([np.uint8, np.uint16, np.int16]))
def test_counted_percentiles_are_numpys(seed: int, spread: int, dtype: type) -> None:
    dice = np.random.default_rng(seed)
    low = -spread // 2 if dtype is np.int16 else 0
    values = dice.integers(low, min(low + spread, 255), (80, 60), endpoint=True).astype(dtype)
    np.testing.assert_allclose(percentiles(values), np.percentile(values, (1, 99)))


def test_a_window_replaces_percentiles_and_monochrome1_is_inverted() -> None:
    values = np.array([[-1000.0, 40.0], [240.0, 3000.0]], np.float32)
    prepared = prepare_values(values, Preparation(rows=2, columns=2, window=(40, 400)))
    assert prepared.tolist() == [[0, 0.5], [1, 1]]
    turned = prepare_values(values, Preparation(rows=2, columns=2, window=(40, 400)), inverted=True)
    assert turned.tolist() == [[1, 0.5], [0, 0]]


def test_a_volume_is_averaged_along_all_axes() -> None:
    values = DICE.random((6, 8, 10)).astype(np.float32)
    prepared = prepare_values(values, Preparation(rows=4, columns=5, slices=3, window=(0.5, 1.0)))
    np.testing.assert_allclose(prepared, values.reshape(3, 2, 4, 2, 5, 2).mean(axis=(1, 3, 5)), atol=1e-6)


@pytest.mark.parametrize(
    ("rows", "window"), [(0, None), (8, (40.0, 0.0)), (8, (float("nan"), 1.0)), (1 << 20, None)]
)
def test_an_impossible_preparation_is_refused(rows: int, window: tuple[float, float] | None) -> None:
    with pytest.raises(InvalidRequest):
        Preparation(rows=rows, columns=1024, window=window)
