"""How well scores tell two classes apart: the area under the ROC curve, from histograms.

A site's scores never leave it. It sends how many cases of each class fall into each of 128 bins that are
evenly spaced on the logit scale; these counts add up exactly over sites, and with them the AUC, the most that
binning can have moved it, and DeLong's variance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unica_sdk.errors import InvalidRequest
from unica_sdk.schemas.metrics import LOGIT_RANGE, SCORE_BINS, Estimate, ScoreHistogram

Z95 = 1.959963984540054
"""The 97.5 % point of the normal distribution."""

DECIMALS = 3
"""AUCs are rounded to this many decimals: an exact one gives the class sizes away as its divisor."""

METHOD = "AUC on 128 logit bins; 95 % interval: DeLong variance, logit scale"
METHOD_DEGENERATE = "AUC on 128 logit bins; 95 % interval: Wilson on the smaller class (zero variance)"


@dataclass(frozen=True, kw_only=True)
class BinnedAuc:
    """The unrounded figures behind an estimate: they count single cases, so they stay where they are made.

    Attributes:
        value: P(score of a positive > score of a negative) + ½ P(same bin).
        bound: the exact AUC of the scores lies within `value` ± `bound`.
        variance: DeLong's variance of `value`.
        positives: cases of the positive class.
        negatives: cases of the negative class.
    """

    value: float
    bound: float
    variance: float
    positives: int
    negatives: int


def score_edges() -> NDArray[np.float64]:
    """Return the 127 inner edges of the bins, as scores in (0, 1); the outer bins are open.

    Example:
        >>> score_edges().shape, float(score_edges()[63])
        ((127,), 0.5)
    """
    return 1.0 / (1.0 + np.exp(-np.linspace(-LOGIT_RANGE, LOGIT_RANGE, SCORE_BINS - 1)))


def histogram_of(scores: ArrayLike, labels: ArrayLike) -> ScoreHistogram:
    """Count the cases of each class in each score bin.

    Args:
        scores: (n,) numbers from 0 to 1; a higher one means more likely positive.
        labels: (n,) of 0 and 1 (or booleans), 1 where the case is positive.

    Raises:
        InvalidRequest: the shapes differ, a score is not a number from 0 to 1, or a label is not 0 or 1.

    Example:
        >>> h = histogram_of([0.2, 0.5, 0.9], [0, 1, 1])
        >>> sum(h.positives), sum(h.negatives)
        (2, 1)
    """
    values = np.asarray(scores, dtype=np.float64)
    classes = np.asarray(labels)
    if values.ndim != 1 or values.shape != classes.shape:
        raise InvalidRequest("Scores and labels are not two rows of the same length.", where="scores")
    if not bool(np.all((values >= 0.0) & (values <= 1.0))):  # also catches NaN
        raise InvalidRequest("A score is not a number from 0 to 1.", where="scores")
    if not bool(np.all((classes == 0) | (classes == 1))):
        raise InvalidRequest("A label is not 0 or 1.", where="labels")
    # Edges in score space, so that the bin is monotone in the score to the last bit: the bound rests on that.
    bins = np.searchsorted(score_edges(), values, side="right")
    positive = classes == 1
    return ScoreHistogram(
        positives=tuple(np.bincount(bins[positive], minlength=SCORE_BINS).tolist()),
        negatives=tuple(np.bincount(bins[~positive], minlength=SCORE_BINS).tolist()),
    )


def binned_auc(histogram: ScoreHistogram) -> BinnedAuc:
    """Return the AUC of a histogram with its binning bound and DeLong's variance, unrounded.

    With p_b and n_b the counts of bin b (ascending scores), P and N their sums:

        V10_b = (Σ_{a<b} n_a + n_b / 2) / N        what a positive of bin b wins against the negatives
        V01_b = (Σ_{a>b} p_a + p_b / 2) / P        what a negative of bin b loses against the positives
        A     = Σ p_b V10_b / P
        bound = ½ Σ p_b n_b / (P N)                pairs in one bin count ½, and are worth 0 to 1
        var   = Σ p_b (V10_b − A)² / (P (P − 1)) + Σ n_b (V01_b − A)² / (N (N − 1))

    Source: DeLong, DeLong & Clarke-Pearson, Biometrics 44 (1988) 837–845, with the bin as the score.

    Raises:
        InvalidRequest: a class has fewer than two cases, so that its AUC has no variance or is none at all.
    """
    p = np.asarray(histogram.positives, dtype=np.float64)
    n = np.asarray(histogram.negatives, dtype=np.float64)
    total_p, total_n = p.sum(), n.sum()
    for name, total in (("positive", total_p), ("negative", total_n)):
        if total < 2:
            found = "no" if total == 0 else "only one"
            raise InvalidRequest(
                f"There is {found} {name} case, so there is no AUC.",
                where="histogram",
                hint="An AUC with an interval needs at least two cases of each class.",
            )
    v10 = (np.cumsum(n) - n / 2) / total_n
    v01 = (total_p - np.cumsum(p) + p / 2) / total_p
    value = float((p * v10).sum() / total_p)
    variance = (p * (v10 - value) ** 2).sum() / (total_p * (total_p - 1)) + (n * (v01 - value) ** 2).sum() / (
        total_n * (total_n - 1)
    )
    return BinnedAuc(
        value=value,
        bound=float((p * n).sum() / (2 * total_p * total_n)),
        variance=float(variance),
        positives=int(total_p),
        negatives=int(total_n),
    )


def interval_of(auc: BinnedAuc) -> tuple[float, float]:
    """Return the 95 % interval: logit(A) ± z·√var / (A (1 − A)), back on the AUC's scale.

    Where the variance is zero (perfect separation, or every case in one bin) that would be a point; Wilson's
    interval for A among as many trials as the smaller class has cases is given instead, which is wider.

    Source: Pepe, The Statistical Evaluation of Medical Tests (2003) §5.2.5; Wilson, JASA 22 (1927) 209–212.
    """
    value, error = auc.value, math.sqrt(auc.variance)
    if _degenerate(auc):
        trials = min(auc.positives, auc.negatives)
        middle = (value + Z95**2 / (2 * trials)) / (1 + Z95**2 / trials)
        spread = value * (1 - value) / trials + Z95**2 / (4 * trials**2)
        half = Z95 * math.sqrt(max(spread, 0.0)) / (1 + Z95**2 / trials)
        return max(0.0, middle - half), min(1.0, middle + half)
    centre, half = math.log(value / (1 - value)), Z95 * error / (value * (1 - value))
    return _logistic(centre - half), _logistic(centre + half)


def auc_of(histogram: ScoreHistogram, *, n: int) -> Estimate:
    """Return the AUC of a histogram with its 95 % interval and binning bound, rounded for release.

    The value is rounded to three decimals, the interval outwards, and the bound covers both binning and
    rounding: the exact AUC of the scores lies within `value` ± `bound`.

    Args:
        histogram: counts per class and bin.
        n: the case number to show: one that passed the sites' disclosure decision, never the exact one.

    Raises:
        InvalidRequest: a class has fewer than two cases; the message says which.

    Example:
        >>> e = auc_of(histogram_of([0.1, 0.3, 0.7, 0.2, 0.8, 0.9], [0, 0, 0, 1, 1, 1]), n=10)
        >>> e.value, e.low < e.value < e.high, e.n
        (0.778, True, 10)
    """
    auc = binned_auc(histogram)
    low, high = interval_of(auc)
    scale = 10**DECIMALS
    value = round(auc.value, DECIMALS)
    return Estimate(
        value=value,
        low=min(value, math.floor(low * scale) / scale),
        high=max(value, math.ceil(high * scale) / scale),
        n=n,
        method=METHOD_DEGENERATE if _degenerate(auc) else METHOD,
        bound=math.ceil((auc.bound + 0.5 / scale) * 10 * scale) / (10 * scale),
    )


def _degenerate(auc: BinnedAuc) -> bool:
    return auc.variance <= 1e-18 or not 0.0 < auc.value < 1.0


def _logistic(x: float) -> float:
    # tanh neither overflows nor underflows to an error, whatever the interval's reach.
    return 0.5 * (1.0 + math.tanh(0.5 * x))
