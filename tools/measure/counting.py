"""How many objects of a kind: each counted in more than one way, and what the ways disagree on left open."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.measure import label
from skimage.segmentation import watershed

from medloupe.prompts import knowledge
from medloupe.tools.measure.vocabulary import threshold
from medloupe.types import BoolArray, BoundingBox

__all__ = ["Counted", "count_objects", "count_white_cells"]

Values = npt.NDArray[Any]
Real = npt.NDArray[np.float32]

_NEIGHBOURHOOD = 3.0
"""Of an object's diameter: a window this wide holds an object and more ground than object."""
_DIRT = 0.1
"""Of the median area: what is smaller is no object."""
_SOFT = 1.5
"""Pixels; smooths a camera's noise and the blocks of JPEG before colours are compared."""
_GROUND = 90
"""Percentile of the brightness: what is brighter is the glass between the cells."""
_MEET = 0.5
"""Of the largest red cells' radius: what is smaller between the red cells is a piece of one."""


class Counted(NamedTuple):
    """A number of objects: the fewest and the most of the ways of counting."""

    least: int
    most: int


def count_objects(grey: Values, box: BoundingBox | None = None) -> Counted | None:
    """How many separate objects stand out from a ground (cells, nuclei); None when that is not what is there.

    grey: (rows, columns), any unit. Two ways: Otsu's threshold of the brightness parts them from the ground, and the
    rarer class is the objects; then Otsu's threshold of the brightness over that of the neighbourhood, three objects
    wide, which follows a ground that is uneven. In both, objects that touch are divided by a watershed on the distance
    to the ground, and those smaller than a tenth of the median are dirt. None where Otsu's two classes explain too
    little of the variance, the ground varies too much, or the two ways disagree (thresholds of the vocabulary).
    """
    smooth = cv2.GaussianBlur(np.asarray(_within(grey, box), dtype=np.float32), (0, 0), 1.0)
    total = float(smooth.var())
    if total == 0:
        return None
    above = smooth > threshold_otsu(smooth)
    bright = float(above.mean()) <= 0.5
    objects = above if bright else ~above
    share, ground = float(objects.mean()), smooth[~objects]
    step = abs(float(smooth[objects].mean()) - float(ground.mean()))
    uneven = float(ground.std()) > threshold("count", "ground") * step
    if uneven or share * (1 - share) * step**2 < threshold("count", "separability") * total:
        return None
    number, area = _divided(objects)
    across = max(3, int(_NEIGHBOURHOOD * 2 * math.sqrt(area / math.pi)) | 1)
    beside = smooth - cv2.blur(smooth, (across, across), borderType=cv2.BORDER_REFLECT)
    beside = beside if bright else -beside
    other, _ = _divided(ndimage.binary_opening(beside > threshold_otsu(beside)))
    found = Counted(min(number, other), max(number, other))
    return found if found.most < threshold("count", "refuted_ratio") * max(found.least, 1) else None


def _within(values: Values, box: BoundingBox | None) -> Values:
    if box is None:
        return values
    whole = box.snap().clip(values.shape[1], values.shape[0])
    return values[int(whole.y0) : int(whole.y1), int(whole.x0) : int(whole.x1)]


def _divided(objects: BoolArray) -> tuple[int, float]:
    """Number of objects, and their median area in pixels; those that touch are divided where they are narrow."""
    if not objects.any():
        return 0, 0.0
    distance = ndimage.distance_transform_edt(ndimage.binary_fill_holes(objects))
    distance = ndimage.gaussian_filter(distance, 1.0)
    apart = max(3, round(0.7 * float(np.median(distance[distance > 0])) * 2))
    peaks = peak_local_max(distance, min_distance=apart, labels=label(objects), exclude_border=False)
    seeds = np.zeros(objects.shape, dtype=np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    sizes = np.bincount(watershed(-distance, seeds, mask=objects).ravel())[1:]
    middle = float(np.median(sizes)) if sizes.size else 0.0
    return int((sizes >= _DIRT * middle).sum()), middle


def count_white_cells(rgb: Values, box: BoundingBox | None = None) -> Counted | None:
    """White cells of a Romanowsky-stained blood smear; None where no red cells give the scale.

    rgb: (rows, columns, 3), 8 bits. What passes less red than blue light is stained by the thiazine dye, which red
    cells do not take up: nuclei, platelets, basophilic cytoplasm. Its parts are joined where the gap is narrow beside a
    red cell, as the lobes of one nucleus are, and counted where they are large beside one, as platelets are not.
    Fewest and most of both gaps and both areas (prompts/knowledge/blood.yaml, with sources).
    """
    known = {name: float(entry["value"]) for name, entry in knowledge("blood")["white_cell"].items()}
    density = _optical_density(_within(rgb, box))
    dyed = np.maximum(density[..., 0] - density[..., 2], 0)
    nuclear = dyed > max(float(threshold_otsu(dyed)) if dyed.any() else 0.0, known["dye"])
    across = _red_cell(density[..., 1], nuclear, int(known["red_cells"]))
    if across is None:
        return None
    red = math.pi * across**2 / 4
    counts = []
    for gap in (known["least_gap"], known["most_gap"]):
        parts = label(_closed(nuclear, int(gap * across) | 1))
        areas = np.bincount(parts[nuclear], minlength=parts.max() + 1)[1:] / red
        counts += [int((areas >= known[least]).sum()) for least in ("least_area", "most_area")]
    return Counted(min(counts), max(counts))


def _optical_density(rgb: Values) -> Real:
    """(rows, columns, 3): -log10 of the light that passes, over that of the glass between the cells."""
    smooth = cv2.GaussianBlur(np.asarray(rgb[..., :3], dtype=np.float32), (0, 0), _SOFT)
    light = smooth.sum(axis=2)
    glass = np.median(smooth[light >= np.percentile(light, _GROUND)], axis=0)
    return np.asarray(-np.log10(np.maximum(smooth, 1) / np.maximum(glass, 1)), dtype=np.float32)


def _red_cell(density: Real, nuclear: BoolArray, fewest: int) -> float | None:
    """Diameter in pixels of a red cell: twice the middle radius of what is not nuclear and absorbs green light."""
    other = ~ndimage.binary_dilation(nuclear, iterations=5)
    if not other.any() or np.ptp(density[other]) == 0:
        return None
    cells = ndimage.binary_fill_holes(density > threshold_otsu(density[other])) & other
    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(cells), 2.0)
    peaks = peak_local_max(distance, min_distance=10, labels=label(cells), exclude_border=False)
    radii = distance[tuple(peaks.T)]
    whole = radii[radii > _MEET * np.percentile(radii, 90)] if radii.size else radii
    return 2 * float(np.median(whole)) if whole.size >= fewest else None


def _closed(mask: BoolArray, across: int) -> BoolArray:
    """The mask with gaps up to `across` pixels filled."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (across, across))
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), across, across, across, across, cv2.BORDER_CONSTANT, value=0)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, kernel)[across:-across, across:-across]
    return np.asarray(closed, dtype=bool)
