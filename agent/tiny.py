"""Reading with loupe-tiny, which sees one small picture at a time and reads no questions.

It searches the overview and tiles of it, describes each place that it pointed at, and its draft says what it described.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from medloupe.agent.describe import DescribeScene, DescriptionReply, measured_sentence
from medloupe.agent.planner import Plan, PlanScene, check_action
from medloupe.agent.planner_grounding import GroundingReply
from medloupe.agent.state import Draft, Drafted, StatedClaim
from medloupe.errors import ActionRejected, ModelError
from medloupe.models.tiny import asking
from medloupe.models.vlm.schema import json_schema, parse_json
from medloupe.tools.look.actions import Action, Zoom
from medloupe.types import BoundingBox, Image, Observation, View

__all__ = ["TinyDescriber", "TinyPlanner", "tiny_draft"]

_TILE = 2.0
"""Image pixels of a tile for a pixel of its view: a lesion of 12 pixels is still 6 wide."""
_TILES = 4
"""A side, at most."""
_SHARED = 1.15
"""Tiles are so much wider than they are apart."""
_FILLS = 0.45
"""Share of the zoomed view that the box found should fill."""
_SAME = 0.3
"""Overlap (IoU) above which two boxes are of one thing; tiles overlap."""


class TinyDescriber:
    """Asks it for the view's description, and gives its lengths the image's units."""

    def __init__(self, model: str) -> None:
        self.name = model

    async def __call__(self, scene: DescribeScene) -> Observation:
        """One observation."""
        assert scene.ask is not None
        view = scene.view
        request = asking.describe(view, scene.image, scene.picture(view), json_schema(DescriptionReply))
        about = {"id": f"O{view.index}", "view": view.index, "region": view.region, "describer": self.name}
        try:
            reply = await scene.ask(request)
            said = parse_json(reply.text, DescriptionReply)
        except ModelError as error:
            return Observation(**about, prompt=request.prompt, fault=str(error))
        return Observation(
            **about, text=said.text.strip(), prompt=request.prompt,
            attributes=tuple(asking.in_image_units(a.stated(), view, scene.image) for a in said.attributes),
            prompt_tokens=reply.prompt_tokens, completion_tokens=reply.completion_tokens, latency_s=reply.latency_s,
        )  # fmt: skip


class TinyPlanner:
    """One round: every box found on the overview and on its tiles, zoomed to with surroundings."""

    name = "tiles"

    async def __call__(self, scene: PlanScene) -> Plan:
        """The looks."""
        if not scene.first_round:
            return Plan(done="every place that was pointed at was looked at")
        image = scene.loupe.image(scene.overview.image)
        views = [scene.overview, *await asyncio.to_thread(_tiles, scene, image)]
        found = await asyncio.gather(*(self._located(view, image, scene) for view in views))
        faults = tuple(dict.fromkeys(fault for _, fault in found if fault))
        boxes = _distinct([box for some, _ in found for box in some])
        actions: list[Action] = []
        for box in boxes:
            action = Zoom(view=scene.overview.index, box=_square(box, image), label="")
            try:
                check_action(action, scene, actions)
            except ActionRejected:  # two boxes may end in the same square
                continue
            actions.append(action)
        return Plan(actions=tuple(actions), done="" if actions else "nothing was pointed at", warnings=faults)

    async def _located(self, view: View, image: Image, scene: PlanScene) -> tuple[list[BoundingBox], str]:
        """(boxes in the image, fault) of one picture; a reply that cannot be read finds nothing and is told."""
        assert scene.ask is not None and scene.profile is not None
        try:
            reply = await scene.ask(asking.locate(image, scene.picture(view), json_schema(GroundingReply)))
            said = parse_json(reply.text, GroundingReply)
        except ModelError as error:
            return [], f"a part of the image was not searched: {error}"
        boxes = []
        for item in said.regions:
            numbers = scene.profile.box_in(item)
            try:
                if isinstance(numbers, list):
                    boxes.append(view.box_to_image(scene.profile.to_view_box(numbers, view.width, view.height)))
            except ActionRejected as error:
                return boxes, f"a box was dropped: {error}"
        return boxes, ""


def _tiles(scene: PlanScene, image: Image) -> list[View]:
    """Views of an even grid of overlapping squares; none of an image that is hardly larger than a view."""
    assert scene.profile is not None
    longest = max(image.width, image.height)
    count = min(_TILES, math.ceil(longest / (_TILE * scene.profile.longest)))
    if count < 2:
        return []
    side = min(longest / count * _SHARED, image.width, image.height)
    across, down = ([(extent - side) * n / (count - 1) for n in range(count)] for extent in (image.width, image.height))
    return [
        scene.loupe.zoom(scene.overview, BoundingBox(x0=x, y0=y, x1=x + side, y1=y + side), index=scene.overview.index)
        for y in down for x in across
    ]  # fmt: skip


def _distinct(boxes: Sequence[BoundingBox]) -> list[BoundingBox]:
    """Largest first, without those that overlap one already taken or lie mostly inside of it."""
    taken: list[BoundingBox] = []
    for box in sorted(boxes, key=lambda b: -b.width * b.height):
        if not any(_overlap(box, other) for other in taken):
            taken.append(box)
    return taken


def _overlap(box: BoundingBox, larger: BoundingBox) -> bool:
    across = min(box.x1, larger.x1) - max(box.x0, larger.x0)
    down = min(box.y1, larger.y1) - max(box.y0, larger.y0)
    if across <= 0 or down <= 0:
        return False
    both, own = across * down, box.width * box.height
    return both / (own + larger.width * larger.height - both) > _SAME or both > 0.6 * own


def _square(box: BoundingBox, image: Image) -> BoundingBox:
    """The square around a box that it should fill, moved into the image."""
    side = min(max(max(box.width, box.height) / _FILLS, 14.0), image.width, image.height)
    (x, y) = box.centre
    x0 = min(max(x - side / 2, 0.0), image.width - side)
    y0 = min(max(y - side / 2, 0.0), image.height - side)
    return BoundingBox(x0=x0, y0=y0, x1=x0 + side, y1=y0 + side)


# --- the draft ------------------------------------------------------------------------------------------------------


def tiny_draft(observations: Sequence[Observation]) -> Draft:
    """What it described, a sentence a view; that it saw nothing, where it looked and saw nothing."""
    seen = [o for o in observations if o.fault is None]
    there = [o for o in seen if _presence(o) is True]
    if there:
        return Draft(sentences=tuple(_sentence(o) for o in there))
    if not seen:
        return Draft(answerable=False, reason="loupe-tiny pointed at no place to look at")
    return Draft(sentences=tuple(_sentence(o) for o in seen[:1]))


def _presence(observation: Observation) -> object:
    return next((a.value for a in observation.attributes if a.attribute == "presence"), None)


def _sentence(observation: Observation) -> Drafted:
    """Its own words, then the place and the size in the image's units."""
    finding = next((a.finding for a in observation.attributes if a.attribute == "presence"), "")
    stated = [a if a.finding else a.model_copy(update={"finding": finding}) for a in observation.attributes]
    placed = [a for a in stated if a.attribute in ("site", "long_axis")]
    subject = observation.text.rstrip(".")
    return Drafted(
        text=measured_sentence(subject, placed) if placed else observation.text, views=(observation.view,),
        stated=tuple(StatedClaim(stated=a, view=observation.view) for a in stated), complete=True,
    )  # fmt: skip
