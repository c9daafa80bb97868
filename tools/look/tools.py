"""The look tools for any LangChain agent: schemas, plain answers for the model, typed artifacts for the program."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Annotated, Any, Literal

from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, Field, ValidationError

from medloupe.errors import ActionRejected
from medloupe.tools.imaging.volume import Plane
from medloupe.tools.look.loupe import Loupe
from medloupe.types import BoundingBox, Measurement, Region, View, Window

__all__ = ["LookBook", "look_tools"]

Corners = Annotated[
    list[float],
    Field(min_length=4, max_length=4, description="[x0, y0, x1, y1] in pixels of the full image, x to the right"),
]
ViewIndex = Annotated[int, Field(ge=0, description="Index of a view: 0 for V0, the overview")]
RegionId = Annotated[str, Field(description='Id of a region, as "R1"')]


class ZoomArgs(BaseModel):
    """Arguments of zoom."""

    view: ViewIndex
    box: Corners


class SegmentArgs(BaseModel):
    """Arguments of segment."""

    view: ViewIndex
    box: Corners | None = None
    points: Annotated[
        list[tuple[float, float]], Field(description="[x, y] points on the thing, in pixels of the full image")
    ] = []


class CropArgs(BaseModel):
    """Arguments of crop."""

    view: ViewIndex
    region: RegionId


class WindowArgs(BaseModel):
    """Arguments of window."""

    view: ViewIndex
    preset: Annotated[str | None, Field(description="Name of a window preset")] = None
    centre: Annotated[float | None, Field(description="Centre in the image's values, with width")] = None
    width: Annotated[float | None, Field(gt=0, description="Width in the image's values, with centre")] = None


class SliceArgs(BaseModel):
    """Arguments of slice."""

    series: Annotated[int, Field(ge=0, description="Index of the series")] = 0
    index: Annotated[int, Field(ge=0, description="Position in the series, or in the plane, from 0")]
    plane: Annotated[
        Literal["axial", "coronal", "sagittal"] | None,
        Field(description="A slice across the series in this plane; left out: the series' own images"),
    ] = None


class MeasureArgs(BaseModel):
    """Arguments of measure."""

    region: RegionId


class CompareArgs(BaseModel):
    """Arguments of compare."""

    view: ViewIndex
    other: ViewIndex


class LookBook:
    """The views and regions made so far, so that later calls can name them. Thread-safe."""

    def __init__(self, loupe: Loupe) -> None:
        self.loupe = loupe
        self._lock = threading.Lock()
        self.views: list[View] = [loupe.overview(0, index=0)]
        """By index; V0 is the overview of image 0."""
        self.regions: dict[str, Region] = {}
        """By id."""

    def view(self, index: int) -> View:
        """A view by its index; ActionRejected, naming what there is, for an unknown one."""
        if not 0 <= index < len(self.views):
            raise ActionRejected(f"There is no view V{index}; there are V0 to V{len(self.views) - 1}.")
        return self.views[index]

    def region(self, name: str) -> Region:
        """A region by its id; ActionRejected, naming what there is, for an unknown one."""
        if name not in self.regions:
            raise ActionRejected(f"There is no region {name}; there are {', '.join(self.regions) or 'none yet'}.")
        return self.regions[name]

    def add_view(self, look: Callable[[int], View]) -> View:
        """Make a view under the next free index and keep it."""
        with self._lock:
            view = look(len(self.views))
            self.views.append(view)
            return view

    def add_regions(self, look: Callable[[int], list[Region]]) -> list[Region]:
        """Make regions under the next free ids and keep them."""
        with self._lock:
            found = look(len(self.regions) + 1)
            self.regions.update({region.id: region for region in found})
            return found


def look_tools(loupe: Loupe, book: LookBook | None = None) -> list[BaseTool]:
    """zoom, segment, crop, window, slice, measure and compare on one study; slice only where there is a stack.

    Each answers the model with a line of text and the program with an artifact: a View, a list of Region, or a
    Measurement. What cannot be done comes back as an error message for the model to mend, never as an exception.
    Views and regions are kept in `book`, a new one when none is given.
    """
    book = book or LookBook(loupe)
    tools = [
        _tool("zoom", "Look closer at a box of a view's image, from full-resolution pixels.", ZoomArgs, _zoom(book)),
        _tool(
            "segment",
            "Outline what lies in a box or under points. With neither, propose regions that stand out in the view.",
            SegmentArgs,
            _segment(book),
        ),
        _tool("crop", "Look at a region with some of its surroundings, its outline drawn.", CropArgs, _crop(book)),
        _tool("window", "Show a view again through another grey-level window.", WindowArgs, _window(book)),
        _tool("measure", "Measure a region: size, shape, intensity, place.", MeasureArgs, _measure(book)),
        _tool("compare", "Put two views side by side.", CompareArgs, _compare(book)),
    ]
    if any(len(series.images) > 1 for series in loupe.study.series):
        tools.append(
            _tool(
                "slice",
                "Show another image of a series, by position, or a slice across it in another plane.",
                SliceArgs,
                _slice(book),
            )
        )
    return tools


def _zoom(book: LookBook) -> Callable[..., tuple[str, View]]:
    def zoom(view: int, box: list[float]) -> tuple[str, View]:
        asked, corners = book.view(view), _box(box)
        return _shown(book.add_view(lambda index: book.loupe.zoom(asked, corners, index=index)))

    return zoom


def _crop(book: LookBook) -> Callable[..., tuple[str, View]]:
    def crop(view: int, region: str) -> tuple[str, View]:
        asked, wanted = book.view(view), book.region(region)
        return _shown(book.add_view(lambda index: book.loupe.crop(asked, wanted, index=index)))

    return crop


def _window(book: LookBook) -> Callable[..., tuple[str, View]]:
    def window(
        view: int, preset: str | None = None, centre: float | None = None, width: float | None = None
    ) -> tuple[str, View]:
        if (centre is None) != (width is None):
            raise ActionRejected("A window needs both a centre and a width.")
        own = None if centre is None or width is None else Window(centre=centre, width=width, source="set")
        asked = book.view(view)
        return _shown(book.add_view(lambda index: book.loupe.window(asked, preset=preset, window=own, index=index)))

    return window


def _slice(book: LookBook) -> Callable[..., tuple[str, View]]:
    def slice_(index: int, series: int = 0, plane: Plane | None = None) -> tuple[str, View]:
        return _shown(book.add_view(lambda number: book.loupe.slice(series, index, plane=plane, index=number)))

    return slice_


def _compare(book: LookBook) -> Callable[..., tuple[str, View]]:
    def compare(view: int, other: int) -> tuple[str, View]:
        left, right = book.view(view), book.view(other)
        return _shown(book.add_view(lambda index: book.loupe.compare(left, right, index=index)))

    return compare


def _segment(book: LookBook) -> Callable[..., tuple[str, list[Region]]]:
    def segment(
        view: int, box: list[float] | None = None, points: list[tuple[float, float]] | None = None
    ) -> tuple[str, list[Region]]:
        asked, corners = book.view(view), None if box is None else _box(box)
        found = book.add_regions(
            lambda first: book.loupe.segment(asked, box=corners, points=points or (), first_id=first)
        )
        if not found:
            return "Nothing stands out in this view.", found
        return "\n".join(_region_line(region) for region in found), found

    return segment


def _measure(book: LookBook) -> Callable[..., tuple[str, Measurement]]:
    def measure(region: str) -> tuple[str, Measurement]:
        found = book.loupe.measure(book.region(region))
        lines = (f"{q.name}: {_number(q.value)} {q.unit}".rstrip() for q in found.quantities)
        return f"{region}, outlined by {found.segmenter}\n" + "\n".join(lines), found

    return measure


def _shown(view: View) -> tuple[str, View]:
    corners = ", ".join(f"{v:g}" for v in view.box.as_tuple())
    kind = f"{view.plane} slice" if view.plane else view.kind
    what = f"V{view.index}: {kind} of image {view.image}, {view.width} x {view.height} pixels"
    return what + ("" if view.overlay == "pair" else f", showing [{corners}]"), view


def _region_line(region: Region) -> str:
    corners = ", ".join(f"{v:g}" for v in region.box.as_tuple())
    if region.mask is None:
        return f"{region.id}: [{corners}], nothing in it could be outlined"
    sure = "" if region.predicted_iou is None else f", predicted IoU {region.predicted_iou:.2f}"
    return f"{region.id}: [{corners}], {region.mask.area} pixels outlined{sure}"


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _box(corners: list[float]) -> BoundingBox:
    try:
        return BoundingBox.from_tuple(corners)
    except ValidationError as error:
        raise ActionRejected(f"{corners} is no box; give [x0, y0, x1, y1] with x1 > x0 and y1 > y0.") from error


def _tool(name: str, description: str, schema: type[BaseModel], function: Callable[..., tuple[str, Any]]) -> BaseTool:
    def run(**arguments: Any) -> tuple[str, Any]:
        try:
            return function(**arguments)
        except ActionRejected as rejected:
            raise ToolException(str(rejected)) from rejected

    return StructuredTool.from_function(
        run,
        name=name,
        description=description,
        args_schema=schema,
        response_format="content_and_artifact",
        handle_tool_error=True,
        handle_validation_error=_invalid,
    )


def _invalid(error: Any) -> str:
    """One line for the model about arguments that do not fit the schema; not what it sent, which may be long."""
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
    return "The arguments do not fit the schema."
