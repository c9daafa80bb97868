"""A lesion as it is drawn: a closed outline in polar coordinates, an edge, a level and a texture.

An outline is a unit curve r(t) at 512 angles, stretched along one axis, turned and scaled so that its greatest diameter
is the long axis. Solidity does not change when a curve is stretched, so the word for its shape is known from the curve.
Everything is in continuous full-image pixels and can be rendered on any grid (scene.Grid).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull

__all__ = ["VARIANTS", "Grid", "Lesion", "Outline", "diameters", "solidity", "unit_curve"]

Floats = npt.NDArray[np.float32]

ANGLES = 512
"""Samples of a unit curve: a spicule of 0.1 radians has eight."""
VARIANTS = 4096
"""Different curves of a shape."""
_REACH = 3.0
"""Standard deviations of the edge that are drawn beyond the outline."""
_SUPERSAMPLED = 40.0
"""Grid pixels across: smaller lesions are drawn on a grid twice as fine and averaged."""
_TEXTURE_CELLS = 7
"""Cells of the texture across a lesion."""


class Grid(NamedTuple):
    """Where an image is sampled: the centre of its pixel (c, r) lies at (x0 + (c+0.5) step, y0 + (r+0.5) step)."""

    x0: float
    y0: float
    step: float
    width: int
    height: int

    def part(self, x0: float, y0: float, x1: float, y1: float) -> tuple[slice, slice, Grid] | None:
        """(rows, columns, grid) of the pixels that a box touches; None when it lies outside."""
        c0 = max(math.floor((x0 - self.x0) / self.step), 0)
        r0 = max(math.floor((y0 - self.y0) / self.step), 0)
        c1 = min(math.ceil((x1 - self.x0) / self.step), self.width)
        r1 = min(math.ceil((y1 - self.y0) / self.step), self.height)
        if c1 <= c0 or r1 <= r0:
            return None
        inner = Grid(self.x0 + c0 * self.step, self.y0 + r0 * self.step, self.step, c1 - c0, r1 - r0)
        return slice(r0, r1), slice(c0, c1), inner

    def finer(self, factor: int) -> Grid:
        """The same place with `factor` times as many pixels a side."""
        return Grid(self.x0, self.y0, self.step / factor, self.width * factor, self.height * factor)

    def centres(self) -> tuple[Floats, Floats]:
        """(1, width) columns and (height, 1) rows of the pixels' centres."""
        x = self.x0 + (np.arange(self.width, dtype=np.float32) + 0.5) * self.step
        y = self.y0 + (np.arange(self.height, dtype=np.float32) + 0.5) * self.step
        return x[None, :].astype(np.float32), y[:, None].astype(np.float32)


class Outline(NamedTuple):
    """Which curve, and how it is stretched."""

    shape: str
    spiculated: bool = False
    variant: int = 0
    """Below VARIANTS; different curves of one shape."""
    aspect: float = 1.0
    """Factor on the second axis."""
    solidity: float = 0.0
    """Of a lobulated or irregular body, to two digits; 0 for the others."""
    spicules: int = 0
    length: float = 0.0
    """Of the spicules, over the body's mean radius, to one digit."""


