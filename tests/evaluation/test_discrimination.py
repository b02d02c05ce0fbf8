"""The AUC from histograms against scikit-learn and against DeLong's own definition, pair by pair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from unica_sdk.errors import InvalidRequest
from unica_sdk.evaluation import auc_of, histogram_of, pooled_metrics
from unica_sdk.evaluation.discrimination import binned_auc, score_edges
from unica_sdk.schemas.metrics import SCORE_BINS, ScoreHistogram

Cohort = tuple[NDArray[np.float64], NDArray[np.int64]]


@st.composite
def cohorts(draw: Callable[[Any], Any], classes: int = 2) -> Cohort:
    """Scores and labels with at least `classes` cases of each class; ties and the ends 0 and 1 included."""
    score = st.one_of(
        st.floats(0, 1),
        st.sampled_from([0.0, 1.0, 0.5, *score_edges()[[0, 63, 126]].tolist()]),
    )
    size = st.integers(classes, 40)
    positives, negatives = draw(size), draw(size)
    scores = draw(st.lists(score, min_size=positives + negatives, max_size=positives + negatives))
    return np.array(scores), np.array([1] * positives + [0] * negatives)


def delong_by_pairs(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> tuple[float, float]:
    """AUC and variance straight from the 1988 paper: the kernel over all pairs, then two sample variances."""
    x, y = scores[labels == 1], scores[labels == 0]
    kernel = (x[:, None] > y[None]).astype(float) + 0.5 * (x[:, None] == y[None])
    return kernel.mean(), kernel.mean(1).var(ddof=1) / len(x) + kernel.mean(0).var(ddof=1) / len(y)


@given(cohorts())
def test_the_exact_auc_is_always_within_the_bound(cohort: Cohort) -> None:
    scores, labels = cohort
    histogram = histogram_of(scores, labels)
    exact = roc_auc_score(labels, scores)
    assert abs(binned_auc(histogram).value - exact) <= binned_auc(histogram).bound + 1e-12
    released = auc_of(histogram, n=10)
    assert abs(released.value - exact) <= released.bound + 1e-12
    assert 0 <= released.low <= released.value <= released.high <= 1


@given(cohorts())
def test_the_variance_is_delongs(cohort: Cohort) -> None:
    scores, labels = cohort
    # The histogram knows a score only by its bin, so the brute force gets the bins as scores.
    bins = np.searchsorted(score_edges(), scores, side="right").astype(float)
    value, variance = delong_by_pairs(bins, labels)
    found = binned_auc(histogram_of(scores, labels))
    assert found.value == pytest.approx(value, abs=1e-12)
    assert found.variance == pytest.approx(variance, abs=1e-12)


@given(st.lists(cohorts(classes=0), min_size=1, max_size=4))
@settings(max_examples=50)
def test_pooling_histograms_equals_pooling_cases(sites: list[Cohort]) -> None:
    scores, labels = np.concatenate([s for s, _ in sites]), np.concatenate([y for _, y in sites])
    total = ScoreHistogram.total([histogram_of(s, y) for s, y in sites])
    assert total == histogram_of(scores, labels)
    assert sum(total.positives) == labels.sum()


def test_binning_costs_little_on_plausible_scores() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(1500) < 0.3).astype(int)
    scores = 1 / (1 + np.exp(-(1.5 * (rng.normal(size=1500) + 1.5 * labels) - 2)))
    found = binned_auc(histogram_of(scores, labels))
    value, variance = delong_by_pairs(scores, labels)
    assert abs(found.value - value) < 0.002
    assert found.variance == pytest.approx(variance, rel=0.02)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    truth = 0.8555778168267576  # Φ(1.5 / √2): the AUC of two normal distributions 1.5 apart
    held = 0
    for _ in range(400):
        z = np.concatenate([rng.normal(1.5, 1, 40), rng.normal(0, 1, 60)])
        estimate = auc_of(histogram_of(1 / (1 + np.exp(-z)), [1] * 40 + [0] * 60), n=100)
        held += estimate.low <= truth <= estimate.high
    assert 0.92 <= held / 400 <= 0.985


def test_perfect_separation_and_all_ties_have_no_point_interval() -> None:
    perfect = auc_of(histogram_of([0.1] * 20 + [0.9] * 20, [0] * 20 + [1] * 20), n=40)
    assert (perfect.value, perfect.high) == (1.0, 1.0)
    assert 0.7 < perfect.low < 0.95
    ties = auc_of(histogram_of([0.5] * 40, [0] * 20 + [1] * 20), n=40)
    assert ties.value == 0.5
    assert ties.low < 0.35
    assert ties.bound >= 0.5


def test_released_figures_have_three_decimals() -> None:
    rng = np.random.default_rng(2)
    estimate = auc_of(histogram_of(rng.random(101), rng.integers(0, 2, 101)), n=100)
    for figure in (estimate.value, estimate.low, estimate.high):
        assert figure == round(figure, 3)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, 0, 0], "no positive case"),
        ([1, 1, 1], "no negative case"),
        ([1, 0, 0], "only one positive case"),
        ([1, 1, 0], "only one negative case"),
    ],
)
def test_a_missing_class_is_refused_with_the_reason(labels: list[int], words: str) -> None:
    histogram = histogram_of([0.1, 0.2, 0.3], labels)
    with pytest.raises(InvalidRequest, match=words):
        auc_of(histogram, n=10)
    with pytest.raises(InvalidRequest, match=words):
        pooled_metrics({"gr": (histogram, 10)})


@pytest.mark.parametrize(
    ("scores", "labels"),
    [
        ([0.1, float("nan")], [0, 1]),
        ([0.1, 1.1], [0, 1]),
        ([-0.1, 0.5], [0, 1]),
        ([0.1, 0.2], [0, 2]),
        ([0.1, 0.2], [0, 0.5]),
        ([0.1, 0.2], [0]),
        ([[0.1, 0.2]], [[0, 1]]),
    ],
)
def test_malformed_scores_and_labels_are_refused(scores: list[float], labels: list[float]) -> None:
    with pytest.raises(InvalidRequest):
        histogram_of(scores, labels)


def test_no_case_at_all_gives_an_empty_histogram() -> None:
    empty = histogram_of([], [])
    assert sum(empty.positives) + sum(empty.negatives) == 0
    assert len(empty.positives) == SCORE_BINS
