"""Outlines from grey levels alone, with no network."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import label

from medloupe.tools.measure.vocabulary import threshold
from medloupe.types import BoolArray, BoundingBox

__all__ = ["threshold_mask"]

Values = npt.NDArray[Any]

_GROW = 0.2
"""Of a box's side, on each side: enough surroundings to compare with, few neighbours."""
_SMOOTH = 0.02
"""Of a box's longer side: the scale of speckle, not of the thing itself."""
_OPEN = 0.08
"""Of a box's shorter side: bridges narrower than this do not belong to what is outlined."""
_REACH = 0.55
"""Half-axes of the ellipse that may be filled, in box sides: things fill a box to its sides and rarely its corners."""


def threshold_mask(grey: Values, box: BoundingBox) -> BoolArray | None:
    """Outline what stands out in a box, by Otsu's threshold; None when nothing does.

    grey: (rows, columns), any unit; box: full-image pixels. The box is grown by a fifth on each side, smoothed, and cut
    in two classes (Otsu, IEEE SMC 1979); the class of the middle of the box is kept within the box's ellipse, narrow
    bridges are opened, the part nearest the centre is taken and its holes are filled. "Stands out" is a difference of
    at least half a standard deviation between the middle of the box and the rim around it. Returns a (rows, columns)
    mask of the full image.
    """
    height, width = grey.shape
    try:
        outer = box.grow(_GROW, 8.0).snap().clip(width, height)
    except ValueError:
        return None
    rows, columns = slice(int(outer.y0), int(outer.y1)), slice(int(outer.x0), int(outer.x1))
    cut = np.asarray(grey[rows, columns], dtype=np.float32)
    smooth = cv2.GaussianBlur(cut, (0, 0), max(_SMOOTH * max(cut.shape), 0.5))
    middle, within, rim = _zones(box, outer)
    contrast = _contrast(smooth, middle, rim)
    if abs(contrast) < threshold("outline", "contrast"):
        return None
    level = threshold_otsu(smooth)
    stands_out = (smooth > level if contrast > 0 else smooth <= level) & within
    part = _nearest(_opened(stands_out, _OPEN * min(box.width, box.height)), box, outer)
    if part is None:
        return None
    mask = np.zeros(grey.shape, dtype=bool)
    mask[rows, columns] = part
    return mask


def _zones(box: BoundingBox, outer: BoundingBox) -> tuple[BoolArray, BoolArray, BoolArray]:
    """The middle (an ellipse of half the box), what may be filled, and the rim, each in the grown box's shape."""
    columns = np.arange(outer.x0, outer.x1) + 0.5
    rows = (np.arange(outer.y0, outer.y1) + 0.5)[:, None]
    (cx, cy) = box.centre
    across, down = np.abs(columns - cx) / box.width, np.abs(rows - cy) / box.height
    away = across**2 + down**2
    return away <= max(0.25**2, float(away.min())), away <= _REACH**2, (across > 0.5) | (down > 0.5)


def _contrast(smooth: Values, middle: BoolArray, rim: BoolArray) -> float:
    """Difference of the means in pooled standard deviations; 0 when there is no rim."""
    if not rim.any():
        return 0.0
    inside, outside = smooth[middle], smooth[rim]
    spread = math.sqrt((float(inside.std()) ** 2 + float(outside.std()) ** 2) / 2)
    difference = float(inside.mean()) - float(outside.mean())
    return difference / spread if spread > 0 else math.copysign(math.inf, difference) if difference else 0.0


def _opened(mask: BoolArray, across: float) -> BoolArray:
    """Holes filled and bridges narrower than `across` pixels (at least 3) opened, unless that would leave nothing."""
    filled = ndimage.binary_fill_holes(mask)
    size = max(3, int(across) | 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    opened = cv2.morphologyEx(filled.astype(np.uint8), cv2.MORPH_OPEN, kernel).astype(bool)
    return np.asarray(opened if opened.any() else filled)


def _nearest(mask: BoolArray, box: BoundingBox, outer: BoundingBox) -> BoolArray | None:
    """The part that comes nearest the box's centre; None when there is none."""
    parts = label(mask, connectivity=1)
    rows, columns = parts.nonzero()
    if not rows.size:
        return None
    (cx, cy) = box.centre
    away = (columns + 0.5 + outer.x0 - cx) ** 2 + (rows + 0.5 + outer.y0 - cy) ** 2
    nearest = int(away.argmin())
    return np.asarray(parts == parts[rows[nearest], columns[nearest]])
