"""Boxes, masks, spacing and windows, in the one coordinate frame that medloupe.types describes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

BoolArray = npt.NDArray[np.bool_]


class Frozen(BaseModel):
    """Base of every type here: immutable, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class BoundingBox(Frozen):
    """Half-open box in continuous full-image pixels, (column, row) order. The only box the code passes around."""

    x0: float = Field(allow_inf_nan=False)
    """Left edge, column."""
    y0: float = Field(allow_inf_nan=False)
    """Upper edge, row."""
    x1: float = Field(allow_inf_nan=False)
    """Right edge, column, exclusive."""
    y1: float = Field(allow_inf_nan=False)
    """Lower edge, row, exclusive."""

    @model_validator(mode="after")
    def _has_area(self) -> Self:
        if not (self.x1 > self.x0 and self.y1 > self.y0):
            raise ValueError(f"a box needs a positive width and height, got {self.as_tuple()}")
        return self

    @classmethod
    def from_sides(cls, x: float, y: float, width: float, height: float) -> BoundingBox:
        """From a corner and its sides (COCO's and ChestX-ray14's layout)."""
        return cls(x0=x, y0=y, x1=x + width, y1=y + height)

    @classmethod
    def from_tuple(cls, xyxy: Sequence[float]) -> BoundingBox:
        """From (x0, y0, x1, y1)."""
        x0, y0, x1, y1 = xyxy
        return cls(x0=x0, y0=y0, x1=x1, y1=y1)

    @classmethod
    def of_mask(cls, mask: BoolArray) -> BoundingBox:
        """Tight box of the true pixels of a (rows, columns) mask; ValueError when there is none."""
        rows, columns = np.any(mask, axis=1).nonzero()[0], np.any(mask, axis=0).nonzero()[0]
        if not len(rows):
            raise ValueError("an empty mask has no box")
        return cls(x0=float(columns[0]), y0=float(rows[0]), x1=float(columns[-1] + 1), y1=float(rows[-1] + 1))

    def as_tuple(self) -> tuple[float, float, float, float]:
        return (self.x0, self.y0, self.x1, self.y1)

    @property
    def width(self) -> float:
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        return self.y1 - self.y0

    @property
    def area(self) -> float:
        return self.width * self.height

    @property
    def centre(self) -> tuple[float, float]:
        """(column, row)."""
        return ((self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2)

    def clip(self, width: float, height: float) -> BoundingBox:
        """The part inside an image of that size; ValueError when nothing is left."""
        return BoundingBox(
            x0=max(self.x0, 0.0), y0=max(self.y0, 0.0), x1=min(self.x1, float(width)), y1=min(self.y1, float(height))
        )

    def snap(self) -> BoundingBox:
        """The smallest box of whole pixels that covers this one."""
        return BoundingBox(x0=math.floor(self.x0), y0=math.floor(self.y0), x1=math.ceil(self.x1), y1=math.ceil(self.y1))

    def grow(self, sides: float = 1.0, minimum: float = 48.0) -> BoundingBox:
        """Grown by `sides` box-sizes on each side and to at least `minimum` pixels a side (the focal crop)."""
        (cx, cy), factor = self.centre, 1 + 2 * sides
        width, height = max(self.width * factor, minimum), max(self.height * factor, minimum)
        return BoundingBox(x0=cx - width / 2, y0=cy - height / 2, x1=cx + width / 2, y1=cy + height / 2)

    def intersection(self, other: BoundingBox) -> float:
        """Area in common, pixels squared."""
        width = min(self.x1, other.x1) - max(self.x0, other.x0)
        height = min(self.y1, other.y1) - max(self.y0, other.y0)
        return max(width, 0.0) * max(height, 0.0)

    def iou(self, other: BoundingBox) -> float:
        """Intersection over union, 0 to 1."""
        common = self.intersection(other)
        return common / (self.area + other.area - common)


class Mask(Frozen):
    """A region of one image, run-length coded as COCO's uncompressed RLE: column-major, first a run of zeros.

    On a slide its cells may be blocks of pixels: cell (c, r) covers [c step, (c+1) step) x [r step, (r+1) step) of the
    full image, and the last of a row or column is cut by the image's edge.
    """

    height: int = Field(gt=0)
    """Rows of the full image."""
    width: int = Field(gt=0)
    """Columns of the full image."""
    counts: tuple[Annotated[int, Field(ge=0)], ...]
    """Alternating run lengths of zeros and ones, in cells, summing to the rows times the columns of cells."""
    step: int = Field(default=1, gt=0)
    """Side of a cell, pixels; 1 everywhere but on slides."""

    @model_validator(mode="after")
    def _covers_the_image(self) -> Self:
        if sum(self.counts) != math.prod(self.cells):
            raise ValueError("the runs of a mask must cover its image")
        return self

    @property
    def cells(self) -> tuple[int, int]:
        """(rows, columns) of cells."""
        return -(-self.height // self.step), -(-self.width // self.step)

    @classmethod
    def from_array(cls, mask: BoolArray) -> Mask:
        """From a (rows, columns) boolean array."""
        flat = np.asarray(mask, dtype=bool).ravel(order="F")
        edges = np.flatnonzero(np.diff(flat)) + 1
        runs = np.diff(np.concatenate(([0], edges, [flat.size])))
        counts = [int(n) for n in runs]
        return cls(height=mask.shape[0], width=mask.shape[1], counts=tuple([0, *counts] if flat[0] else counts))

    @classmethod
    def placed(cls, part: BoolArray, box: BoundingBox, *, width: int, height: int) -> Mask:
        """From a (rows, columns) array that covers a box, edge to edge, of an image of that size; false elsewhere.

        Where an array's pixel is several of the image's, cells are the largest whole blocks no larger than it. A cell
        has the value at its centre.
        """
        across, down = box.width / part.shape[1], box.height / part.shape[0]
        step = max(1, int(min(across, down) + 1e-6))
        (c0, from_column), (r0, from_row) = (
            _cells_in(low, high, size, step, count)
            for low, high, size, count in (
                (box.x0, box.x1, width, part.shape[1]),
                (box.y0, box.y1, height, part.shape[0]),
            )
        )
        rows, columns = -(-height // step), -(-width // step)
        inside = np.zeros((len(from_row) + 2, len(from_column)), np.int8)
        inside[1:-1] = part[np.ix_(from_row, from_column)]
        column, row = np.diff(inside, axis=0).T.nonzero()
        edges, times = np.unique((column + c0) * rows + row + r0, return_counts=True)
        edges = edges[times == 1]  # where one column ends in a run and the next begins with it, there is no edge
        ends = edges if edges.size and edges[-1] == rows * columns else [*edges, rows * columns]
        return cls(height=height, width=width, step=step, counts=tuple(np.diff([0, *ends]).tolist()))

    def to_array(self) -> BoolArray:
        """As a (rows, columns) boolean array of the full image; of a slide ask for `within` instead."""
        values = np.arange(len(self.counts)) % 2 == 1
        cells = np.repeat(values, self.counts).reshape(self.cells, order="F")
        if self.step == 1:
            return cells
        return cells.repeat(self.step, axis=0).repeat(self.step, axis=1)[: self.height, : self.width]

    def within(self, box: BoundingBox, shape: tuple[int, int] | None = None) -> BoolArray:
        """The part in a box as a (rows, columns) array of that shape, edge to edge; by default one of whole pixels.

        A pixel of the array has the value at its centre. Takes the memory of the array, not of the image.
        """
        across, down = shape[::-1] if shape else (round(box.width), round(box.height))
        x = np.clip(np.floor(box.x0 + (np.arange(across) + 0.5) * box.width / across), 0, self.width - 1)
        y = np.clip(np.floor(box.y0 + (np.arange(down) + 0.5) * box.height / down), 0, self.height - 1)
        columns, back = np.unique(x.astype(np.int64) // self.step, return_inverse=True)
        rows = y.astype(np.int64) // self.step
        column, first, last = self._runs()
        wanted = np.isin(column, columns)
        place = np.searchsorted(columns, column[wanted])
        change = np.zeros((down + 1, len(columns)), np.int8)
        np.add.at(change, (np.searchsorted(rows, first[wanted]), place), 1)
        np.add.at(change, (np.searchsorted(rows, last[wanted]), place), -1)
        inside: BoolArray = np.cumsum(change[:-1], axis=0, dtype=np.int8)[:, back] > 0
        return inside

    def box(self) -> BoundingBox:
        """Tight round it; ValueError when it is empty."""
        column, first, last = self._runs()
        if not column.size:
            raise ValueError("an empty mask has no box")
        ends = ((int(column.max()) + 1) * self.step, int(last.max()) * self.step)
        return BoundingBox(
            x0=int(column.min()) * self.step, y0=int(first.min()) * self.step,
            x1=min(ends[0], self.width), y1=min(ends[1], self.height),
        )  # fmt: skip

    def patch(self, longest: int) -> tuple[BoolArray, BoundingBox]:
        """What lies in its own tight box, reduced to at most `longest` pixels a side, and that box."""
        box = self.box()
        scale = max(1.0, box.width / longest, box.height / longest)
        return self.within(box, (max(1, round(box.height / scale)), max(1, round(box.width / scale)))), box

    def iou(self, other: Mask, longest: int = 4096) -> float:
        """Intersection over union with a mask of the same image, 0 to 1; taken at `longest` where they are larger."""
        boxes = [mask.box() for mask in (self, other) if mask.area]
        if len(boxes) < 2:
            return 0.0
        a, b = boxes
        around = BoundingBox(x0=min(a.x0, b.x0), y0=min(a.y0, b.y0), x1=max(a.x1, b.x1), y1=max(a.y1, b.y1))
        scale = max(1.0, around.width / longest, around.height / longest)
        shape = max(1, round(around.height / scale)), max(1, round(around.width / scale))
        mine, theirs = self.within(around, shape), other.within(around, shape)
        return float((mine & theirs).sum() / max(int((mine | theirs).sum()), 1))

    @property
    def area(self) -> int:
        """Pixels inside."""
        if self.step == 1:
            return sum(self.counts[1::2])
        column, first, last = self._runs()
        across = np.minimum((column + 1) * self.step, self.width) - column * self.step
        down = np.minimum(last * self.step, self.height) - first * self.step
        return int((across * down).sum())

    def _runs(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Column, first row and row after the last of every run of ones, in cells; none goes over two columns."""
        rows = self.cells[0]
        edges = np.cumsum(np.asarray(self.counts[: len(self.counts) // 2 * 2], np.int64))
        start, end = edges[0::2], edges[1::2]
        kept = end > start
        start, end = start[kept], end[kept]
        spans = (end - 1) // rows - start // rows + 1
        column = np.repeat(start // rows, spans) + np.arange(spans.sum()) - np.repeat(np.cumsum(spans) - spans, spans)
        first = np.maximum(np.repeat(start, spans) - column * rows, 0)
        return column, first, np.minimum(np.repeat(end, spans) - column * rows, rows)


def _cells_in(low: float, high: float, size: int, step: int, count: int) -> tuple[int, npt.NDArray[np.int64]]:
    """The first cell of an axis whose centre lies in [low, high), and for it and those after it, which of the
    `count` equal parts of that range holds the centre."""
    edges = np.arange(0, -(-size // step), dtype=np.float64) * step
    centres = (edges + np.minimum(edges + step, size)) / 2
    inside = np.flatnonzero((centres >= low) & (centres < high))
    parts = ((centres[inside] - low) * count / (high - low)).astype(np.int64)
    return int(inside[0]) if inside.size else 0, np.clip(parts, 0, count - 1)


class Spacing(Frozen):
    """Millimetres between the centres of neighbouring pixels."""

    row_mm: float = Field(gt=0, allow_inf_nan=False)
    """Down a column: the distance between rows (first value of PixelSpacing)."""
    column_mm: float = Field(gt=0, allow_inf_nan=False)
    """Along a row: the distance between columns (second value of PixelSpacing)."""
    source: str
    """The tag it was read from: "PixelSpacing", "ImagerPixelSpacing" (at the detector, so magnified), ..."""


class Window(Frozen):
    """A display window on real values (DICOM PS3.3 C.11.2): linear, a sigmoid, or a table that the file brings."""

    centre: float = Field(allow_inf_nan=False)
    width: float = Field(gt=0, allow_inf_nan=False)
    source: str
    """Where it came from: "VOI" (the file; also "VOI LINEAR_EXACT", "VOI SIGMOID", "VOI LUT"), a preset's name,
    "percentile", or "set" (asked for)."""
    levels: tuple[tuple[Annotated[float, Field(allow_inf_nan=False)], Annotated[int, Field(ge=0, le=255)]], ...] = ()
    """Of a "VOI LUT": (value, 8-bit grey that is shown from it on), values rising; what is below shows the first grey.
    Centre and width are then those of the linear window nearest to it."""
