"""One conformance suite for the three planners, and what each does its own way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reader_script import DISC_BOX, ENOUGH, zooms

from medloupe.agent.messages import prefix
from medloupe.agent.planner import Planner, PlanScene, check_action
from medloupe.agent.planner_grounding import GroundingPlanner
from medloupe.agent.planner_policy import PolicyPlanner
from medloupe.agent.planner_tools import ToolCallingPlanner, tool_definitions
from medloupe.agent.resources import Resources
from medloupe.errors import ActionRejected
from medloupe.models.vlm import ModelProfile, ScriptedVLM, ToolCall, profile_for
from medloupe.models.vlm.loopback import Reply
from medloupe.tools.imaging import MemoryStore, load_study
from medloupe.tools.look import Loupe
from medloupe.tools.look.actions import Compare, Crop, SetWindow, Slice, Zoom
from medloupe.types import BoundingBox

SceneMaker = Callable[..., PlanScene]


@pytest.fixture
def scene(disc_ct: Path) -> SceneMaker:
    """A scene on the disc: V0 was made, nothing else."""
    store = MemoryStore()
    study = load_study(disc_ct, store)
    loupe = Loupe(study, store)
    overview = loupe.overview(0, index=0)
    picture = Resources(store=store).picture

    def make(vlm: ScriptedVLM | None = None, **changes: Any) -> PlanScene:
        values: dict[str, Any] = {
            "question": "How large is it?", "overview": overview, "views": [overview], "regions": [],
            "observations": [],
            "loupe": loupe, "looks_left": 4, "calls_left": 20, "depth": 3, "repeats": 1, "next_region": 1,
            "first_round": True, "profile": vlm.profile if vlm else None, "ask": vlm, "picture": picture,
            "prefix": prefix(study.images[0], overview, picture),
        }  # fmt: skip
        return PlanScene(**(values | changes))

    return make


def tool_reply(reply: Reply) -> dict[str, Any]:
    return {"text": reply.text or "", "tool_calls": reply.tool_calls}


def said(text: str = "", *calls: ToolCall) -> Any:
    from medloupe.models.vlm.base import VLMReply

    return VLMReply(text=text, tool_calls=calls)


DISC = BoundingBox(x0=51.2, y0=71.68, x1=108.8, y1=128.0)
"""DISC_BOX in full-image pixels."""


@pytest.mark.parametrize(
    ("planner", "script"),
    [
        (ToolCallingPlanner(), lambda _: said("", *zooms(DISC_BOX).tool_calls)),
        (GroundingPlanner(), lambda _: json.dumps({"regions": [{"bbox_2d": list(DISC_BOX), "label": "disc"}]})),
        (PolicyPlanner(), None),
    ],
    ids=["tools", "grounding", "policy"],
)
async def test_every_planner_finds_the_disc(planner: Planner, script: Any, scene: SceneMaker) -> None:
    vlm = ScriptedVLM(script) if script else None
    asked = scene(vlm)
    plan = await planner(asked)
    assert not plan.done
    regions = {region.id: region.box for region in plan.regions}
    boxes = [a.box if isinstance(a, Zoom) else regions[a.region] for a in plan.actions if isinstance(a, Zoom | Crop)]
    assert max(box.iou(DISC) for box in boxes) > 0.4
    for action in plan.actions:
        check_action(action, scene(vlm, regions=list(plan.regions)))


@pytest.mark.parametrize(
    ("planner", "script"),
    [
        (ToolCallingPlanner(), lambda _: said("", *ENOUGH.tool_calls)),
        (GroundingPlanner(), lambda _: '{"regions": []}'),
        (PolicyPlanner(), None),
    ],
    ids=["tools", "grounding", "policy"],
)
async def test_every_planner_can_say_that_enough_was_seen(planner: Planner, script: Any, scene: SceneMaker) -> None:
    plan = await planner(scene(ScriptedVLM(script) if script else None, first_round=False))
    assert plan.done
    assert plan.actions == ()


@pytest.mark.parametrize(
    "model", ["qwen2.5-vl-7b", "qwen3-vl-8b", "gemini-2.5-pro", "medgemma-4b", "llava-med", "gpt-5", "unheard-of"]
)
@pytest.mark.parametrize("planner", [ToolCallingPlanner(), GroundingPlanner()], ids=["tools", "grounding"])
async def test_a_box_comes_back_from_every_models_convention_to_half_a_pixel(
    planner: Planner, model: str, scene: SceneMaker
) -> None:
    profile: ModelProfile = profile_for(model)
    overview = scene().overview
    wanted = BoundingBox(x0=60, y0=80, x1=100, y1=120)
    numbers = list(profile.from_view_box(overview.box_from_image(wanted), overview.width, overview.height))
    if profile.convention != "unit":
        numbers = [round(n) for n in numbers]
    call = ToolCall(id="1", name="zoom", arguments=json.dumps({"view": 0, "box": numbers}))
    text = json.dumps({"regions": [{profile.box_keys[0]: numbers}]})
    plan = await planner(scene(ScriptedVLM(lambda _: said(text, call), profile=profile)))
    (action,) = plan.actions
    assert isinstance(action, Zoom)
    assert action.box.as_tuple() == pytest.approx(wanted.as_tuple(), abs=0.5)


@pytest.mark.parametrize(
    ("name", "arguments", "complaint"),
    [
        ("zoom", '{"view": 7, "box": [0, 0, 500, 500]}', "no view V7"),
        ("zoom", '{"view": 0, "box": [0, 0, 500]}', "four numbers"),
        ("zoom", '{"view": 0, "box": [1500, 1500, 1900, 1900]}', "outside the picture"),
        ("zoom", '{"view": 0}', "box"),
        ("zoom", '{"view": 0, "box":', "zoom"),
        ("crop", '{"view": 0, "region": "R9"}', "no region R9"),
        ("window", '{"view": 0}', "a preset, or a centre and a width"),
        ("window", '{"view": 0, "centre": NaN, "width": 100}', "window"),
        ("window", '{"view": 0, "preset": "moonlight"}', "no window 'moonlight'"),
        ("compare", '{"view": 0, "other": 0}', "two different views"),
        ("slice", '{"index": 3}', "1 images"),
        ("rm", '{"path": "/"}', "no tool 'rm'"),
    ],
)
async def test_what_is_wrong_with_a_call_is_told_to_the_planner(
    name: str, arguments: str, complaint: str, scene: SceneMaker
) -> None:
    vlm = ScriptedVLM(lambda _: said("", ToolCall(id="1", name=name, arguments=arguments)))
    plan = await ToolCallingPlanner()(scene(vlm))
    assert len(vlm.requests) == 3
    assert complaint in str(vlm.requests[-1].messages[-1].parts[0])
    assert vlm.requests[-1].messages[-1].role == "tool"
    assert plan.actions == ()
    assert complaint in plan.warnings[0]


async def test_a_mended_call_is_taken_and_the_good_ones_are_kept(scene: SceneMaker) -> None:
    bad = ToolCall(id="2", name="crop", arguments='{"view": 0, "region": "R9"}')
    good, mended = zooms(DISC_BOX).tool_calls[0], zooms((500, 500, 900, 900)).tool_calls[0]
    replies = iter([said("", good, bad), said("", mended)])
    plan = await ToolCallingPlanner()(scene(ScriptedVLM(lambda _: next(replies))))
    assert len(plan.actions) == 2
    assert plan.warnings == ()


async def test_grounding_tells_the_model_what_was_wrong_with_its_boxes(scene: SceneMaker) -> None:
    vlm = ScriptedVLM(lambda _: "The lesion is in the middle.")
    plan = await GroundingPlanner()(scene(vlm))
    assert len(vlm.requests) == 3
    assert "holds no JSON" in str(vlm.requests[-1].messages[-1].parts[0])
    assert plan.actions == ()


def test_only_what_can_be_done_is_offered() -> None:
    def offered(**options: bool) -> set[str]:
        return {tool["function"]["name"] for tool in tool_definitions(**options)}

    assert offered(grey=True, slices=True) - offered(grey=False, slices=False) == {"window", "slice"}


def test_the_same_crop_may_not_be_looked_at_for_ever(scene: SceneMaker) -> None:
    action = Zoom(view=0, box=DISC)
    with pytest.raises(ActionRejected, match="already"):
        check_action(action, scene(), [action])


@pytest.mark.parametrize(
    "action",
    [Slice(series=4, index=0), Slice(series=0, index=9), Crop(view=0, region="R4"), Compare(view=0, other=8),
     SetWindow(view=5, preset="lung")],
    ids=lambda a: f"{a.action}",
)  # fmt: skip
def test_an_action_on_what_is_not_there_is_rejected(action: Any, scene: SceneMaker) -> None:
    with pytest.raises(ActionRejected):
        check_action(action, scene())


async def test_a_cap_met_while_correcting_keeps_the_looks_already_asked_for(scene: SceneMaker) -> None:
    from medloupe.agent.calls import BudgetReached

    one_bad = Reply(tool_calls=(*zooms(DISC_BOX).tool_calls, *zooms((1200, 1200, 1900, 1900)).tool_calls))
    for planner, reply in (
        (
            ToolCallingPlanner(),
            said("", *(ToolCall(f"c{n}", c.name, c.arguments) for n, c in enumerate(one_bad.tool_calls))),
        ),
        (GroundingPlanner(), said(json.dumps({"regions": [{"bbox_2d": list(DISC_BOX)}, {"bbox_2d": "nowhere"}]}))),
    ):
        plan = await planner(scene(ScriptedVLM([reply, BudgetReached("the cap of 2 model calls was reached")])))
        assert [action.action for action in plan.actions] == ["zoom"]
