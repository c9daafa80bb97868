"""What the vision tower is told of a lesion in numbers, in training: how large it is, where, how soft, and its outline.

A word for a shape says little about what is to be seen; the radii that it was drawn with say all.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from medloupe.evals.phantoms.lesion import Lesion, diameters

__all__ = ["MEASURES", "PLACE", "RADII", "WEIGHTS", "measures_of"]

Floats = npt.NDArray[np.float32]

RADII = 32
"""Directions in which the outline's distance from the box's middle is told, from the image's right on, clockwise."""
_TOLD = ("size", "slenderness", "solidity", "softness")
MEASURES = len(_TOLD) + RADII
"""Numbers of a lesion; two more of each patch say how far the lesion's middle lies from it."""
PLACE = 0.3
"""Share of the view's side that is 1 in those two."""
WEIGHTS: Floats = np.array([1] * len(_TOLD) + [1 / RADII] * RADII + [0.5] * 2, np.float32) / np.float32(len(_TOLD) + 2)
"""Of each number in the loss: the outline counts as one."""
_SOFTEST = 0.02
"""Standard deviation of an edge over the radius: what is sharper looks sharp."""


def measures_of(lesion: Lesion, side: float) -> Floats:
    """(MEASURES,) numbers of a lesion in a view of that side (full-image pixels), each spread over some -2 to 2."""
    points = lesion.points
    slenderness = diameters(points)[0] / lesion.long_axis
    softness = max(lesion.edge / (lesion.long_axis / 2), _SOFTEST)
    told = (
        (math.log2(lesion.long_axis / side) + 1.2) / 0.6,
        (slenderness - 0.75) / 0.2,
        (lesion.solidity - 0.85) / 0.12,
        (math.log10(softness) + 1.2) / 0.5,
    )
    radii = (_radii(points, lesion.box) / (lesion.long_axis / 2) - 0.75) / 0.25
    return np.concatenate([np.array(told, np.float32), radii.astype(np.float32)])


def _radii(points: Floats, box: tuple[float, float, float, float]) -> npt.NDArray[np.float64]:
    """(RADII,) distances of the outline from the middle of its box."""
    away = points - ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    turn = np.arctan2(away[:, 1], away[:, 0])
    wanted = np.arange(RADII) * (2 * math.pi / RADII)
    order = np.argsort(turn)
    return np.asarray(np.interp(wanted, turn[order], np.hypot(*away.T)[order], period=2 * math.pi))
