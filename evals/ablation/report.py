"""The table, the bars and the picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medloupe.evals.ablation.conditions import AGENT, SINGLE
from medloupe.evals.ablation.scoring import Judged
from medloupe.evals.statistics import ENOUGH_CLUSTERS, Comparison, Interval, cluster_interval, compare

__all__ = ["SMALL", "Line", "as_json", "draw", "line_of", "lines", "missed", "paired"]

SMALL = 32.0
"""Long axis, pixels."""
GAIN, GAIN_LOW, FALSE, RECALL = 0.25, 0.15, 0.03, 0.85
"""The bars: agent less single pass on small lesions, its interval's low end; on lesion-free phantoms; on the others."""
_EDGES = (8, 16, 32, 64, 128, 256)

Results = Mapping[str, Sequence[Judged]]


class Line(NamedTuple):
    """One condition."""

    accuracy: Interval
    """Over every attribute of every lesion."""
    small: Interval
    attributes: int
    small_attributes: int
    said: float
    """Share of the attributes of which anything was said."""
    recall: Interval
    """Share of phantoms with a lesion whose lesion was stated."""
    false: Interval
    """Share of lesion-free phantoms with any finding."""
    elsewhere: float
    """False findings a phantom with a lesion."""
    calls: float
    tokens: float
    seconds: float
    failed: int


def line_of(judged: Sequence[Judged]) -> Line:
    """All figures of a condition."""
    there = [j for j in judged if j.size is not None]
    free = [j for j in judged if j.size is None]
    every, small = _samples(there), _samples(there, SMALL)
    return Line(
        accuracy=cluster_interval(*every), small=cluster_interval(*small), attributes=len(every[0]),
        small_attributes=len(small[0]), said=sum(j.said for j in there) / max(len(every[0]), 1),
        recall=cluster_interval([float(j.hit) for j in there], [j.case for j in there]),
        false=cluster_interval([float(j.false > 0) for j in free], [j.case for j in free]),
        elsewhere=_mean([j.false for j in there]), calls=_mean([j.calls for j in judged]),
        tokens=_mean([j.tokens for j in judged]), seconds=_mean([j.seconds for j in judged]),
        failed=sum(j.failed for j in judged),
    )  # fmt: skip


def _samples(judged: Sequence[Judged], below: float = np.inf) -> tuple[list[float], list[str]]:
    """(right or wrong, phantom) of each attribute of lesions smaller than that."""
    kept = [(float(right), j.case) for j in judged if (j.size or 0) < below for right in j.right.values()]
    return [right for right, _ in kept], [case for _, case in kept]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else 0.0


def paired(results: Results, name: str, other: str, below: float = np.inf) -> Comparison | None:
    """Attribute accuracy of one condition less another's, on the same attributes; None where there are none."""
    first, clusters = _samples([j for j in results[name] if j.size is not None], below)
    second, _ = _samples([j for j in results[other] if j.size is not None], below)
    return compare(first, second, clusters) if first else None


def lines(results: Results) -> Iterator[str]:
    """The table as it is printed."""
    table = {name: line_of(judged) for name, judged in results.items()}
    one = next(iter(table.values()))
    yield (
        f"attribute accuracy: all (n = {one.attributes}), lesions under {SMALL:g} px (n = {one.small_attributes}); "
        "said: share of attributes spoken of"
    )
    yield f"{'':30}{'all':>22}{'under 32 px':>22}{'said':>6}{'recall':>22}{'false, none there':>22}{'elsewhere':>10}"
    for name, row in table.items():
        cells = "".join(f"{interval.text():>22}" for interval in (row.accuracy, row.small))
        ends = "".join(f"{interval.text():>22}" for interval in (row.recall, row.false))
        yield f"{name:30}{cells}{row.said:6.2f}{ends}{row.elsewhere:10.2f}"
    yield ""
    yield f"{'a phantom':30}{'calls':>8}{'tokens':>10}{'waited s':>9}{'failed':>8}"
    for name, row in table.items():
        yield f"{name:30}{row.calls:8.1f}{row.tokens:10.0f}{row.seconds:9.1f}{row.failed:8d}"
    yield ""
    yield (
        "paired differences of attribute accuracy, 95% over phantoms; McNemar's exact p (attributes as independent); "
        f"* over fewer than {ENOUGH_CLUSTERS} phantoms: narrower than it says"
    )
    for name, other in [(name, SINGLE) for name in table if name != SINGLE] + [(AGENT, "uniform tiles")]:
        for below, what in ((np.inf, "all"), (SMALL, "under 32 px")):
            if name in table and other in table and (found := paired(results, name, other, below)):
                yield _difference(f"{name} - {other}, {what}", found)


