"""Carrying out one look: an action becomes a view, and where asked for an outlined region and its measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medloupe.agent.state import Job
from medloupe.errors import ActionRejected
from medloupe.tools.look import Loupe
from medloupe.tools.look.actions import Action, Compare, Crop, Measure, Segment, SetWindow, Slice, Zoom
from medloupe.tools.verify import with_ranges
from medloupe.types import Measurement, Region, View

__all__ = ["Look", "carry_out", "jobs_for"]


@dataclass(frozen=True)
class Look:
    """What one look brought."""

    view: View | None
    """None for a measurement alone."""
    region: Region | None = None
    measurement: Measurement | None = None
    warning: str = ""


def jobs_for(
    actions: Sequence[Action], *, first_view: int, first_region: int, views: Sequence[View], regions: Sequence[Region]
) -> list[Job]:
    """Actions in order, each with the index its view will bear and the region it is about."""
    known = {region.id: region for region in regions}
    jobs: list[Job] = []
    for offset, action in enumerate(actions):
        region: Region | None = None
        if isinstance(action, Crop | Measure | Zoom) and action.region is not None:
            region = known[action.region]
        elif isinstance(action, Zoom | Segment):
            region = _new_region(action, f"R{first_region}", next(v for v in views if v.index == action.view))
            first_region += 1
        jobs.append(Job(action=action, view=first_view + offset, region=region))
    return jobs


def _new_region(action: Zoom | Segment, identity: str, view: View) -> Region:
    box = action.box
    if box is None:  # points alone: the outline decides, until then the whole view
        box = view.box
    return Region(id=identity, image=view.image, box=box, view=view.index, label=action.label)


def carry_out(job: Job, loupe: Loupe, views: Sequence[View], *, measure: bool) -> Look:
    """One look on full-resolution pixels (blocking; call in a thread). `measure`: also measure the region it is about.

    ActionRejected when the pixels do not allow it (nothing of the box inside the image, say).
    """
    action = job.action
    by_index = {view.index: view for view in views}
    match action:
        case Slice():
            return Look(loupe.slice(action.series, action.index, plane=action.plane, index=job.view))
        case SetWindow():
            parent = by_index[action.view]
            return Look(loupe.window(parent, preset=action.preset, window=action.window, index=job.view))
        case Compare():
            return Look(loupe.compare(by_index[action.view], by_index[action.other], index=job.view))
    region, warning = job.region, ""
    if region is None:
        raise ActionRejected(f"{action.action} needs a region")
    if isinstance(action, Measure):
        return Look(None, region, _measured(region, loupe))  # nothing to measure: the planner's mistake, ActionRejected
    parent = by_index[action.view]
    if isinstance(action, Segment):
        region, warning = _outlined(action, region, parent, loupe)
    if isinstance(action, Zoom):
        view = loupe.zoom(parent, action.box, index=job.view, region=region.id)
    else:
        view = loupe.crop(parent, region, index=job.view)
    measurement = None
    if measure:
        try:
            measurement = _measured(region, loupe)
        except ActionRejected as error:
            warning = warning or f"{region.id}: {error}"
    return Look(view, region, measurement, warning)


def _measured(region: Region, loupe: Loupe) -> Measurement:
    """ActionRejected where there is nothing to measure."""
    return with_ranges(loupe.measure(region), region, loupe)


def _outlined(action: Segment, region: Region, parent: View, loupe: Loupe) -> tuple[Region, str]:
    """The region with its outline; as it was, with a warning, when nothing in it could be outlined."""
    number = int(region.id.removeprefix("R"))
    found = loupe.segment(parent, box=action.box, points=action.points, first_id=number, limit=1)
    if not found:
        return region, f"{region.id}: nothing in it could be outlined"
    return found[0].model_copy(update={"source": region.source, "label": region.label}), ""
