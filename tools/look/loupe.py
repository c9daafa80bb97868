"""Looking closer: overview, zoom, focal crop, window, slice, compare, outline, proposals, measure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from medloupe.errors import ActionRejected
from medloupe.models.segment import Segmenter
from medloupe.tools.imaging import ImageStore, cut_view, pair_view, whole, window_for
from medloupe.tools.imaging.reformats import Reformats
from medloupe.tools.imaging.region import AT_MOST
from medloupe.tools.imaging.region import region as region_of
from medloupe.tools.imaging.volume import Plane
from medloupe.tools.look.proposals import propose
from medloupe.tools.look.segment import Outline, Outliner, focal_box
from medloupe.tools.measure import measure_region
from medloupe.types import BoundingBox, Image, Mask, Measurement, Region, Study, View, Window

__all__ = ["Loupe"]


class Loupe:
    """One study, ready to be looked at. Sync and thread-safe; it keeps no views and no regions.

    Every box and point is in full-image pixels (medloupe.types). Every method raises ActionRejected, worded for a
    planner, when what is asked cannot be done.
    """

    def __init__(
        self, study: Study, store: ImageStore, segmenter: Segmenter | None = None, *, longest: int = 512
    ) -> None:
        """longest: of a view's longer side, pixels. Without a segmenter, outlines are by grey level."""
        self.study = study
        self.store = store
        self.segmenter = segmenter
        self.longest = longest
        self._outliner = Outliner(store, segmenter)
        self._reformats = Reformats(study, store)

    @property
    def outliner(self) -> str:
        """What outlines are recorded as: the segmenter's name, or "threshold"."""
        return self._outliner.name

    def image(self, index: int) -> Image:
        """The image of that index in the study, or beyond them a slice across one of its volumes."""
        if not 0 <= index < len(self.study.images):
            if (made := self._reformats.image(index)) is not None:
                return made
            raise ActionRejected(f"There is no image {index}; the study has images 0 to {len(self.study.images) - 1}.")
        return self.study.images[index]

    def overview(self, image: int = 0, *, index: int = 0) -> View:
        """A whole image through its own window."""
        return self._whole(self.image(image), index, "overview")

    def zoom(self, view: View, box: BoundingBox, *, index: int, region: str | None = None) -> View:
        """A box of the view's image, through the view's window."""
        image = self._plain(view)
        return cut_view(
            self.store, image, _inside(box, image), index=index, kind="zoom", longest=self.longest,
            window=view.window, region=region, parent=view,
        )  # fmt: skip

    def crop(self, view: View, region: Region, *, index: int) -> View:
        """Focal crop: the region's box grown by one box-size a side, at least 48 pixels, its outline drawn."""
        self._plain(view)
        image = self.image(region.image)
        return cut_view(
            self.store, image, focal_box(_inside(region.box, image), image), index=index, kind="crop",
            longest=self.longest, window=view.window if view.image == image.index else image.window,
            region=region.id, parent=view, contour=region.mask,
        )  # fmt: skip

    def window(self, view: View, *, preset: str | None = None, window: Window | None = None, index: int) -> View:
        """What the view shows, through a named preset or a window of one's own."""
        image = self._plain(view)
        if image.values == "RGB":
            raise ActionRejected(f"View V{view.index} is in colour; a window changes nothing there.")
        if (preset is None) == (window is None):
            raise ActionRejected("Name either a preset or a centre and a width.")
        if window is None:
            window = window_for(image, whole(self.store, image).values, preset or "default")
        return cut_view(
            self.store, image, view.box, index=index, kind="window", longest=self.longest,
            window=window, region=view.region, parent=view,
        )  # fmt: skip

    def slice(self, series: int, position: int, *, plane: Plane | None = None, index: int) -> View:
        """The image at a position of a series: 0 is first along the normal.

        plane: across the series as a volume, in its own voxels; None, or the plane it was acquired in: its own images.
        """
        shown = self.image(self.slice_image(series, position, plane))
        view = self._whole(shown, index, "slice")
        return view if shown.index < len(self.study.images) else view.model_copy(update={"plane": plane})

    def slice_image(self, series: int, position: int, plane: Plane | None = None) -> int:
        """The index of the image that `slice` shows."""
        if not 0 <= series < len(self.study.series):
            raise ActionRejected(f"There is no series {series}; there are series 0 to {len(self.study.series) - 1}.")
        if plane is not None:
            return self._reformats.index(series, plane, position)
        images = self.study.series[series].images
        if not 0 <= position < len(images):
            raise ActionRejected(f"Series {series} has slices 0 to {len(images) - 1}; there is no slice {position}.")
        return images[position]

    def planes(self, series: int) -> dict[Plane, int]:
        """How many slices there are across a series, by plane; none where it is no regular volume."""
        return self._reformats.planes(series)

    def compare(self, view: View, other: View, *, index: int) -> View:
        """Two views side by side."""
        self._plain(view)
        self._plain(other)
        if view.digest == other.digest:
            raise ActionRejected(f"Views V{view.index} and V{other.index} are the same picture; compare two others.")
        return pair_view(self.store, view, other, index=index)

    def segment(
        self,
        view: View,
        *,
        box: BoundingBox | None = None,
        points: Sequence[tuple[float, float]] = (),
        first_id: int,
        limit: int = 6,
    ) -> list[Region]:
        """Outline what lies in a box or under points; with neither, propose at most `limit` regions of the view.

        One region for a prompt, without a mask when nothing in it could be outlined. Proposals may be none at all.
        Ids are R{first_id} onwards.
        """
        image = self._plain(view)
        if box is None and not points:
            found = propose(self._outliner, image, view, limit)
            return [
                self._region(first_id + i, view, outline, outline.box, "proposal") for i, outline in enumerate(found)
            ]
        _check_points(points, image)
        asked = None if box is None else _inside(box, image)
        outline = self._outliner.outline(image, view.window, box=asked, points=points)
        if outline is None and asked is None:
            raise ActionRejected("Nothing under those points stands out enough to be outlined; give a box instead.")
        where = outline.box if outline is not None else asked
        assert where is not None
        return [self._region(first_id, view, outline, where, "planner")]

    def outline(self, image: int, box: BoundingBox) -> tuple[Mask, str, float | None] | None:
        """(full-image mask, segmenter's name or "threshold", predicted IoU) of what a box holds; None for nothing."""
        shown = self.image(image)
        found = self._outliner.outline(shown, shown.window, box=_inside(box, shown))
        return None if found is None else (found.mask, found.segmenter, found.predicted_iou)

    def outlines(self, image: int, box: BoundingBox) -> list[Outline]:
        """Several outlines of what a box that may be loose holds: how far they agree is how sure they are."""
        shown = self.image(image)
        return self._outliner.outlines(shown, shown.window, _inside(box, shown))

    def measure(self, region: Region) -> Measurement:
        """Everything measurable in a region, which is outlined first when it has no mask."""
        image = self.image(region.image)
        if region.mask is not None:
            mask, quality = region.mask, region.predicted_iou
            name = "given" if region.source == "person" else "threshold" if quality is None else self.outliner
        else:
            found = self.outline(region.image, region.box)
            if found is None:
                raise ActionRejected(
                    f"Nothing in region {region.id} stands out enough to be outlined, so there is nothing to measure."
                )
            mask, name, quality = found
        if image.levels:
            part = region_of(self.store, image, _surroundings(mask, image), at_most=AT_MOST)
        else:
            part = whole(self.store, image)  # all of it: a region is compared with the other side of the image
        inside = mask.within(part.box, part.values.shape[:2]) if image.levels else mask.to_array()
        if not inside.any():
            raise ActionRejected(f"Region {region.id} is too thin to be measured at the slide's reduced size.")
        return measure_region(
            part.values, image, inside, region_id=region.id, segmenter=name, quality=quality, box=part.box
        )  # fmt: skip

    def _plain(self, view: View) -> Image:
        """The image of a view that has coordinates."""
        if view.overlay == "pair":
            raise ActionRejected(
                f"View V{view.index} is two views side by side and has no coordinates; "
                f"name V{view.parent} or V{view.other} instead."
            )
        return self.image(view.image)

    def _whole(self, image: Image, index: int, kind: str) -> View:
        box = BoundingBox(x0=0, y0=0, x1=image.width, y1=image.height)
        return cut_view(
            self.store, image, box, index=index, kind="slice" if kind == "slice" else "overview",
            longest=self.longest, window=image.window,
        )  # fmt: skip

    def _region(self, number: int, view: View, outline: Outline | None, box: BoundingBox, source: str) -> Region:
        return Region(
            id=f"R{number}",
            image=view.image,
            box=box,
            mask=None if outline is None else outline.mask,
            view=view.index,
            source="proposal" if source == "proposal" else "planner",
            predicted_iou=None if outline is None else outline.predicted_iou,
        )


def _surroundings(mask: Mask, image: Image) -> BoundingBox:
    """The part of a slide that holds a mask and the ring around it, whole pixels."""
    box = mask.box()
    margin = max(math.sqrt(mask.area / math.pi), max(box.width, box.height) / 64) + 8
    grown = BoundingBox(x0=box.x0 - margin, y0=box.y0 - margin, x1=box.x1 + margin, y1=box.y1 + margin)
    return grown.snap().clip(image.width, image.height)


def _inside(box: BoundingBox, image: Image) -> BoundingBox:
    """The part of a box inside the image."""
    try:
        return box.clip(image.width, image.height)
    except ValueError as error:
        corners = ", ".join(f"{v:g}" for v in box.as_tuple())
        raise ActionRejected(
            f"The box [{corners}] lies outside image {image.index}, which is {image.width} x {image.height} pixels; "
            "give [x0, y0, x1, y1] inside it."
        ) from error


def _check_points(points: Sequence[tuple[float, float]], image: Image) -> None:
    for x, y in points:
        if not (0 <= x < image.width and 0 <= y < image.height):
            raise ActionRejected(
                f"The point ({x:g}, {y:g}) lies outside image {image.index}, "
                f"which is {image.width} x {image.height} pixels."
            )
