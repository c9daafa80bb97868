"""What an outline's edge is like: its length, its lobes and spicules, and how steeply the brightness changes there."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from skimage.measure import find_contours, perimeter_crofton

from medloupe.tools.measure.geometry import at_most, largest_component, square_pixels
from medloupe.types import BoolArray, Spacing

__all__ = ["Spectrum", "border_gradient", "perimeter", "radial_profile", "radial_spectrum"]

_ANGLES = 256
"""Samples of a radius profile: harmonics up to 32 have at least eight samples a wave."""
_LOBES = (3, 8)
"""Harmonics that are lobes: below them are place (1) and elongation (2)."""
_SPICULES = (9, 32)
"""Harmonics that are spicules."""
_SHORTEST_WAVE = 4.0
"""Pixels along the outline; anything shorter is the staircase of the pixels."""
_NORMAL_SIGMA = 1.5
"""Pixels; smooths the outline's staircase before its direction is taken."""


class Spectrum(NamedTuple):
    """How a radius goes up and down around the outline; shares of the mean radius, without unit."""

    lobulation: float
    """Amplitude in harmonics 3 to 8. An outline r = R (1 + d cos k a) with k in that band has d."""
    spiculation: float | None
    """Amplitude in harmonics 9 to 32; None when the outline is too small to show them."""
    lobes: int
    """The strongest harmonic of the lobes' band: as many lobes as it would have by itself."""


def perimeter(mask: BoolArray, spacing: Spacing | None = None) -> float:
    """Length of the outline, holes included, in mm with a spacing, else in pixels.

    Crofton's formula in four directions (Legland et al., Image Anal Stereol 2007; scikit-image's `perimeter_crofton`),
    on square pixels. ValueError for an empty mask.
    """
    if not mask.any():
        raise ValueError("an empty mask has no outline")
    small, scale = at_most(square_pixels(mask, spacing))
    side = min(spacing.row_mm, spacing.column_mm) if spacing else 1.0
    return float(perimeter_crofton(np.pad(small, 1), directions=4)) * scale * side


def radial_profile(mask: BoolArray, spacing: Spacing | None = None) -> npt.NDArray[np.float64]:
    """(256,) distances from the centroid of the largest part to its farthest edge, at equal angles from the columns'.

    The normalised radial length of Kilday, Palmieri and Fox (IEEE Trans Med Imaging 1993) before it is divided by its
    mean. In mm with a spacing, else in pixels. ValueError for an empty mask.
    """
    small, scale = at_most(mask)
    part = largest_component(small)
    if not part.any():
        raise ValueError("an empty mask has no outline")
    rows, columns = part.nonzero()
    step = scale * (np.array([spacing.row_mm, spacing.column_mm]) if spacing else np.ones(2))
    outline = max(find_contours(np.pad(part, 1).astype(np.float32), 0.5, fully_connected="high"), key=len) - 1
    away = (outline - (rows.mean(), columns.mean())) * step
    dense = np.linspace(0, len(away) - 1, max(len(away), 16 * _ANGLES))
    down, across = (np.interp(dense, np.arange(len(away)), away[:, axis]) for axis in (0, 1))
    place = np.rint(np.arctan2(down, across) / (2 * math.pi) * _ANGLES).astype(int) % _ANGLES
    farthest = np.full(_ANGLES, -1.0)
    np.maximum.at(farthest, place, np.hypot(down, across))
    known = farthest >= 0
    angles = np.arange(_ANGLES)
    return np.asarray(np.interp(angles, angles[known], farthest[known], period=_ANGLES), dtype=np.float64)


def radial_spectrum(mask: BoolArray, spacing: Spacing | None = None) -> Spectrum:
    """Lobulation and spiculation: Fourier amplitudes of the radius profile, in bands, over the mean radius.

    The amplitude of a band is the root of the sum of squared harmonic amplitudes 2|F_k| / F_0 (Fourier analysis of
    the radial length, after Kilday 1993; the bands are ours). Waves shorter than 4 pixels are left out: they are the
    pixels' staircase. ValueError for an empty mask.
    """
    profile = radial_profile(mask, spacing)
    transformed = np.abs(np.fft.rfft(profile))
    amplitudes = 2 * transformed / max(float(transformed[0]), 1e-12)
    pixel = max(spacing.row_mm, spacing.column_mm) if spacing else 1.0
    highest = int(2 * math.pi * float(profile.mean()) / pixel / _SHORTEST_WAVE)
    lobes = amplitudes[_LOBES[0] : min(_LOBES[1], max(highest, _LOBES[0])) + 1]
    spicules = amplitudes[_SPICULES[0] : min(_SPICULES[1], highest) + 1]
    return Spectrum(
        lobulation=float(np.linalg.norm(lobes)),
        spiculation=float(np.linalg.norm(spicules)) if spicules.size else None,
        lobes=int(lobes.argmax()) + _LOBES[0],
    )


def _gradient_at(
    values: npt.NDArray[Any], places: tuple[npt.NDArray[np.intp], ...], step: tuple[float, float]
) -> npt.NDArray[np.float64]:
    """(2, n): numpy's `gradient` down and across, at some pixels only: of a large picture the outline is little."""
    rows, columns = places
    below, above = np.minimum(rows + 1, values.shape[0] - 1), np.maximum(rows - 1, 0)
    right, left = np.minimum(columns + 1, values.shape[1] - 1), np.maximum(columns - 1, 0)
    down = (values[below, columns].astype(np.float64) - values[above, columns]) / ((below - above) * step[0])
    across = (values[rows, right].astype(np.float64) - values[rows, left]) / ((right - left) * step[1])
    return np.stack([down, across])


def border_gradient(values: npt.NDArray[Any], mask: BoolArray, spacing: Spacing | None = None) -> float:
    """Mean rise of the brightness across the outline, from outside to inside, per mm with a spacing, else per pixel.

    values: (rows, columns). The gradient (central differences) is projected on the inward normal, which is that of the
    mask smoothed by a Gaussian of 1.5 pixels, and averaged over the pixels on either side of the outline. Positive:
    brighter inside. An edge of height A blurred by a Gaussian of s has A / (s sqrt(2 pi)) at its middle. ValueError
    where there is no outline: an empty mask, or one that fills the array.
    """
    step = (spacing.row_mm, spacing.column_mm) if spacing else (1.0, 1.0)
    filled = mask.astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    on_edge = cv2.dilate(filled, kernel, borderType=cv2.BORDER_REPLICATE) != cv2.erode(
        filled, kernel, borderType=cv2.BORDER_REPLICATE
    )
    if not on_edge.any() or min(mask.shape) < 2:
        raise ValueError("there is no outline within these pixels")
    soft = cv2.GaussianBlur(filled.astype(np.float32), (0, 0), _NORMAL_SIGMA)
    places = on_edge.nonzero()
    normal, slope = _gradient_at(soft, places, step), _gradient_at(values, places, step)
    length = np.hypot(*normal)
    clear = length > 0
    across: npt.NDArray[np.float64] = np.einsum("ij,ij->j", normal, slope)
    return float((across[clear] / length[clear]).mean())
