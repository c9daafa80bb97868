"""A size as a range, where another outline of the same thing gives another size."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from medloupe.errors import ActionRejected
from medloupe.tools.look import Loupe
from medloupe.tools.measure.vocabulary import threshold
from medloupe.tools.verify._outlines import Consensus, across, consensus
from medloupe.types import Measurement, Quantity, Region

__all__ = ["with_ranges"]

_SIZES = ("long_axis", "short_axis", "area")
_HOW = "; the least and the most of several outlines"


def with_ranges(measurement: Measurement, region: Region, loupe: Loupe) -> Measurement:
    """A measurement whose sizes are ranges ("158..202") where fresh outlines from the region's box do not agree.

    A single outline of an unsharp thing may stop short or leak, and its size to a pixel says more than is known. A size
    that the fresh outlines give within the tolerance that even a weak outline must keep (`supported_ratio` to the
    inverse of `weak_factor`) stays the number it is; else it is a range from the least to the most of the outline that
    was measured and the middle half of the fresh ones. Where the two share less than `same_object` they are not of one
    thing, and the number stays for a verifier to question. Blocking: outlines anew, as the measured verifier does.
    """
    if region.source in ("person", "claim") and region.mask is not None:
        return measurement
    image = loupe.image(region.image)
    try:
        fresh = consensus(loupe.outlines(region.image, region.box), image.spacing)
        if fresh is None or (region.mask and fresh.mask.iou(region.mask) < threshold("outline", "same_object")):
            return measurement
    except ActionRejected:
        return measurement
    size, spacing = across(fresh.mask, image.spacing), image.spacing
    area = fresh.mask.area * (spacing.row_mm * spacing.column_mm if spacing else 1.0)
    anew = dict(zip(_SIZES, (size.longest, size.shortest, area), strict=True))
    quantities = tuple(_ranged(quantity, anew, fresh) for quantity in measurement.quantities)
    return measurement.model_copy(update={"quantities": quantities})


def _ranged(quantity: Quantity, anew: Mapping[str, float], fresh: Consensus) -> Quantity:
    """A size, as it is or as a range; anything else as it is."""
    other = anew.get(quantity.name)
    if other is None or isinstance(quantity.value, str):
        return quantity
    power = 2 if quantity.name == "area" else 1
    least, most = (factor**power for factor in getattr(fresh.spread, quantity.name))
    every = (quantity.value, other * least, other, other * most)
    apart = max(quantity.value / other, other / quantity.value) ** (1 / power)
    sure = threshold(quantity.name, "supported_ratio") ** (1 / threshold(quantity.name, "weak_factor"))
    if apart <= sure:
        return quantity
    low, high = _three_digits(min(every), math.floor), _three_digits(max(every), math.ceil)
    return quantity.model_copy(update={"value": f"{low:g}..{high:g}", "method": quantity.method + _HOW})


def _three_digits(value: float, towards: Callable[[float], int]) -> float:
    """Three significant digits, rounded outwards: what was found stays inside."""
    step = 10.0 ** (math.floor(math.log10(value)) - 2)
    return float(f"{towards(value / step) * step:.3g}")
