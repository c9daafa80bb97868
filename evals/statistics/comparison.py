"""Two runs over the same samples: the difference with its interval, McNemar's test, and what could have been found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest, t

from medloupe.evals.statistics.intervals import Interval, cluster_interval, clustered_standard_error, few_clusters

__all__ = ["Comparison", "McNemar", "compare", "mcnemar", "minimum_detectable_effect"]


class McNemar(NamedTuple):
    """Samples on which the two differ, and how surprising their split is."""

    only_first: int
    """Right in the first run alone."""
    only_second: int
    """Right in the second run alone."""
    p: float
    """Two-sided; 1 when they never differ."""


class Comparison(NamedTuple):
    """First run less second run."""

    difference: Interval
    mcnemar: McNemar | None
    """None where scores are not right or wrong."""
    detectable: float
    """The smallest true difference that would have been found in 80 of 100 such comparisons."""
    samples: int
    clusters: int
    warning: str | None


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> McNemar:
    """McNemar's test, exact: the binomial of the discordant pairs (McNemar 1947). Samples are taken as independent."""
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    only_first, only_second = int((a & ~b).sum()), int((b & ~a).sum())
    discordant = only_first + only_second
    p = float(binomtest(only_first, discordant, 0.5).pvalue) if discordant else 1.0
    return McNemar(only_first, only_second, p)


def minimum_detectable_effect(
    differences: Sequence[float], clusters: Sequence[str], *, power: float = 0.8, alpha: float = 0.05
) -> float:
    """The true mean difference that a two-sided test at `alpha` finds with that power; nan for fewer than two clusters.

    (t of 1 - alpha/2 plus t of the power) standard errors, clusters - 1 degrees of freedom (Bloom 1995).
    """
    freedom = len(set(clusters)) - 1
    if freedom < 1:
        return math.nan
    multiple = t.ppf(1 - alpha / 2, freedom) + t.ppf(power, freedom)
    return float(multiple * clustered_standard_error(differences, clusters))


def compare(first: Sequence[float], second: Sequence[float], clusters: Sequence[str]) -> Comparison:
    """Scores of the same samples, in the same order, in two runs. ValueError for lengths that differ or no samples."""
    if not len(first) or not len(first) == len(second) == len(clusters):
        raise ValueError("a paired comparison needs the same samples in both runs, and at least one")
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    differences = (a - b).tolist()
    two_valued = bool(np.isin(a, (0.0, 1.0)).all() and np.isin(b, (0.0, 1.0)).all())
    return Comparison(
        difference=_interval(differences, clusters),
        mcnemar=mcnemar((a == 1).tolist(), (b == 1).tolist()) if two_valued else None,
        detectable=minimum_detectable_effect(differences, clusters),
        samples=len(differences),
        clusters=len(set(clusters)),
        warning=few_clusters(clusters),
    )


def _interval(differences: Sequence[float], clusters: Sequence[str]) -> Interval:
    """As `cluster_interval`, but no difference anywhere has no exact binomial bound: it is no share."""
    spread = max(differences) - min(differences)
    return cluster_interval(differences, clusters) if spread else Interval(*[differences[0]] * 3)
