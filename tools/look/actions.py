"""What a planner can ask for. Boxes and points are already full-image pixels here: they were mapped at the boundary."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medloupe.types import BoundingBox, Frozen, Window

__all__ = [
    "Action", "Compare", "Crop", "Measure", "Segment", "SetWindow", "Slice", "Zoom",
]  # fmt: skip


class Zoom(Frozen):
    """Look at a box from full-resolution pixels."""

    action: Literal["zoom"] = "zoom"
    view: int
    box: BoundingBox
    label: str = ""
    region: str | None = None
    """The region that the box was laid around; None: the box is a region itself."""


class Segment(Frozen):
    """Outline what lies in a box or under points; with neither, propose regions."""

    action: Literal["segment"] = "segment"
    view: int
    box: BoundingBox | None = None
    points: tuple[tuple[float, float], ...] = ()
    label: str = ""


class Crop(Frozen):
    """Focal crop of a region: its box grown by one box-size a side, at least 48 pixels, with its outline drawn."""

    action: Literal["crop"] = "crop"
    view: int
    region: str


class SetWindow(Frozen):
    """Show a view again through another window."""

    action: Literal["window"] = "window"
    view: int
    preset: str | None = None
    window: Window | None = None


class Slice(Frozen):
    """Show another image of a series, or a slice across it in another plane."""

    action: Literal["slice"] = "slice"
    series: int = 0
    index: int
    plane: Literal["axial", "coronal", "sagittal"] | None = None


class Measure(Frozen):
    """Measure a region."""

    action: Literal["measure"] = "measure"
    region: str


class Compare(Frozen):
    """Put two views side by side."""

    action: Literal["compare"] = "compare"
    view: int
    other: int


Action = Annotated[Zoom | Segment | Crop | SetWindow | Slice | Measure | Compare, Field(discriminator="action")]
