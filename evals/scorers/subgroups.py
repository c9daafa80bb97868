"""Scores by subgroup, with the worst one named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from medloupe.evals.statistics import Interval, cluster_interval

__all__ = ["Subgroup", "by_subgroup", "worst"]

LEAST = 10
"""Clusters that a subgroup needs before it can be called the worst: below, chance names it."""


class Subgroup(NamedTuple):
    """One group's score."""

    name: str
    interval: Interval
    samples: int
    clusters: int


def by_subgroup(values: Sequence[float], clusters: Sequence[str], groups: Sequence[str]) -> list[Subgroup]:
    """Each group's mean with its interval, in order of name."""
    rows = list(zip(values, clusters, groups, strict=True))
    found = []
    for name in sorted(set(groups)):
        mine = [(value, cluster) for value, cluster, group in rows if group == name]
        own = [cluster for _, cluster in mine]
        interval = cluster_interval([value for value, _ in mine], own)
        found.append(Subgroup(name, interval, len(mine), len(set(own))))
    return found


def worst(groups: Sequence[Subgroup]) -> Subgroup | None:
    """The lowest mean among groups of at least `LEAST` clusters; None when there is none."""
    return min((g for g in groups if g.clusters >= LEAST), key=lambda g: g.interval.value, default=None)
