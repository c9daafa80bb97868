"""Does stated confidence mean what it says? ECE, Brier, and risk against coverage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Calibration", "calibration"]

_BINS = 10


class Calibration(NamedTuple):
    """Over the answers that stated a confidence."""

    ece: float
    """Expected calibration error, ten bins of equal width (Guo 2017)."""
    brier: float
    """Mean squared difference between confidence and being right (Brier 1950)."""
    aurc: float
    """Area under risk-coverage: mean error rate over all coverages, most confident first (Geifman and El-Yaniv 2017).
    Equal confidences are taken together."""
    curve: tuple[tuple[float, float], ...]
    """(coverage, risk) at each distinct confidence, from the most confident."""
    bins: tuple[tuple[float, float, int], ...]
    """(mean confidence, share right, answers) of each of the ten bins that holds any; for the reliability diagram."""
    samples: int


def calibration(confidence: Sequence[float], right: Sequence[bool]) -> Calibration:
    """nan everywhere, and an empty curve, for nothing. ValueError for a confidence outside 0 to 1."""
    stated, hit = np.asarray(confidence, dtype=float), np.asarray(right, dtype=float)
    if not len(stated):
        return Calibration(np.nan, np.nan, np.nan, (), (), 0)
    if stated.min() < 0 or stated.max() > 1:
        raise ValueError("a confidence lies between 0 and 1")
    place = np.minimum((stated * _BINS).astype(int), _BINS - 1)
    gap = np.abs(np.bincount(place, hit - stated, _BINS))
    levels = sorted(set(stated.tolist()), reverse=True)
    curve = [(float((stated >= level).mean()), float(1 - hit[stated >= level].mean())) for level in levels]
    counts = np.array([int((stated == level).sum()) for level in levels])
    risks = np.array([risk for _, risk in curve])
    return Calibration(
        ece=float(gap.sum() / len(stated)),
        brier=float(((stated - hit) ** 2).mean()),
        aurc=float((risks * counts).sum() / len(stated)),
        curve=tuple(curve),
        bins=tuple(
            (float(stated[place == b].mean()), float(hit[place == b].mean()), int((place == b).sum()))
            for b in sorted(set(place.tolist()))
        ),
        samples=len(stated),
    )
