"""A run in figures: the headline with its interval, what was not scored, and everything that the protocol reports."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from medloupe.errors import BackendMissing
from medloupe.evals.scorers.calibration import calibration
from medloupe.evals.scorers.probmed import ProbMedAnswer, probmed_units
from medloupe.evals.scorers.references import reference_scores
from medloupe.evals.scorers.rows import HEADLINES, Row, Status
from medloupe.evals.scorers.subgroups import Subgroup, by_subgroup, worst
from medloupe.evals.scorers.verification import changed, verdict_quality
from medloupe.evals.solvers.outcome import Prices
from medloupe.evals.statistics import Interval, cluster_interval, compare, few_clusters
from medloupe.types import Frozen, VerdictValue

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
    reliability: tuple[tuple[float, float, int], ...] = ()
    """(mean confidence, share right, answers) by bin of confidence."""
    verification: dict[str, int] = {}
    """wrong_to_right, right_to_wrong, ...; and verdicts by word."""
    verifier: dict[str, float] = {}
    """Of "some claim was refuted" as a detector of a wrong unverified answer: precision and recall, where there are."""
    cost: dict[str, float] = {}
    warnings: tuple[str, ...] = ()


def summarise(
    benchmark: str, rows: Sequence[Row], warnings: Sequence[str] = (), prices: Prices | None = None
) -> Summary:
    """All figures of a run's rows; its cost in dollars where the prices are known."""
    clusters = [row.cluster for row in rows]
    scored = [row for row in rows if row.status == "scored"]
    counts = Counter(row.status for row in rows)
    few = few_clusters(clusters)
    texts, missing = _references(rows)
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
        figures=_figures(rows) | (_probmed(rows) if benchmark == "probmed" else {}) | texts | _unverified(rows),
        groups=tuple(groups),
        worst=_worst(rows),
        calibration={"ECE": found.ece, "Brier": found.brier, "AURC": found.aurc, "samples": found.samples}
        if stated
        else {},
        risk_coverage=found.curve,
        reliability=found.bins,
        verification=_verification(rows),
        verifier=_verifier(rows),
        cost=_cost(rows, prices),
        warnings=(*warnings, *missing, *([few] if few else [])),
    )


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


def _references(rows: Sequence[Row]) -> tuple[dict[str, Figure], list[str]]:
    """BLEU, ROUGE-L and CIDEr of free texts against their references, what was not scored being no text; or the note
    that their libraries are not installed.
    """
    mine = [row for row in rows if row.kind in ("open", "caption") and row.expected]
    if not mine:
        return {}, []
    texts = [row.answer if row.status == "scored" else "" for row in mine]
    try:
        found = reference_scores(texts, [row.expected for row in mine], [row.cluster for row in mine])
    except BackendMissing as error:
        return {}, [str(error)]
    names = ("BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr")
    return {name: Figure.from_interval(i, len(mine)) for name, i in zip(names, found, strict=True)}, []


def _unverified(rows: Sequence[Row]) -> dict[str, Figure]:
    """The score as it would have been without verification, and what verification added, case by case."""
    mine = [row for row in rows if row.value_before is not None]
    clusters = [row.cluster for row in mine]
    if not mine:
        return {}
    before = [row.value_before or 0.0 for row in mine]
    added = compare([row.value for row in mine], before, clusters).difference
    return {
        "without verification": Figure.of(before, clusters),
        "added by verification": Figure.from_interval(added, len(mine)),
    }


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


def _verifier(rows: Sequence[Row]) -> dict[str, float]:
    judged = [row for row in rows if row.right_before is not None and row.verdicts]
    found = verdict_quality([_flag(row.verdicts) for row in judged], [row.right_before is True for row in judged])
    return {
        name: value for name, value in (("precision", found.precision), ("recall", found.recall)) if value == value
    }  # nan is no figure


def _flag(verdicts: Mapping[str, int]) -> VerdictValue:
    """A case's verdict: refuted where any claim was, undetermined where none was decided."""
    return "refuted" if "refuted" in verdicts else "supported" if "supported" in verdicts else "undetermined"


def _cost(rows: Sequence[Row], prices: Prices | None) -> dict[str, float]:
    def total(of: Callable[[Row], float]) -> float:
        return math.fsum(of(row) for row in rows)

    seconds = [row.seconds for row in rows] or [0.0]
    tokens, written = total(lambda r: r.tokens), total(lambda r: r.completion_tokens)
    dollars = {"USD": prices.of(tokens - written, written)} if prices else {}
    return dollars | {
        "calls": total(lambda r: r.calls), "tokens": tokens, "completion tokens": written,
        "looks": total(lambda r: r.looks),
        "model seconds p50": float(np.quantile(seconds, 0.5)), "model seconds p95": float(np.quantile(seconds, 0.95)),
    }  # fmt: skip
