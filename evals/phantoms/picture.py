"""How a phantom's values are shown: 8-bit grey through its window, or colour; the same arithmetic as a view's."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from medloupe.evals.phantoms.lesion import Floats, Grid
from medloupe.evals.phantoms.parameters import parameters
from medloupe.evals.phantoms.scene import Scene

__all__ = ["shown", "view_of"]

Picture = npt.NDArray[np.uint8]

_FINEST = 448
"""Pixels of a side that is rendered for a view at most; more would only be averaged away."""


def shown(values: Floats, scene: Scene) -> Picture:
    """(rows, columns) grey or (rows, columns, 3) colour."""
    window = parameters(scene.kind, scene.profile).get("window")
    if window is not None:
        low = window["centre"] - window["width"] / 2
        values = (values - np.float32(low)) * np.float32(255 / window["width"])
    picture = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return picture if picture.shape[2] == 3 else picture[..., 0]


def view_of(scene: Scene, box: tuple[int, int, int, int], side: int, rng: np.random.Generator) -> Picture:
    """What a view of a square box shows, `side` pixels wide, without rendering the rest of the image."""
    x0, y0, x1, _ = box
    step = max(1.0, (x1 - x0) / _FINEST)
    pixels = round((x1 - x0) / step)
    picture = shown(scene.render(Grid(x0, y0, (x1 - x0) / pixels, pixels, pixels), rng), scene)
    if pixels == side:
        return picture
    how = cv2.INTER_AREA if pixels > side else cv2.INTER_CUBIC
    resized: Picture = cv2.resize(picture, (side, side), interpolation=how)
    return resized
