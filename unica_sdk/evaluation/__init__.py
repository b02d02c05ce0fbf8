"""Numbers about a model: pure functions over arrays and histograms.

Runs in every zone that has numpy: at a node on scores and labels, at the hub on histograms alone.
May see what it is handed. Must never do I/O, nor import another UNICA package than `schemas` and `errors`.
"""

from unica_sdk.evaluation.discrimination import auc_of, histogram_of
from unica_sdk.evaluation.pooling import pooled_metrics

__all__ = ["auc_of", "histogram_of", "pooled_metrics"]
