"""Planner for chat models with native tool calling: the look tools are offered, the model calls them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal

from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, Field, ValidationError

from medloupe.agent.calls import BudgetReached
from medloupe.agent.planner import CORRECTIONS, Plan, PlanScene, check_action
from medloupe.agent.planner_grounding import GroundingPlanner
from medloupe.errors import ActionRejected, EndpointFault
from medloupe.models.vlm.base import Message, ToolCall, VLMRequest
from medloupe.models.vlm.profiles import ModelProfile
from medloupe.prompts import prompt
from medloupe.tools.look.actions import Action, Compare, Crop, Measure, Segment, SetWindow, Slice, Zoom
from medloupe.types import View, Window

__all__ = ["AutoPlanner", "ToolCallingPlanner", "tool_definitions"]


# What the model writes. Names and first lines of the docstrings are what it reads. Boxes are in its own convention.
class zoom(BaseModel):  # noqa: N801 - the class name is the tool's name
    """Look closer at a box of a view, from full-resolution pixels."""

    view: int = Field(description="number of the view, as in V0")
    box: list[float] = Field(description="four numbers, in the convention you were told")
    label: str = Field(default="", description="what you hope to see there")


class segment(BaseModel):  # noqa: N801
    """Outline the structure in a box or under points of a view and look closer at it; with neither, propose regions."""

    view: int
    box: list[float] | None = Field(default=None, description="four numbers, in the convention you were told")
    points: list[list[float]] = Field(default=[], description="points on the structure, two numbers each")
    label: str = ""


class crop(BaseModel):  # noqa: N801
    """Look at an outlined region with some of its surroundings, its outline drawn."""

    view: int
    region: str = Field(description="the region's id, as in R1")


class window(BaseModel):  # noqa: N801
    """Show a view again through another grey-value window: a preset's name, or a centre and a width."""

    view: int
    preset: str | None = None
    centre: float | None = None
    width: float | None = None


class slice(BaseModel):  # noqa: A001, N801
    """Show another image of a series, or a slice across it in another plane."""

    series: int = 0
    index: int = Field(description="place in the series or, with a plane, along that plane; counted from 0")
    plane: Literal["axial", "coronal", "sagittal"] | None = Field(
        default=None, description="only to see the series in another plane than its own images"
    )


class measure(BaseModel):  # noqa: N801
    """Measure a region: size, intensity, shape, place."""

    region: str = Field(description="the region's id, as in R1")


class compare(BaseModel):  # noqa: N801
    """Put two views side by side."""

    view: int
    other: int


class answer(BaseModel):  # noqa: N801
    """Enough was seen to answer the question."""

    reason: str = ""


_ALWAYS: tuple[type[BaseModel], ...] = (zoom, segment, crop, measure, compare, answer)


@cache
def _definition(tool: type[BaseModel]) -> dict[str, Any]:
    return convert_to_openai_tool(tool)


def tool_definitions(*, grey: bool, slices: bool) -> tuple[dict[str, Any], ...]:
    """OpenAI tool definitions of what this study allows: `window` on grey images, `slice` where there are slices."""
    extra: tuple[type[BaseModel], ...] = (*((window,) if grey else ()), *((slice,) if slices else ()))
    return tuple(_definition(tool) for tool in (*_ALWAYS[:-1], *extra, answer))


@dataclass
class _Reading:
    """What one reply came to."""

    actions: list[Action] = field(default_factory=list)
    done: str = ""
    rejected: dict[str, str] = field(default_factory=dict)
    """Call id to what was wrong with it."""


