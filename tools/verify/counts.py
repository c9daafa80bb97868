"""How many: against the regions that show a finding, or against the objects that stand out in the pixels."""

from __future__ import annotations

from medloupe.errors import ActionRejected
from medloupe.tools.imaging.region import region as region_of
from medloupe.tools.measure import Counted, count_objects, count_white_cells, luminance
from medloupe.tools.measure.vocabulary import findings, threshold
from medloupe.tools.verify._checks import Outcome
from medloupe.tools.verify._numbers import bounds
from medloupe.tools.verify._said import claims_said
from medloupe.tools.verify.scene import Scene
from medloupe.types import BoundingBox, Claim, Image, Observation, Region, VerdictValue

__all__ = ["check_count"]

_MOST = 2**23
"""Pixels of a slide: counting needs its full size, and takes seconds for as many."""
_SAME = 0.5
"""Regions whose boxes overlap by more than this (IoU) are one."""


def check_count(claim: Claim, scene: Scene, region: Region | None, image: Image) -> Outcome:
    """A stated number of findings.

    Cells, nuclei and the like are counted in the pixels of the region, the view or the image, and so is what was not
    named where nobody described a region (a claim that stands alone). Of anything else only
    the regions that were looked at can be counted, and there may be more that were not: as many as stated supports it,
    clearly more refutes it, fewer decides nothing.
    """
    limits = None if isinstance(claim.value, bool) else bounds(claim.value, whole=True)
    if limits is None:
        return Outcome("undetermined", f'"{claim.value}" is not a number of things')
    if findings().get(claim.finding, {}).get("objects") or not (claim.finding or scene.observations):
        return _objects(limits, claim, scene, region, image)
    found = len(_distinct([r for r in scene.regions if r.image == image.index and _shows(r, claim.finding, scene)]))
    what = claim.finding or "region"
    if not found:
        return Outcome("undetermined", f"no region was described as {what}")
    reason = f"{found} region(s) looked at show(s) {what}"
    verdict = _against(limits, found)
    if verdict == "refuted" and found < limits[0]:
        return Outcome("undetermined", reason + "; there may be others that were not looked at", float(found))
    return Outcome(verdict, reason, float(found), numbers={"regions": float(found)}, rests_on_describer=True)


def _objects(limits: tuple[float, float], claim: Claim, scene: Scene, region: Region | None, image: Image) -> Outcome:
    view = scene.view(claim.view)
    box = region.box if region else view.box if view else None
    if image.levels:
        box = (box or BoundingBox(x0=0, y0=0, x1=image.width, y1=image.height)).snap().clip(image.width, image.height)
        if box.area > _MOST:
            return Outcome(
                "undetermined", f"more than {_MOST:,} pixels of a slide are not counted in: name a smaller part"
            )
    kind = findings().get(claim.finding, {}).get("objects", True)
    try:
        found = _counted(kind, image, scene, box)
    except ActionRejected as error:
        return Outcome("undetermined", str(error))
    if found is None:
        return Outcome("undetermined", "nothing stands out evenly enough from the ground to be counted")
    number = str(found.least) if found.least == found.most else f"{found.least} to {found.most}"
    what = claim.finding or "separate object"
    verdicts = {_against(limits, count) for count in found}
    verdict: VerdictValue = verdicts.pop() if len(verdicts) == 1 else "undetermined"
    return Outcome(
        verdict, f"{what}: {number} stand out from the ground", (found.least + found.most) / 2,
        numbers={"objects": float(found.least), "objects_most": float(found.most)},
    )  # fmt: skip


def _counted(kind: bool | str, image: Image, scene: Scene, box: BoundingBox | None) -> Counted | None:
    """By the way that the vocabulary names; what takes a colour picture cannot be counted in a grey one."""
    everything = BoundingBox(x0=0, y0=0, x1=image.width, y1=image.height)
    values = region_of(scene.loupe.store, image, box if image.levels and box else everything).values
    inside = None if image.levels else box
    if kind == "stained nuclei":
        return count_white_cells(values, inside) if values.ndim == 3 else None
    return count_objects(luminance(values), inside)


def _against(limits: tuple[float, float], found: int) -> VerdictValue:
    """supported | refuted | undetermined, by the ratio of the count to the nearest that is stated."""
    nearest = min(max(float(found), limits[0]), limits[1])
    if nearest == found:
        return "supported"
    ratio = max(nearest, found) / max(min(nearest, found), 0.5)
    if ratio <= threshold("count", "supported_ratio"):
        return "supported"
    return "refuted" if ratio >= threshold("count", "refuted_ratio") else "undetermined"


def _distinct(regions: list[Region]) -> list[Region]:
    kept: list[Region] = []
    for region in regions:
        if all(region.box.iou(other.box) <= _SAME for other in kept):
            kept.append(region)
    return kept


def _shows(region: Region, finding: str, scene: Scene) -> bool:
    """Whether a describer said so of this region: a finding, or a word such as "hypointense". A fault says nothing."""
    said = [o for o in scene.observations if o.region == region.id and o.fault is None]
    return any(_says(o, finding, scene) for o in said)


def _says(observation: Observation, finding: str, scene: Scene) -> bool:
    if not finding or findings().get(finding, {}).get("generic"):
        return bool(observation.text or observation.attributes)
    said = claims_said(observation, scene)
    denied = {c.finding for c in said if c.attribute == "presence" and c.value is False}
    return finding in ({c.finding for c in said} | {str(c.value) for c in said}) - denied
