"""A whole phantom as a description that any part of it can be rendered from, at any scale.

What is smooth (organs, skin, tissue) is a coarse field; what is fine (vessels, ribs, hairs) is drawn as polygons and
lesions as outlines, both without a resolution of their own; grain is added last. So a 100-pixel crop of a 2048-pixel
radiograph costs no more than a 100-pixel picture, and shows what the file shows but for the grain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from medloupe.evals.phantoms.lesion import Floats, Grid, Lesion
from medloupe.evals.phantoms.parameters import Kind, Profile

__all__ = ["Distractor", "Scene", "Strokes", "room_places", "tapered"]

_SHIFT = 6
"""Fractional bits of a polygon's corners."""


@dataclass(frozen=True)
class Strokes:
    """Polygons of one level."""

    polygons: tuple[Floats, ...]
    """Each (n, 2) corners (column, row), full-image pixels, convex."""
    level: tuple[float, ...]
    opacity: float = 1.0
    adds: bool = False
    soft: float = 0.0
    """Standard deviation of their edges, pixels."""

    @cached_property
    def _ends(self) -> tuple[Floats, Floats]:
        """Least and greatest corner of each polygon, (n, 2) each."""
        lows = np.array([p.min(axis=0) for p in self.polygons], np.float32).reshape(-1, 2)
        highs = np.array([p.max(axis=0) for p in self.polygons], np.float32).reshape(-1, 2)
        return lows, highs

    def near(self, grid: Grid) -> list[Floats]:
        """The polygons that may touch a grid."""
        reach = 3 * self.soft + grid.step
        start = np.array([grid.x0, grid.y0]) - reach
        end = start + np.array([grid.width, grid.height]) * grid.step + 2 * reach
        lows, highs = self._ends
        return [self.polygons[n] for n in np.flatnonzero(((highs > start) & (lows < end)).all(axis=1))]


