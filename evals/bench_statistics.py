"""How often the 95% interval holds the truth: simulated benchmarks whose true score is known.

    python -m medloupe.evals.bench_statistics [--simulations 1000] [--clusters 50]

Coverage between 93 and 97% is the bar, with at least 50 clusters; fewer clusters are shown for what the warning says.
Exit 1 when the bar is missed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import click
import numpy as np

from medloupe.evals.statistics import ENOUGH_CLUSTERS, cluster_interval

__all__ = ["WORLDS", "coverage"]

World = Callable[[np.random.Generator], float]
"""Draws a cluster's own mean."""

WORLDS: dict[str, tuple[float, World]] = {
    "right or wrong, 0.6, images differ": (0.6, lambda rng: float(rng.beta(3.0, 2.0))),
    "right or wrong, 0.9, images differ": (0.9, lambda rng: float(rng.beta(9.0, 1.0))),
    "right or wrong, 0.5, all alike": (0.5, lambda _: 0.5),
    "scores around 0.3, skewed": (0.3, lambda rng: float(rng.beta(1.5, 3.5))),
}
"""Name to the true mean, and how a cluster's mean is drawn."""


def coverage(name: str, clusters: int, simulations: int, seed: int = 11) -> float:
    """Share of simulations whose interval holds the true mean; clusters of 1 to 8 samples."""
    truth, world = WORLDS[name]
    rng = np.random.default_rng(seed)
    held = 0
    for _ in range(simulations):
        values: list[float] = []
        labels: list[str] = []
        for cluster in range(clusters):
            mean, size = world(rng), int(rng.integers(1, 9))
            two_valued = name.startswith("right")
            values += list(rng.binomial(1, mean, size) if two_valued else np.clip(rng.normal(mean, 0.1, size), -1, 2))
            labels += [str(cluster)] * size
        low, high = cluster_interval(values, labels)[1:]
        held += low <= truth <= high
    return held / simulations


@click.command()
@click.option("--simulations", default=1000, show_default=True)
@click.option("--clusters", multiple=True, type=int, default=(10, 20, 50, 200), show_default=True)
def main(simulations: int, clusters: tuple[int, ...]) -> None:
    """Print coverage, and exit 1 when it misses the bar."""
    missed = False
    for count in clusters:
        for name in WORLDS:
            found = coverage(name, count, simulations)
            out = count >= ENOUGH_CLUSTERS and not 0.93 <= found <= 0.97
            missed |= out
            print(f"{count:4d} clusters  {name:40s} {found:.3f}{'  MISSED' if out else ''}", flush=True)
    sys.exit(missed)


if __name__ == "__main__":
    main()
