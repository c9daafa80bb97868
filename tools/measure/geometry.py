"""Lengths, area, place and shape of an outline. Masks are (rows, columns) of the full image, or any cut of it."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist
from skimage.measure import label, perimeter_crofton, regionprops

from medloupe.tools.measure.vocabulary import attribute, threshold
from medloupe.types import BoolArray, Image, Spacing

__all__ = [
    "Feret", "Form", "at_most", "centroid", "feret", "form", "largest_component", "shape_word", "side_word",
    "site_word", "square_pixels", "volume",
]  # fmt: skip

_ANISOTROPIC = 1.02
"""Pixels whose sides differ by more than this ratio are made square before a shape is judged."""
_LONGEST = 1024
"""Pixels: a larger outline is reduced to this before its shape is judged, which moves no shape number by 1%."""


class Feret(NamedTuple):
    """Caliper diameters, in the unit of the steps they were measured with."""

    longest: float
    shortest: float


class Form(NamedTuple):
    """What a shape word is made of; all without unit, in 0..1 but for a digitisation error of some per cent."""

    circularity: float
    solidity: float
    eccentricity: float
    aspect: float


def _hull(mask: BoolArray) -> ConvexHull:
    """The convex hull of the outline in (column, row).

    The outline's points lie midway between a pixel inside and its neighbour outside, as scikit-image's `find_contours`
    draws it; only the outermost of each row and each column can be corners of the hull.
    """
    return ConvexHull(np.concatenate([_outermost(mask), _outermost(mask.T)[:, ::-1]]))


def _outermost(mask: BoolArray) -> npt.NDArray[np.float64]:
    """(n, 2) points (column, row): the edges of the first and the last pixel of every row that has one."""
    rows = np.flatnonzero(mask.any(axis=1))
    first, last = mask[rows].argmax(axis=1), mask.shape[1] - 1 - mask[rows, ::-1].argmax(axis=1)
    return np.concatenate([np.stack([first - 0.5, rows], axis=1), np.stack([last + 0.5, rows], axis=1)])


def feret(mask: BoolArray, spacing: Spacing | None = None) -> Feret:
    """Maximum and minimum Feret (caliper) diameter, in mm with a spacing, else in pixels.

    Between the outer edges of the pixels: a row of ten pixels is 10 long. The longest is scikit-image's
    `feret_diameter_max` (largest distance between points of the outline); the shortest is the smallest width of the
    convex hull over all directions, which is reached across one of its sides (Houle and Toussaint, 1988).
    ValueError for an empty mask.
    """
    if not mask.any():
        raise ValueError("an empty mask has no diameter")
    step = (spacing.column_mm, spacing.row_mm) if spacing else (1.0, 1.0)
    hull = _hull(mask)
    corners = hull.points[hull.vertices] * step
    sides = np.roll(corners, -1, axis=0) - corners
    normals = np.stack([-sides[:, 1], sides[:, 0]], axis=1) / np.linalg.norm(sides, axis=1, keepdims=True)
    across = corners @ normals.T
    return Feret(float(pdist(corners).max()), float(np.ptp(across, axis=0).min()))


def largest_component(mask: BoolArray) -> BoolArray:
    """The largest 8-connected part of a mask; an empty mask stays empty."""
    labels = label(mask, connectivity=2)
    sizes = np.bincount(labels.ravel())[1:]
    return np.asarray(labels == sizes.argmax() + 1) if sizes.size else np.zeros_like(mask)


def centroid(mask: BoolArray) -> tuple[float, float]:
    """Mean (column, row) of the pixels' centres, continuous coordinates; ValueError for an empty mask."""
    if not mask.any():
        raise ValueError("an empty mask has no centre")
    column, row = (
        float(np.average(np.arange(len(counts)), weights=counts))
        for counts in (np.count_nonzero(mask, axis=axis) for axis in (0, 1))
    )
    return (column + 0.5, row + 0.5)


def square_pixels(mask: BoolArray, spacing: Spacing | None) -> BoolArray:
    """The mask with its longer pixel side divided, so that one row is as far as one column."""
    if spacing is None:
        return mask
    ratio = spacing.row_mm / spacing.column_mm
    if max(ratio, 1 / ratio) < _ANISOTROPIC:
        return mask
    height, width = mask.shape
    size = (round(width * max(1.0, 1 / ratio)), round(height * max(1.0, ratio)))
    fine = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    # The steps of the long pixels would count as edge: without this a circle in 2 x 0.5 mm pixels is 13% too long.
    return np.asarray(cv2.GaussianBlur(fine, (0, 0), max(ratio, 1 / ratio)) > 0.5)


