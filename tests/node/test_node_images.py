import json
from pathlib import Path

import numpy as np
import pytest
from dicom_files import write_clinical, write_dicom
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unica_sdk.errors import DataError
from unica_sdk.node import cohort
from unica_sdk.node.admitted import open_admitted
from unica_sdk.node.home import NodeHome
from unica_sdk.node.images import cases_of, held_out, prepare_cases
from unica_sdk.node.imaging.cache import PreparedCache
from unica_sdk.node.imaging.opening import image_cache
from unica_sdk.node.imaging.preparation import Preparation, area_mean, scale
from unica_sdk.node.ingest import ingest, patient_pseudonym
from unica_sdk.node.pixels import prepare
from unica_sdk.schemas.app import AppManifest
from unica_sdk.schemas.cohort import CohortQuery

IMAGES = arrays(
    np.float32, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.floats(0, 1, width=32)
)


@given(IMAGES, st.integers(8, 24), st.integers(8, 24))
def test_the_area_mean_keeps_the_mean_and_the_bounds(image: np.ndarray, rows: int, columns: int) -> None:
    small = area_mean(image, rows=rows, columns=columns)
    assert small.shape == (rows, columns)
    assert small.dtype == np.float32
    assert small.min() >= 0
    assert small.max() <= 1
    assert small.mean() == pytest.approx(image.mean(), abs=1e-4)