@dataclass(frozen=True, kw_only=True)
class Lesion:
    """One lesion with the attributes that it was drawn to have."""

    finding: str
    name: str = ""
    """"L1", ...: the same lesion on every slice and at both times."""
    x: float
    y: float
    """Where the curve's origin lies, full-image pixels."""
    long_axis: float
    """Greatest (Feret) diameter of the outline, pixels."""
    outline: Outline
    angle: float = 0.0
    edge: float = 0.5
    """Standard deviation of the edge, pixels; the outline is where the lesion is half there."""
    level: tuple[float, ...] = (0.0,)
    """Value inside, a number a channel; added to what is there when `adds`."""
    adds: bool = False
    core: float = 0.0
    """Diameter of the solid part over the long axis; 0 for none."""
    core_level: float = 0.0
    texture: float = 0.0
    """Standard deviation of the values inside, in their own unit."""
    texture_seed: int = 0
    attributes: dict[str, str] = field(default_factory=dict)
    """The words of prompts/knowledge/attributes.yaml that are true of it."""

    @cached_property
    def _curve(self) -> Floats:
        return unit_curve(*self.outline._replace(aspect=1.0))

    @cached_property
    def points(self) -> Floats:
        """(512, 2) points (column, row) on the outline."""
        turned = _turned(_stretched(self._curve, self.outline.aspect), self.angle)
        return (turned * self._scale + (self.x, self.y)).astype(np.float32)

    @cached_property
    def _scale(self) -> float:
        """Pixels of a unit of the curve."""
        return self.long_axis / diameters(_stretched(self._curve, self.outline.aspect))[1]

    @cached_property
    def solidity(self) -> float:
        """Area over the area of the convex hull, of the outline as it is drawn."""
        return solidity(self._curve)

    @cached_property
    def box(self) -> tuple[float, float, float, float]:
        """The outline's box, half-open, whole full-image pixels."""
        low, high = self.points.min(axis=0), self.points.max(axis=0)
        return (math.floor(low[0]), math.floor(low[1]), math.ceil(high[0]), math.ceil(high[1]))

    def occupancy(self, grid: Grid) -> tuple[slice, slice, Floats, Floats] | None:
        """(rows, columns, share, texture) of the pixels it touches; share 0 to 1, texture of unit deviation.

        None where nothing of it lies in the grid.
        """
        reach = _REACH * self.edge + grid.step
        x0, y0, x1, y1 = self.box
        cut = grid.part(x0 - reach, y0 - reach, x1 + reach, y1 + reach)
        if cut is None:
            return None
        rows, columns, inner = cut
        fine = 2 if self.long_axis / grid.step < _SUPERSAMPLED else 1
        share, within = self._share(inner.finer(fine))
        if fine > 1:
            share = cv2.resize(share, (inner.width, inner.height), interpolation=cv2.INTER_AREA)
            within = cv2.resize(within, (inner.width, inner.height), interpolation=cv2.INTER_AREA)
        return rows, columns, share, within

    def _polar(self, grid: Grid) -> tuple[Floats, Floats, Floats, Floats]:
        """(u, v, radius, signed distance to the outline in pixels, positive inside) of each pixel."""
        x, y = grid.centres()
        dx, dy = x - np.float32(self.x), y - np.float32(self.y)
        cos, sin = np.float32(math.cos(self.angle)), np.float32(math.sin(self.angle))
        u = (dx * cos + dy * sin) / np.float32(self._scale)
        v = (dy * cos - dx * sin) / np.float32(self._scale * self.outline.aspect)
        radius, turn = cv2.cartToPolar(u, v)
        place = (turn * np.float32(ANGLES / (2 * math.pi))).astype(np.int32) % ANGLES
        curve, slope = self._curve, _slope(self._curve)
        away = curve[place] - radius
        inner = np.maximum(radius, 0.05)
        steep = 1 + (slope[place] / inner) ** 2
        across = (u * u + (v / np.float32(self.outline.aspect)) ** 2) / (inner * inner)
        distance = away * np.float32(self._scale) / np.sqrt(steep * np.maximum(across, 0.2))
        return tuple(part.astype(np.float32, copy=False) for part in (u, v, radius / curve[place], distance))  # type: ignore[return-value] # four of them

    def _share(self, grid: Grid) -> tuple[Floats, Floats]:
        u, v, relative, away = self._polar(grid)
        share = 1 / (1 + np.exp(np.clip(away * np.float32(-1.702 / self.edge), -30, 30)))
        if self.core:
            # The core is kept as a second, inner lesion; its edge is as sharp as the resolution lets it be.
            sharp = np.float32(self.long_axis * 0.5 / max(self.edge, 0.6))
            return share, 1 / (1 + np.exp(np.clip((relative - np.float32(self.core)) * sharp, -30, 30)))
        return share, _textured(u, v, self.texture_seed) if self.texture else np.zeros_like(share)

    def paint(self, values: Floats, grid: Grid) -> None:
        """Draw it into (rows, columns, channels) values, in place."""
        found = self.occupancy(grid)
        if found is None:
            return
        rows, columns, share, within = found
        part = values[rows, columns]
        level = np.asarray(self.level, np.float32)
        inside: Any = level + (within[..., None] * np.float32(self.texture))
        if self.core:
            inside = level + within[..., None] * np.float32(self.core_level - self.level[0])
        target = part + inside if self.adds else inside
        part += share[..., None] * (target - part)

    def mask(self, grid: Grid) -> npt.NDArray[np.bool_]:
        """(height, width): pixels whose centre lies inside the outline."""
        mask = np.zeros((grid.height, grid.width), dtype=bool)
        cut = grid.part(*(v + d for v, d in zip(self.box, (-1, -1, 1, 1), strict=True)))
        if cut is not None:
            rows, columns, inner = cut
            mask[rows, columns] = self._polar(inner)[3] > 0
        return mask


# --- curves ---------------------------------------------------------------------------------------------------------


