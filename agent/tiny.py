"""Reading with loupe-tiny, which sees one small picture at a time and reads no questions.

It searches the overview and tiles of it, describes each place that it pointed at, and its draft says what it described.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from medloupe.agent.describe import DescribeScene, DescriptionReply, measured_sentence
from medloupe.agent.planner import Plan, PlanScene, check_action
from medloupe.agent.planner_grounding import GroundingReply
from medloupe.agent.state import Draft, Drafted, StatedClaim
from medloupe.errors import ActionRejected, ModelError
from medloupe.models.tiny import asking
from medloupe.models.vlm.schema import json_schema, parse_json
from medloupe.tools.look.actions import Action, Zoom
from medloupe.tools.look.scan import close_up, scan
from medloupe.types import BoundingBox, Image, Observation, Region, View

__all__ = ["TinyDescriber", "TinyPlanner", "tiny_draft"]

_SEARCH = 0.7
"""Share of the calls that are left which the search may take: the rest is for what it finds."""
_SAME = 0.3
"""Overlap (IoU) above which two boxes are of one thing; tiles overlap."""
_INSIDE = 0.6
"""Share of a box inside of another above which it is a part of that one: a tile's edge cuts things."""


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
    """One round: the overview and its tiles are searched, and every place that is pointed at is zoomed to."""

    name = "tiles"

    async def __call__(self, scene: PlanScene) -> Plan:
        """The looks."""
        assert scene.profile is not None
        if not scene.first_round:
            return Plan(done="every place that was pointed at was looked at")
        image = scene.loupe.image(scene.overview.image)
        most = int(_SEARCH * scene.calls_left)
        tiles = scan(image.width, image.height, finds=scene.profile.finds, most=most)
        views = [scene.overview, *await asyncio.to_thread(_views, scene, tiles)]
        found = await asyncio.gather(*(self._located(view, image, scene) for view in views))
        warnings = [fault for _, fault in found if fault]
        places = _distinct([place for some, _ in found for place in some])
        room = max(min(scene.looks_left, scene.calls_left - len(views)), 0)
        if len(places) > room:
            warnings.append(f"{len(places) - room} of the places pointed at were not looked at: a cap was reached")
        regions, actions = await asyncio.to_thread(_looks, places[:room], scene, image)
        done = "" if actions else "nothing was pointed at"
        return Plan(actions=tuple(actions), regions=tuple(regions), done=done, warnings=tuple(dict.fromkeys(warnings)))

    async def _located(self, view: View, image: Image, scene: PlanScene) -> tuple[list[_Place], str]:
        """(places in the image, fault) of one picture; a reply that cannot be read finds nothing and is told."""
        assert scene.ask is not None and scene.profile is not None
        try:
            reply = await scene.ask(asking.locate(image, scene.picture(view), json_schema(GroundingReply)))
            said = parse_json(reply.text, GroundingReply)
        except ModelError as error:
            return [], f"a part of the image was not searched: {error}"
        places = []
        for item in said.regions:
            numbers = scene.profile.box_in(item)
            try:
                if isinstance(numbers, list):
                    box = view.box_to_image(scene.profile.to_view_box(numbers, view.width, view.height))
                    places.append(_Place(box, str(item.get("label", ""))))
            except ActionRejected as error:
                return places, f"a box was dropped: {error}"
        return places, ""


class _Place(NamedTuple):
    """What was pointed at, full-image pixels."""

    box: BoundingBox
    label: str


def _views(scene: PlanScene, boxes: Sequence[BoundingBox]) -> list[View]:
    return [scene.loupe.zoom(scene.overview, box, index=scene.overview.index) for box in boxes]


def _looks(places: Sequence[_Place], scene: PlanScene, image: Image) -> tuple[list[Region], list[Action]]:
    """A region and a close-up of each place; with a segmenter, of what it outlines there."""
    regions: list[Region] = []
    actions: list[Action] = []
    for place in places:
        box = _outlined(place.box, scene) if scene.loupe.segmenter is not None else place.box
        region = Region(
            id=f"R{scene.next_region + len(regions)}", image=image.index, box=box, view=scene.overview.index,
            label=place.label,
        )  # fmt: skip
        shown = close_up(box, image.width, image.height)
        action = Zoom(view=scene.overview.index, box=shown, label=place.label, region=region.id)
        try:
            check_action(action, scene, actions)
        except ActionRejected:  # two places may end in the same square
            continue
        regions.append(region)
        actions.append(action)
    return regions, actions


def _outlined(box: BoundingBox, scene: PlanScene) -> BoundingBox:
    """The box of what is outlined there: a box seen in a coarse picture is coarse. The same where it is another thing.

    Not the outline itself: drawn on the picture, it would be what the model describes.
    """
    outline = scene.loupe.outline(scene.overview.image, box)
    if outline is None:
        return box
    tight = outline[0].box()
    return tight if tight.iou(box) > _SAME else box


def _distinct(places: Sequence[_Place]) -> list[_Place]:
    """Largest first, without those that overlap one already taken or lie mostly inside of it."""
    taken: list[_Place] = []
    for place in sorted(places, key=lambda p: -p.box.area):
        if not any(_overlap(place.box, other.box) for other in taken):
            taken.append(place)
    return taken


def _overlap(box: BoundingBox, larger: BoundingBox) -> bool:
    return box.iou(larger) > _SAME or box.intersection(larger) > _INSIDE * box.area


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
