"""Figures over all sites together, from what the sites sent and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from unica_sdk.errors import InvalidRequest
from unica_sdk.evaluation.discrimination import auc_of
from unica_sdk.schemas.metrics import Metrics, MetricSet, ScoreHistogram


def pooled_metrics(sites: Mapping[str, tuple[ScoreHistogram, int]]) -> Metrics:
    """Return the AUC of all sites' cases together, and of each site's own.

    The pooled AUC is that of the summed histogram: it compares every positive with every negative, across
    sites too. It is not the mean of the sites' AUCs, which is biased where sites' scores are shifted.

    A site that lacks a class has no AUC of its own and is absent from `sites`; its cases still count in the
    pooled figure. The summed histogram itself is not given out (`histogram` stays None): its exact counts
    would undo the rounding of every `n`.

    Args:
        sites: by site, its histogram and its case number as the site's disclosure decision gave it.

    Raises:
        InvalidRequest: there is no site, or a class is missing at all of them together.

    Example:
        >>> from unica_sdk.evaluation import histogram_of
        >>> a = histogram_of([0.1, 0.8], [0, 1])
        >>> m = pooled_metrics({"gr": (a, 10), "lt": (a, 10)})
        >>> m.pooled.auc.value, m.pooled.auc.n, sorted(m.sites)
        (1.0, 20, [])
    """
    if not sites:
        raise InvalidRequest("No site sent a histogram, so there is nothing to pool.", where="sites")
    total = ScoreHistogram.total([histogram for histogram, _ in sites.values()])
    pooled = auc_of(total, n=sum(n for _, n in sites.values()))
    own: dict[str, MetricSet] = {}
    for site, (histogram, n) in sites.items():
        if min(sum(histogram.positives), sum(histogram.negatives)) >= 2:
            own[site] = MetricSet(auc=auc_of(histogram, n=n))
    return Metrics(pooled=MetricSet(auc=pooled), sites=own)
