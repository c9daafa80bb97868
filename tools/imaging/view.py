"""From full-resolution pixels to exactly what a model is shown: crop, window, resize and encode, once."""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image

from medloupe.errors import ActionRejected
from medloupe.tools.imaging.frame import Values
from medloupe.tools.imaging.region import Patch
from medloupe.tools.imaging.region import region as region_of
from medloupe.tools.imaging.store import ImageStore
from medloupe.tools.imaging.window import ends, window_for
from medloupe.types import BoolArray, BoundingBox, Image, Mask, View, Window

__all__ = ["cut_view", "pair_view", "render"]

Grey8 = npt.NDArray[np.uint8]
Kind = Literal["overview", "zoom", "crop", "window", "slice", "compare"]

# Level 1 with the SUB filter and run lengths: a third of the time of level 1 alone, and smaller (CT 1.3 ms, 512 px).
_PNG = (
    cv2.IMWRITE_PNG_COMPRESSION, 1,
    cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB,
    cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE,
)  # fmt: skip
_CONTOUR_RGB = (0, 255, 255)
"""Cyan: no tissue, stain or grey has it."""
_NARROWEST = 1e-30
"""A window narrower than this is a threshold: float32 cannot hold its slope."""
_BACKGROUND = 0
_LONGEST_TABLE = 2**20
_GAP = 8
"""Pixels of black between the two pictures of a pair."""


def render(values: Values, image: Image, window: Window | None) -> Grey8:
    """Values as a person sees them: (rows, columns) or (rows, columns, 3) uint8.

    `values` are the whole image's or any crop of them; `window` None means the image's own. MONOCHROME1 is inverted.
    Padding is no part of the picture and is shown black.
    """
    if values.ndim == 3:
        return values.astype(np.uint8, copy=False)
    window = window or image.window or window_for(image, values, "default")
    if window.levels:
        shown = _by_table(values, window)
    elif window.source == "VOI SIGMOID":
        shown = _by_sigmoid(values, window)
    else:
        shown = _linearly(values, window)
    if image.inverted:
        shown = 255 - shown
    if image.padding is not None:
        low, high = image.padding
        shown[(values >= low) & (values <= high)] = _BACKGROUND
    return shown


def _linearly(values: Values, window: Window) -> Grey8:
    low, high = ends(window)
    if high - low <= _NARROWEST:
        return np.where(values > low, np.uint8(255), np.uint8(0))
    grey = values.astype(np.float32)
    with np.errstate(over="ignore"):  # infinity is white
        grey -= low
        grey *= 255.0 / (high - low)
    return _as_bytes(grey)


def _by_sigmoid(values: Values, window: Window) -> Grey8:
    """PS3.3 C.11.2.1.3.1."""
    grey = values.astype(np.float64)
    with np.errstate(over="ignore"):
        grey -= window.centre
        grey *= -4.0 / window.width
        np.exp(grey, out=grey)
    grey += 1
    return _as_bytes(np.divide(255.0, grey, out=grey))


def _by_table(values: Values, window: Window) -> Grey8:
    """PS3.3 C.11.2.1.1; whole numbers by a table of all there may be, where that is short."""
    starts = np.array([value for value, _ in window.levels])
    greys = np.array([grey for _, grey in window.levels], np.uint8)

    def look_up(numbers: npt.NDArray[Any]) -> Grey8:
        return greys[np.maximum(np.searchsorted(starts, numbers, side="right") - 1, 0)]

    if values.dtype.kind == "f":
        return np.where(np.isnan(values), np.uint8(0), look_up(values))
    least, most = int(values.min(initial=0)), int(values.max(initial=0))
    if most - least > _LONGEST_TABLE:
        return look_up(values)
    return look_up(np.arange(least, most + 1))[values.astype(np.int64) - least]


def _as_bytes(grey: npt.NDArray[Any]) -> Grey8:
    """Rounded, in place; a value that is no number is shown black."""
    np.clip(grey, 0, 255, out=grey)
    np.rint(grey, out=grey)
    grey[np.isnan(grey)] = 0
    return grey.astype(np.uint8)


