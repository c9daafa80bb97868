"""What the plan node works with: whether there is room for a look, the planner's scene, and actions made into jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from medloupe.agent.looks import jobs_for
from medloupe.agent.messages import prefix
from medloupe.agent.planner import Plan, PlanScene
from medloupe.agent.resources import Resources
from medloupe.agent.state import Job, ReaderState, kept_observations, next_region, view_of
from medloupe.models.vlm.base import VLMReply, VLMRequest
from medloupe.tools.look.actions import Action, Crop, Segment
from medloupe.types import Region

__all__ = ["jobs_of", "no_more_looks", "plan_scene"]

_KEPT_FOR_DRAFT = 1
"""Calls held back from looking, so that there is always one left to answer with."""


def no_more_looks(state: ReaderState, resources: Resources) -> str:
    """Why no further look can be made; "" while there is room."""
    budget, spent = resources.budget, state["spent"]
    now = spent.model_copy(update={"seconds": time.time() - state["started"]})
    if resources.vlm is not None and spent.calls >= budget.calls - _KEPT_FOR_DRAFT:
        return f"the cap of {budget.calls} model calls was reached"
    if spent.plans >= budget.plans:
        return f"the cap of {budget.plans} rounds of planning was reached"
    return now.reached(budget) or ""


def plan_scene(
    state: ReaderState, resources: Resources, ask: Callable[[VLMRequest], Awaitable[VLMReply]] | None
) -> PlanScene:
    """All that a planner may know."""
    budget, loupe = resources.budget, resources.loupe(state["study_id"])
    overview = view_of(state["views"], state["overview"])
    looks_left = budget.looks - state["spent"].looks
    if resources.vlm is not None:  # one call to plan, one for each look's description, one to answer
        looks_left = max(1, min(looks_left, budget.calls - state["spent"].calls - 1 - _KEPT_FOR_DRAFT))
    return PlanScene(
        question=state["question"],
        overview=overview,
        views=state["views"],
        regions=state.get("regions", []),
        observations=kept_observations(state),
        loupe=loupe,
        looks_left=looks_left,
        calls_left=budget.calls - state["spent"].calls if resources.vlm is not None else 0,
        depth=budget.depth,
        repeats=budget.repeats,
        next_region=next_region(state.get("regions", [])),
        first_round=state["spent"].plans == 0,
        profile=resources.vlm.profile if resources.vlm else None,
        ask=ask,
        prefix=prefix(loupe.study.images[overview.image], overview, resources.picture),
        picture=resources.picture,
    )


async def jobs_of(
    plan: Plan, scene: PlanScene, state: ReaderState, resources: Resources
) -> tuple[list[Job], list[Region], list[str]]:
    """(looks to make, regions outlined on the way, warnings); no more looks than there is room for."""
    regions = [*state.get("regions", []), *plan.regions]
    actions, proposed = await _expand(plan.actions, scene, regions)
    regions += proposed
    left = scene.looks_left
    jobs = jobs_for(
        actions[:left], first_view=state["next_view"], first_region=next_region(regions),
        views=state["views"], regions=regions,
    )  # fmt: skip
    warnings = [*plan.warnings]
    if len(actions) > left:
        cap = f"the cap of {resources.budget.looks} looks was reached"
        warnings.append(f"{len(actions) - left} looks left out: {cap}")
    return jobs, [*plan.regions, *proposed], warnings


async def _expand(
    actions: Sequence[Action], scene: PlanScene, regions: Sequence[Region]
) -> tuple[list[Action], list[Region]]:
    """`segment` with neither box nor points becomes one focal crop for each region that it proposes."""
    expanded: list[Action] = []
    proposed: list[Region] = []
    for action in actions:
        if not (isinstance(action, Segment) and action.box is None and not action.points):
            expanded.append(action)
            continue
        found = await asyncio.to_thread(
            scene.loupe.segment, scene.view(action.view),
            first_id=next_region([*regions, *proposed]), limit=scene.looks_left,
        )  # fmt: skip
        proposed += found
        expanded += [Crop(view=action.view, region=region.id) for region in found]
    return expanded, proposed
