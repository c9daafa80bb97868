"""One outline out of several, and how far they disagree: the measured uncertainty of everything measured in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from medloupe.tools.look import Outline
from medloupe.tools.measure import feret, form, largest_component
from medloupe.tools.measure.geometry import Feret
from medloupe.types import BoolArray, BoundingBox, Mask, Spacing

__all__ = ["EXACT", "LONGEST", "Consensus", "Spread", "across", "cell_spacing", "consensus", "overlap"]

LONGEST = 8192
"""Pixels a side at which outlines are compared and measured; those of slides alone are larger."""
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

    mask: Mask
    """Of the full image; the largest part."""
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
    first = outlines[0].mask
    around, shape = _around([outline.box for outline in outlines], first)
    masks = np.stack([outline.mask.within(around, shape) for outline in outlines])
    common = largest_component(2 * masks.sum(axis=0) >= len(masks))
    if not common.any():
        return None
    full = Mask.placed(common, around, width=first.width, height=first.height)
    quality = [outline.predicted_iou for outline in outlines if outline.predicted_iou is not None]
    return Consensus(
        full, outlines[0].segmenter, float(np.mean(quality)) if quality else None,
        float(np.mean([overlap(mask, common) for mask in masks])),
        _spread(masks, common, cell_spacing(around, shape, spacing)),
    )  # fmt: skip


def overlap(one: BoolArray, other: BoolArray) -> float:
    """Intersection over union of two masks of one shape; 0 where both are empty."""
    return float((one & other).sum() / max(int((one | other).sum()), 1))


def _around(boxes: Sequence[BoundingBox], image: Mask) -> tuple[BoundingBox, tuple[int, int]]:
    """The whole pixels that hold every outline, and the (rows, columns) at which they are compared."""
    corners = np.array([box.as_tuple() for box in boxes])
    around = BoundingBox.from_tuple([*corners[:, :2].min(axis=0), *corners[:, 2:].max(axis=0)])
    around = around.snap().clip(image.width, image.height)
    scale = max(1.0, around.width / LONGEST, around.height / LONGEST)
    return around, (max(1, round(around.height / scale)), max(1, round(around.width / scale)))


def across(outline: Mask, spacing: Spacing | None) -> Feret:
    """Its diameters in mm with a spacing, else in pixels of the full image."""
    part, box = outline.patch(LONGEST)
    return feret(part, cell_spacing(box, part.shape, spacing))


def cell_spacing(box: BoundingBox, shape: tuple[int, ...], spacing: Spacing | None) -> Spacing:
    """Of the cells of an array that covers a box: in mm where the image's pixels are known so, else in pixels of it."""
    across, down = box.width / shape[1], box.height / shape[0]
    if spacing is not None:
        across, down = across * spacing.column_mm, down * spacing.row_mm
    return Spacing(row_mm=down, column_mm=across, source="")


def _spread(masks: npt.NDArray[np.bool_], common: BoolArray, spacing: Spacing) -> Spread:
    sizes = np.array([_sizes(mask, spacing) for mask in masks]) / _sizes(common, spacing)
    low, high = np.quantile(sizes, QUARTILES, axis=0)
    forms = [form(mask, spacing) for mask in masks]
    around = [(min(float(a), 1.0), max(float(b), 1.0)) for a, b in zip(low, high, strict=True)]
    long_axis, short_axis, area = around
    aspect, solidity = _middle([f.aspect for f in forms]), _middle([f.solidity for f in forms])
    return Spread(long_axis, short_axis, area, aspect, solidity)


def _sizes(mask: BoolArray, spacing: Spacing) -> npt.NDArray[np.float64]:
    """Longest and shortest diameter and the root of the area."""
    size = feret(mask, spacing)
    return np.array([size.longest, size.shortest, float(mask.sum()) ** 0.5])


def _middle(values: Sequence[float]) -> tuple[float, float]:
    low, high = np.quantile(values, QUARTILES)
    return (float(low), float(high))
