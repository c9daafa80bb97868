"""Searching an image systematically, for models that see one small picture at a time: a pyramid of overlapping squares.

A model finds what fills at least a certain share of its picture's side. The overview shows the large; each level below
it is a grid of squares, so small that the next smaller things fill that share, and so far overlapping that what the
level above would just have missed lies whole in one of them.
"""

from __future__ import annotations

import math

from medloupe.types import BoundingBox

__all__ = ["close_up", "scan"]

_LEAST = 12.0
"""Image pixels: smaller things are not searched for. Of them neither shape nor margin can be seen."""
_STEEP = 4
"""Squares along a side: a level of more gets one between it and the overview, lest most of it be overlap."""
_FILLS = 0.45
"""Share of a close-up's side that its box fills."""
_CLOSEST = 14.0
"""Least side of a close-up, image pixels."""


def scan(width: int, height: int, *, finds: float, most: int) -> list[BoundingBox]:
    """The squares to search besides the whole image, coarse levels first, each row by row; at most `most` of them.

    width, height: of the image, pixels. finds: least share of a picture's side that the model finds. Where `most` does
    not reach for things of 12 pixels, the finest level is as fine as it allows; none where the overview shows all.
    """
    target = _LEAST / finds
    found: list[BoundingBox] = []
    count = 1
    while (found[-1].width if found else max(width, height)) > target:
        count += 1
        finer = _pyramid(width, height, count, finds)
        if len(finer) > most:
            break
        found = finer
    return found


def _pyramid(width: int, height: int, count: int, finds: float) -> list[BoundingBox]:
    """Down to a level of `count` squares along the longer side."""
    longest = max(width, height)
    above = _pyramid(width, height, math.ceil(math.sqrt(count)), finds) if count > _STEEP else []
    shared = finds * (above[-1].width if above else longest)
    side = min((longest + (count - 1) * shared) / count, width, height)
    return above + _grid(width, height, side, min(shared, side / 2))


def _grid(width: int, height: int, side: float, shared: float) -> list[BoundingBox]:
    """Squares of that side, at least `shared` pixels overlapping, spread evenly from edge to edge."""
    across, down = (_starts(extent, side, shared) for extent in (width, height))
    return [BoundingBox.from_sides(x, y, side, side) for y in down for x in across]


def _starts(extent: int, side: float, shared: float) -> list[float]:
    if extent <= side:
        return [0.0]
    count = math.ceil((extent - shared) / (side - shared) - 1e-6)
    return [(extent - side) * n / (count - 1) for n in range(count)]


def close_up(box: BoundingBox, width: int, height: int) -> BoundingBox:
    """The square around a box that fills 0.45 of its side, moved into an image of that size, pixels."""
    side = min(max(max(box.width, box.height) / _FILLS, _CLOSEST), width, height)
    x, y = box.centre
    x0 = min(max(x - side / 2, 0.0), width - side)
    y0 = min(max(y - side / 2, 0.0), height - side)
    return BoundingBox.from_sides(x0, y0, side, side)
