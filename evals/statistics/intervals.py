"""95% intervals by bootstrap over clusters: what is drawn again is an image or a patient, not one of its statements."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, rankdata, t

__all__ = [
    "ENOUGH_CLUSTERS", "Interval", "cluster_interval", "clustered_standard_error", "few_clusters", "spearman_interval",
    "statistic_interval",
]  # fmt: skip

Floats = npt.NDArray[np.float64]

ENOUGH_CLUSTERS = 50
"""Below it the interval is too narrow more often than it says; `make bench-statistics` shows by how much."""
_DRAWS = 2000
_AT_ONCE = 500
"""Draws held in memory together."""
_SEED = 7


class Interval(NamedTuple):
    """A mean with its 95% interval; nan for nothing."""

    value: float
    low: float
    high: float

    def text(self, places: int = 3) -> str:
        """As a person reads it."""
        return f"{self.value:.{places}f} [{self.low:.{places}f}, {self.high:.{places}f}]"


def cluster_interval(values: Sequence[float], clusters: Sequence[str]) -> Interval:
    """Mean of all values, and where it lies in 95 of 100 such samples of clusters.

    Expanded percentile bootstrap over clusters (Hesterberg 2015, "What Teachers Should Know About the Bootstrap"): the
    quantiles are moved outwards as Student's t is wider than the normal, since the plain percentile interval of n
    things is too narrow by about (n-1)/n and by t/z. All zeros or all ones get the exact binomial bound (Clopper and
    Pearson 1934) over clusters on its open side: a bootstrap of equal things has no width.
    """
    if not len(values):
        return Interval(math.nan, math.nan, math.nan)
    number = np.asarray(values, dtype=np.float64)
    total, size = _by_cluster(number, clusters)
    mean = float(total.sum() / size.sum())
    edge = 1 - 0.025 ** (1 / len(size))
    if not number.any():
        return Interval(0.0, 0.0, edge)
    if (number == 1).all():
        return Interval(1.0, 1 - edge, 1.0)
    tail = _tail(len(size))
    low, high = np.quantile(_means(total, size), [tail, 1 - tail])
    return Interval(mean, float(low), float(high))


def statistic_interval(
    counts: Sequence[Sequence[float]], clusters: Sequence[str], of: Callable[[Sequence[float]], float]
) -> Interval:
    """A statistic of the summed counts of all samples (corpus BLEU, say), and where it lies in 95 of 100 samples of
    clusters: expanded percentile bootstrap, as `cluster_interval`. `of` takes one sum a column of `counts`.
    """
    if not len(counts):
        return Interval(math.nan, math.nan, math.nan)
    table = np.asarray(counts, dtype=np.float64)
    names, place = np.unique(np.asarray(clusters), return_inverse=True)
    total = np.zeros((len(names), table.shape[1]))
    np.add.at(total, place, table)
    drawn = np.random.default_rng(_SEED).multinomial(len(names), np.full(len(names), 1 / len(names)), _DRAWS)
    found = [of(sums) for sums in (drawn @ total).tolist()]
    tail = _tail(len(names))
    low, high = np.quantile(found, [tail, 1 - tail])
    return Interval(of(table.sum(axis=0).tolist()), float(low), float(high))


def clustered_standard_error(values: Sequence[float], clusters: Sequence[str]) -> float:
    """Standard error of the mean of values that hang together in clusters; nan for fewer than two clusters.

    The sandwich estimator with the C/(C-1) correction (Miller 2024, arXiv 2411.00640, appendix A), as Inspect AI's
    `stderr(cluster=...)` has it.
    """
    total, size = _by_cluster(np.asarray(values, dtype=np.float64), clusters)
    count = len(size)
    if count < 2:
        return math.nan
    off = total - size * total.sum() / size.sum()
    return float(np.sqrt((off**2).sum() * count / (count - 1)) / size.sum())


def few_clusters(clusters: Sequence[str]) -> str | None:
    """The warning for an interval over too few clusters."""
    count = len(set(clusters))
    if count >= ENOUGH_CLUSTERS:
        return None
    return f"only {count} clusters: a 95% interval over fewer than {ENOUGH_CLUSTERS} is narrower than it says"


def _by_cluster(values: Floats, clusters: Sequence[str]) -> tuple[Floats, Floats]:
    """(sum, number) of the values of each cluster."""
    names, place = np.unique(np.asarray(clusters), return_inverse=True)
    total = np.bincount(place, weights=values, minlength=len(names)).astype(np.float64)
    return total, np.bincount(place, minlength=len(names)).astype(np.float64)


def _means(total: Floats, size: Floats) -> Floats:
    """Means of drawn samples of as many clusters."""
    chance, count = np.random.default_rng(_SEED), len(size)
    drawn = (chance.integers(0, count, (_AT_ONCE, count)) for _ in range(_DRAWS // _AT_ONCE))
    return np.concatenate([total[d].sum(axis=1) / size[d].sum(axis=1) for d in drawn])


def _tail(count: int) -> float:
    """The quantile at which a 95% interval over `count` clusters ends."""
    if count < 2:
        return 0.025
    return float(norm.cdf(-math.sqrt(count / (count - 1)) * t.ppf(0.975, count - 1)))


def spearman_interval(a: Sequence[float], b: Sequence[float]) -> Interval:
    """Rank correlation, with percentile bootstrap over pairs; nan where one side is constant."""
    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    rho = _spearman(x, y)
    if math.isnan(rho):
        return Interval(rho, rho, rho)
    drawn = np.random.default_rng(_SEED).integers(0, len(x), (_DRAWS, len(x)))
    ranks = [rankdata(side[drawn], axis=1) for side in (x, y)]
    u, v = (r - r.mean(axis=1, keepdims=True) for r in ranks)
    spread = np.sqrt((u**2).sum(axis=1) * (v**2).sum(axis=1))
    found = (u * v).sum(axis=1)[spread > 0] / spread[spread > 0]
    low, high = np.quantile(found, [0.025, 0.975])
    return Interval(rho, float(low), float(high))


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation of the ranks, ties averaged (Spearman 1904)."""
    ranks = rankdata(x), rankdata(y)
    if any(r.std() == 0 for r in ranks):
        return math.nan
    return float(np.corrcoef(*ranks)[0, 1])
