"""A view with its regions drawn on it, as geometry for an inline SVG: boxes, contours, labels, scale bar, directions.

Everything is in pixels of the view's picture. Regions are told apart by line style as well as colour.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from medloupe.types import BoundingBox, Mask, Region, View

__all__ = ["SMALL", "Figure", "LineStyle", "RegionMark", "ScaleBar", "figure", "line_style"]

PngOf = Callable[[str], bytes]
"""The PNG of a view, by its digest."""

_COLOURS = ("#22d3ee", "#fbbf24", "#f472b6", "#a3e635", "#fb923c", "#c4b5fd", "#60a5fa", "#fef08a")
_DASHES = ("none", "9 4", "2 4", "12 4 2 4", "5 2")
LARGE, SMALL = 0.031, 0.046
"""Height of a label as a part of the picture's longest side, for a figure shown large or small."""
_TOLERANCE_PX = 0.35
"""How far a simplified contour may stray, in pixels of the picture."""
_FINEST = 4096
"""Pixels a side at which a contour is followed; those of slides alone are larger."""
_NICE_MM = (1, 2, 5, 10, 20, 50, 100, 200)
_DIRECTIONS = (("L", "R"), ("P", "A"), ("H", "F"))
"""DICOM's patient axes (LPS): the letters of growing and of shrinking x, y, z."""


class LineStyle(NamedTuple):
    """How one region is drawn everywhere in a report."""

    colour: str
    dash: str
    """SVG stroke-dasharray."""


def line_style(position: int) -> LineStyle:
    """The style of the region at that place of the answer's list; 40 differ."""
    return LineStyle(_COLOURS[position % len(_COLOURS)], _DASHES[position % len(_DASHES)])


@dataclass(frozen=True, kw_only=True)
class RegionMark:
    """One region on a figure."""

    id: str
    style: LineStyle
    box: BoundingBox
    """In pixels of the picture, clipped to it."""
    contour: str
    """SVG path of the mask's outline; "" without a mask."""
    label: BoundingBox
    """Where its label stands."""


@dataclass(frozen=True, kw_only=True)
class ScaleBar:
    """A length in the picture's lower left corner."""

    length: float
    """Pixels of the picture."""
    words: str
    """"50 mm"."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture with what is drawn over it."""

    uri: str
    """The PNG as a data URI: exactly what the model was shown."""
    width: int
    height: int
    marks: tuple[RegionMark, ...]
    label_size: float
    """Height of a label, pixels of the picture."""
    scale: ScaleBar | None
    directions: tuple[str, str, str, str] | None
    """Letters at the left, right, upper and lower edge ("R", "L", "A", "P"); None when the file does not tell."""


def figure(
    view: View, regions: Sequence[tuple[Region, LineStyle]], png_of: PngOf, *, label_height: float = LARGE
) -> Figure:
    """The view with those of the regions on it that lie on its image and inside it."""
    size = max(view.width, view.height) * label_height
    marks: list[RegionMark] = []
    for region, style in regions:
        box = _inside(view, region)
        if box is None:
            continue
        label = _label(region.id, box, size, view, [mark.label for mark in marks])
        contour = _contour(region.mask, view) if region.mask else ""
        marks.append(RegionMark(id=region.id, style=style, box=box, contour=contour, label=label))
    return Figure(
        uri=f"data:image/png;base64,{base64.b64encode(png_of(view.digest)).decode()}",
        width=view.width,
        height=view.height,
        marks=tuple(marks),
        label_size=size,
        scale=_scale_bar(view),
        directions=_directions(view),
    )


def _inside(view: View, region: Region) -> BoundingBox | None:
    """The region's box in the view, or None when it is not on it."""
    if region.image != view.image or view.overlay == "pair" or not view.box.intersection(region.box):
        return None
    return view.box_from_image(region.box).clip(view.width, view.height)


def _contour(mask: Mask, view: View) -> str:
    """Outlines of a mask (holes too) as one SVG path in pixels of the view, following the edges between pixels."""
    from skimage.measure import approximate_polygon, find_contours

    if not mask.area:
        return ""
    part, box = mask.patch(_FINEST)
    across, down = box.width / part.shape[1], box.height / part.shape[0]
    tolerance = _TOLERANCE_PX * view.box.width / view.width / max(across, down)
    path = []
    for line in find_contours(np.pad(part, 1).astype(np.uint8), 0.5):
        points = approximate_polygon(line, tolerance)
        if len(points) < 4:
            continue
        # find_contours gives (row, column) of pixel centres; -1 undoes the padding, +0.5 goes from centres to edges.
        placed = [
            view.from_image(box.x0 + (column - 0.5) * across, box.y0 + (row - 0.5) * down)
            for row, column in points[:-1]
        ]  # fmt: skip
        path.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in placed) + "Z")
    return "".join(path)


def _label(text: str, box: BoundingBox, size: float, view: View, taken: Sequence[BoundingBox]) -> BoundingBox:
    """A place for a label at its box: the first that lies in the picture and on no other label."""
    width, height = size * (0.45 + 0.62 * len(text)), size * 1.15
    corners = [
        (box.x0, box.y0 - height),
        (box.x1 - width, box.y0 - height),
        (box.x0, box.y1),
        (box.x1 - width, box.y1),
        (box.x1, box.y0),
        (box.x0 - width, box.y0),
        (box.x0, box.y0),
    ]
    places = [BoundingBox.from_sides(x, y, width, height) for x, y in corners]
    room = [
        p
        for p in places
        if p.x0 >= 0
        and p.y0 >= 0
        and p.x1 <= view.width
        and p.y1 <= view.height
        and not any(map(p.intersection, taken))
    ]
    if room:
        return room[0]
    x = min(max(box.x0, 0.0), max(view.width - width, 0.0))
    y = min(max(box.y0, 0.0), max(view.height - height, 0.0))
    return BoundingBox.from_sides(x, y, width, height)


def _axes(view: View) -> tuple[np.ndarray, np.ndarray] | None:
    """Patient millimetres (x, y, z) of one full-image pixel along a row and down a column."""
    if view.image_to_patient is None or view.overlay == "pair":
        return None
    matrix = np.array(view.image_to_patient)
    return matrix[:, 0], matrix[:, 1]


def _scale_bar(view: View) -> ScaleBar | None:
    """A round length of a sixth to a third of the picture's width."""
    axes = _axes(view)
    if axes is None:
        return None
    mm_per_px = float(np.linalg.norm(axes[0])) * view.box.width / view.width
    fitting = [mm for mm in _NICE_MM if mm <= view.width * mm_per_px / 3]
    return ScaleBar(length=fitting[-1] / mm_per_px, words=f"{fitting[-1]} mm") if fitting else None


def _directions(view: View) -> tuple[str, str, str, str] | None:
    axes = _axes(view)
    if axes is None:
        return None
    along, down = axes
    return (_letters(-along), _letters(along), _letters(-down), _letters(down))


def _letters(direction: np.ndarray) -> str:
    """Where a direction points, most important letter first; a second one when it is oblique."""
    unit = direction / np.linalg.norm(direction)
    order = np.argsort(-np.abs(unit))
    return "".join(_DIRECTIONS[axis][0 if unit[axis] > 0 else 1] for axis in order[:2] if abs(unit[axis]) > 0.38)
