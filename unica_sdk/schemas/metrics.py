"""Numbers about a model: estimates with their interval, and the histograms they are pooled from."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field, model_validator

from unica_sdk.schemas.contract import Contract, Name

SCORE_BINS = 128
"""Bins of a score histogram, evenly spaced on the logit scale."""

LOGIT_RANGE = 9.0
"""The inner edges run from −9 to 9 on the logit scale; the outer bins are open."""


class Estimate(Contract):
    """A figure with its 95 % interval, its case number and how it was made.

    `bound` is the most the binning can have moved `value`, where the figure comes from histograms.
    `n` is a number of people that passed the sites' disclosure decision, so it may be rounded.
    """

    value: float
    low: float
    high: float
    n: int
    method: str
    bound: float = 0.0


class ScoreHistogram(Contract):
    """How many cases of each class have a score in each bin: all that a site sends of its scores."""

    positives: tuple[int, ...] = Field(min_length=SCORE_BINS, max_length=SCORE_BINS)
    negatives: tuple[int, ...] = Field(min_length=SCORE_BINS, max_length=SCORE_BINS)

    @model_validator(mode="after")
    def _counts(self) -> ScoreHistogram:
        if min(*self.positives, *self.negatives) < 0:
            raise ValueError("a histogram holds a negative count")
        return self

    @classmethod
    def total(cls, histograms: Sequence[ScoreHistogram]) -> ScoreHistogram:
        """Return the exact sum of histograms."""
        return cls(
            positives=tuple(map(sum, zip(*(h.positives for h in histograms), strict=True))),
            negatives=tuple(map(sum, zip(*(h.negatives for h in histograms), strict=True))),
        )


class MetricSet(Contract):
    """The figures of one site or of all sites together."""

    auc: Estimate


class Metrics(Contract):
    """A job's figures: pooled over the sites' histograms, and per site."""

    pooled: MetricSet | None
    sites: dict[Name, MetricSet]
    histogram: ScoreHistogram | None = None


class RoundMetrics(Contract):
    """What is known after one round: the mean training loss of the sites, and the pooled AUC."""

    round: int
    loss: float | None
    auc: Estimate | None
    sites: dict[Name, dict[str, float]]
