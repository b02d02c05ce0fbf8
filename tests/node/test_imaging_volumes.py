"""Volumes: in order along the normal whatever the files' order, refused where a slice is missing."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from imaging_files import write_image, write_volume

from unica_sdk.errors import InvalidRequest, NotFound
from unica_sdk.node.imaging.backend import as_dataset
from unica_sdk.node.imaging.opening import open_cases
from unica_sdk.node.imaging.preparation import Preparation, prepare_values
from unica_sdk.node.imaging.reader import find_cases
from unica_sdk.node.imaging.table import CaseTable

PLACES = [0.0, 2.0, 4.0, 6.0, 8.0]


@pytest.mark.parametrize("oblique", [False, True])
def test_slices_lie_in_order_along_their_normal(tmp_path: Path, oblique: bool) -> None:
    places = np.random.default_rng(1).permutation(PLACES).tolist()
    paths = write_volume(tmp_path, places=places, oblique=oblique)
    dataset = as_dataset(open_cases(CaseTable.from_files(paths)))
    assert dataset.image.dims == ("case", "z", "y", "x")
    assert dataset.image.shape == (1, 5, 6, 8)
    assert dataset.image.attrs["units"] == "HU"
    np.testing.assert_allclose(dataset.z_position[0], PLACES, atol=1e-5)
    np.testing.assert_allclose(dataset.image[0].mean(("y", "x")), PLACES)
    assert (float(dataset.row_spacing[0]), float(dataset.column_spacing[0])) == (0.5, 0.75)
    assert dataset.z_position.attrs["units"] == dataset.row_spacing.attrs["units"] == "mm"


def table_of(folder: Path, places: list[float], **headers: object) -> CaseTable:
    good = write_volume(folder, places=PLACES, series=2)
    return CaseTable.from_files([*write_volume(folder, places=places, series=1, **headers), *good])


@pytest.mark.parametrize(
    ("reason", "places"),
    [
        ("gap", [0.0, 2.0, 6.0, 8.0]),
        ("gap", [0.0, 2.0, 4.0, 6.0, 9.0]),
        ("duplicate_position", [0.0, 2.0, 2.0, 4.0, 6.0]),
        ("duplicate_position", [0.0, 0.0, 2.0, 2.0, 4.0, 4.0]),
        ("duplicate_position", [1.0, 1.0]),
        ("single_slice", [0.0]),
    ],
)
def test_a_series_that_is_no_volume_is_refused(reason: str, places: list[float], tmp_path: Path) -> None:
    cases = find_cases(table_of(tmp_path, places))
    assert cases.refused == {reason: 1}
    assert len(cases) == 1
    assert set(cases.members(0).tolist()) == set(range(len(places), len(places) + 5))


def test_slices_of_two_patients_are_no_volume(tmp_path: Path) -> None:
    """Their series have one UID, as from a device whose clock went back, and their slices alternate."""
    paths = write_volume(tmp_path / "a", places=PLACES)
    paths += write_volume(tmp_path / "b", places=[one + 1 for one in PLACES], patient="P9")
    alone = write_volume(tmp_path / "c", places=PLACES, series=2)
    cases = find_cases(CaseTable.from_files([*paths, *alone]))
    assert cases.refused == {"mixed": 1}
    assert cases.patients.tolist() == ["patient-000003"]


def test_rounded_positions_are_no_gap(tmp_path: Path) -> None:
    rounded = np.arange(0, 30, 0.625).round(1).tolist()
    assert find_cases(CaseTable.from_files(write_volume(tmp_path, places=rounded))).refused == {}


def test_slices_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    paths = write_volume(tmp_path, places=PLACES)
    headers = {"series": 1, "PixelSpacing": [0.6, 0.75]}
    (tmp_path / "other").mkdir()
    odd = write_volume(tmp_path / "other", places=[10.0], **headers)  # type: ignore[arg-type]
    assert find_cases(CaseTable.from_files([*paths, *odd])).refused == {"mixed": 1}
    turned = write_volume(tmp_path / "other", places=[10.0], oblique=True)
    assert find_cases(CaseTable.from_files([*paths, *turned])).refused == {"mixed": 1}


def test_a_slice_without_a_place_or_pixels_refuses_its_series(tmp_path: Path) -> None:
    paths = write_volume(tmp_path, places=PLACES)
    write_image(
        paths[2],
        np.zeros((6, 8), np.uint16),
        Modality="CT",
        SeriesInstanceUID="1.2.826.0.1.3680043.8.498.2.1",
    )
    assert find_cases(CaseTable.from_files(paths)).refused == {"no_position": 1}
    write_volume(tmp_path, places=PLACES)
    paths[2].write_bytes(paths[2].read_bytes()[:-1])
    cases = find_cases(CaseTable.from_files(paths))
    assert cases.refused == {"truncated": 1}
    with pytest.raises(NotFound):
        open_cases(CaseTable.from_files(paths))


def test_volumes_of_different_depth_share_a_training_resolution(tmp_path: Path) -> None:
    paths = write_volume(tmp_path, places=PLACES)
    paths += write_volume(tmp_path, places=[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0], series=2)
    table = CaseTable.from_files(paths)
    with pytest.raises(InvalidRequest, match="2 shapes"):
        open_cases(table)
    with pytest.raises(InvalidRequest, match="slices="):
        open_cases(table, rows=3, columns=4, cache_folder=tmp_path / "cache")
    reader = open_cases(
        table, rows=3, columns=4, slices=2, window=(5.0, 10.0), cache_folder=tmp_path / "cache"
    )
    dataset = as_dataset(reader)
    preparation = Preparation(rows=3, columns=4, slices=2, window=(5.0, 10.0))
    for case, count in ((0, PLACES), (1, range(7))):
        full = np.broadcast_to(np.array(count, np.float32)[:, None, None], (len(count), 6, 8))
        np.testing.assert_allclose(dataset.image[case], prepare_values(full, preparation), atol=1e-5)
    # The middles of two halves of -1…9 mm, and of -0.5…6.5 mm.
    np.testing.assert_allclose(dataset.z_position, [[1.5, 6.5], [1.25, 4.75]])
    np.testing.assert_allclose(dataset.row_spacing, 1.0)
    assert "window with centre 5" in dataset.image.attrs["scaled_by"]


def test_images_and_volumes_are_not_mixed_unasked(tmp_path: Path) -> None:
    paths = [
        *write_volume(tmp_path, places=PLACES),
        write_image(tmp_path / "mg", np.zeros((6, 8), np.uint16)),
    ]
    table = CaseTable.from_files(paths)
    with pytest.raises(InvalidRequest, match="Images and volumes"):
        open_cases(table)
    assert len(open_cases(table, modality="CT")) == 1
    assert len(open_cases(table, modality="MG")) == 1
    assert len(open_cases(table, volumes=False)) == 6
    # The mammogram is of the same series, and lies nowhere.
    assert find_cases(table, volumes=True).refused == {"no_position": 1}


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_every_slice_ends_in_its_own_series_in_order(depths: list[int], dice: object) -> None:
    rows = [(series, float(place)) for series, depth in enumerate(depths) for place in range(depth + 1)]
    dice.shuffle(rows)  # type: ignore[attr-defined]
    table = _table([f"series-{series}" for series, _ in rows], [place for _, place in rows])
    cases = find_cases(table)
    assert cases.refused == {}
    assert sorted(cases.names.tolist()) == sorted({f"series-{series}" for series, _ in rows})
    for case in range(len(cases)):
        members = cases.members(case)
        assert set(table.series[members].tolist()) == {cases.names[case]}
        assert table.position[members, 2].tolist() == list(range(len(members)))
    backwards = cases.select(np.arange(len(cases))[::-1])
    assert backwards.names.tolist() == cases.names.tolist()[::-1]
    np.testing.assert_array_equal(backwards.members(0), cases.members(len(cases) - 1))


def _table(series: list[str], places: list[float]) -> CaseTable:
    number = len(series)

    def text(value: str | list[str]) -> np.ndarray:
        values = [value] * number if isinstance(value, str) else value
        return np.array(values, dtype=np.dtypes.StringDType())

    def whole(value: int, kind: type = np.int32) -> np.ndarray:
        return np.full(number, value, kind)

    position = np.zeros((number, 3))
    position[:, 2] = places
    return CaseTable(
        instance=text([str(place) for place in range(number)]),
        patient=text("p"),
        series=text(series),
        modality=text("MR"),
        path=text("x"),
        transfer_syntax=text("1.2.840.10008.1.2.1"),
        photometric=text("MONOCHROME2"),
        sha256=text(""),
        pixel_offset=whole(0, np.int64),
        pixel_length=whole(128, np.int64),
        file_size=whole(-1, np.int64),
        file_mtime=whole(-1, np.int64),
        rows=whole(8),
        columns=whole(8),
        frames=whole(1),
        samples=whole(1),
        bits_allocated=whole(16),
        bits_stored=whole(16),
        high_bit=whole(15),
        signed=whole(0, np.bool_),
        nonlinear=whole(0, np.bool_),
        rescale_slope=whole(1, np.float64),
        rescale_intercept=whole(0, np.float64),
        row_spacing=whole(1, np.float64),
        column_spacing=whole(1, np.float64),
        position=position,
        orientation=np.tile([1.0, 0, 0, 0, 1, 0], (number, 1)),
    )
