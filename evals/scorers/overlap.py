"""Boxes and masks against the truth. What was not predicted scores 0; the truth is never scored against itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from medloupe.types import BoolArray, BoundingBox

__all__ = ["BoxMatch", "covered", "dice", "mask_iou", "match_boxes", "union_iou"]


class BoxMatch(NamedTuple):
    """Predicted boxes paired with true ones, each used once, so that the sum of IoU is largest (Kuhn 1955)."""

    pairs: tuple[tuple[int, int, float], ...]
    """(place among the predicted, place among the true, IoU) with an IoU above 0."""
    predicted: int
    true: int

    def hits(self, threshold: float = 0.5) -> int:
        """Pairs with at least that IoU."""
        return sum(iou >= threshold for _, _, iou in self.pairs)

    def precision(self, threshold: float = 0.5) -> float:
        """Share of predicted boxes that hit; 1 when nothing was there and nothing was said, 0 when nothing was said."""
        return self.hits(threshold) / self.predicted if self.predicted else float(self.true == 0)

    def recall(self, threshold: float = 0.5) -> float:
        """Share of true boxes that were hit; 1 when there are none and none were said, 0 when there are none."""
        return self.hits(threshold) / self.true if self.true else float(self.predicted == 0)


def match_boxes(predicted: Sequence[BoundingBox], true: Sequence[BoundingBox]) -> BoxMatch:
    """The best pairing of two sets of boxes."""
    table = np.array([[p.iou(t) for t in true] for p in predicted]).reshape(len(predicted), len(true))
    rows, columns = linear_sum_assignment(table, maximize=True)
    pairs = tuple((int(r), int(c), float(table[r, c])) for r, c in zip(rows, columns, strict=True) if table[r, c] > 0)
    return BoxMatch(pairs, len(predicted), len(true))


def covered(inner: Sequence[BoundingBox], outer: Sequence[BoundingBox]) -> float:
    """Share of the area of a union of boxes that lies in another union; nan when the first is empty."""
    area, common, _ = _areas(inner, outer)
    return common / area if area else float("nan")


def union_iou(predicted: Sequence[BoundingBox], true: Sequence[BoundingBox]) -> float:
    """IoU of two unions of boxes; 1 when both are empty, 0 when one is."""
    if not predicted or not true:
        return float(not predicted and not true)
    first, common, second = _areas(predicted, true)
    return common / (first + second - common)


def _areas(first: Sequence[BoundingBox], second: Sequence[BoundingBox]) -> tuple[float, float, float]:
    """Areas of a union, of what two unions share, and of the other, exactly, on the grid of all edges."""
    boxes = [*first, *second]
    xs = np.unique([x for b in boxes for x in (b.x0, b.x1)])
    ys = np.unique([y for b in boxes for y in (b.y0, b.y1)])
    cells = np.outer(np.diff(ys), np.diff(xs))
    inside = [_cells(group, xs, ys) for group in (first, second)]
    return (
        float(cells[inside[0]].sum()),
        float(cells[inside[0] & inside[1]].sum()),
        float(cells[inside[1]].sum()),
    )


def _cells(boxes: Sequence[BoundingBox], xs: np.ndarray, ys: np.ndarray) -> BoolArray:
    inside = np.zeros((max(len(ys) - 1, 0), max(len(xs) - 1, 0)), dtype=bool)
    for b in boxes:
        x0, x1 = np.searchsorted(xs, (b.x0, b.x1))
        y0, y1 = np.searchsorted(ys, (b.y0, b.y1))
        inside[y0:y1, x0:x1] = True
    return inside


def dice(predicted: BoolArray | None, true: BoolArray) -> float:
    """2 |A and B| / (|A| + |B|) (Dice 1945); 0 without a prediction, 1 when both are empty."""
    if predicted is None:
        return 0.0
    total = int(predicted.sum()) + int(true.sum())
    return 2 * int((predicted & true).sum()) / total if total else 1.0


def mask_iou(predicted: BoolArray | None, true: BoolArray) -> float:
    """|A and B| / |A or B| (Jaccard 1912); 0 without a prediction, 1 when both are empty."""
    if predicted is None:
        return 0.0
    union = int((predicted | true).sum())
    return int((predicted & true).sum()) / union if union else 1.0