def test_the_area_mean_of_a_whole_ratio_is_the_mean_of_each_block() -> None:
    image = np.random.default_rng(0).random((256, 320), dtype=np.float32)
    expected = image.reshape(64, 4, 80, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(area_mean(image, rows=64, columns=80), expected, atol=1e-5)


@given(arrays(np.uint16, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.integers(0, 4095)))
def test_scaling_stays_in_bounds_and_does_not_see_the_units(image: np.ndarray) -> None:
    scaled = scale(image)
    assert scaled.min() >= 0
    assert scaled.max() <= 1
    np.testing.assert_allclose(scale(image.astype(np.float32) * 4 + 1024), scaled, atol=1e-3)


def test_a_flat_image_is_zero_not_an_error() -> None:
    assert scale(np.full((4, 4), 7)).tolist() == [[0.0] * 4] * 4


def test_inverted_images_are_turned_round(tmp_path: Path) -> None:
    normal = write_dicom(tmp_path / "2.dcm", patient="P", number=1)
    inverted = write_dicom(tmp_path / "1.dcm", patient="P", number=2, PhotometricInterpretation="MONOCHROME1")
    sloped = write_dicom(tmp_path / "s.dcm", patient="P", number=3, RescaleSlope=-1, RescaleIntercept=0)
    expected = 1 - prepare(normal, rows=8, columns=10)
    np.testing.assert_allclose(prepare(inverted, rows=8, columns=10), expected, atol=1e-5)
    np.testing.assert_allclose(prepare(sloped, rows=8, columns=10), expected, atol=1e-5)


def test_a_colour_image_is_not_squeezed_into_grey(tmp_path: Path) -> None:
    pixels = np.zeros((3, 16, 20), dtype=np.uint16)
    path = write_dicom(
        tmp_path / "rgb.dcm",
        patient="P",
        number=1,
        pixels=pixels,
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
    )
    with pytest.raises(DataError, match="grey"):
        prepare(path, rows=8, columns=8)


def _mixed(home: NodeHome, folder: Path) -> None:
    """One patient per kind of image: an app on MG must take A's two, B's, and nobody else's."""
    images = folder / "dicom"
    write_dicom(images / "a1", patient="A", number=1)
    write_dicom(images / "a2", patient="A", number=2)
    write_dicom(images / "b", patient="B", number=3)
    write_dicom(images / "ct", patient="C", number=4, Modality="CT")
    write_dicom(
        images / "frames", patient="D", number=5, pixels=np.zeros((2, 8, 8), np.uint16), NumberOfFrames=2
    )
    write_dicom(images / "unlabelled", patient="E", number=6)
    rows = [
        {"patient_id": patient, "outcome": outcome, "diagnosis": ""}
        for patient, outcome in [("A", "screen_detected"), *((p, "negative") for p in "BCD"), ("E", "")]
    ]
    table = write_clinical(folder / "clinical.csv", rows)
    ingest(home, images, dataset="mixed", title="t", description="d", synthetic=True, clinical=table)


def test_an_app_gets_its_modality_with_known_labels_only(
    empty_node: NodeHome, tmp_path: Path, manifest: AppManifest
) -> None:
    _mixed(empty_node, tmp_path)
    with open_admitted(empty_node) as index:
        frozen = cohort.freeze(
            empty_node, index, CohortQuery(), permit="p", project="p", holder="alice", datasets=("mixed",)
        )
        assert len(frozen.patients) == 5
        cases = cases_of(empty_node.site_key(), index, frozen, manifest)
        prepared = prepare_cases(empty_node, index, frozen, manifest)
    names = {patient: patient_pseudonym(empty_node.site_key(), patient) for patient in "AB"}
    assert sorted((c.patient, c.positive) for c in cases) == sorted(
        [(names["A"], True), (names["A"], True), (names["B"], False)]
    )
    assert prepared.people.all == 2
    assert sorted(prepared.cases.labels.tolist()) == [0, 1, 1]


@pytest.fixture
def frozen(node: NodeHome) -> cohort.FrozenList:
    with open_admitted(node) as index:
        return cohort.freeze(
            node, index, CohortQuery(), permit="p", project="p", holder="alice", datasets=("screening",)
        )


def _cached(node: NodeHome) -> np.ndarray:
    return PreparedCache(image_cache(node), Preparation(rows=8, columns=10)).all_keys()


def test_cases_are_prepared_once_and_come_back_the_same(
    node: NodeHome, frozen: cohort.FrozenList, manifest: AppManifest
) -> None:
    with open_admitted(node) as index:
        first = prepare_cases(node, index, frozen, manifest)
        (ready,) = node.cache_folder.glob("images/*/*.cases")
        stamp = ready.stat().st_mtime_ns
        second = prepare_cases(node, index, frozen, manifest)
    assert [path.stat().st_mtime_ns for path in node.cache_folder.glob("images/*/*.cases")] == [stamp]
    assert len(_cached(node)) == 88
    assert first.cases.images.shape == (88, 8, 10)
    assert first.cases.images.dtype == np.float32
    assert int(first.cases.labels.sum()) == 22
    for name in ("images", "labels", "held_out"):
        np.testing.assert_array_equal(getattr(first.cases, name), getattr(second.cases, name))
    assert second.people.all == 88


def test_a_file_that_is_gone_is_left_out_and_not_remembered_as_such(
    node: NodeHome, frozen: cohort.FrozenList, manifest: AppManifest
) -> None:
    with open_admitted(node) as index:
        source = Path(cases_of(node.site_key(), index, frozen, manifest)[3].path)
        away = source.rename(source.with_suffix(".away"))
        try:
            without = prepare_cases(node, index, frozen, manifest)
        finally:
            away.rename(source)
        assert (without.people.all, without.unreadable, len(without.cases.labels)) == (87, 1, 87)
        assert prepare_cases(node, index, frozen, manifest).people.all == 88


def test_images_are_shared_by_labels_and_labels_follow_the_data(
    node: NodeHome, frozen: cohort.FrozenList, manifest: AppManifest, tmp_path: Path
) -> None:
    other = manifest.model_copy(
        update={"label": manifest.label.model_copy(update={"positive": ("negative",)})}
    )
    with open_admitted(node) as index:
        labels = prepare_cases(node, index, frozen, manifest).cases.labels
        np.testing.assert_array_equal(prepare_cases(node, index, frozen, other).cases.labels, 1 - labels)
        assert len(_cached(node)) == 88
        known = {case.patient for case in cases_of(node.site_key(), index, frozen, manifest)}
    patient = "P0007"
    assert patient_pseudonym(node.site_key(), patient) in known
    table = write_clinical(
        tmp_path / "later.csv", [{"patient_id": patient, "outcome": "interval_cancer", "diagnosis": ""}]
    )
    folder = tmp_path / "later"
    write_dicom(folder / "x", patient=patient, number=9999)
    ingest(node, folder, dataset="screening", title="t", description="d", synthetic=True, clinical=table)
    with open_admitted(node) as index:
        # Two tables now contradict each other about this patient, so nobody knows the label.
        assert prepare_cases(node, index, frozen, manifest).people.all == 87


@given(st.lists(st.text(min_size=1), min_size=1, max_size=20))
def test_held_out_hangs_on_the_patient_alone(patients: list[str]) -> None:
    from unica_sdk.node.keys import SiteKey

    key = SiteKey(bytes(32))
    assert [held_out(key, p) for p in patients] == [held_out(key, p) for p in list(patients)]


def test_about_a_quarter_is_held_out_and_no_patient_straddles(empty_node: NodeHome) -> None:
    key = empty_node.site_key()
    share = sum(held_out(key, f"{n:x}") for n in range(4000)) / 4000
    assert 0.2 < share < 0.3


def test_a_changed_snapshot_is_not_accepted(node: NodeHome, frozen: cohort.FrozenList) -> None:
    cohort.store(node, frozen)
    (path,) = node.snapshot_folder.iterdir()
    content = json.loads(path.read_bytes())
    path.write_text(json.dumps({**content, "patients": content["patients"][1:]}))
    with pytest.raises(DataError, match="changed"):
        cohort.load(node, frozen.id)
