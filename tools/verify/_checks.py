"""A stated value against a measured one. Pure functions of numbers; what is measured, and where, is decided elsewhere.

Every threshold is in prompts/knowledge/attributes.yaml with its reason. Near a threshold, and with a weak outline, the
word is "undetermined".
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from medloupe.tools.measure import shape_word, solid_word
from medloupe.tools.measure.vocabulary import attribute, threshold
from medloupe.tools.verify._numbers import bounds
from medloupe.tools.verify._outlines import EXACT, Spread
from medloupe.types import Measurement, VerdictValue

__all__ = [
    "Outcome",
    "check_density",
    "check_intensity",
    "check_mean",
    "check_shape",
    "check_side",
    "check_site",
    "check_size",
]


class Outcome(NamedTuple):
    """What a comparison says."""

    verdict: VerdictValue
    reason: str
    measured: bool | float | str | None = None
    unit: str = ""
    numbers: dict[str, float] = {}
    rests_on_describer: bool = False
    """What was compared with came from the describer, not from the pixels."""


def number_of(measurement: Measurement, name: str) -> float | None:
    """A measured number; None when it was not measured."""
    quantity = measurement.get(name)
    return None if quantity is None or isinstance(quantity.value, str) else float(quantity.value)


def _entry(name: str, value: str) -> dict[str, Any]:
    found: dict[str, Any] = (attribute(name) or {})["values"][value]
    return found


def _band(weak: bool) -> float:
    return threshold("outline", "weak_band") if weak else 1.0


def check_size(
    name: str,
    stated: float | str,
    unit: str,
    found: float,
    pixel: float,
    spread: tuple[float, float] = (1.0, 1.0),
    *,
    weak: bool,
) -> Outcome:
    """A length or an area in `unit`; pixel: side of a pixel in the same unit (1 for px).

    spread: what other outlines of the same thing make of the diameter, over this one: at most 1, at least 1. A size is
    refuted only by every one of them.
    Areas are compared through the diameter of the disc of that area, so that the tolerance of a length holds.
    """
    limits = bounds(stated)
    if limits is None or limits[1] <= 0:
        return Outcome("undetermined", f'"{stated}" is not a size')
    low, high, size = (_diameter(v) if name == "area" else v for v in (*limits, found))
    nearest = min(max(size, low), high)
    ratio = max(nearest / size, size / nearest) if nearest > 0 else math.inf
    off = abs(size - nearest) / pixel
    power = threshold(name, "weak_factor") if weak else 1.0
    supported, refuted = threshold(name, "supported_ratio") ** (1 / power), threshold(name, "refuted_ratio") ** power
    numbers = {"ratio": ratio, "pixels_off": off, "supported_ratio": supported, "refuted_ratio": refuted}
    numbers |= {"least_factor": spread[0], "most_factor": spread[1]}
    word = "of the measured" if nearest < size else "times the measured"
    factor = f"{nearest / size:.2f} {word}" if nearest != size else "as measured"
    reason = f"stated {stated if isinstance(stated, str) else format(stated, 'g')} {unit}, measured {found:.3g} {unit}"
    reason += f" ({factor})"
    if ratio <= supported or off <= threshold(name, "supported_px"):
        return Outcome("supported", reason, found, unit, numbers)
    beyond = ratio * spread[0] if nearest < size else ratio / spread[1]
    if beyond >= refuted and off > threshold(name, "refuted_px"):
        return Outcome("refuted", reason, found, unit, numbers)
    return Outcome("undetermined", reason + ": too near to tell", found, unit, numbers)


def _diameter(area: float) -> float:
    return 2 * math.sqrt(max(area, 0.0) / math.pi)


def check_site(stated: str, x: float, y: float, *, weak: bool) -> Outcome:
    """A place in the image; x and y from 0 to 1."""
    numbers = {"site_x": x, "site_y": y}
    where = f"the centre lies at {x:.2f} of the width and {y:.2f} of the height"
    inner, outer = threshold("site", "central_inner"), threshold("site", "central_outer")
    away = max(abs(x - 0.5), abs(y - 0.5))
    if stated in ("central", "peripheral"):
        verdict: VerdictValue = "supported" if away <= inner else "refuted" if away >= outer else "undetermined"
        found = "central" if away <= (inner + outer) / 2 else "peripheral"
        verdict = _flip(verdict) if stated == "peripheral" else verdict
        return Outcome(verdict, where, found, numbers=numbers)
    axis, sign = _entry("site", stated)["axis"]
    off = ((x if axis == "x" else y) - 0.5) * (1 if sign == "+" else -1)
    band = threshold("site", "half_band") * _band(weak)
    found = stated if off > 0 else str(_entry("site", stated)["twin"])
    verdict = "supported" if off >= band else "refuted" if off <= -band else "undetermined"
    return Outcome(verdict, where, found, numbers=numbers)


def check_side(stated: str, found: str | None, off: float | None) -> Outcome:
    """The patient's side; off: distance of the centre from the image's middle, as a share of its size."""
    if found is None:
        return Outcome("undetermined", "the file does not say how the patient is oriented")
    if off is None:
        verdict: VerdictValue = "supported" if stated == found else "refuted"
        return Outcome(verdict, f"the file says that the image shows the patient's {found}", found)
    numbers = {"off_middle": off}
    reason = f"the centre lies {off:.0%} of the image from its middle, on the patient's {found}"
    if found == "midline":
        reason = f"the centre lies within {threshold('side', 'midline_band'):.0%} of the image's middle"
        return Outcome("supported" if stated == "midline" else "undetermined", reason, found, numbers=numbers)
    if stated == "midline":
        clear = off >= 2 * threshold("side", "midline_band")
        return Outcome("refuted" if clear else "undetermined", reason, found, numbers=numbers)
    return Outcome("supported" if stated == found else "refuted", reason, found, numbers=numbers)


def check_intensity(stated: str, measurement: Measurement, *, weak: bool) -> Outcome:
    """Brighter, darker or alike, against the ring around the outline."""
    found, contrast = measurement.get("intensity"), number_of(measurement, "contrast")
    if found is None or contrast is None:
        return Outcome("undetermined", "there is no ring of surroundings to compare with")
    limit, band = threshold("intensity", "isointense"), threshold("intensity", "band") * _band(weak)
    numbers = {"contrast": contrast, "isointense": limit, "band": band}
    reason = f"its mean lies {contrast:+.2f} pooled standard deviations from the ring's"
    if stated == "isointense":
        off = abs(contrast) - limit
        verdict: VerdictValue = "supported" if off <= -band else "refuted" if off >= band else "undetermined"
    else:
        towards = contrast if stated == "hyperintense" else -contrast
        verdict = "supported" if towards >= limit + band else "refuted" if towards <= -band else "undetermined"
    return Outcome(verdict, reason, found.value, numbers=numbers)


def check_mean(stated: float | str, unit: str, measurement: Measurement, *, weak: bool) -> Outcome:
    """A mean in the file's own values, against the measured one in standard deviations of the outline's pixels.

    Hounsfield units have a scale of their own (`check_density`).
    """
    quantity, limits = measurement.get("mean"), bounds(stated)
    mean, spread = number_of(measurement, "mean"), number_of(measurement, "std")
    if limits is None or quantity is None or mean is None or spread is None:
        return Outcome("undetermined", f'"{stated}" is not a value of pixels')
    if quantity.unit == "HU" and unit in ("", "HU"):
        return check_density(stated, measurement, weak=weak)
    if unit not in ("", quantity.unit):
        return Outcome("undetermined", f'the values of this file are {quantity.unit}, not "{unit}"')
    off = max(limits[0] - mean, mean - limits[1], 0.0)
    near, far = threshold("mean", "supported_std") * spread, threshold("mean", "refuted_std") * spread * _band(weak)
    verdict: VerdictValue = "supported" if off <= max(near, 1.0) else "refuted" if off > far else "undetermined"
    reason = f"the mean is {mean:.4g} {quantity.unit} with a standard deviation of {spread:.3g}, {off:.3g} from it"
    return Outcome(verdict, reason, mean, quantity.unit, {"mean": mean, "std": spread, "off": off})


def check_density(stated: float | str, measurement: Measurement, *, weak: bool) -> Outcome:
    """A number of Hounsfield units, or the word for a range of them."""
    mean, share = number_of(measurement, "mean"), number_of(measurement, "solid_share")
    if mean is None or share is None:
        return Outcome("undetermined", "the values are not Hounsfield units")
    numbers, limits = {"mean": mean, "solid_share": share}, bounds(stated)
    if limits is not None:
        off = max(limits[0] - mean, mean - limits[1], 0.0)
        near, far = threshold("density", "number_band"), threshold("density", "number_refuted") * _band(weak)
        verdict: VerdictValue = "supported" if off <= near else "refuted" if off > far else "undetermined"
        return Outcome(verdict, f"the mean is {mean:.0f} HU, {off:.0f} HU from what is stated", mean, "HU", numbers)
    entry = _entry("density", str(stated))
    votes = [_by_mean(entry, mean, weak=weak)] if "hu" in entry else []
    votes += [_by_share(entry["solid"], share, weak=weak)] if "solid" in entry else []
    verdict = "refuted" if "refuted" in votes else "supported" if set(votes) == {"supported"} else "undetermined"
    word = measurement.get("density")
    reason = f"the mean is {mean:.0f} HU, and {share:.0%} lies above {threshold('density', 'solid_hu'):.0f} HU"
    return Outcome(verdict, reason, word.value if word else mean, "" if word else "HU", numbers)


def _by_mean(entry: dict[str, Any], mean: float, *, weak: bool) -> VerdictValue:
    low, high = entry["hu"]
    if low <= mean <= high:
        return "supported"
    far = max(low - mean, mean - high) > threshold("density", "band") * _band(weak)
    return "refuted" if far and entry.get("hu_refutes", True) else "undetermined"


def _by_share(stated: str, share: float, *, weak: bool) -> VerdictValue:
    band = threshold("density", "share_band") * _band(weak)
    words = {solid_word(s) for s in (share - band, share, share + band) if 0 <= s <= 1}
    if words == {stated}:
        return "supported"
    return "undetermined" if stated in words else "refuted"


def check_colour(stated: str, nearest: float, possible: float, found: str, *, weak: bool) -> Outcome:
    """A named colour; nearest, possible: shares of the pixels that are called so, and that could be."""
    numbers = {"share": nearest, "possible_share": possible}
    reason = f"{nearest:.0%} of its pixels are nearest to {stated}, and {possible:.0%} could be called so"
    verdict: VerdictValue = "undetermined"
    if nearest >= threshold("colour", "supported_share"):
        verdict = "supported"
    elif possible <= threshold("colour", "refuted_share") and not weak:
        verdict = "refuted"
    return Outcome(verdict, reason, found, numbers=numbers)


def check_shape(stated: str, measurement: Measurement, across: float, spread: Spread = EXACT, *, weak: bool) -> Outcome:
    """A shape word, against every word that the outlines could have with their numbers a little off.

    across: longest diameter, pixels.
    """
    found, aspect, solidity = (
        measurement.get("shape"), number_of(measurement, "aspect"), number_of(measurement, "solidity")
    )  # fmt: skip
    if found is None or aspect is None or solidity is None:
        return Outcome("undetermined", "the outline has no shape to speak of")
    offs = [threshold("shape", n) * _band(weak) / across for n in ("aspect_pixels", "solidity_pixels")]
    words = _shape_words(_around(aspect, spread.aspect, offs[0]), _around(solidity, spread.solidity, offs[1]))
    near = {n for word in words for n in _entry("shape", word)["near"]}
    numbers = {"aspect": aspect, "solidity": solidity}
    reason = f"width to length is {aspect:.2f} and solidity {solidity:.2f}, which is {found.value}"
    open_to = words | near
    verdict: VerdictValue = "supported" if words == {stated} else "undetermined" if stated in open_to else "refuted"
    if words != {found.value}:
        reason += f" (within its error {' or '.join(sorted(words))})"
    return Outcome(verdict, reason, found.value, numbers=numbers)


def _around(value: float, others: tuple[float, float] | None, off: float) -> tuple[float, float]:
    """The range that holds a value and the middle half of the others, with an error on either side."""
    low, high = others or (value, value)
    return (min(value, low) - off, max(value, high) + off)


def _shape_words(aspect: tuple[float, float], solidity: tuple[float, float]) -> set[str]:
    """Every word in a range of both numbers: those of its corners and of the thresholds within it."""
    limits = {name: threshold("shape", name) for name in ("round_aspect", "irregular_solidity", "lobulated_solidity")}
    aspects = [*aspect, *(v for v in (limits["round_aspect"],) if aspect[0] < v < aspect[1])]
    inner = (limits["irregular_solidity"], limits["lobulated_solidity"])
    solidities = [*solidity, *(v for v in inner if solidity[0] < v < solidity[1])]
    return {shape_word(a, s) for a in aspects for s in solidities}


def _flip(verdict: VerdictValue) -> VerdictValue:
    """The verdict on the denial of a word."""
    opposite: dict[VerdictValue, VerdictValue] = {"supported": "refuted", "refuted": "supported"}
    return opposite.get(verdict, verdict)


def denied(outcome: Outcome) -> Outcome:
    """The outcome for "not X" from the one for "X"."""
    return outcome._replace(verdict=_flip(outcome.verdict))
