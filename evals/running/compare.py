"""`medloupe eval compare A B`: two runs over the same cases, as paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from medloupe.errors import UsageError
from medloupe.evals.scorers.rows import Row
from medloupe.evals.statistics import Comparison, compare
from medloupe.types import Frozen

__all__ = ["RunComparison", "compare_runs", "read_rows"]


class Paired(Frozen):
    """A less B of one score."""

    difference: float
    low: float
    high: float
    detectable: float
    """The smallest true difference that would have been found in 80 of 100 such comparisons."""
    only_a: int | None = None
    """Right in A alone; None where a score is not right or wrong."""
    only_b: int | None = None
    p: float | None = None
    """McNemar's exact test."""

    @classmethod
    def of(cls, found: Comparison) -> Paired:
        """As written."""
        test = found.mcnemar
        return cls(
            difference=found.difference.value, low=found.difference.low, high=found.difference.high,
            detectable=found.detectable, only_a=test.only_first if test else None,
            only_b=test.only_second if test else None, p=test.p if test else None,
        )  # fmt: skip


class RunComparison(Frozen):
    """Two runs."""

    samples: int
    """Cases that both have."""
    clusters: int
    only_in_a: int
    only_in_b: int
    a: float
    b: float
    score: Paired
    scored_by_both: Paired | None
    """Over the cases that both scored."""
    effort_a: dict[str, float]
    """Looks, calls and tokens a case."""
    effort_b: dict[str, float]
    figures: dict[str, Paired]
    """The protocol's other figures that both have."""
    warnings: tuple[str, ...]

    def text(self) -> str:
        """As a person reads it."""
        s = self.score
        lines = [
            f"A {self.a:.3f}, B {self.b:.3f} on {self.samples} cases in {self.clusters} clusters",
            f"A - B {s.difference:+.3f} [{s.low:+.3f}, {s.high:+.3f}], 95% over clusters, paired",
        ]
        if s.p is not None:
            lines.append(f"right in A alone {s.only_a}, in B alone {s.only_b}; McNemar's exact p = {s.p:.4f}")
        lines.append(f"a true difference of {s.detectable:.3f} would have been found in 80 of 100 such comparisons")
        if self.scored_by_both:
            both = self.scored_by_both
            lines.append(f"where both were scored: {both.difference:+.3f} [{both.low:+.3f}, {both.high:+.3f}]")
        spent = (f"{name} {self.effort_a[name]:.1f} and {self.effort_b[name]:.1f}" for name in self.effort_a)
        lines.append(f"spent a case, A and B: {', '.join(spent)}")
        for name, f in self.figures.items():
            lines.append(f"{name}: {f.difference:+.3f} [{f.low:+.3f}, {f.high:+.3f}]")
        return "\n".join([*lines, *(f"note: {warning}" for warning in self.warnings)])


def read_rows(folder: Path) -> list[Row]:
    """The rows of a finished run; UsageError when the folder holds none."""
    path = folder / "scores.jsonl"
    try:
        return [Row.model_validate_json(line) for line in path.read_text("utf-8").splitlines()]
    except OSError:
        raise UsageError(f"{folder} holds no finished run (no scores.jsonl); run the same command again") from None
    except ValidationError:
        raise UsageError(f"{path} is no file of scores") from None


def compare_runs(first: Path, second: Path) -> RunComparison:
    """Cases are paired by id and epoch. UsageError when the runs have none in common, or asked different things."""
    a, b = ({(row.id, row.epoch): row for row in read_rows(folder)} for folder in (first, second))
    common = [key for key in a if key in b]
    if not common:
        raise UsageError("the two runs have no case in common")
    pairs = [(a[key], b[key]) for key in common]
    if any(x.expected != y.expected or x.kind != y.kind or x.cluster != y.cluster for x, y in pairs):
        raise UsageError("the two runs asked different things under the same ids: they are of different benchmarks")
    both = [(x, y) for x, y in pairs if x.status == y.status == "scored"]
    names = sorted({name for x, y in pairs for name in set(x.values) & set(y.values)})
    whole = _compared(pairs)
    left_out = (len(a) - len(common), len(b) - len(common))
    said = [f"{sum(left_out)} cases are in one run only and were left out"] if any(left_out) else []
    return RunComparison(
        samples=len(pairs), clusters=whole.clusters, only_in_a=left_out[0], only_in_b=left_out[1],
        a=sum(x.value for x, _ in pairs) / len(pairs), b=sum(y.value for _, y in pairs) / len(pairs),
        score=Paired.of(whole), scored_by_both=Paired.of(_compared(both)) if both and len(both) < len(pairs) else None,
        effort_a=_effort([x for x, _ in pairs]), effort_b=_effort([y for _, y in pairs]),
        figures={name: Paired.of(_compared(pairs, name)) for name in names},
        warnings=(*said, *([whole.warning] if whole.warning else [])),
    )  # fmt: skip


def _effort(rows: Sequence[Row]) -> dict[str, float]:
    return {name: sum(getattr(row, name) for row in rows) / len(rows) for name in ("looks", "calls", "tokens")}


def _compared(pairs: Sequence[tuple[Row, Row]], name: str = "") -> Comparison:
    kept = [(x, y) for x, y in pairs if not name or (name in x.values and name in y.values)]
    first, second = ([row.values[name] if name else row.value for row in side] for side in zip(*kept, strict=True))
    return compare(first, second, [x.cluster for x, _ in kept])
