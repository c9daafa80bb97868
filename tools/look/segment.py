"""Zoom first, segment second: an outline is asked of a crop of full-resolution pixels, never of the whole image.

LiteMedSAM sees 256 pixels a side. Given the whole image, a small lesion is a few of them; given its box grown by one
box-size a side it is a third of the picture. Mean Dice on lung tumours in CT rises from 0.68 to 0.82 that way
(evals/bench_segment.py prints both).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, NamedTuple, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from medloupe.models.segment import Embedding, RGBArray, Segmentation, Segmenter
from medloupe.tools.imaging import ImageStore, render
from medloupe.tools.imaging.region import AT_MOST, region
from medloupe.tools.look.saliency import thing_at
from medloupe.tools.measure import threshold_mask
from medloupe.tools.measure.vocabulary import threshold
from medloupe.types import BoolArray, BoundingBox, Image, Mask, Window

__all__ = ["GROW", "MINIMUM", "Outline", "Outliner", "Shown", "as_grey", "as_rgb", "focal_box", "keep_component"]

GROW = 1.0
"""Box-sizes added on each side of a box before it is segmented, and to a focal crop."""
MINIMUM = 48.0
"""Least side of such a crop, full-image pixels."""
REACH = 512.0
"""Least side, full-image pixels, of the neighbourhood in which a point's own grey-level outline is looked for."""
CLOSER = 0.5
"""Box-sizes added on each side for the second look of `outlines`: the same thing half as large again."""
TIGHTER = 2
"""Further prompts of `outlines`, each a step (`outline.looseness_step` of the vocabulary) tighter than the last."""
EMBEDDINGS = 16
"""Encoded crops kept; one of LiteMedSAM's takes 4 MiB."""

OUTLINED = 64
"""Boxes whose outlines are kept: the describer and the verifier ask for the same."""

Point = tuple[float, float]
T = TypeVar("T")


class Outline(NamedTuple):
    """A mask and where it comes from."""

    mask: Mask
    """Of the full image."""
    segmenter: str
    """A segmenter's name, or "threshold"."""
    predicted_iou: float | None
    """The segmenter's own estimate, 0 to 1; None for "threshold"."""
    box: BoundingBox
    """Tight round the mask, full-image pixels."""


class Shown(NamedTuple):
    """A picture and where it lies."""

    picture: npt.NDArray[np.uint8]
    """(rows, columns) or (rows, columns, 3)."""
    box: BoundingBox
    """What it covers, edge to edge, full-image pixels; on a slide its pixels may be larger than the image's."""

    def to_picture(self, box: BoundingBox) -> BoundingBox:
        """A full-image box in the picture's pixels."""
        (x0, y0), (x1, y1) = self.point(box.x0, box.y0), self.point(box.x1, box.y1)
        return BoundingBox(x0=x0, y0=y0, x1=x1, y1=y1)

    def to_image(self, box: BoundingBox) -> BoundingBox:
        """A box in the picture's pixels in those of the full image."""
        across, down = self.box.width / self.picture.shape[1], self.box.height / self.picture.shape[0]
        return BoundingBox(
            x0=self.box.x0 + box.x0 * across, y0=self.box.y0 + box.y0 * down,
            x1=self.box.x0 + box.x1 * across, y1=self.box.y0 + box.y1 * down,
        )  # fmt: skip

    def point(self, x: float, y: float) -> Point:
        """A full-image point in the picture's pixels."""
        across, down = self.box.width / self.picture.shape[1], self.box.height / self.picture.shape[0]
        return (x - self.box.x0) / across, (y - self.box.y0) / down