class ToolCallingPlanner:
    """Native tool calling. An invalid call is answered with what was wrong, twice, then dropped with a warning."""

    name = "tools"

    async def __call__(self, scene: PlanScene) -> Plan:
        """The next looks."""
        assert scene.ask is not None and scene.profile is not None  # chosen only where there is a VLM
        template = prompt("plan_tools")
        ask = template.render(
            question=scene.question,
            chain=scene.chain,
            facts=scene.facts,
            looks_left=scene.looks_left,
            convention=scene.profile.describe_convention(),
        )
        messages: list[Message] = [*scene.prefix, Message(role="user", parts=(ask,))]
        study = scene.loupe.study
        tools = tool_definitions(
            grey=study.images[scene.overview.image].values != "RGB", slices=any(len(s.images) > 1 for s in study.series)
        )
        actions: list[Action] = []
        for attempt in range(CORRECTIONS + 1):
            request = VLMRequest(messages=tuple(messages), purpose="plan", tools=tools, prompt=template.sha256)
            try:
                reply = await scene.ask(request)
            except BudgetReached:
                if not actions:
                    raise
                break  # a correction that a cap left no room for costs none of the looks already asked for
            reading = self._read(reply.tool_calls, scene, actions)
            actions += reading.actions
            if not reading.rejected or attempt == CORRECTIONS:
                break
            messages.append(Message(role="assistant", parts=(reply.text,), tool_calls=reply.tool_calls))
            messages += [
                Message(role="tool", parts=(reading.rejected.get(call.id, "noted"),), tool_call_id=call.id)
                for call in reply.tool_calls
            ]
        warnings = tuple(f"dropped a look the planner asked for: {why}" for why in reading.rejected.values())
        if actions:
            return Plan(actions=tuple(actions), warnings=warnings)
        return Plan(done=reading.done or reply.text.strip() or "the planner asked for nothing more", warnings=warnings)

    @staticmethod
    def _read(calls: tuple[ToolCall, ...], scene: PlanScene, taken: list[Action]) -> _Reading:
        reading = _Reading()
        for call in calls:
            try:
                action = action_of(call, scene)
                if action is None:
                    reading.done = "the planner has seen enough"
                    continue
                check_action(action, scene, [*taken, *reading.actions])
                reading.actions.append(action)
            except ActionRejected as error:
                reading.rejected[call.id] = str(error)
        return reading


class AutoPlanner:
    """Native tool calling, or boxes as JSON where the server refuses tools (vLLM without a tool parser, say)."""

    name = "tools"

    async def __call__(self, scene: PlanScene) -> Plan:
        """The next looks."""
        try:
            return await ToolCallingPlanner()(scene)
        except EndpointFault as error:
            if error.status not in (400, 404, 422, 501):
                raise
            plan = await GroundingPlanner()(scene)
            message = "the endpoint refused tool calls, so the planner asked for boxes instead (--planner grounding)"
            return replace(plan, warnings=(message, *plan.warnings))


_WIRE: dict[str, type[BaseModel]] = {
    tool.__name__: tool for tool in (zoom, segment, crop, window, slice, measure, compare, answer)
}


def action_of(call: ToolCall, scene: PlanScene) -> Action | None:
    """A tool call as an action in full-image pixels; None for `answer`; ActionRejected says what is wrong with it."""
    wire = _WIRE.get(call.name)
    if wire is None:
        raise ActionRejected(f"there is no tool {call.name[:40]!r}; there are {', '.join(_WIRE)}")
    try:
        said = wire.model_validate_json(call.arguments or "{}")
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "arguments"
        raise ActionRejected(f"{call.name}: {place}: {first['msg']}") from None
    return _action(said, scene)


def _action(said: BaseModel, scene: PlanScene) -> Action | None:
    match said:
        case zoom():
            view = scene.view(said.view)
            box = _profile(scene).to_view_box(said.box, view.width, view.height)
            return Zoom(view=said.view, box=view.box_to_image(box), label=said.label)
        case segment():
            return _segment(said, scene)
        case crop():
            return Crop(view=said.view, region=said.region)
        case window():
            return SetWindow(view=said.view, preset=said.preset, window=_window(said))
        case slice():
            return Slice(series=said.series, index=said.index, plane=said.plane)
        case measure():
            return Measure(region=said.region)
        case compare():
            return Compare(view=said.view, other=said.other)
        case _:
            return None


def _segment(said: segment, scene: PlanScene) -> Segment:
    view, profile = scene.view(said.view), _profile(scene)
    box = None if said.box is None else view.box_to_image(profile.to_view_box(said.box, view.width, view.height))
    points = tuple(_point(pair, view, profile) for pair in said.points)
    return Segment(view=said.view, box=box, points=points, label=said.label)


def _point(pair: list[float], view: View, profile: ModelProfile) -> tuple[float, float]:
    x, y = profile.to_view_point(pair, view.width, view.height)
    # A point on the far edge means the last pixel: pixels are half-open.
    return view.to_image(min(x, view.width - 0.5), min(y, view.height - 0.5))


def _window(said: window) -> Window | None:
    if said.centre is None or said.width is None:
        if said.preset is None:
            raise ActionRejected("window needs a preset, or a centre and a width")
        return None
    if not (math.isfinite(said.centre) and math.isfinite(said.width) and said.width > 0):
        raise ActionRejected("a window needs a finite centre and a width above 0")
    if said.preset is not None:
        raise ActionRejected("a window is a preset, or a centre and a width, not both")
    return Window(centre=said.centre, width=said.width, source="set")


def _profile(scene: PlanScene) -> ModelProfile:
    assert scene.profile is not None
    return scene.profile
