"""Any part of any image: cut out of the store's pixels, or, on a slide, read tile by tile at the level that serves.

What is read of a slide is decoded by the worker processes under the limits that the slide was opened with.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

from medloupe.errors import ActionRejected, InputRejected
from medloupe.tools.imaging.frame import Values
from medloupe.tools.imaging.slide import MAX_REGION_PIXELS, Box, Part, Pyramid
from medloupe.tools.imaging.sources import Source
from medloupe.tools.imaging.store import ImageStore
from medloupe.tools.imaging.workers import read_all
from medloupe.types import BoundingBox, Image

__all__ = ["AT_MOST", "Patch", "read_level", "region", "whole"]

AT_MOST = 2048
"""Pixels a side of what is segmented, measured or searched on a slide."""
_KEPT_BYTES = 2**26
"""Of the patches read last, which segmenting and measuring ask for again."""
_SLIDE_IS_NOT_THERE = ("slide-changed", "slide-gone", "no-worker")


class Patch(NamedTuple):
    """Pixels and where they lie."""

    values: Values
    """(rows, columns) or (rows, columns, 3), read-only."""
    box: BoundingBox
    """What they cover, edge to edge, in full-image pixels. On a slide it may reach over the image's right and lower
    edge, by less than one of these pixels."""

    @property
    def scale(self) -> tuple[float, float]:
        """Full-image pixels that one of these is wide and high."""
        return self.box.width / self.values.shape[1], self.box.height / self.values.shape[0]


def region(
    store: ImageStore, image: Image, box: BoundingBox, *, at_least: int | None = None, at_most: int | None = None
) -> Patch:
    """The pixels of a whole-pixel box inside the image: as they are, or of a slide at the level that serves.

    On a slide the patch covers the box, grown outward to whole pixels of the level. `at_least`: the smallest level at
    which the box is that long; `at_most`: the largest at which it is no longer; neither: full size. Raises
    ActionRejected where a slide's tiles are damaged or more is asked for than is read at once, and InputRejected where
    its file has gone or changed. KeyError as the store's.
    """
    if not image.levels:
        x0, y0, x1, y1 = (int(v) for v in box.as_tuple())
        return Patch(store.get(image.digest)[y0:y1, x0:x1], box)
    place = _level_for(image, box, at_least, at_most)
    inside = _in_level(image, place, box)
    if _pixels(inside) > MAX_REGION_PIXELS:
        raise ActionRejected(
            f"Image {image.index} is a slide of {image.width:,} x {image.height:,} pixels: no more than "
            f"{MAX_REGION_PIXELS:,} are read at once at full size; name a smaller box."
        )
    try:
        values = read_level(store.get_pyramid(image.digest), image, place, inside)
    except InputRejected as rejected:
        if rejected.code in _SLIDE_IS_NOT_THERE:
            raise
        raise ActionRejected(f"That part of the slide cannot be read: {rejected.reason}") from rejected
    across, down = _steps(image, place)
    x0, y0, x1, y1 = inside
    return Patch(values, BoundingBox(x0=x0 * across, y0=y0 * down, x1=x1 * across, y1=y1 * down))


def whole(store: ImageStore, image: Image) -> Patch:
    """All of an image; of a slide, a level of at most AT_MOST pixels a side, or its smallest."""
    return region(store, image, BoundingBox(x0=0, y0=0, x1=image.width, y1=image.height), at_most=AT_MOST)


def read_level(pyramid: Pyramid, image: Image, place: int, box: Box) -> Values:
    """A box (whole pixels of the level) of one level of a slide, read-only. InputRejected for any fault."""
    level = pyramid.levels[place]
    key = (image.digest, level, box)
    kept = _RECENT.get(key)
    if kept is not None:
        return kept
    path = level.file()
    if not path.is_file():
        raise InputRejected("slide-gone", "The slide's file is no longer where it was opened.")
    source = Source(path=path, part=Part(level=level.place, box=box, stamp=level.stamp))
    (outcome,), _ = read_all([source], None, pyramid.limits)
    if outcome.rejected is not None:
        raise outcome.rejected
    shape = (box[3] - box[1], box[2] - box[0], *((3,) if image.values == "RGB" else ()))
    if outcome.read is None or [f.values.shape for f in outcome.read.frames] != [shape]:
        raise InputRejected("crashed", "The file made the process that reads it end.")
    values = outcome.read.frames[0].values
    _RECENT.put(key, values)
    return values


# --- levels ---------------------------------------------------------------------------------------------------------


def _steps(image: Image, place: int) -> tuple[float, float]:
    """Full-image pixels that a level's pixel is wide and high.

    Whole wherever rounding the quotient up or down gives the level's size: writers reduce by whole numbers, and what is
    left over at the right and lower edge is dropped or filled up.
    """
    level = image.levels[place]
    return _step(image.width, level.width), _step(image.height, level.height)


def _step(full: int, reduced: int) -> float:
    nearest = round(full / reduced)
    return float(nearest) if reduced in (full // nearest, -(-full // nearest)) else full / reduced


def _in_level(image: Image, place: int, box: BoundingBox) -> Box:
    """The smallest box of a level's whole pixels that covers a box of the image, as far as the level reaches."""
    (across, down), level = _steps(image, place), image.levels[place]
    grown = BoundingBox(x0=box.x0 / across, y0=box.y0 / down, x1=box.x1 / across, y1=box.y1 / down)
    x0, y0, x1, y1 = (int(v) for v in _rounded(grown).snap().as_tuple())
    x0, y0 = min(x0, level.width - 1), min(y0, level.height - 1)
    return x0, y0, max(min(x1, level.width), x0 + 1), max(min(y1, level.height), y0 + 1)


def _rounded(box: BoundingBox) -> BoundingBox:
    """Without the last bits, which division leaves and snapping would take for a pixel more."""
    return BoundingBox.from_tuple([round(v, 6) for v in box.as_tuple()])


def _pixels(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _level_for(image: Image, box: BoundingBox, at_least: int | None, at_most: int | None) -> int:
    """Place of the level to read; levels go from the largest to the smallest."""
    if at_least is None and at_most is None:
        return 0
    boxes = [_in_level(image, place, box) for place in range(len(image.levels))]
    lengths = [max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes]
    readable = [place for place, inside in enumerate(boxes) if _pixels(inside) <= MAX_REGION_PIXELS]
    if at_most is not None:
        return next((place for place in readable if lengths[place] <= at_most), len(boxes) - 1)
    enough = [place for place in readable if at_least is not None and lengths[place] >= at_least]
    return enough[-1] if enough else (readable or [len(boxes) - 1])[0]


class _Recent:
    """The patches read last, within _KEPT_BYTES. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: OrderedDict[object, Values] = OrderedDict()

    def get(self, key: object) -> Values | None:
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def put(self, key: object, values: Values) -> None:
        with self._lock:
            self._held[key] = values
            held = sum(v.nbytes for v in self._held.values())
            while held > _KEPT_BYTES and self._held:
                held -= self._held.popitem(last=False)[1].nbytes


_RECENT = _Recent()