class Outliner:
    """Outlines in the images of a store, with a segmenter or by grey level. Thread-safe; encodes each crop once."""

    def __init__(self, store: ImageStore, segmenter: Segmenter | None) -> None:
        self._store = store
        self._segmenter = segmenter
        self._embeddings = _Once[Embedding](EMBEDDINGS)
        self._outlines = _Once[list[Outline]](OUTLINED)

    @property
    def name(self) -> str:
        """What outlines are recorded as: the segmenter's name, or "threshold"."""
        return self._segmenter.name if self._segmenter else "threshold"

    @property
    def promptable(self) -> bool:
        """Whether a segmenter is there."""
        return self._segmenter is not None

    def shown(self, image: Image, window: Window | None, box: BoundingBox) -> Shown:
        """The pixels of a whole-pixel box as they are displayed; of a slide at most AT_MOST a side."""
        patch = region(self._store, image, box, at_most=AT_MOST)
        return Shown(render(patch.values, image, window), patch.box)

    def outline(
        self, image: Image, window: Window | None, *, box: BoundingBox | None = None, points: Sequence[Point] = ()
    ) -> Outline | None:
        """What lies in a box or under points (full-image pixels, inside the image); None when nothing stands out.

        A segmenter that takes no points is given the box of a grey-level outline round them instead.
        """
        if points and (self._segmenter is None or "points" not in self._segmenter.prompts):
            box, points = box or self._box_round(image, window, points), ()
        if box is None and not points:
            return None
        target = box or _box_of(points, image)
        crop = focal_box(target, image)
        return self.outline_in(image, window, crop, box=box, points=points)

    def outlines(self, image: Image, window: Window | None, box: BoundingBox) -> list[Outline]:
        """Several outlines of what lies in a box that may be loose; none when nothing stands out.

        A network fills the box it is given, and learnt on boxes that are nearly tight, so that a loose box gives too
        large an outline. It is asked with the box and with boxes that are tighter by equal steps on every side; twice,
        the second time on a closer crop. By grey level, where crops change nothing, once.
        """
        key = (image.digest, image.inverted, window, box)
        return self._outlines.get(key, lambda: self._outlined(image, window, box))

    def _outlined(self, image: Image, window: Window | None, box: BoundingBox) -> list[Outline]:
        step = threshold("outline", "looseness_step")
        boxes = [_scaled(box, 1 / (1 + 2 * step * n)) for n in range(TIGHTER + 1)]
        crops = [box.grow(grow, MINIMUM).snap().clip(image.width, image.height) for grow in (GROW, CLOSER)]
        looks = crops if self._segmenter is not None else crops[:1]
        found = [self.outline_in(image, window, crop, box=prompt) for crop in looks for prompt in boxes]
        return [outline for outline in found if outline is not None]

    def outline_in(
        self,
        image: Image,
        window: Window | None,
        crop: BoundingBox,
        *,
        box: BoundingBox | None = None,
        points: Sequence[Point] = (),
    ) -> Outline | None:
        """As `outline`, on the crop given (whole pixels): for many prompts on one encoding."""
        shown = self.shown(image, window, crop)
        moved = None if box is None else shown.to_picture(box)
        inside = tuple(shown.point(x, y) for x, y in points)
        found = self._ask(image, window, shown, moved, inside)
        if found is None:
            return None
        mask = keep_component(found.mask, moved, inside)
        if not mask.any():
            return None
        full = Mask.placed(mask, shown.box, width=image.width, height=image.height)
        predicted = None if self._segmenter is None else found.predicted_iou
        return Outline(full, self.name, predicted, full.box()) if full.area else None

    def _ask(
        self, image: Image, window: Window | None, shown: Shown, box: BoundingBox | None, points: tuple[Point, ...]
    ) -> Segmentation | None:
        """A mask of the picture, in its pixels."""
        segmenter, picture = self._segmenter, shown.picture
        if picture.min() == picture.max():  # a network would outline something all the same
            return None
        if segmenter is None:
            if box is None:  # `outline` turns points into a box where no segmenter takes them
                return None
            mask = threshold_mask(as_grey(picture), box)
            return None if mask is None else Segmentation(mask, 0.0)
        key = (image.digest, image.inverted, window, shown.box)
        embedding = self._embeddings.get(key, lambda: segmenter.set_image(as_rgb(picture)))
        return segmenter.predict(embedding, box=box, points=points)

    def _box_round(self, image: Image, window: Window | None, points: Sequence[Point]) -> BoundingBox | None:
        """The box of what stands out in grey level under the points; None when nothing does."""
        crop = _box_of(points, image).grow(0.0, REACH).snap().clip(image.width, image.height)
        shown = self.shown(image, window, crop)
        grey = as_grey(shown.picture)
        found = [thing_at(grey, (int(y), int(x))) for x, y in (shown.point(*point) for point in points)]
        boxes = [shown.to_image(box) for box in found if box is not None]
        if not boxes:
            return None
        corners = np.array([box.as_tuple() for box in boxes])
        around = BoundingBox.from_tuple([*corners[:, :2].min(axis=0), *corners[:, 2:].max(axis=0)])
        return around.clip(image.width, image.height)


def focal_box(box: BoundingBox, image: Image) -> BoundingBox:
    """The box grown by one box-size a side, at least 48 pixels, snapped to whole pixels and clipped to the image."""
    return box.grow(GROW, MINIMUM).snap().clip(image.width, image.height)


def keep_component(mask: BoolArray, box: BoundingBox | None, points: Sequence[Point] = ()) -> BoolArray:
    """The connected component with most pixels inside the box, or those under the points; empty when there is none."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    if box is not None:
        x0, y0, x1, y1 = (int(v) for v in box.snap().clip(mask.shape[1], mask.shape[0]).as_tuple())
        inside = np.bincount(labels[y0:y1, x0:x1].ravel(), minlength=count)
        inside[0] = 0
        wanted = {int(inside.argmax())} if inside.any() else set()
    else:
        wanted = {int(labels[int(y), int(x)]) for x, y in points} - {0}
    kept: BoolArray = np.isin(labels, list(wanted))
    return kept


def as_rgb(picture: npt.NDArray[np.uint8]) -> RGBArray:
    """(rows, columns, 3), whatever was rendered."""
    return np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else np.ascontiguousarray(picture)


def as_grey(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(rows, columns) luminance, whatever was rendered."""
    return picture if picture.ndim == 2 else np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def _scaled(box: BoundingBox, by: float) -> BoundingBox:
    """The box with its sides times a factor, about its centre."""
    (x, y), width, height = box.centre, box.width * by / 2, box.height * by / 2
    return BoundingBox(x0=x - width, y0=y - height, x1=x + width, y1=y + height)


def _box_of(points: Sequence[Point], image: Image) -> BoundingBox:
    """The whole pixels that hold the points."""
    columns, rows = zip(*points, strict=True)
    around = BoundingBox(x0=min(columns), y0=min(rows), x1=max(columns) + 1, y1=max(rows) + 1)
    return around.snap().clip(image.width, image.height)


class _Once(Generic[T]):
    """The last few of what is costly, each computed once even when several threads ask at the same time."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._held: OrderedDict[object, Future[T]] = OrderedDict()

    def get(self, key: object, make: Callable[[], T]) -> T:
        with self._lock:
            future = self._held.get(key)
            mine = future is None
            if future is None:
                future = self._held[key] = Future()
            self._held.move_to_end(key)
            while len(self._held) > self._size:
                self._held.popitem(last=False)
        if mine:
            try:
                future.set_result(make())
            except BaseException as error:  # noqa: BLE001 - handed on to whoever waits, and raised below
                with self._lock:
                    self._held.pop(key, None)
                future.set_exception(error)
        return future.result()
