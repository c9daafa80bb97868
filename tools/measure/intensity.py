"""Brightness and density of a region: statistics, the ring around it, and the words for them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from medloupe.tools.measure.vocabulary import attribute, threshold
from medloupe.types import BoolArray

__all__ = [
    "Statistics", "contrast", "density_word", "intensity_word", "luminance", "most_contrast", "ring", "ring_reach",
    "solid_word", "statistics",
]  # fmt: skip

Values = npt.NDArray[Any]

_MOST = 99.0
"""A contrast is cut off here: without any noise it would be infinite."""


class Statistics(NamedTuple):
    """Of the pixels of one region, in the unit of the values."""

    mean: float
    std: float
    """Population standard deviation."""
    least: float
    most: float


def luminance(values: Values) -> Values:
    """Grey of a colour picture, 0 to 255 (Rec. 709 weights, as scikit-image's rgb2gray); grey stays as it is."""
    if values.ndim == 2:
        return values
    return np.asarray(values[..., :3] @ np.array([0.2125, 0.7154, 0.0721], dtype=np.float32))


def statistics(values: Values, mask: BoolArray) -> Statistics:
    """Statistics of the masked pixels of a (rows, columns) array; ValueError when there are none."""
    inside = np.asarray(values[mask], dtype=np.float64)
    if not inside.size:
        raise ValueError("no pixel to measure")
    return Statistics(float(inside.mean()), float(inside.std()), float(inside.min()), float(inside.max()))


def ring(mask: BoolArray) -> BoolArray:
    """The surroundings: the mask dilated by the larger of 3 px and 25% of its equivalent radius, without the mask.

    The equivalent radius is that of the disc with the same area. May reach the image's edge and is then cut.
    """
    reach = ring_reach(int(np.count_nonzero(mask)))
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray((distance > 0) & (distance <= reach))


def ring_reach(area: int) -> float:
    """How far the ring around so many pixels goes, in pixels."""
    return max(threshold("intensity", "ring_pixels"), threshold("intensity", "ring_share") * math.sqrt(area / math.pi))


def contrast(inside: Statistics, outside: Statistics) -> float:
    """(mean inside - mean outside) / pooled standard deviation (Cohen's d for equal groups), cut off at +-99."""
    return most_contrast(inside.mean - outside.mean, math.sqrt((inside.std**2 + outside.std**2) / 2))


def most_contrast(difference: float, spread: float) -> float:
    """A difference in units of a spread, cut off at +-99."""
    if spread * _MOST <= abs(difference):
        return math.copysign(_MOST, difference) if difference else 0.0
    return difference / spread


def intensity_word(of_contrast: float) -> str:
    """hyperintense | isointense | hypointense for a contrast as shown."""
    if abs(of_contrast) < threshold("intensity", "isointense"):
        return "isointense"
    return "hyperintense" if of_contrast > 0 else "hypointense"


def density_word(mean_hu: float) -> str | None:
    """The word whose range of Hounsfield units holds the mean; None in a gap between the ranges."""
    for name, entry in (attribute("density") or {})["values"].items():
        if entry.get("hu_refutes", "hu" in entry) and entry["hu"][0] <= mean_hu < entry["hu"][1]:
            return str(name)
    return None


def solid_word(solid_share: float) -> str:
    """glass | part | solid: how much of a region lies above the ground-glass threshold."""
    if solid_share >= threshold("density", "solid_share"):
        return "solid"
    return "glass" if solid_share <= threshold("density", "glass_share") else "part"
