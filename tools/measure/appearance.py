"""How a region looks beside itself: texture, the other side, and its colours."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from skimage.color import rgb2lab
from skimage.feature import graycomatrix, graycoprops

from medloupe.prompts import knowledge
from medloupe.tools.measure.intensity import most_contrast, statistics
from medloupe.types import BoolArray

__all__ = ["ColourShare", "Texture", "asymmetry", "colour_share", "dominant_colours", "texture"]

LEVELS = 32
"""Grey levels of a co-occurrence matrix (fixed bin number, IBSI, Zwanenburg, Radiology 2020)."""
LONGEST = 512
"""Pixels a side: of a larger region the texture is that of its middle, at full resolution."""
_SAMPLES = 4096
"""Pixels whose colour is named, evenly spread: a share is then known to 1%."""


class Texture(NamedTuple):
    """Haralick's numbers (IEEE SMC 1973) of neighbouring pixels, without unit."""

    contrast: float
    """Mean squared difference of neighbours in levels: 0 to 961."""
    homogeneity: float
    """Mean of 1 / (1 + difference squared), 0 to 1; 1 is even."""
    entropy: float
    """Of the pairs of levels, in bits: 0 to 10; 0 is even."""


class ColourShare(NamedTuple):
    """A named colour and the share of a region's pixels that are nearest to it."""

    name: str
    share: float


def texture(values: npt.NDArray[Any], mask: BoolArray) -> Texture:
    """Grey-level co-occurrence of neighbouring pixels that both lie in the region.

    values: (rows, columns), any unit. They are cut into 32 levels of equal width between the least and the most of the
    region. Neighbours are one pixel apart at 0, 45, 90 and 135 degrees; each direction's symmetric matrix is
    normalised, and the numbers are averaged over the directions (scikit-image's `graycomatrix`). ValueError when no two
    pixels are neighbours.
    """
    inside = np.asarray(values[mask], dtype=np.float64)
    if inside.size < 2:
        raise ValueError("no pair of neighbouring pixels to measure")
    low, high = float(inside.min()), float(inside.max())
    scaled = (values.astype(np.float64) - low) * (LEVELS / max(high - low, 1e-300))
    level = np.where(mask, np.clip(scaled, 0, LEVELS - 1).astype(np.uint8) + 1, 0).astype(np.uint8)
    angles = [0, math.pi / 4, math.pi / 2, 3 * math.pi / 4]
    pairs = graycomatrix(level, [1], angles, LEVELS + 1, symmetric=True)[1:, 1:].astype(np.float64)
    totals = pairs.sum(axis=(0, 1), keepdims=True)
    if not totals.any():
        raise ValueError("no pair of neighbouring pixels to measure")
    share = (pairs / np.maximum(totals, 1))[..., totals[0, 0, 0] > 0]
    entropy = -np.sum(share * np.log2(share, where=share > 0, out=np.zeros_like(share)), axis=(0, 1))
    contrast, homogeneity = (float(graycoprops(share, name).mean()) for name in ("contrast", "homogeneity"))
    return Texture(contrast, homogeneity, float(entropy.mean()))


def asymmetry(values: npt.NDArray[Any], mirrored: npt.NDArray[Any], mask: BoolArray, ring_std: float) -> float:
    """(mean of the region - mean of its mirror image) / standard deviation of the ring, cut off at +-99; 0 is even.

    values, mirrored: (rows, columns), the region's pixels and those of the image turned left to right, in one unit;
    mask: the region in both. Meaningful where the image's midline is the body's. ValueError for an empty mask.
    """
    difference = statistics(values, mask).mean - statistics(mirrored, mask).mean
    return most_contrast(difference, ring_std)


def dominant_colours(values: npt.NDArray[Any], mask: BoolArray, *, least: float = 0.05) -> tuple[ColourShare, ...]:
    """The named colours of a region with their shares of its pixels, the largest first; shares below `least` left out.

    values: (rows, columns, 3) sRGB uint8. A pixel has the name of the nearest anchor of prompts/knowledge/colours.yaml
    in CIE Lab, D65 (Delta E 1976). At most 4,096 evenly spread pixels are named. ValueError for an empty mask.
    """
    names, away = _distances(values, mask)
    found, counts = np.unique(np.array(names)[away.argmin(axis=1)], return_counts=True)
    shares = sorted(zip(found, counts / len(away), strict=True), key=lambda pair: (-pair[1], str(pair[0])))
    return tuple(ColourShare(str(name), float(share)) for name, share in shares if share >= least)


def colour_share(values: npt.NDArray[Any], mask: BoolArray, name: str, tolerance: float) -> tuple[float, float]:
    """(share of a region's pixels that a colour's name is nearest to, share that it could be said of), 0 to 1.

    It could be said of a pixel where the name's nearest anchor is at most `tolerance` (Delta E 1976) farther than the
    nearest of all. Otherwise as `dominant_colours`. ValueError for an empty mask.
    """
    names, away = _distances(values, mask)
    own = away[:, np.array(names) == name].min(axis=1, initial=np.inf)
    beyond = own - away.min(axis=1)
    return float((beyond <= 0).mean()), float((beyond <= tolerance).mean())


def _distances(values: npt.NDArray[Any], mask: BoolArray) -> tuple[tuple[str, ...], npt.NDArray[np.float64]]:
    """Anchors' names, and (pixels, anchors) distances in CIE Lab of at most 4,096 of the region's pixels."""
    inside = values[mask][:, :3]
    if not len(inside):
        raise ValueError("no pixel to measure")
    inside = inside[:: max(1, len(inside) // _SAMPLES)]
    names, anchors = _anchors()
    lab = rgb2lab(inside.astype(np.float64) / 255)
    return names, np.sqrt(((lab[:, None, :] - anchors[None]) ** 2).sum(axis=2))


@cache
def _anchors() -> tuple[tuple[str, ...], npt.NDArray[np.float64]]:
    """Names and (n, 3) Lab values of every anchor."""
    table = [(name, rgb) for name, anchors in knowledge("colours")["colours"].items() for rgb in anchors]
    return tuple(name for name, _ in table), rgb2lab(np.array([rgb for _, rgb in table]) / 255)
