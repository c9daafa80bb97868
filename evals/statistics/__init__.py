"""How sure a score is: intervals over clusters, paired comparisons, and what a comparison could have found."""

from medloupe.evals.statistics.comparison import Comparison, McNemar, compare, mcnemar, minimum_detectable_effect
from medloupe.evals.statistics.intervals import (
    ENOUGH_CLUSTERS,
    Interval,
    cluster_interval,
    clustered_standard_error,
    few_clusters,
    spearman_interval,
    statistic_interval,
)

__all__ = [
    "ENOUGH_CLUSTERS", "Comparison", "Interval", "McNemar", "cluster_interval", "clustered_standard_error", "compare",
    "few_clusters", "mcnemar", "minimum_detectable_effect", "spearman_interval", "statistic_interval",
]  # fmt: skip
