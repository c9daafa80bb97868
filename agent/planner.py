"""What a planner is: given what was seen, where to look next, or that it is enough."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from medloupe.agent.messages import Chain
from medloupe.errors import ActionRejected
from medloupe.models.vlm.base import Message, Picture, VLMReply, VLMRequest
from medloupe.models.vlm.profiles import ModelProfile
from medloupe.tools.imaging import preset_names
from medloupe.tools.look import Loupe
from medloupe.tools.look.actions import Action, Compare, Crop, Measure, Segment, SetWindow, Slice, Zoom
from medloupe.types import Observation, Region, View

__all__ = ["CORRECTIONS", "Plan", "PlanScene", "Planner", "check_action"]

CORRECTIONS = 2
"""How often an invalid action is returned to the planner before it is dropped with a warning."""


@dataclass(frozen=True, kw_only=True)
class PlanScene:
    """All that a planner may know."""

    question: str
    overview: View
    views: Sequence[View]
    regions: Sequence[Region]
    observations: Sequence[Observation]
    loupe: Loupe
    looks_left: int
    calls_left: int
    """Model calls that planning and describing may take; 0 without a model."""
    depth: int
    """Nested zooms allowed."""
    repeats: int
    """How often the same crop may be looked at."""
    next_region: int
    """Number of the next region's id."""
    first_round: bool
    """Nothing was planned yet for this question."""
    profile: ModelProfile | None
    ask: Callable[[VLMRequest], Awaitable[VLMReply]] | None
    prefix: tuple[Message, ...]
    picture: Callable[[View], Picture]

    @property
    def chain(self) -> list[str]:
        """What was seen, a line a view, besides the bare overview."""
        return [line for _, line in Chain(self.views, self.observations).lines(bare=self.overview.index)]

    @property
    def facts(self) -> str:
        """What the tools can name: slices where there are any, window presets where there are any."""
        study = self.loupe.study
        shown = study.images[self.overview.image]
        parts = []
        for series in (s for s in study.series if len(s.images) > 1):
            here = series.index == shown.series
            place = f"; V{self.overview.index} shows number {series.images.index(shown.index)}" if here else ""
            across = "".join(
                f"; {plane} slices 0 to {count - 1}" for plane, count in self.loupe.planes(series.index).items()
            )
            parts.append(f"Series {series.index} has {len(series.images)} images{place}{across}.")
        presets = preset_names(shown)
        return " ".join([*parts, *([f"Window presets: {', '.join(presets)}."] if presets else [])])

    def view(self, index: int) -> View:
        """The view of that index; ActionRejected names the ones there are."""
        found = next((v for v in self.views if v.index == index), None)
        if found is None:
            raise ActionRejected(f"there is no view V{index}; there are {', '.join(f'V{v.index}' for v in self.views)}")
        return found


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a planner decided."""

    actions: tuple[Action, ...] = ()
    regions: tuple[Region, ...] = ()
    """Regions it outlined itself (the policy's proposals)."""
    done: str = ""
    """Why no further look is needed; "" when looks were asked for."""
    warnings: tuple[str, ...] = ()


class Planner(Protocol):
    """Decides where to look. One conformance suite (tests/agent/test_planners.py) holds for all."""

    name: str

    async def __call__(self, scene: PlanScene) -> Plan:
        """The next looks; a ModelError when the model it asks fails."""
        ...


def check_action(action: Action, scene: PlanScene, taken: Sequence[Action] = ()) -> None:
    """ActionRejected, worded for the planner, when an action names what is not there or repeats or nests too deeply."""
    if isinstance(action, Slice):
        _check_slice(action, scene)
        return
    if isinstance(action, Measure | Crop) and not any(r.id == action.region for r in scene.regions):
        known = ", ".join(r.id for r in scene.regions) or "none yet"
        raise ActionRejected(f"there is no region {action.region}; there are {known}")
    if isinstance(action, Measure):
        return
    view = scene.view(action.view)
    others = [scene.view(action.other)] if isinstance(action, Compare) else []
    if others and others[0].index == view.index:
        raise ActionRejected("compare needs two different views")
    for named in (view, *others):
        if named.overlay == "pair":
            raise ActionRejected(f"V{named.index} shows two views side by side; name one of them instead")
    if isinstance(action, SetWindow):
        _check_window(action, view, scene)
    if view.depth >= scene.depth and isinstance(action, Zoom | Segment | Crop):
        raise ActionRejected(f"V{view.index} is already {view.depth} zooms deep, which is the most there may be")
    _check_repeat(action, scene, taken)


def _check_window(action: SetWindow, view: View, scene: PlanScene) -> None:
    presets = preset_names(scene.loupe.image(view.image))
    if not presets:
        raise ActionRejected(f"V{view.index} is in colour and has no grey-value window")
    if action.preset is not None and action.preset not in presets:
        raise ActionRejected(f"there is no window {action.preset[:40]!r} here; there are {', '.join(presets)}")


def _check_slice(action: Slice, scene: PlanScene) -> None:
    series = scene.loupe.study.series
    if not 0 <= action.series < len(series):
        raise ActionRejected(f"there is no series {action.series}; there are {len(series)}, counted from 0")
    images = series[action.series].images
    if action.plane is None and not 0 <= action.index < len(images):
        raise ActionRejected(f"series {action.series} has {len(images)} images, counted from 0")
    image = scene.loupe.slice_image(action.series, action.index, action.plane)
    if any(v.kind in ("slice", "overview") and v.image == image for v in scene.views):
        raise ActionRejected("that image was looked at already; name another, or answer")


def _check_repeat(action: Action, scene: PlanScene, taken: Sequence[Action]) -> None:
    """The same crop may be looked at `repeats` times; over 0.95 of overlap on one image is the same crop.

    What this cannot foresee (two boxes that are outlined alike) the look itself notices by the pixels it made.
    """
    again = sum(1 for other in taken if other == action)
    for view in scene.views:
        match action:
            case Zoom():
                image = scene.view(action.view).image
                again += view.kind == "zoom" and view.image == image and view.box.iou(action.box) > 0.95
            case Crop():
                again += view.kind == "crop" and view.region == action.region
            case Compare():
                again += view.kind == "compare" and (view.parent, view.other) == (action.view, action.other)
    if again >= scene.repeats:
        raise ActionRejected("that was looked at already; look elsewhere, or answer")