class Distractor(NamedTuple):
    """Something that looks like a lesion and is none."""

    what: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One image to be."""

    kind: Kind
    profile: Profile
    seed: int
    width: int
    height: int
    spacing_mm: float | None
    fields: Floats
    """(rows, columns, channels) smooth values, `field_step` pixels apart."""
    field_step: float
    strokes: tuple[Strokes, ...] = ()
    lesions: tuple[Lesion, ...] = ()
    distractors: tuple[Distractor, ...] = ()
    findings: tuple[str, ...] = ()
    """Findings of the whole image besides the lesions ("effusion", "cardiomegaly")."""
    shades: tuple[Strokes, ...] = ()
    """Drawn over the lesions and multiplied: acoustic shadows and enhancement."""
    blur: float = 0.5
    noise: float = 0.0
    grain: float = 0.8
    speckle: bool = False
    """Noise is a share of the brightness."""
    limits: tuple[float, float] = (-1024.0, 3071.0)
    shift: tuple[float, float] = (0.0, 0.0)
    """How far the patient lies from where it was drawn, pixels: a follow-up is never in the same place."""

    def whole(self) -> Grid:
        """The grid of the file's own pixels."""
        return Grid(0.0, 0.0, 1.0, self.width, self.height)

    def drawn(self, grid: Grid) -> Grid:
        """A grid of the image, where it lies in what was drawn (before the patient moved)."""
        return grid._replace(x0=grid.x0 - self.shift[0], y0=grid.y0 - self.shift[1])

    def render(self, grid: Grid, rng: np.random.Generator) -> Floats:
        """(rows, columns, channels) float32 values on a grid, not yet rounded; `rng` draws the grain."""
        grid = self.drawn(grid)
        values = self._smooth(grid)
        for strokes in self.strokes:
            _draw(values, grid, strokes)
        for lesion in self.lesions:
            lesion.paint(values, grid)
        for shade in self.shades:
            _draw(values, grid, shade, multiply=True)
        if self.blur / grid.step > 0.25:
            values = cv2.GaussianBlur(values, (0, 0), self.blur / grid.step).reshape(values.shape)
        values = self._grainy(values, grid, rng)
        return np.clip(values, *self.limits, out=values)

    def with_lesions(self, lesions: Sequence[Lesion], **changes: object) -> Scene:
        """The same anatomy with other lesions."""
        return replace(self, lesions=tuple(lesions), **changes)  # type: ignore[arg-type] # names of fields

    def _smooth(self, grid: Grid) -> Floats:
        scale = grid.step / self.field_step
        to_field = np.array(
            [[scale, 0, grid.x0 / self.field_step + 0.5 * scale - 0.5],
             [0, scale, grid.y0 / self.field_step + 0.5 * scale - 0.5]]
        )  # fmt: skip
        fields = self.fields
        if scale > 1.5:
            fields = cv2.blur(fields, (round(scale), round(scale)))
        sampled = cv2.warpAffine(
            fields, to_field, (grid.width, grid.height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        return np.ascontiguousarray(sampled.reshape(grid.height, grid.width, -1), np.float32)

    def _grainy(self, values: Floats, grid: Grid, rng: np.random.Generator) -> Floats:
        """Noise blurred to a grain, with the deviation it has on the file's pixels; averaging on a coarser grid."""
        noise = rng.standard_normal(values.shape, dtype=np.float32)
        grain = self.grain / grid.step
        spread = self.noise
        if grain > 0.3:
            noise = cv2.GaussianBlur(noise, (0, 0), grain).reshape(values.shape)
            spread *= 2 * math.sqrt(math.pi) * grain
        else:
            spread *= min(1.0, 2 * math.sqrt(math.pi) * max(grain, 0.2))
        if self.speckle:
            values *= np.maximum(1 + noise * np.float32(spread), 0.05)
            return values
        values += noise * np.float32(spread)
        return values


def _draw(values: Floats, grid: Grid, strokes: Strokes, *, multiply: bool = False) -> None:
    near = strokes.near(grid)
    if not near:
        return
    layer = np.zeros(values.shape[:2], np.uint8)
    weight = round(255 * strokes.opacity)
    for polygon in near:
        corners = ((polygon - (grid.x0, grid.y0)) / grid.step - 0.5) * (1 << _SHIFT)
        cv2.fillConvexPoly(layer, np.rint(corners).astype(np.int32), weight, cv2.LINE_AA, _SHIFT)
    share = layer.astype(np.float32)
    share *= np.float32(1 / 255)
    if strokes.soft / grid.step > 0.3:
        share = cv2.GaussianBlur(share, (0, 0), strokes.soft / grid.step)
    level = np.asarray(strokes.level, np.float32)
    if multiply:
        values *= 1 + share[..., None] * (level - 1)
    elif strokes.adds:
        values += share[..., None] * level
    else:
        values += share[..., None] * (level - values)


def tapered(path: npt.NDArray[np.float64], widths: npt.NDArray[np.float64]) -> list[Floats]:
    """Quadrilaterals, with a disc at each joint, along a path of (n, 2) points with a width at each."""
    quads: list[Floats] = []
    ahead = np.diff(path, axis=0)
    length = np.maximum(np.hypot(*ahead.T), 1e-6)[:, None]
    normal = np.stack([-ahead[:, 1], ahead[:, 0]], axis=1) / length
    for i in range(len(ahead)):
        a, b = normal[i] * widths[i] / 2, normal[i] * widths[i + 1] / 2
        quads.append(np.array([path[i] + a, path[i + 1] + b, path[i + 1] - b, path[i] - a], np.float32))
    turns = np.linspace(0, 2 * math.pi, 10, endpoint=False)
    ring = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    quads += [(p + ring * w / 2).astype(np.float32) for p, w in zip(path[1:-1], widths[1:-1], strict=True) if w > 1.5]
    return quads


def room_places(
    room: npt.NDArray[np.uint8], step: float, sizes: Sequence[float], rng: np.random.Generator
) -> list[tuple[float, float, float]]:
    """(column, row, long axis) of lesions that fit into a room and do not touch; those that cannot are made smaller.

    room: non-zero where a lesion may lie, `step` pixels apart.
    """
    places: list[tuple[float, float, float]] = []
    free = np.pad(room, 1)
    for size in sorted(sizes, reverse=True):
        distance = cv2.distanceTransform(free, cv2.DIST_L2, 3)[1:-1, 1:-1] * step
        widest = float(distance.max())
        if widest < 6:
            break
        fits = min(size, float(rng.uniform(0.9, 1.5)) * widest)
        rows, columns = np.nonzero(distance >= min(0.62 * fits + 2, widest))
        at = int(rng.integers(len(rows)))
        x, y = (columns[at] + rng.uniform()) * step, (rows[at] + rng.uniform()) * step
        places.append((float(x), float(y), float(fits)))
        gap = 0.62 * fits + 6
        cv2.circle(free, (round(x / step) + 1, round(y / step) + 1), math.ceil(gap / step), 0, -1)
    return places
