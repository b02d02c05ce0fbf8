"""What is true of all sites together, and of each."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from unica_sdk.errors import InvalidRequest
from unica_sdk.evaluation import histogram_of, pooled_metrics


def test_the_pooled_auc_is_that_of_all_cases_and_not_the_mean_of_sites() -> None:
    rng = np.random.default_rng(3)
    sites, scores, labels = {}, [], []
    for site, shift, prevalence in (("gr", 0.0, 0.1), ("lt", 0.7, 0.3), ("pt", -0.7, 0.05)):
        y = (rng.random(600) < prevalence).astype(int)
        s = 1 / (1 + np.exp(-(1.5 * (rng.normal(size=600) + 1.5 * y) - 2 + shift)))
        sites[site] = (histogram_of(s, y), 600)
        scores.append(s)
        labels.append(y)
    metrics = pooled_metrics(sites)
    assert metrics.pooled is not None
    pooled = metrics.pooled.auc
    exact = roc_auc_score(np.concatenate(labels), np.concatenate(scores))
    assert abs(pooled.value - exact) <= min(pooled.bound, 0.003)
    mean = np.mean([m.auc.value for m in metrics.sites.values()])
    assert abs(mean - exact) > 0.01
    assert pooled.n == 1800
    for site, s, y in zip(("gr", "lt", "pt"), scores, labels, strict=True):
        assert metrics.sites[site].auc.value == pytest.approx(roc_auc_score(y, s), abs=0.005)


def test_a_site_without_one_class_counts_in_the_pool_and_has_no_figure_of_its_own() -> None:
    both = histogram_of([0.2, 0.3, 0.6, 0.9], [0, 0, 1, 1])
    healthy = histogram_of([0.7, 0.8, 0.1], [0, 0, 0])
    metrics = pooled_metrics({"gr": (both, 10), "lt": (healthy, 10)})
    assert sorted(metrics.sites) == ["gr"]
    assert metrics.pooled is not None
    assert metrics.pooled.auc.value == 0.8
    assert metrics.pooled.auc.n == 20


def test_the_exact_counts_are_not_given_out() -> None:
    both = histogram_of([0.2, 0.3, 0.6, 0.9], [0, 0, 1, 1])
    assert pooled_metrics({"gr": (both, 10)}).histogram is None


def test_nothing_to_pool_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="nothing to pool"):
        pooled_metrics({})
