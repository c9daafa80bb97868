"""Claims against the pixels: an outline of the verifier's own, measured, and compared with what was said."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from medloupe.errors import ActionRejected
from medloupe.models.segment import Segmenter
from medloupe.tools.imaging.region import AT_MOST
from medloupe.tools.imaging.region import region as region_of
from medloupe.tools.look import Loupe
from medloupe.tools.measure import colour_share, side_word
from medloupe.tools.measure.vocabulary import DENIED, attribute, canonical_value, threshold
from medloupe.tools.verify import _checks
from medloupe.tools.verify._checks import Outcome
from medloupe.tools.verify._numbers import in_millimetres
from medloupe.tools.verify._outlines import EXACT, Consensus, Spread, across, consensus
from medloupe.tools.verify.counts import check_count
from medloupe.tools.verify.scene import MEASURED, Scene
from medloupe.types import BoundingBox, Claim, Evidence, Image, Mask, Measurement, Region, Verdict

__all__ = ["MeasuredVerifier"]


class _Looked(NamedTuple):
    """The verifier's own outline of a region, and what it measured there."""

    outline: Mask
    measurement: Measurement
    spread: Spread
    weak: str
    """Why the outline is not to be trusted far; "" when it is."""
    numbers: dict[str, float]


@dataclass
class _Slot:
    lock: threading.Lock = field(default_factory=threading.Lock)
    looked: _Looked | str | None = None


class MeasuredVerifier:
    """Size, site, side, count, intensity, mean, density, colour and shape, from pixels and file geometry.

    The region is outlined anew from its box, so that nothing rests on what the describer was shown or said; only a mask
    given by a person (or with the claim itself) is taken as it is. `independent` is False where the describer was the
    measured one: both then measure the same pixels, and agreement proves little.
    """

    name = "measured"

    def __init__(self, second: Segmenter | None = None) -> None:
        """second: another segmenter, whose outline is compared with the first; where they disagree, less is decided."""
        self._second = second
        self._second_loupes: WeakKeyDictionary[Loupe, Loupe] = WeakKeyDictionary()
        self._lock = threading.Lock()
        self._slots: WeakKeyDictionary[Loupe, dict[object, _Slot]] = WeakKeyDictionary()

    async def __call__(self, claim: Claim, scene: Scene) -> Verdict | None:
        """A verdict, or None for what is not measured (presence, margin, anatomical zones, unknown words)."""
        if not measurable(claim):
            return None
        return await asyncio.to_thread(self._verdict, claim, scene)

    def _verdict(self, claim: Claim, scene: Scene) -> Verdict:
        region = scene.region_of(claim)
        image = _image(claim, region, scene)
        evidence: tuple[Evidence, ...] = ()
        if isinstance(image, str):
            outcome = Outcome("undetermined", image)
        elif claim.attribute == "count":
            outcome = check_count(claim, scene, region, image)
        elif region is None:
            outcome = Outcome("undetermined", "no region to measure")
        else:
            outcome, evidence = self._in_region(claim, scene, region, image)
        return Verdict(
            claim=claim.id, verdict=outcome.verdict, reason=outcome.reason, measured=outcome.measured,
            unit=outcome.unit, method="measured", numbers=outcome.numbers, evidence=evidence,
            independent=_independent(claim, scene, outcome),
        )  # fmt: skip

    def _in_region(
        self, claim: Claim, scene: Scene, region: Region, image: Image
    ) -> tuple[Outcome, tuple[Evidence, ...]]:
        looked = self._look(scene.loupe, region, image)
        if isinstance(looked, str):
            return Outcome("undetermined", looked), ()
        outcome = _compare(claim, scene, looked, image)
        reason = outcome.reason + (f" (weak outline: {looked.weak})" if looked.weak else "")
        own = region.model_copy(update={"mask": looked.outline, "source": "claim"})
        evidence = Evidence(
            tool="measure", version=_version(), region=own, quantities=looked.measurement.quantities
        )  # fmt: skip
        return outcome._replace(reason=reason, numbers={**outcome.numbers, **looked.numbers}), (evidence,)

    def _look(self, loupe: Loupe, region: Region, image: Image) -> _Looked | str:
        """Outline and measure once for all the claims about a region; the reason when that cannot be done."""
        key = (image.digest, region.box, region.mask, region.source)
        with self._lock:
            slot = self._slots.setdefault(loupe, {}).setdefault(key, _Slot())
            if self._second is not None and loupe not in self._second_loupes:
                self._second_loupes[loupe] = Loupe(loupe.study, loupe.store, self._second)
            second = self._second_loupes.get(loupe)
        with slot.lock:
            if slot.looked is None:
                slot.looked = _look(loupe, region, second)
            return slot.looked


