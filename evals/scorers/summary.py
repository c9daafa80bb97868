"""A run in figures: the headline with its interval, what was not scored, and everything that the protocol reports."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from medloupe.evals.scorers.calibration import Calibration, calibration
from medloupe.evals.scorers.probmed import ProbMedAnswer, probmed_units
from medloupe.evals.scorers.rows import HEADLINES, Row, Status
from medloupe.evals.scorers.subgroups import Subgroup, by_subgroup, worst
from medloupe.evals.scorers.verification import changed
from medloupe.evals.statistics import Interval, cluster_interval, few_clusters
from medloupe.types import Frozen

__all__ = ["Figure", "Group", "Summary", "summarise"]


class Figure(Frozen):
    """One figure with its 95% interval over clusters."""

    value: float
    low: float
    high: float
    samples: int

    @classmethod
    def of(cls, values: Sequence[float], clusters: Sequence[str]) -> Figure:
        """Of values that hang together in clusters."""
        return cls.from_interval(cluster_interval(values, clusters), len(values))

    @classmethod
    def from_interval(cls, interval: Interval, samples: int) -> Figure:
        """Of an interval."""
        return cls(value=interval.value, low=interval.low, high=interval.high, samples=samples)

    def text(self) -> str:
        """As a person reads it."""
        return Interval(self.value, self.low, self.high).text()


class Group(Frozen):
    """One subgroup."""

    by: str
    name: str
    figure: Figure
    clusters: int


class Summary(Frozen):
    """summary.json."""

    schema_version: str = "medloupe.evaluation/1"
    benchmark: str
    headline: str
    """What the score is."""
    score: Figure
    """Over all cases; what failed, was refused, abstained from or could not be read counts as wrong."""
    scored_only: Figure | None
    """Over the scored cases alone; None when there are none."""
    counts: dict[str, int]
    """total, scored, unparsed, abstained, failed, refused."""
    clusters: int
    figures: dict[str, Figure]
    """The protocol's other figures."""
    groups: tuple[Group, ...] = ()
    worst: dict[str, str] = {}
    """Kind of subgroup to the name of the worst that has at least ten clusters."""
    calibration: dict[str, float] = {}
    risk_coverage: tuple[tuple[float, float], ...] = ()
    verification: dict[str, int] = {}
    """wrong_to_right, right_to_wrong, ...; and verdicts by word."""
    cost: dict[str, float] = {}
    warnings: tuple[str, ...] = ()


def summarise(benchmark: str, rows: Sequence[Row], warnings: Sequence[str] = ()) -> Summary:
    """All figures of a run's rows."""
    clusters = [row.cluster for row in rows]
    scored = [row for row in rows if row.status == "scored"]
    counts = Counter(row.status for row in rows)
    few = few_clusters(clusters)
    kinds = sorted({HEADLINES[row.kind] for row in rows})
    groups = _groups(rows)
    stated = [row for row in scored if row.confidence is not None and row.right is not None]
    found = calibration([row.confidence or 0.0 for row in stated], [bool(row.right) for row in stated])
    return Summary(
        benchmark=benchmark,
        headline=" or ".join(kinds),
        score=Figure.of([row.value for row in rows], clusters),
        scored_only=Figure.of([row.value for row in scored], [r.cluster for r in scored]) if scored else None,
        counts={"total": len(rows), **{word: counts[word] for word in _STATUSES}},
        clusters=len(set(clusters)),
        figures=_figures(rows) | (_probmed(rows) if benchmark == "probmed" else {}),
        groups=tuple(groups),
        worst=_worst(rows),
        calibration={"ECE": found.ece, "Brier": found.brier, "AURC": found.aurc, "samples": found.samples}
        if stated
        else {},
        risk_coverage=found.curve,
        verification=_verification(rows),
        cost=_cost(rows),
        warnings=(*warnings, *([few] if few else [])),
    )


def _calibration(found: Calibration) -> dict[str, float]:
    if not found.samples:
        return {}
    return {"ECE": found.ece, "Brier": found.brier, "AURC": found.aurc, "samples": found.samples}


_STATUSES: tuple[Status, ...] = ("scored", "unparsed", "abstained", "failed", "refused")


def _figures(rows: Sequence[Row]) -> dict[str, Figure]:
    """Each of the protocol's figures over the cases that have it; by kind of case where there are several kinds."""
    found: dict[str, Figure] = {}
    kinds = sorted({row.kind for row in rows})
    for kind in kinds if len(kinds) > 1 else ():
        mine = [row for row in rows if row.kind == kind]
        found[f"{HEADLINES[kind]} ({kind})"] = Figure.of([r.value for r in mine], [r.cluster for r in mine])
    for name in sorted({name for row in rows for name in row.values}):
        mine = [row for row in rows if name in row.values]
        found[name] = Figure.of([r.values[name] for r in mine], [r.cluster for r in mine])
    return found


def _probmed(rows: Sequence[Row]) -> dict[str, Figure]:
    units = probmed_units(
        ProbMedAnswer(row.cluster, row.tags["qa_type"], row.tags["pair"], row.right is True) for row in rows
    )
    found = {"pairs": Figure.of([float(u.right) for u in units], [u.image for u in units])}
    for category in sorted({unit.category for unit in units}):
        mine = [unit for unit in units if unit.category == category]
        found[f"pairs: {category}"] = Figure.of([float(u.right) for u in mine], [u.image for u in mine])
    return found


def _each_group(rows: Sequence[Row]) -> dict[str, list[Row]]:
    kinds = sorted({kind for row in rows for kind in row.groups})
    return {kind: [row for row in rows if kind in row.groups] for kind in kinds}


def _groups(rows: Sequence[Row]) -> list[Group]:
    return [
        Group(by=kind, name=g.name, figure=Figure.from_interval(g.interval, g.samples), clusters=g.clusters)
        for kind, mine in _each_group(rows).items()
        for g in _of(kind, mine)
    ]


def _worst(rows: Sequence[Row]) -> dict[str, str]:
    lowest = {kind: worst(_of(kind, mine)) for kind, mine in _each_group(rows).items()}
    return {kind: group.name for kind, group in lowest.items() if group is not None}


def _of(kind: str, rows: Sequence[Row]) -> list[Subgroup]:
    return by_subgroup([r.value for r in rows], [r.cluster for r in rows], [r.groups[kind] for r in rows])


def _verification(rows: Sequence[Row]) -> dict[str, int]:
    judged = [row for row in rows if row.right_before is not None]
    if not judged and not any(row.verdicts for row in rows):
        return {}
    after = [None if row.status == "abstained" else row.right is True for row in judged]
    verdicts: Counter[str] = Counter()
    for row in rows:
        verdicts.update(row.verdicts)
    return {**changed([row.right_before is True for row in judged], after)._asdict(), **dict(sorted(verdicts.items()))}


def _cost(rows: Sequence[Row]) -> dict[str, float]:
    def total(of: Callable[[Row], float]) -> float:
        return math.fsum(of(row) for row in rows)

    seconds = [row.seconds for row in rows] or [0.0]
    return {
        "calls": total(lambda r: r.calls), "tokens": total(lambda r: r.tokens), "looks": total(lambda r: r.looks),
        "model seconds p50": float(np.quantile(seconds, 0.5)), "model seconds p95": float(np.quantile(seconds, 0.95)),
    }  # fmt: skip
