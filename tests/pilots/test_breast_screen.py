"""The breast screening app, called as a site calls it: through its bundle, message by message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unica_sdk.evaluation import histogram_of, pooled_metrics
from unica_sdk.federation import bundle
from unica_sdk.federation.ports import Cases, Task
from unica_sdk.federation.site.work import Outcome, Work, call, load
from unica_sdk.node.imaging.preparation import scale
from unica_sdk.pilots.catalogue import bundled_apps
from unica_sdk.pilots.phantom import PROFILES
from unica_sdk.pilots.phantom.people import generator, people
from unica_sdk.pilots.phantom.physics import Bench, mammogram
from unica_sdk.schemas import vocabulary

FOLDER = bundled_apps()["breast-screen"]
PATIENTS = 160


@dataclass(frozen=True, kw_only=True)
class App:
    """The app as a site has it: unpacked from its bundle, not imported from UNICA."""

    bundle: bundle.Bundle
    client: Any
    model: Any
    training: Any

    def __call__(
        self, task: Task, cases: Cases, *, arrays: Any = None, seed: int = 1, **given: Any
    ) -> Outcome:
        parameters = self.bundle.manifest.fill(given)
        work = Work(
            task=task,
            bundle=self.bundle,
            arrays=arrays,
            parameters=parameters,
            round=1,
            seed=seed,
            cases=cases,
            seconds=60,
        )
        return call(self.client, work)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    built = bundle.build(FOLDER)
    folder = bundle.unpack(built, tmp_path_factory.mktemp("apps"))
    client = load(folder, built.entry)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        import breast_screen.model  # type: ignore[import-not-found]
        import breast_screen.training  # type: ignore[import-not-found]

        yield App(bundle=built, client=client, model=breast_screen.model, training=breast_screen.training)


@pytest.fixture(scope="module")
def sites() -> dict[str, Cases]:
    """Phantom cases as a node prepares them, without the way through DICOM, which has its own test."""
    return {site: phantom_cases(site) for site in PROFILES}


def phantom_cases(site: str) -> Cases:
    profile = PROFILES[site]
    bench, women = Bench.of(profile), people(profile, patients=PATIENTS, seed=3)
    images = []
    for woman in women:
        pixels = mammogram(generator(profile, 3, woman.number), bench, profile, woman).pixels
        image = scale(pixels).reshape(80, 4, 64, 4).mean((1, 3))
        images.append(1 - image if profile.photometric == "MONOCHROME1" else image)
    return Cases(
        images=np.stack(images).astype(np.float32),
        labels=np.array([woman.diagnosis != "none" for woman in women], dtype=np.uint8),
        held_out=np.random.default_rng(0).random(PATIENTS) < 0.25,
    )


def mean(outcomes: list[Outcome]) -> Mapping[str, Any]:
    return {name: np.mean([o.arrays[name] for o in outcomes], axis=0) for name in outcomes[0].arrays or {}}


def test_the_manifest_says_what_the_app_takes(app: App) -> None:
    manifest = app.bundle.manifest
    assert manifest.name == "breast-screen"
    assert (manifest.image.modality, manifest.image.rows, manifest.image.columns) == ("MG", 80, 64)
    for term in manifest.label.positive:
        vocabulary.concept(manifest.label.field, term)
    assert set(manifest.fill({})) == {"epochs", "learning_rate", "batch_size"}
    assert "SYNTHETIC" in manifest.description


def test_the_bundle_holds_the_apps_files_and_nothing_else(app: App, tmp_path: Path) -> None:
    folder = bundle.unpack(app.bundle, tmp_path)
    held = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    names = {"__init__", "client_app", "model", "training"}
    assert {f"breast_screen/{name}.py" for name in names} <= held
    assert {"unica.toml", "pyproject.toml"} <= held
    assert bundle.build(FOLDER).id == app.bundle.id


def test_three_sites_learn_together_what_none_was_told(app: App, sites: dict[str, Cases]) -> None:
    weights = None
    for _ in range(4):
        weights = mean([app("train", cases, arrays=weights, epochs=6) for cases in sites.values()])
    histograms = {}
    for site, cases in sites.items():
        found = app("evaluate", cases, arrays=weights).scores
        labels = cases.labels[cases.held_out]
        histograms[site] = (histogram_of(found, labels), len(labels))
    pooled = pooled_metrics(histograms).pooled
    assert pooled is not None
    # 480 women instead of 2,400, so less than the whole demonstration reaches; 0.5 is a coin.
    assert pooled.auc.value > 0.75


def test_all_sites_start_alike_and_from_the_seed(app: App, sites: dict[str, Cases]) -> None:
    one, two = app.model.fresh(7).state_dict(), app.model.fresh(7).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(value, one[name]) for name, value in app.model.fresh(8).state_dict().items())
    untrained = app("evaluate", sites["gr"], seed=7).scores
    given = app("evaluate", sites["gr"], arrays={k: v.numpy() for k, v in one.items()}, seed=8).scores
    np.testing.assert_array_equal(untrained, given)


def test_a_round_repeats_to_the_bit_and_the_next_differs(app: App, sites: dict[str, Cases]) -> None:
    first, again = (app("train", sites["gr"], epochs=1) for _ in range(2))
    assert first.metrics == again.metrics
    for name, value in (first.arrays or {}).items():
        np.testing.assert_array_equal(value, (again.arrays or {})[name])
    other = app("train", sites["gr"], epochs=1, seed=2)
    assert other.metrics != first.metrics


def test_held_out_cases_teach_nothing(app: App, sites: dict[str, Cases]) -> None:
    cases = sites["pt"]
    images, labels = cases.images.copy(), cases.labels.copy()
    images[cases.held_out], labels[cases.held_out] = 0.5, 1
    spoilt = replace(cases, images=images, labels=labels)
    one, two = (app("train", given, epochs=1).arrays for given in (cases, spoilt))
    for name, value in (one or {}).items():
        np.testing.assert_array_equal(value, (two or {})[name])


def test_replies_hold_what_the_manifest_declares(app: App, sites: dict[str, Cases]) -> None:
    trained = app("train", sites["lt"], epochs=1)
    assert set(trained.metrics) == set(app.bundle.manifest.metrics)
    bound = app.bundle.manifest.metrics["loss"]
    assert bound.low < trained.metrics["loss"] < bound.high
    scored = app("evaluate", sites["lt"], arrays=trained.arrays)
    assert scored.scores is not None
    assert scored.scores.shape == (sites["lt"].held_out.sum(),)
    assert scored.scores.dtype == np.float32
    assert scored.metrics == {}
    assert ((scored.scores >= 0) & (scored.scores <= 1)).all()


def test_the_hardest_parameters_still_give_finite_weights(app: App, sites: dict[str, Cases]) -> None:
    trained = app("train", sites["gr"], epochs=3, learning_rate=0.02, batch_size=8)
    assert all(np.isfinite(value).all() for value in (trained.arrays or {}).values())
    few = replace(sites["gr"], **{f: getattr(sites["gr"], f)[:9] for f in ("images", "labels", "held_out")})
    assert np.isfinite(app("train", few, epochs=1, batch_size=128).metrics["loss"])


def test_the_callers_own_torch_is_left_as_it_was(app: App, sites: dict[str, Cases]) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    app("train", sites["gr"], epochs=1)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_the_optimiser_is_torchs_adamw(app: App) -> None:
    torch.manual_seed(0)
    data, target = torch.randn(40, 5), torch.randn(40)
    ours, theirs = torch.nn.Linear(5, 1), torch.nn.Linear(5, 1)
    theirs.load_state_dict(ours.state_dict())
    adam = app.training.Adam(ours, decay=0.01)
    reference = torch.optim.AdamW(theirs.parameters(), lr=0.03, weight_decay=0.01)
    for _ in range(20):
        adam.step((ours(data).squeeze(1) - target).square().mean(), rate=0.03)
        reference.zero_grad()
        (theirs(data).squeeze(1) - target).square().mean().backward()
        reference.step()
    for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


@given(st.integers(0, 2**31), st.sampled_from([(2,), (3,), (2, 3)]))
def test_local_contrast_turns_with_the_image(app: App, seed: int, axes: tuple[int, ...]) -> None:
    images = torch.rand((2, 1, 20, 16), generator=torch.Generator().manual_seed(seed)) + 0.2
    turned = app.model.local_contrast(images.flip(axes)).flip(axes)
    torch.testing.assert_close(turned, app.model.local_contrast(images), rtol=1e-4, atol=1e-4)


def test_local_contrast_sees_a_mass_and_neither_air_nor_skin(app: App) -> None:
    images = torch.zeros(1, 1, 80, 64)
    images[..., 10:70, :50] = 0.5
    images[..., 38:43, 20:25] += 0.3
    found = app.model.local_contrast(images)[0, 0]
    row, column = divmod(int(found.argmax()), 64)
    assert abs(row - 40) <= 3
    assert abs(column - 22) <= 3
    assert found[:10].abs().max() == 0
    assert found[:, 50:].abs().max() == 0
    assert found[10:70, 48:].abs().max() == 0