def _independent(claim: Claim, scene: Scene, outcome: Outcome) -> bool:
    """Something was decided, from pixels, on what another than the measured describer had said."""
    decided = outcome.verdict != "undetermined" and not outcome.rests_on_describer
    return decided and MEASURED not in scene.describers(claim)


def measurable(claim: Claim) -> bool:
    """Whether pixels can decide a claim of this kind."""
    entry = attribute(claim.attribute)
    if entry is None or not entry["measured"] or isinstance(claim.value, bool):
        return False
    if entry["kind"] == "word" and isinstance(claim.value, str) and claim.unit != "HU":
        value = claim.value.removeprefix(DENIED)
        return canonical_value(claim.attribute, value) == value and not entry["values"][value].get("zone")
    return entry["kind"] in ("number", "count") or claim.attribute == "density"


def _image(claim: Claim, region: Region | None, scene: Scene) -> Image | str:
    try:
        image = scene.image_of(claim, region)
    except ActionRejected:
        return "the study has no such image"
    if region is not None and not region.box.intersection(BoundingBox(x0=0, y0=0, x1=image.width, y1=image.height)):
        return "the region lies outside the image"
    return image


def _look(loupe: Loupe, region: Region, second: Loupe | None) -> _Looked | str:
    """Fresh outlines from the box, or a person's mask; what is measured there, and how far it can be trusted.

    second: the same study through another segmenter.
    """
    given = region.mask
    if given is not None and region.source in ("person", "claim"):
        if not given.area:
            return "the outline is empty"
        fresh = region.model_copy(update={"predicted_iou": None})
        try:
            return _Looked(given, loupe.measure(fresh), EXACT, "", {})
        except ActionRejected as error:
            return str(error)
    spacing = loupe.image(region.image).spacing
    try:
        found = consensus(loupe.outlines(region.image, region.box), spacing)
        other = consensus(second.outlines(region.image, region.box), spacing) if second is not None else None
        if found is None:
            return "nothing in the region stands out enough to be outlined"
        own = region.model_copy(update={"mask": found.mask, "predicted_iou": found.predicted_iou})
        measurement = loupe.measure(own)
    except ActionRejected as error:
        return str(error)
    others = {"the region's own mask": given, "a second segmenter's": None if other is None else other.mask}
    weak, numbers = _trust(found, region.box, others, measurement)
    if numbers["agreement"] < threshold("outline", "same_object"):
        return f"two outlines of the region share only {numbers['agreement']:.0%}: it is open what is meant"
    return _Looked(found.mask, measurement, found.spread, weak, numbers)


def _trust(
    found: Consensus, box: BoundingBox, others: Mapping[str, Mask | None], measured: Measurement
) -> tuple[str, dict[str, float]]:
    """Why an outline is weak ("" when it is not), and the numbers behind that."""
    numbers = {"edge_share": _edge_share(found.mask, box), "agreement": found.agreement}
    reasons = []
    if found.predicted_iou is not None:
        numbers["predicted_iou"] = found.predicted_iou
        if found.predicted_iou < threshold("outline", "predicted_iou"):
            reasons.append(f"the segmenter expects {found.predicted_iou:.0%} overlap")
    if numbers["edge_share"] > threshold("outline", "edge_share"):
        reasons.append(f"it covers {numbers['edge_share']:.0%} of the box's rim")
    if found.agreement < threshold("outline", "agreement"):
        reasons.append(f"outlines from tighter boxes and a closer crop share {found.agreement:.0%} with it")
    for whose, other in others.items():
        if other is None or not other.area:
            continue
        shared = found.mask.iou(other)
        numbers["agreement"] = min(shared, numbers["agreement"])
        if shared < threshold("outline", "agreement"):
            reasons.append(f"it shares {shared:.0%} with {whose}")
    contrast = _checks.number_of(measured, "contrast")
    low = contrast is None or abs(contrast) < threshold("outline", "grey_level")
    if found.name == "threshold" and low:
        reasons.append("it was found by grey level with little contrast")
    return "; ".join(reasons), numbers