@cache
def unit_curve(
    shape: str, spiculated: bool, variant: int, aspect: float, body_solidity: float, spicules: int, length: float
) -> Floats:
    """(512,) radii of a curve of that shape; `body_solidity` holds of lobulated and irregular bodies."""
    del aspect  # of the outline that it is taken from; the curve is stretched later
    rng = np.random.default_rng((variant, spicules))
    angles = np.arange(ANGLES) * (2 * math.pi / ANGLES)
    if shape == "lobulated":
        lobes = rng.integers(4, 7)
        wave = np.cos(lobes * angles) + 0.25 * np.cos((lobes - 1) * angles + rng.uniform(0, 6.3))
        radii = _reaching(wave, body_solidity)
    elif shape == "irregular" and not spiculated:
        radii = _reaching(_ragged(angles, rng, body_solidity), body_solidity)
    else:
        radii = 1 + 0.012 * np.cos(3 * angles + rng.uniform(0, 6.3))
    if spiculated:
        radii = radii + _spikes(angles, rng, spicules, length)
    curve: Floats = radii.astype(np.float32)
    curve.setflags(write=False)
    return curve


def solidity(radii: npt.NDArray[Any]) -> float:
    """Area over the area of the convex hull."""
    points = _stretched(radii, 1.0)
    x, y = points[:, 0], points[:, 1]
    area = 0.5 * abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))))
    return area / float(ConvexHull(points).volume)


_HIGHEST = 0.75
"""Of a wave on a curve of radius 1: it never reaches the middle."""


def _ragged(angles: npt.NDArray[Any], rng: np.random.Generator, wanted: float) -> npt.NDArray[Any]:
    """A wave of several orders that can take a curve down to the solidity that is wanted."""
    orders = np.arange(3, 9)[:, None]
    for _ in range(20):
        heights = rng.normal(size=(6, 1)) / np.sqrt(orders)
        wave = (heights * np.cos(orders * angles + rng.uniform(0, 6.3, (6, 1)))).sum(axis=0)
        wave /= np.abs(wave).max()
        if solidity(1 + _HIGHEST * wave) < wanted:
            return np.asarray(wave)
    return np.asarray(np.cos(5 * angles))


def _reaching(wave: npt.NDArray[Any], wanted: float) -> npt.NDArray[Any]:
    """1 + a wave, with the height a at which the curve has the solidity that is wanted (bisection)."""
    low, high = 0.0, _HIGHEST / float(np.abs(wave).max())
    for _ in range(9):
        middle = (low + high) / 2
        low, high = (middle, high) if solidity(1 + middle * wave) > wanted else (low, middle)
    return np.asarray(1 + (low + high) / 2 * wave)


def _spikes(angles: npt.NDArray[Any], rng: np.random.Generator, count: int, length: float) -> npt.NDArray[Any]:
    """Narrow bumps at nearly even angles."""
    places = (np.arange(count) + rng.uniform(-0.25, 0.25, count)) * (2 * math.pi / count)
    lengths = length * rng.uniform(0.7, 1.3, count)
    width = 0.55 / count
    away = (angles[None, :] - places[:, None] + math.pi) % (2 * math.pi) - math.pi
    return np.asarray((lengths[:, None] * np.exp(-0.5 * (away / width) ** 2)).sum(axis=0))


def _stretched(radii: npt.NDArray[Any], aspect: float) -> Floats:
    angles = np.arange(ANGLES) * (2 * math.pi / ANGLES)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles) * aspect], axis=1).astype(np.float32)


def _turned(points: Floats, angle: float) -> Floats:
    cos, sin = math.cos(angle), math.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]], np.float32)


_TURNS = np.linspace(0, math.pi, 90, endpoint=False)
_DIRECTIONS = np.stack([np.cos(_TURNS), np.sin(_TURNS)]).astype(np.float32)


def diameters(points: Floats) -> tuple[float, float]:
    """(least, greatest) distance of two parallel lines that touch an outline; the greatest to a part in 1600.

    Two degrees between directions.
    """
    widths = np.ptp(points @ _DIRECTIONS, axis=0)
    return float(widths.min()), float(widths.max())


def _slope(curve: Floats) -> Floats:
    return ((np.roll(curve, -1) - np.roll(curve, 1)) * np.float32(ANGLES / (4 * math.pi))).astype(np.float32)


def _textured(u: Floats, v: Floats, seed: int) -> Floats:
    """Blobs of unit deviation, fixed to the lesion: the same on any grid."""
    cells = np.random.default_rng(seed).normal(size=(_TEXTURE_CELLS + 4, _TEXTURE_CELLS + 4)).astype(np.float32)
    cells = (cells - cells.mean()) / cells.std()
    scale = np.float32(_TEXTURE_CELLS / 2)
    middle = np.float32((_TEXTURE_CELLS + 3) / 2)
    spread: Floats = cv2.remap(
        cells, u * scale + middle, v * scale + middle, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    return spread
