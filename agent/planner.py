"""What a planner is: given what was seen, where to look next, or that it is enough."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from medloupe.agent.messages import Chain
from medloupe.errors import ActionRejected
from medloupe.models.vlm.base import Message, Picture, VLMReply, VLMRequest
from medloupe.models.vlm.profiles import ModelProfile
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
        """What was seen, a line a view, besides the overview."""
        return Chain(self.views, self.observations).lines()[1:]

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
    if isinstance(action, Compare):
        scene.view(action.other)
    if isinstance(action, Measure):
        return
    view = scene.view(action.view)
    if view.overlay == "pair" and not isinstance(action, Compare):
        raise ActionRejected(f"V{view.index} shows two views side by side; name one of them instead")
    if view.depth >= scene.depth and isinstance(action, Zoom | Segment | Crop):
        raise ActionRejected(f"V{view.index} is already {view.depth} zooms deep, which is the most there may be")
    if isinstance(action, Zoom | Segment | Crop | SetWindow):
        _check_repeat(action, view, scene, taken)


def _check_slice(action: Slice, scene: PlanScene) -> None:
    series = scene.loupe.study.series
    if not 0 <= action.series < len(series):
        raise ActionRejected(f"there is no series {action.series}; there are {len(series)}, counted from 0")
    if not 0 <= action.index < len(series[action.series].images):
        raise ActionRejected(f"series {action.series} has {len(series[action.series].images)} images, counted from 0")


def _check_repeat(
    action: Zoom | Segment | Crop | SetWindow, view: View, scene: PlanScene, taken: Sequence[Action]
) -> None:
    """The same crop may be looked at `repeats` times: over 0.95 of overlap on the same image is the same crop."""
    again = sum(1 for other in taken if other == action)
    if isinstance(action, Zoom):
        again += sum(
            1 for v in scene.views if v.kind == "zoom" and v.image == view.image and v.box.iou(action.box) > 0.95
        )
    if again >= scene.repeats:
        raise ActionRejected("that was looked at already; look elsewhere, or answer")
