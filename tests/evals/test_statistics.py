"""Intervals and comparisons, against scipy, against Inspect AI, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from inspect_ai.scorer import SampleScore, Score, stderr
from scipy import stats

from medloupe.evals.bench_statistics import coverage
from medloupe.evals.statistics import (
    cluster_interval,
    clustered_standard_error,
    compare,
    few_clusters,
    mcnemar,
    minimum_detectable_effect,
)
from medloupe.evals.statistics.intervals import _tail

Sample = tuple[list[float], list[str]]


def synthetic(seed: int, clusters: int = 120) -> Sample:
    """Right or wrong in clusters of 1 to 6, some of which are easy and some hard."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 7, clusters)
    values = [float(v) for size in sizes for v in rng.binomial(1, rng.beta(2, 1), size)]
    return values, [str(c) for c, size in enumerate(sizes) for _ in range(size)]


def scipy_interval(values: list[float], clusters: list[str]) -> tuple[float, float]:
    """scipy's percentile bootstrap of a ratio of sums over clusters, at the same quantiles."""
    names = sorted(set(clusters))
    total = np.array([sum(v for v, c in zip(values, clusters, strict=True) if c == name) for name in names])
    size = np.array([clusters.count(name) for name in names])
    found = stats.bootstrap(
        (total, size), lambda a, b, axis: a.sum(axis=axis) / b.sum(axis=axis), paired=True, vectorized=True,
        method="percentile", n_resamples=9999, rng=np.random.default_rng(1),
        confidence_level=1 - 2 * _tail(len(names)),
    ).confidence_interval  # fmt: skip
    return float(found.low), float(found.high)


@pytest.mark.parametrize("seed", range(5))
def test_intervals_agree_with_scipys_bootstrap(seed: int) -> None:
    values, clusters = synthetic(seed)
    mean, low, high = cluster_interval(values, clusters)
    their_low, their_high = scipy_interval(values, clusters)
    assert mean == pytest.approx(np.mean(values))
    # Two bootstraps of one sample differ by chance: about 3% of the width with 2,000 and 9,999 draws.
    assert (low, high) == pytest.approx((their_low, their_high), abs=0.05 * (high - low))


@pytest.mark.parametrize("seed", range(5))
def test_the_standard_error_is_inspects_and_half_the_interval_is_about_two_of_it(seed: int) -> None:
    values, clusters = synthetic(seed)
    scores = [
        SampleScore(score=Score(value=v), sample_id=str(n), sample_metadata={"cluster": c})
        for n, (v, c) in enumerate(zip(values, clusters, strict=True))
    ]
    inspects = stderr(cluster="cluster")(scores)
    ours = clustered_standard_error(values, clusters)
    assert ours == pytest.approx(inspects, rel=1e-12)
    _, low, high = cluster_interval(values, clusters)
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, 119) * ours, rel=0.06)


def test_clusters_make_the_interval_wider_than_samples_taken_alone() -> None:
    values = [1.0] * 60 + [0.0] * 60
    alone = cluster_interval(values, [str(n) for n in range(120)])
    together = cluster_interval(values, [str(n // 6) for n in range(120)])
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_an_interval_of_equal_values() -> None:
    assert cluster_interval([0.0] * 5, list("abcde")) == (0.0, 0.0, pytest.approx(1 - 0.025**0.2))
    assert cluster_interval([0.5] * 5, list("abcde")) == (0.5, 0.5, 0.5)
    assert all(math.isnan(v) for v in cluster_interval([], []))


def test_the_same_sample_gives_the_same_interval() -> None:
    values, clusters = synthetic(3)
    assert cluster_interval(values, clusters) == cluster_interval(values, clusters)


def test_coverage_is_what_it_says() -> None:
    """A small version of `make bench-statistics`; 0.95 +- 3 standard errors of 300 simulations."""
    assert 0.91 <= coverage("right or wrong, 0.6, images differ", 50, 300) <= 0.99


def test_few_clusters_are_warned_of() -> None:
    assert few_clusters([str(n) for n in range(50)]) is None
    assert few_clusters([str(n) for n in range(49)] * 2) == (
        "only 49 clusters: a 95% interval over fewer than 50 is narrower than it says"
    )


# --- two runs -------------------------------------------------------------------------------------------------------


def test_mcnemar_by_hand() -> None:
    # 6 samples only the first has right, 1 only the second: p = 2 * (C(7,0) + C(7,1)) / 2^7 = 2 * 8 / 128.
    first = [True] * 6 + [False] + [True] * 5 + [False] * 3
    second = [False] * 6 + [True] + [True] * 5 + [False] * 3
    assert mcnemar(first, second) == (6, 1, pytest.approx(0.125))
    assert mcnemar([True, False], [True, False]) == (0, 0, 1.0)


def test_a_paired_difference_by_hand() -> None:
    found = compare([1, 1, 1, 0, 1, 0], [0, 1, 0, 0, 1, 1], list("aabbcc"))
    assert found.difference.value == pytest.approx(1 / 6)
    assert found.difference.low < 1 / 6 < found.difference.high
    assert found.mcnemar == (2, 1, pytest.approx(1.0))
    assert (found.samples, found.clusters) == (6, 3)
    assert found.warning is not None and found.warning.startswith("only 3 clusters")


def test_pairing_finds_what_two_intervals_do_not() -> None:
    rng = np.random.default_rng(5)
    hard = rng.random(300)
    first = (hard < 0.60).astype(float)
    second = (hard < 0.55).astype(float)
    clusters = [str(n) for n in range(300)]
    assert cluster_interval(first.tolist(), clusters).low < cluster_interval(second.tolist(), clusters).high
    found = compare(first.tolist(), second.tolist(), clusters)
    assert found.difference.low > 0
    assert found.mcnemar is not None and found.mcnemar.p < 0.01


def test_the_detectable_effect_by_hand_and_by_trying() -> None:
    # 4 clusters of one: differences 1, 0, 0, 0; standard error = sqrt(0.75 * 4 / 3) / 4 = 0.25; t(3) quantiles.
    effect = minimum_detectable_effect([1, 0, 0, 0], list("abcd"))
    assert effect == pytest.approx(0.25 * (stats.t.ppf(0.975, 3) + stats.t.ppf(0.8, 3)))
    assert math.isnan(minimum_detectable_effect([1, 0], ["a", "a"]))
    rng = np.random.default_rng(2)
    clusters = [str(n) for n in range(100)]
    effect = minimum_detectable_effect(rng.normal(0, 1, 100).tolist(), clusters)
    found = [abs(stats.ttest_1samp(rng.normal(effect, 1, 100), 0).pvalue) < 0.05 for _ in range(400)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.1)


def test_graded_scores_have_no_mcnemar_and_equal_runs_no_width() -> None:
    found = compare([0.5, 0.7], [0.5, 0.7], ["a", "b"])
    assert found.mcnemar is None
    assert found.difference == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="same samples"):
        compare([1.0], [1.0, 0.0], ["a"])