def _edge_share(mask: Mask, box: BoundingBox) -> float:
    """Share of the pixels along the box's inner edge that the mask covers, 0 to 1; those of a slide may be larger."""
    whole = box.snap().clip(mask.width, mask.height)
    inside = mask.within(whole, (-(-int(whole.height) // mask.step), -(-int(whole.width) // mask.step)))
    rim = np.ones_like(inside)
    rim[1:-1, 1:-1] = False
    return float(inside[rim].mean())


def _compare(claim: Claim, scene: Scene, looked: _Looked, image: Image) -> Outcome:
    """The check of the claim's attribute; a denied word turns the outcome round."""
    weak, value = bool(looked.weak), claim.value
    assert not isinstance(value, bool)
    word = str(value).removeprefix(DENIED)
    if claim.attribute in ("long_axis", "short_axis", "area"):
        return _size(claim, value, looked, image)
    if claim.attribute == "mean":
        return _checks.check_mean(value, claim.unit, looked.measurement, weak=weak)
    if claim.attribute == "density":
        outcome = _checks.check_density(word if isinstance(value, str) else value, looked.measurement, weak=weak)
    elif claim.attribute == "site":
        x, y = (_checks.number_of(looked.measurement, n) or 0.0 for n in ("site_x", "site_y"))
        outcome = _checks.check_site(word, x, y, weak=weak)
    elif claim.attribute == "side":
        outcome = _side(word, scene, looked, image)
    elif claim.attribute == "colour":
        outcome = _colour(word, scene, looked, image)
    elif claim.attribute == "intensity":
        outcome = _checks.check_intensity(word, looked.measurement, weak=weak)
    else:
        outcome = _checks.check_shape(word, looked.measurement, _digits(looked, image), looked.spread, weak=weak)
    return _checks.denied(outcome) if str(value).startswith(DENIED) else outcome


def _size(claim: Claim, value: float | str, looked: _Looked, image: Image) -> Outcome:
    power = 2 if claim.attribute == "area" else 1
    per_unit = in_millimetres(1.0, claim.unit)
    if per_unit is None and claim.unit != ("px2" if power == 2 else "px"):
        return Outcome("undetermined", f'"{claim.unit}" is not a unit of this; without one a size cannot be checked')
    spacing = image.spacing if per_unit else None
    if per_unit and spacing is None:
        return Outcome("undetermined", "the file does not say how large a pixel is")
    pixel_area = (spacing.row_mm * spacing.column_mm if spacing else 1.0) / (per_unit or 1.0) ** (2 / power)
    if claim.attribute == "area":
        found = looked.outline.area * pixel_area
    else:
        size = across(looked.outline, spacing)
        found = (size.longest if claim.attribute == "long_axis" else size.shortest) / (per_unit or 1.0)
    spread: tuple[float, float] = getattr(looked.spread, claim.attribute)
    return _checks.check_size(
        claim.attribute, value, claim.unit, found, pixel_area**0.5, spread, weak=bool(looked.weak)
    )  # fmt: skip


def _digits(looked: _Looked, image: Image) -> float:
    """Longest diameter in pixels: what a pixel's error does to a shape depends on it."""
    pixel = max(image.spacing.row_mm, image.spacing.column_mm) if image.spacing else 1.0
    return (_checks.number_of(looked.measurement, "long_axis") or pixel) / pixel


def _colour(stated: str, scene: Scene, looked: _Looked, image: Image) -> Outcome:
    if image.values != "RGB":
        return Outcome("undetermined", "the picture has no colours")
    patch = region_of(scene.loupe.store, image, looked.outline.box(), at_most=AT_MOST)
    inside = looked.outline.within(patch.box, patch.values.shape[:2])
    nearest, possible = colour_share(patch.values, inside, stated, threshold("colour", "tolerance"))
    found = looked.measurement.get("colour")
    return _checks.check_colour(stated, nearest, possible, str(found.value) if found else "", weak=bool(looked.weak))


def _side(stated: str, scene: Scene, looked: _Looked, image: Image) -> Outcome:
    x, y = (_checks.number_of(looked.measurement, n) or 0.0 for n in ("site_x", "site_y"))
    column, row = x * image.width, y * image.height
    found = side_word(image, column, row)
    if stated == "bilateral":
        sides = {side_word(image, *r.box.centre) for r in scene.regions if r.image == image.index}
        both = {"left", "right"} <= sides
        if both:
            return Outcome("supported", "regions lie on both sides", "bilateral", rests_on_describer=True)
        return Outcome("undetermined", "one region shows one side", found)
    letters = image.patient_orientation
    if image.laterality in ("L", "R") or letters is None:
        return _checks.check_side(stated, found, None)
    across = column / image.width if letters[0][:1] in ("L", "R") else row / image.height
    return _checks.check_side(stated, found, abs(across - 0.5))


@cache
def _version() -> str:
    return version("medloupe")
