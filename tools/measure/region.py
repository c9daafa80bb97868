"""Everything that can be measured in one outlined region."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from medloupe.tools.measure import appearance, contour, geometry, intensity
from medloupe.tools.measure.vocabulary import threshold
from medloupe.types import BoolArray, BoundingBox, Image, Measurement, Quantity, Spacing

__all__ = ["measure_region"]

_RING = "in a ring of max(3 px, 25% of the equivalent radius) around the outline"
_TEXTURE = "co-occurrence of neighbouring pixels in 32 levels from the region's least to its most, mean of 4 directions"
_SMOOTHING_REACH = 8
"""Pixels that the border's smoothing looks beyond an outline."""
_UNITS = {"HU": "HU", "Gy": "Gy", "stored": "stored", "RGB": "grey"}


def measure_region(
    values: npt.NDArray[Any],
    image: Image,
    mask: BoolArray,
    *,
    region_id: str,
    segmenter: str,
    quality: float | None = None,
    box: BoundingBox | None = None,
) -> Measurement:
    """Measure the pixels under an outline.

    values: the full image as the store holds it, (rows, columns) or (rows, columns, 3); or a part of it.
    mask: (rows, columns) of the same. Lengths are in mm where the file states a spacing, else in px of the full image.
    box: what the two cover, edge to edge, in full-image pixels, which may be smaller than theirs; None: all of it.
    Raises ValueError for an empty mask, or one that is not of this image.
    """
    if mask.shape != values.shape[:2]:
        raise ValueError(f"the mask is {mask.shape} and the image {values.shape[:2]} (rows, columns)")
    frame = box or BoundingBox(x0=0, y0=0, x1=values.shape[1], y1=values.shape[0])
    scale = frame.width / values.shape[1]
    steps, unit = _steps(image, scale, frame.height / values.shape[0])
    is_whole = frame.area >= image.width * image.height
    cut = _neighbourhood(mask)
    part, grey = mask[cut], intensity.luminance(values[cut])
    surroundings = intensity.ring(part)
    quantities = (
        *_size(part, image, steps, unit),
        *_brightness(grey, part, surroundings, image),
        *_place(mask, image, frame),
        *_shape(part, steps),
        *_edge(grey, part, image, steps, unit),
        *_texture(grey, part),
        *(_other_side(values, cut, part, surroundings) if is_whole else ()),
        *_colours(values[cut], part),
    )
    if scale > 1:
        reduced = f", at 1/{scale:g} of full size"
        quantities = tuple(q.model_copy(update={"method": q.method + reduced}) for q in quantities)
    return Measurement(region=region_id, quantities=quantities, segmenter=segmenter, quality=quality)


def _steps(image: Image, across: float, down: float) -> tuple[Spacing | None, str]:
    """How far apart the pixels are that are measured, and the unit of that; None for one pixel of the full image."""
    if image.spacing is not None:
        mm = {"row_mm": image.spacing.row_mm * down, "column_mm": image.spacing.column_mm * across}
        return image.spacing.model_copy(update=mm), "mm"
    return None if across == down == 1 else Spacing(row_mm=down, column_mm=across, source="full-image pixels"), "px"


def _neighbourhood(mask: BoolArray) -> tuple[slice, slice]:
    """The rows and columns that hold the mask and its ring; all else is never touched."""
    box = BoundingBox.of_mask(mask)
    margin = math.ceil(max(intensity.ring_reach(int(np.count_nonzero(mask))), _SMOOTHING_REACH)) + 1
    rows = slice(max(int(box.y0) - margin, 0), int(box.y1) + margin)
    return (rows, slice(max(int(box.x0) - margin, 0), int(box.x1) + margin))


def _size(mask: BoolArray, image: Image, spacing: Spacing | None, unit: str) -> Iterator[Quantity]:
    how = f"; {image.spacing.source}" if image.spacing else "; the file states no pixel size"
    across = geometry.feret(mask, spacing)
    pixel = spacing.row_mm * spacing.column_mm if spacing else 1.0
    yield Quantity(name="long_axis", value=across.longest, unit=unit, method="maximum Feret diameter" + how)
    yield Quantity(name="short_axis", value=across.shortest, unit=unit, method="minimum Feret diameter" + how)
    around = contour.perimeter(mask, spacing)
    yield Quantity(name="perimeter", value=around, unit=unit, method="length of the outline (Crofton)" + how)
    yield Quantity(name="area", value=float(mask.sum()) * pixel, unit=unit + "2", method="pixels in the outline" + how)