def cut_view(
    store: ImageStore,
    image: Image,
    box: BoundingBox,
    *,
    index: int,
    kind: Kind,
    longest: int = 512,
    window: Window | None = None,
    region: str | None = None,
    parent: View | None = None,
    contour: Mask | None = None,
) -> View:
    """A view of a box (full-image pixels), from full-resolution pixels, encoded once and kept in the store.

    The box is snapped outward to whole pixels and clipped; the longer side becomes `longest` pixels, edges to edges.
    Grey is encoded with one channel. ActionRejected when nothing of the box lies inside the image.
    """
    try:
        inside = box.snap().clip(image.width, image.height)
    except ValueError as error:
        size = f"{image.width} x {image.height}"
        raise ActionRejected(f"The box {box.as_tuple()} lies outside the image of {size} pixels.") from error
    shown_window = None if image.values == "RGB" else window or image.window
    patch = region_of(store, image, inside, at_least=longest)
    shown, fitted = render(patch.values, image, shown_window), _fit(inside, longest)
    picture = _resize(shown, fitted) if patch.box == inside else _resampled(shown, patch, inside, fitted)
    if contour is not None:
        picture = _draw(picture, contour.within(inside, None if patch.scale == (1.0, 1.0) else fitted[::-1]))
    nested = kind in ("zoom", "crop")
    return View(
        index=index,
        kind=kind,
        image=image.index,
        box=inside,
        width=picture.shape[1],
        height=picture.shape[0],
        window=shown_window,
        region=region,
        parent=None if parent is None else parent.index,
        depth=(0 if parent is None else parent.depth) + nested,
        overlay="none" if contour is None else "contour",
        digest=store.put_png(_encode(picture)),
        image_to_patient=image.image_to_patient(),
    )


def pair_view(store: ImageStore, a: View, b: View, *, index: int) -> View:
    """Two views side by side, `a` on the left, at their own scales. It has no affine: `overlay` is "pair"."""
    left, right = (_decode(store.get_png(v.digest)) for v in (a, b))
    if left.ndim != right.ndim:
        left, right = _colour(left), _colour(right)
    rows = max(left.shape[0], right.shape[0])
    canvas: Grey8 = np.zeros((rows, left.shape[1] + _GAP + right.shape[1], *left.shape[2:]), np.uint8)
    canvas[: left.shape[0], : left.shape[1]] = left
    canvas[: right.shape[0], left.shape[1] + _GAP :] = right
    return View(
        index=index,
        kind="compare",
        image=a.image,
        box=a.box,
        width=canvas.shape[1],
        height=rows,
        window=a.window,
        parent=a.index,
        depth=a.depth,
        overlay="pair",
        other=b.index,
        digest=store.put_png(_encode(canvas)),
    )


def _fit(box: BoundingBox, longest: int) -> tuple[int, int]:
    """(columns, rows) of the picture: `longest` on the longer side."""
    scale = longest / max(box.width, box.height)
    return max(1, round(box.width * scale)), max(1, round(box.height * scale))


def _resize(picture: Grey8, size: tuple[int, int]) -> Grey8:
    if (picture.shape[1], picture.shape[0]) == size:
        return picture
    smaller = size[0] < picture.shape[1] or size[1] < picture.shape[0]
    resized: Grey8 = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
    return resized


def _resampled(picture: Grey8, patch: Patch, box: BoundingBox, size: tuple[int, int]) -> Grey8:
    """A box of a slide out of a reduced level, whose pixels it need not begin and end with."""
    across, down = patch.scale
    x0, y0 = (box.x0 - patch.box.x0) / across, (box.y0 - patch.box.y0) / down
    # A level may end up to a pixel before the full size does.
    x1, y1 = min(x0 + box.width / across, picture.shape[1]), min(y0 + box.height / down, picture.shape[0])
    x0, y0 = max(0.0, min(x0, x1 - 1)), max(0.0, min(y0, y1 - 1))
    source = PIL.Image.fromarray(np.ascontiguousarray(picture))
    smaller = x1 - x0 >= size[0] and y1 - y0 >= size[1]
    way = PIL.Image.Resampling.HAMMING if smaller else PIL.Image.Resampling.BICUBIC
    return np.asarray(source.resize(size, way, box=(x0, y0, x1, y1)))


def _draw(picture: Grey8, inside: BoolArray) -> Grey8:
    """The mask's outline, one pixel thick, just outside it, so that its edge stays visible."""
    shown = _colour(picture).copy()
    mask = cv2.resize(inside.astype(np.uint8), (shown.shape[1], shown.shape[0]), interpolation=cv2.INTER_NEAREST)
    mask = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_REPLICATE)  # no line along the view's own edge
    ring = cv2.dilate(mask, np.ones((3, 3), np.uint8)) - mask
    shown[ring[1:-1, 1:-1] > 0] = _CONTOUR_RGB
    return shown


def _colour(picture: Grey8) -> Grey8:
    return picture if picture.ndim == 3 else np.repeat(picture[:, :, None], 3, axis=2)


def _encode(picture: Grey8) -> bytes:
    encoded, png = cv2.imencode(".png", picture if picture.ndim == 2 else picture[:, :, ::-1], _PNG)
    if not encoded:
        raise RuntimeError("OpenCV could not encode a picture")
    return bytes(png)


def _decode(png: bytes) -> Grey8:
    picture = np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED), np.uint8)
    return picture if picture.ndim == 2 else picture[:, :, ::-1]
