"""Everything that can be measured in one outlined region."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from medloupe.tools.measure import geometry, intensity
from medloupe.tools.measure.vocabulary import threshold
from medloupe.types import BoolArray, BoundingBox, Image, Measurement, Quantity

__all__ = ["measure_region"]

_RING = "in a ring of max(3 px, 25% of the equivalent radius) around the outline"


def measure_region(
    values: npt.NDArray[Any],
    image: Image,
    mask: BoolArray,
    *,
    region_id: str,
    segmenter: str,
    quality: float | None = None,
) -> Measurement:
    """Measure the pixels under an outline.

    values: the full image as the store holds it, (rows, columns) or (rows, columns, 3).
    mask: (rows, columns) of the full image. Lengths are in mm where the file states a spacing, else in px.
    Raises ValueError for an empty mask, or one that is not of this image.
    """
    if mask.shape != values.shape[:2]:
        raise ValueError(f"the mask is {mask.shape} and the image {values.shape[:2]} (rows, columns)")
    cut = _neighbourhood(mask)
    part, grey = mask[cut], intensity.luminance(values[cut])
    quantities = (*_size(part, image), *_brightness(grey, part, image), *_place(mask, image), *_shape(part, image))
    return Measurement(region=region_id, quantities=quantities, segmenter=segmenter, quality=quality)


def _neighbourhood(mask: BoolArray) -> tuple[slice, slice]:
    """The rows and columns that hold the mask and its ring; all else is never touched."""
    box = BoundingBox.of_mask(mask)
    margin = math.ceil(max(threshold("intensity", "ring_pixels"), math.sqrt(float(mask.sum()) / math.pi))) + 1
    rows = slice(max(int(box.y0) - margin, 0), int(box.y1) + margin)
    return (rows, slice(max(int(box.x0) - margin, 0), int(box.x1) + margin))


def _size(mask: BoolArray, image: Image) -> Iterator[Quantity]:
    spacing = image.spacing
    unit = "mm" if spacing else "px"
    how = f"; {spacing.source}" if spacing else "; the file states no pixel size"
    across = geometry.feret(mask, spacing)
    pixel = spacing.row_mm * spacing.column_mm if spacing else 1.0
    yield Quantity(name="long_axis", value=across.longest, unit=unit, method="maximum Feret diameter" + how)
    yield Quantity(name="short_axis", value=across.shortest, unit=unit, method="minimum Feret diameter" + how)
    yield Quantity(name="area", value=float(mask.sum()) * pixel, unit=unit + "2", method="pixels in the outline" + how)


def _brightness(grey: npt.NDArray[Any], mask: BoolArray, image: Image) -> Iterator[Quantity]:
    unit = {"HU": "HU", "stored": "stored", "RGB": "grey"}[image.values]
    inside, surroundings = intensity.statistics(grey, mask), intensity.ring(mask)
    for name, value in zip(("mean", "std", "min", "max"), inside, strict=True):
        yield Quantity(name=name, value=value, unit=unit, method=f"{name} of the pixels in the outline")
    if image.values == "HU" and image.modality == "CT":
        yield from _density(grey, mask, inside.mean)
    if surroundings.sum() < threshold("intensity", "ring_minimum"):
        return
    outside = intensity.statistics(grey, surroundings)
    yield Quantity(name="ring_mean", value=outside.mean, unit=unit, method=f"mean {_RING}")
    yield Quantity(name="ring_std", value=outside.std, unit=unit, method=f"standard deviation {_RING}")
    stored = intensity.contrast(inside, outside)
    shown = -stored if image.inverted else stored
    how = "(mean - ring mean) / pooled standard deviation, as shown"
    yield Quantity(name="contrast", value=shown, unit="1/1", method=how)
    yield Quantity(name="intensity", value=intensity.intensity_word(shown), method=f"contrast against a ring: {how}")


def _density(hu: npt.NDArray[Any], mask: BoolArray, mean: float) -> Iterator[Quantity]:
    share = float(np.mean(hu[mask] > threshold("density", "solid_hu")))
    yield Quantity(name="solid_share", value=share, unit="1/1", method="share of the outline above -300 HU")
    word = intensity.density_word(mean)
    if word is not None:
        yield Quantity(name="density", value=word, method="mean HU against the ranges of the vocabulary")


def _place(mask: BoolArray, image: Image) -> Iterator[Quantity]:
    column, row = geometry.centroid(mask)
    x, y = column / image.width, row / image.height
    yield Quantity(name="site_x", value=x, unit="1/1", method="centroid of the outline, 0 at the image's left edge")
    yield Quantity(name="site_y", value=y, unit="1/1", method="centroid of the outline, 0 at the image's upper edge")
    yield Quantity(name="site", value=geometry.site_word(x, y), method="centroid of the outline in the image")
    side = geometry.side_word(image, column, row)
    if side is not None:
        yield Quantity(name="side", value=side, method="centroid of the outline and the file's patient orientation")


def _shape(mask: BoolArray, image: Image) -> Iterator[Quantity]:
    form = geometry.form(mask, image.spacing)
    methods = (
        "4 pi area / perimeter squared",
        "area / area of the convex hull",
        "of the ellipse with the same second moments",
        "minimum / maximum Feret diameter",
    )
    for name, value, how in zip(form._fields, form, methods, strict=True):
        yield Quantity(name=name, value=value, unit="1/1", method=how)
    word = geometry.shape_word(form.aspect, form.solidity)
    yield Quantity(name="shape", value=word, method="aspect and solidity of the outline")
