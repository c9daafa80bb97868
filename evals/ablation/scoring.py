"""What was stated of a phantom against what was drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from medloupe.evals.phantoms import ImageTruth, LesionTruth
from medloupe.evals.solvers.outcome import Found, Outcome
from medloupe.evals.tasks.case import Case
from medloupe.types import BoundingBox, StatedAttribute

__all__ = ["Judged", "judge"]

SIZE_RATIO = 1.2
"""Two readers of one lesion differ by up to about 20% (prompts/knowledge/attributes.yaml, long_axis)."""


class Judged(NamedTuple):
    """One phantom under one condition."""

    case: str
    size: float | None
    """Long axis of its lesion, pixels; None: it has none."""
    right: dict[str, bool]
    """Of each attribute of the lesion; what was not said is wrong."""
    said: int
    """Attributes of which anything was said."""
    hit: bool
    """The lesion is among what was stated."""
    false: int
    """Findings that are elsewhere, or where there is none."""
    calls: int
    tokens: int
    seconds: float
    """Of waiting for the model, summed over its calls."""
    failed: bool


def judge(case: Case, truth: ImageTruth, outcome: Outcome) -> Judged:
    """The finding that lies on the lesion, or names no place, is held against it; all others are false."""
    lesion = truth.lesions[0] if truth.lesions else None
    chosen = _on(lesion, outcome.findings) if lesion else None
    said = {a.attribute: a for a in chosen.stated} if chosen else {}
    right = {name: _is_right(name, value, said.get(name)) for name, value in _wanted(lesion).items()} if lesion else {}
    spent = outcome.spent
    return Judged(
        case=case.id, size=lesion.long_axis_px if lesion else None, right=right,
        said=sum(name in said for name in right), hit=chosen is not None,
        false=len(outcome.findings) - (chosen is not None), calls=spent.calls, tokens=spent.tokens,
        seconds=spent.seconds, failed=outcome.status != "answered",
    )  # fmt: skip


def _on(lesion: LesionTruth, findings: Sequence[Found]) -> Found | None:
    """Of the findings whose box holds the lesion's centre, the one whose centre is nearest."""
    x, y = BoundingBox.from_tuple(lesion.box).centre
    near = [
        (math.hypot(f.box.centre[0] - x, f.box.centre[1] - y) if f.box else 0.0, n) for n, f in enumerate(findings)
        if f.box is None or (f.box.x0 <= x <= f.box.x1 and f.box.y0 <= y <= f.box.y1)
    ]  # fmt: skip
    return findings[min(near)[1]] if near else None


def _wanted(lesion: LesionTruth) -> dict[str, float | str]:
    """Its words, its place and its size in the unit that the agent gives."""
    size = lesion.long_axis_px if lesion.long_axis_mm is None else lesion.long_axis_mm
    return {**lesion.attributes, "site": lesion.site, "long_axis": size}


def _is_right(name: str, wanted: float | str, said: StatedAttribute | None) -> bool:
    if said is None:
        return False
    if name != "long_axis":
        return said.value == wanted
    if isinstance(said.value, bool | str) or said.value <= 0 or isinstance(wanted, str):
        return False
    return 1 / SIZE_RATIO <= said.value / wanted <= SIZE_RATIO
