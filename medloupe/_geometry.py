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
    """A region of one image, run-length coded as COCO's uncompressed RLE: column-major, first a run of zeros."""

    height: int = Field(gt=0)
    """Rows of the full image."""
    width: int = Field(gt=0)
    """Columns of the full image."""
    counts: tuple[Annotated[int, Field(ge=0)], ...]
    """Alternating run lengths of zeros and ones, summing to height x width."""

    @model_validator(mode="after")
    def _covers_the_image(self) -> Self:
        if sum(self.counts) != self.height * self.width:
            raise ValueError("the runs of a mask must cover its image")
        return self

    @classmethod
    def from_array(cls, mask: BoolArray) -> Mask:
        """From a (rows, columns) boolean array."""
        flat = np.asarray(mask, dtype=bool).ravel(order="F")
        edges = np.flatnonzero(np.diff(flat)) + 1
        runs = np.diff(np.concatenate(([0], edges, [flat.size])))
        counts = [int(n) for n in runs]
        return cls(height=mask.shape[0], width=mask.shape[1], counts=tuple([0, *counts] if flat[0] else counts))

    def to_array(self) -> BoolArray:
        """As a (rows, columns) boolean array."""
        values = np.arange(len(self.counts)) % 2 == 1
        return np.repeat(values, self.counts).reshape((self.height, self.width), order="F")

    @property
    def area(self) -> int:
        """Pixels inside."""
        return sum(self.counts[1::2])


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
