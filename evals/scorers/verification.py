"""What verification changed: answers before and after, and the verdicts held against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

__all__ = ["Changed", "VerdictQuality", "changed", "verdict_quality"]


class Changed(NamedTuple):
    """Counts of samples."""

    wrong_to_right: int
    right_to_wrong: int
    wrong_to_abstained: int
    right_to_abstained: int
    same: int


class VerdictQuality(NamedTuple):
    """Of "refuted" as a detector of false statements; nan where there is nothing to divide by."""

    precision: float
    """Share of refuted statements that are false."""
    recall: float
    """Share of false statements that were refuted; "undetermined" caught nothing."""
    undetermined: int


def changed(before: Sequence[bool], after: Sequence[bool | None]) -> Changed:
    """Whether each sample was right without verification, and with it; None: it abstained."""
    pairs = list(zip(before, after, strict=True))
    return Changed(
        wrong_to_right=sum(not b and a is True for b, a in pairs),
        right_to_wrong=sum(b and a is False for b, a in pairs),
        wrong_to_abstained=sum(not b and a is None for b, a in pairs),
        right_to_abstained=sum(b and a is None for b, a in pairs),
        same=sum(a is b for b, a in pairs),
    )


def verdict_quality(
    verdicts: Sequence[Literal["supported", "refuted", "undetermined"]], true: Sequence[bool]
) -> VerdictQuality:
    """Verdicts on statements whose truth is known."""
    refuted = [t for v, t in zip(verdicts, true, strict=True) if v == "refuted"]
    false = [v for v, t in zip(verdicts, true, strict=True) if not t]
    return VerdictQuality(
        precision=sum(not t for t in refuted) / len(refuted) if refuted else float("nan"),
        recall=sum(v == "refuted" for v in false) / len(false) if false else float("nan"),
        undetermined=sum(v == "undetermined" for v in verdicts),
    )
