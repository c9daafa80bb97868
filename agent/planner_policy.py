"""Planner that needs no model: regions that stand out from the pixels, most prominent first."""

from __future__ import annotations

import asyncio

from medloupe.agent.planner import Plan, PlanScene
from medloupe.tools.look.actions import Crop

__all__ = ["PolicyPlanner"]


class PolicyPlanner:
    """One round of segmenter proposals (or saliency alone, where there is no segmenter), a focal crop of each."""

    name = "policy"

    async def __call__(self, scene: PlanScene) -> Plan:
        """The next looks."""
        if not scene.first_round:
            return Plan(done="every region that stands out was looked at")
        seen = {view.region for view in scene.views if view.kind == "crop"}
        known = [r for r in scene.regions if r.source == "proposal" and r.image == scene.overview.image]
        regions = known or await asyncio.to_thread(
            scene.loupe.segment, scene.overview, first_id=scene.next_region, limit=scene.looks_left
        )
        new = [r for r in regions if r.id not in seen]
        if not new:
            return Plan(
                done="nothing stands out from its surroundings" if not regions else "every region was looked at"
            )
        actions = tuple(Crop(view=scene.overview.index, region=r.id) for r in new[: scene.looks_left])
        return Plan(actions=actions, regions=tuple(regions))