def _difference(what: str, found: Comparison) -> str:
    p = f"  p {found.mcnemar.p:.2g}" if found.mcnemar else ""
    few = " *" if found.warning else ""
    return f"  {what:58} {found.difference.text()}{p}{few}"


def missed(results: Results) -> list[str]:
    """The bars that are missed, with what was found."""
    row = line_of(results[AGENT])
    gain = paired(results, AGENT, SINGLE, SMALL)
    found = []
    if gain is None or gain.difference.value < GAIN or gain.difference.low <= GAIN_LOW:
        said = gain.difference.text() if gain else "no lesion"
        found.append(f"agent less single pass under 32 px of {GAIN} with its interval above {GAIN_LOW}: {said}")
    if not row.false.value <= FALSE:
        found.append(f"false findings on lesion-free phantoms of at most {FALSE}: {row.false.text()}")
    if not row.recall.value >= RECALL:
        found.append(f"recall on phantoms with a lesion of {RECALL}: {row.recall.text()}")
    return found


def draw(results: Results, path: Path) -> None:
    """Accuracy against lesion size, one line a condition."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 5.5), layout="constrained")
    for n, (name, judged) in enumerate(results.items()):
        middles, shares = _by_size(judged)
        agent = name.startswith("agent")
        axes.plot(
            middles, shares, label=name, marker="osD^v<>PX*"[n % 10], color=f"C{n}", linewidth=2.2 if agent else 1.2,
            linestyle="-" if agent or name == SINGLE else "--", markersize=5,
        )  # fmt: skip
    counts = _counts(next(iter(results.values())))
    axes.set_xscale("log", base=2)
    axes.set_xlim(_EDGES[0], _EDGES[-1])
    axes.set_xticks(_EDGES, [str(edge) for edge in _EDGES])
    axes.minorticks_off()
    for middle, count in counts:
        axes.annotate(f"n = {count}", (middle, 1.03), ha="center", va="bottom", fontsize=8, annotation_clip=False)
    axes.set(xlabel="long axis of the lesion, pixels of the full image", ylabel="attribute accuracy", ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
    axes.set_title("loupe-tiny on phantoms of 1024 and 2048 pixels", pad=22)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _by_size(judged: Sequence[Judged]) -> tuple[list[float], list[float]]:
    """(geometric middles, accuracies) of the ranges of size that hold anything."""
    found: list[tuple[float, float]] = []
    for low, high in pairwise(_EDGES):
        right = [r for j in judged if _lies(j.size, low, high) for r in j.right.values()]
        if right:
            found.append(((low * high) ** 0.5, _mean(right)))
    return [middle for middle, _ in found], [share for _, share in found]


def _counts(judged: Sequence[Judged]) -> list[tuple[float, int]]:
    """(geometric middle, lesions) of each range."""
    return [((low * high) ** 0.5, sum(_lies(j.size, low, high) for j in judged)) for low, high in pairwise(_EDGES)]


def _lies(size: float | None, low: float, high: float) -> bool:
    """Whether a lesion is of a range; the first holds what was drawn a little smaller than it was asked for, too."""
    return size is not None and (low <= size or low == _EDGES[0]) and size < high


def as_json(results: Results) -> dict[str, Any]:
    """Every figure and every phantom, for another look."""
    return {
        name: {"figures": line_of(judged)._asdict(), "phantoms": [j._asdict() for j in judged]}
        for name, judged in results.items()
    }
