"""Drawn outlines whose sizes are known exactly."""

from collections.abc import Callable

import numpy as np

from medloupe.types import BoolArray, BoundingBox, Claim, Image, Region

LESION = Region(id="R1", image=0, box=BoundingBox(x0=55, y0=74, x1=107, y1=127), view=0)
"""A loose box round the disc of the CT in tests/verify."""
CALCIFIED = Region(id="R2", image=0, box=BoundingBox(x0=148, y0=158, x1=212, y1=202), view=0)
"""A loose box round its ellipse."""

Say = Callable[..., Claim]


def ellipse(
    shape: tuple[int, int], centre: tuple[float, float], half: tuple[float, float], turned: float = 0.0
) -> BoolArray:
    """Pixels whose centres lie in an ellipse; centre (column, row), half-axes, turned in radians."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    dx, dy = columns - centre[0], rows - centre[1]
    u, v = dx * np.cos(turned) + dy * np.sin(turned), dy * np.cos(turned) - dx * np.sin(turned)
    return np.asarray((u / half[0]) ** 2 + (v / half[1]) ** 2 <= 1)


def disc(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> BoolArray:
    return ellipse(shape, centre, (radius, radius))


def image_of(pixels: np.ndarray, /, **fields: object) -> Image:
    """The description of an array that no file holds."""
    kind = "RGB" if pixels.ndim == 3 else "stored"
    base = {"index": 0, "series": 0, "width": pixels.shape[1], "height": pixels.shape[0], "values": kind, "digest": "0"}
    return Image.model_validate(base | fields)
