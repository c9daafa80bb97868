"""One outline out of several, and how far they disagree: the measured uncertainty of everything measured in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from medloupe.tools.look import Outline
from medloupe.tools.measure import feret, form, largest_component
from medloupe.types import BoolArray, BoundingBox, Spacing

__all__ = ["EXACT", "Consensus", "Spread", "consensus", "overlap"]

QUARTILES = (0.25, 0.75)


class Spread(NamedTuple):
    """What several outlines of one thing make of its size and shape: the middle half, and what was taken of them."""

    long_axis: tuple[float, float] = (1.0, 1.0)
    """Lower and upper quartile over the value in the outline that is measured; the lower is at most 1, the upper at
    least 1."""
    short_axis: tuple[float, float] = (1.0, 1.0)
    area: tuple[float, float] = (1.0, 1.0)
    """Of the diameter of the disc of the same area."""
    aspect: tuple[float, float] | None = None
    """Quartiles of width to length; None for one outline."""
    solidity: tuple[float, float] | None = None


EXACT = Spread()
"""Of one outline that a person drew."""


class Consensus(NamedTuple):
    """What at least half of the outlines cover."""

    mask: BoolArray
    """(rows, columns) of the full image; the largest part."""
    name: str
    """Who outlined."""
    predicted_iou: float | None
    """Mean of the segmenter's own estimates."""
    agreement: float
    """Mean overlap (IoU) of the outlines with this one, 0 to 1."""
    spread: Spread


def consensus(outlines: Sequence[Outline], spacing: Spacing | None = None) -> Consensus | None:
    """The majority of several outlines of one image; None where there is none.

    Of nested outlines, as tighter and tighter boxes give them, the majority is the median. The spread is the
    interquartile range: what a single outline has wrong, leaking or stopping short, does not widen it.
    """
    if not outlines:
        return None
    cut = _cut([outline.box for outline in outlines], outlines[0].mask.shape)
    masks = np.stack([outline.mask[cut] for outline in outlines])
    common = largest_component(2 * masks.sum(axis=0) >= len(masks))
    if not common.any():
        return None
    full = np.zeros_like(outlines[0].mask)
    full[cut] = common
    quality = [outline.predicted_iou for outline in outlines if outline.predicted_iou is not None]
    return Consensus(
        full, outlines[0].segmenter, float(np.mean(quality)) if quality else None,
        float(np.mean([overlap(mask, common) for mask in masks])), _spread(masks, common, spacing),
    )  # fmt: skip


def overlap(one: BoolArray, other: BoolArray) -> float:
    """Intersection over union of two masks of one shape; 0 where both are empty."""
    return float((one & other).sum() / max(int((one | other).sum()), 1))


def _cut(boxes: Sequence[BoundingBox], shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The rows and columns that hold every outline."""
    corners = np.array([box.as_tuple() for box in boxes])
    (x0, y0), (x1, y1) = np.floor(corners[:, :2].min(axis=0)), np.ceil(corners[:, 2:].max(axis=0))
    return (slice(max(int(y0), 0), min(int(y1), shape[0])), slice(max(int(x0), 0), min(int(x1), shape[1])))


def _spread(masks: npt.NDArray[np.bool_], common: BoolArray, spacing: Spacing | None) -> Spread:
    sizes = np.array([_sizes(mask, spacing) for mask in masks]) / _sizes(common, spacing)
    low, high = np.quantile(sizes, QUARTILES, axis=0)
    forms = [form(mask, spacing) for mask in masks]
    around = [(min(float(a), 1.0), max(float(b), 1.0)) for a, b in zip(low, high, strict=True)]
    long_axis, short_axis, area = around
    aspect, solidity = _middle([f.aspect for f in forms]), _middle([f.solidity for f in forms])
    return Spread(long_axis, short_axis, area, aspect, solidity)


def _sizes(mask: BoolArray, spacing: Spacing | None) -> npt.NDArray[np.float64]:
    """Longest and shortest diameter and the root of the area."""
    across = feret(mask, spacing)
    return np.array([across.longest, across.shortest, float(mask.sum()) ** 0.5])


def _middle(values: Sequence[float]) -> tuple[float, float]:
    low, high = np.quantile(values, QUARTILES)
    return (float(low), float(high))