def _brightness(grey: npt.NDArray[Any], mask: BoolArray, surroundings: BoolArray, image: Image) -> Iterator[Quantity]:
    unit = _UNITS[image.values]
    inside = intensity.statistics(grey, mask)
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


def _place(mask: BoolArray, image: Image, frame: BoundingBox) -> Iterator[Quantity]:
    column, row = geometry.centroid(mask)
    column = frame.x0 + column * frame.width / mask.shape[1]
    row = frame.y0 + row * frame.height / mask.shape[0]
    x, y = column / image.width, row / image.height
    yield Quantity(name="site_x", value=x, unit="1/1", method="centroid of the outline, 0 at the image's left edge")
    yield Quantity(name="site_y", value=y, unit="1/1", method="centroid of the outline, 0 at the image's upper edge")
    yield Quantity(name="site", value=geometry.site_word(x, y), method="centroid of the outline in the image")
    side = geometry.side_word(image, column, row)
    if side is not None:
        yield Quantity(name="side", value=side, method="centroid of the outline and the file's patient orientation")


def _shape(mask: BoolArray, spacing: Spacing | None) -> Iterator[Quantity]:
    form = geometry.form(mask, spacing)
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


def _edge(
    grey: npt.NDArray[Any], mask: BoolArray, image: Image, spacing: Spacing | None, length: str
) -> Iterator[Quantity]:
    spectrum = contour.radial_spectrum(mask, spacing)
    how = "amplitude of harmonics {} of the radius profile over the mean radius"
    yield Quantity(name="lobulation", value=spectrum.lobulation, unit="1/1", method=how.format("3 to 8"))
    if spectrum.spiculation is not None:
        yield Quantity(name="spiculation", value=spectrum.spiculation, unit="1/1", method=how.format("9 to 32"))
    if not mask.all():
        slope = contour.border_gradient(grey, mask, spacing)
        unit = f"{_UNITS[image.values]}/{length}"
        how = "mean rise across the outline, from outside to inside"
        yield Quantity(name="border_gradient", value=slope, unit=unit, method=how)


def _texture(grey: npt.NDArray[Any], mask: BoolArray) -> Iterator[Quantity]:
    inside = BoundingBox.of_mask(mask)
    rows, columns = (_middle(low, high) for low, high in ((inside.y0, inside.y1), (inside.x0, inside.x1)))
    try:
        found = appearance.texture(grey[rows, columns], mask[rows, columns])
    except ValueError:  # no two neighbours there: a texture is not said
        return
    for name, value in zip(found._fields, found, strict=True):
        yield Quantity(name=f"texture_{name}", value=value, unit="bit" if name == "entropy" else "1/1", method=_TEXTURE)


def _middle(low: float, high: float) -> slice:
    """The middle of a range, as much of it as a texture is measured on."""
    start = max(int(low), int(low + high - appearance.LONGEST) // 2)
    return slice(start, min(int(high), start + appearance.LONGEST))


def _other_side(
    values: npt.NDArray[Any], cut: tuple[slice, slice], mask: BoolArray, surroundings: BoolArray
) -> Iterator[Quantity]:
    """Against the mirror image, unless the region reaches over the midline into it."""
    width = values.shape[1]
    inside, start = BoundingBox.of_mask(mask), cut[1].start or 0
    if inside.x0 + start < width / 2 < inside.x1 + start or surroundings.sum() < threshold("intensity", "ring_minimum"):
        return
    grey, mirrored = intensity.luminance(values[cut]), intensity.luminance(values[:, ::-1][cut])
    value = appearance.asymmetry(grey, mirrored, mask, intensity.statistics(grey, surroundings).std)
    how = "(mean - mean of the mirror image about the image's midline) / standard deviation of the ring"
    yield Quantity(name="asymmetry", value=value, unit="1/1", method=how)


def _colours(values: npt.NDArray[Any], mask: BoolArray) -> Iterator[Quantity]:
    if values.ndim != 3:
        return
    shares = appearance.dominant_colours(values, mask)
    how = "nearest named colour in CIE Lab, share of the pixels"
    if shares:
        yield Quantity(name="colour", value=shares[0].name, method=how)
        yield Quantity(name="colours", value=", ".join(f"{s.name} {s.share:.0%}" for s in shares), method=how)