def at_most(mask: BoolArray, longest: int = _LONGEST) -> tuple[BoolArray, float]:
    """The mask reduced until its longer side is `longest`, and how many old pixels are one new; small ones as given."""
    scale = max(mask.shape) / longest
    if scale <= 1:
        return mask, 1.0
    size = (max(round(mask.shape[1] / scale), 1), max(round(mask.shape[0] / scale), 1))
    small = np.asarray(cv2.resize(mask.astype(np.uint8) * 255, size, interpolation=cv2.INTER_AREA) > 127)
    return (small, scale) if small.any() else (mask, 1.0)  # a long thin line would vanish


def volume(mask: BoolArray, spacing: Spacing, slice_mm: float) -> float:
    """Volume of a (slices, rows, columns) mask in mm3: its voxels times row, column and slice spacing.

    slice_mm: distance between the centres of neighbouring slices along the normal (not SliceThickness, which may
    overlap or leave gaps). ValueError for another number of axes, an empty mask or a step that is not positive.
    """
    if mask.ndim != 3 or not mask.any():
        raise ValueError("a volume needs a mask (slices, rows, columns) that is not empty")
    if not (math.isfinite(slice_mm) and slice_mm > 0):
        raise ValueError("a volume needs a distance between slices above zero")
    return float(np.count_nonzero(mask)) * spacing.row_mm * spacing.column_mm * slice_mm


def form(mask: BoolArray, spacing: Spacing | None = None) -> Form:
    """Shape numbers of the largest component, in square pixels.

    circularity: 4 pi area / perimeter squared (Cox 1927), the perimeter by Crofton's formula in four directions;
    solidity: area over the area of the convex hull; eccentricity: of the ellipse with the same second moments;
    aspect: minimum over maximum Feret diameter. Outlines above 1,024 pixels are reduced to that first. ValueError for
    an empty mask.
    """
    whole = np.pad(largest_component(at_most(square_pixels(mask, spacing))[0]), 1)
    if not whole.any():
        raise ValueError("an empty mask has no shape")
    props = regionprops(whole.astype(np.uint8))[0]
    around = perimeter_crofton(whole, directions=4)
    hull = _hull(whole).volume
    across = feret(whole)
    return Form(
        circularity=float(4 * math.pi * props.area / around**2),
        solidity=min(float(props.area / hull), 1.0),
        eccentricity=float(props.eccentricity),
        aspect=across.shortest / across.longest,
    )


def shape_word(aspect: float, solidity: float) -> str:
    """round | oval | lobulated | irregular, by the thresholds of the vocabulary."""
    if solidity < threshold("shape", "irregular_solidity"):
        return "irregular"
    if solidity < threshold("shape", "lobulated_solidity"):
        return "lobulated"
    return "round" if aspect >= threshold("shape", "round_aspect") else "oval"


def site_word(x: float, y: float) -> str:
    """Where a point lies, each axis from 0 to 1: central, or the half that it is deepest in."""
    if max(abs(x - 0.5), abs(y - 0.5)) <= threshold("site", "central_inner"):
        return "central"
    axis = ("x" if abs(x - 0.5) >= abs(y - 0.5) else "y") + ("+" if (x + y > 1) else "-")
    values = (attribute("site") or {})["values"]
    return next(str(name) for name, entry in values.items() if entry.get("axis") == axis)


def side_word(image: Image, column: float, row: float) -> str | None:
    """The patient's side: left | right | midline; None where neither orientation nor laterality is known.

    An image of one paired part (a breast, a hand) shows one side only, which its laterality names.
    """
    if image.laterality in ("L", "R"):
        return "left" if image.laterality == "L" else "right"
    side = image.patient_side(column, row)
    if side is None or image.patient_orientation is None:
        return None
    along_columns = image.patient_orientation[0][:1] in ("L", "R")
    off = column / image.width - 0.5 if along_columns else row / image.height - 0.5
    return "midline" if abs(off) <= threshold("side", "midline_band") else side
