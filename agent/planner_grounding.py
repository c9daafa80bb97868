"""Planner for models without tool calling: the VLM is asked for boxes as JSON."""

from __future__ import annotations

from pydantic import BaseModel, Field

from medloupe.agent.calls import BudgetReached
from medloupe.agent.planner import CORRECTIONS, Plan, PlanScene, check_action
from medloupe.errors import ActionRejected, ReplyUnreadable
from medloupe.models.vlm.base import Message, VLMRequest
from medloupe.models.vlm.schema import json_schema, parse_json
from medloupe.prompts import prompt
from medloupe.tools.look.actions import Action, Zoom

__all__ = ["GroundingPlanner", "GroundingReply"]


class GroundingReply(BaseModel):
    """What the model is asked for; each region holds a box under the family's own key."""

    regions: list[dict[str, object]] = Field(default=[])


class GroundingPlanner:
    """Boxes on the overview, in the model's convention. A wrong box is told to the model, twice, then dropped."""

    name = "grounding"

    async def __call__(self, scene: PlanScene) -> Plan:
        """The next looks."""
        assert scene.ask is not None and scene.profile is not None  # chosen only where there is a VLM
        template = prompt("plan_grounding")
        ask = template.render(
            question=scene.question,
            chain=scene.chain,
            overview=scene.overview.index,
            looks_left=scene.looks_left,
            box_key=scene.profile.box_keys[0],
            convention=scene.profile.describe_convention(),
        )
        messages: list[Message] = [*scene.prefix, Message(role="user", parts=(ask,))]
        actions: list[Action] = []
        rejected: list[str] = []
        for _ in range(CORRECTIONS + 1):
            request = VLMRequest(
                messages=tuple(messages),
                purpose="plan",
                schema=json_schema(GroundingReply),
                schema_name="regions",
                prompt=template.sha256,
            )
            try:
                reply = await scene.ask(request)
            except BudgetReached:
                if not actions:
                    raise
                break  # a correction that a cap left no room for costs none of the looks already asked for
            found, rejected = self._read(reply.text, scene, actions)
            actions += found
            if not rejected:
                break
            messages.append(Message(role="assistant", parts=(reply.text,)))
            messages.append(Message(role="user", parts=("\n".join(rejected),)))
        warnings = tuple(f"dropped a look the planner asked for: {why}" for why in rejected)
        return Plan(
            actions=tuple(actions), done="" if actions else "the planner asked for nothing more", warnings=warnings
        )

    @staticmethod
    def _read(text: str, scene: PlanScene, taken: list[Action]) -> tuple[list[Action], list[str]]:
        assert scene.profile is not None
        try:
            said = parse_json(text, GroundingReply)
        except ReplyUnreadable as error:
            return [], [str(error)]
        actions: list[Action] = []
        rejected: list[str] = []
        view = scene.overview
        for item in said.regions[: scene.looks_left]:
            numbers = scene.profile.box_in(item)
            try:
                if not isinstance(numbers, list):
                    raise ActionRejected(f"a region needs a box under {scene.profile.box_keys[0]!r}")
                box = view.box_to_image(scene.profile.to_view_box(numbers, view.width, view.height))
                action = Zoom(view=view.index, box=box, label=str(item.get("label", "")))
                check_action(action, scene, [*taken, *actions])
                actions.append(action)
            except ActionRejected as error:
                rejected.append(str(error))
        return actions, rejected
