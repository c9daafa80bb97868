"""95% intervals by bootstrap over clusters: what is drawn again is an image, not one of its statements."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

__all__ = ["cluster_interval", "spearman_interval"]

_DRAWS = 2000
_SEED = 7


def cluster_interval(hits: Sequence[bool], clusters: Sequence[str]) -> tuple[float, float, float]:
    """(share, lower, upper) of true hits; percentile bootstrap over clusters. nan for nothing.

    A share of 0 or 1 gets the exact binomial bound (Clopper and Pearson 1934) over clusters on its open side: a
    bootstrap of equal things has no width.
    """
    if not len(hits):
        return (math.nan, math.nan, math.nan)
    names, place = np.unique(np.asarray(clusters), return_inverse=True)
    good = np.bincount(place, weights=np.asarray(hits, dtype=float), minlength=len(names))
    size = np.bincount(place, minlength=len(names))
    share = float(good.sum() / size.sum())
    edge = 1 - 0.025 ** (1 / len(names))
    if share in (0.0, 1.0):
        return (share, 0.0, edge) if share == 0 else (share, 1 - edge, 1.0)
    drawn = np.random.default_rng(_SEED).integers(0, len(names), (_DRAWS, len(names)))
    shares = good[drawn].sum(axis=1) / size[drawn].sum(axis=1)
    low, high = np.quantile(shares, [0.025, 0.975])
    return (share, float(low), float(high))


def spearman_interval(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float]:
    """(rank correlation, lower, upper), bootstrap over pairs; nan where one side is constant."""
    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    rho = _spearman(x, y)
    if math.isnan(rho):
        return (rho, rho, rho)
    drawn = np.random.default_rng(_SEED).integers(0, len(x), (_DRAWS, len(x)))
    ranks = [rankdata(side[drawn], axis=1) for side in (x, y)]
    u, v = (r - r.mean(axis=1, keepdims=True) for r in ranks)
    spread = np.sqrt((u**2).sum(axis=1) * (v**2).sum(axis=1))
    found = (u * v).sum(axis=1)[spread > 0] / spread[spread > 0]
    low, high = np.quantile(found, [0.025, 0.975])
    return (rho, float(low), float(high))


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation of the ranks, ties averaged (Spearman 1904)."""
    ranks = rankdata(x), rankdata(y)
    if any(r.std() == 0 for r in ranks):
        return math.nan
    return float(np.corrcoef(*ranks)[0, 1])
