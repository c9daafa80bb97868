"""What a person changed at the interrupt, checked and made into looks."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from medloupe.agent.state import Job, ReaderState, Review, next_region, view_of
from medloupe.errors import UsageError
from medloupe.tools.look import Loupe
from medloupe.tools.look.actions import Zoom
from medloupe.types import BoundingBox, Region

__all__ = ["read_review", "review_jobs"]


def read_review(said: object, regions: Sequence[Region]) -> Review:
    """The person's word; True is "go on as it is". UsageError, in one line, when it is malformed or names no region."""
    try:
        review = Review() if said is True else Review.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(step) for step in first["loc"]) or "the reply"
        raise UsageError(f"the review is malformed at {place}: {first['msg']}") from None
    known = {region.id for region in regions}
    for identity in (*review.move, *review.exclude):
        if identity not in known:
            there = ", ".join(sorted(known)) or "none"
            raise UsageError(f"the review names {identity[:20]!r}; the regions are {there}")
    return review


def review_jobs(review: Review, state: ReaderState, loupe: Loupe) -> list[Job]:
    """A look at every region that was added or moved.

    A moved region becomes a new one, and the old one is excluded: what was seen there says nothing of the new place.
    """
    regions = {region.id: region for region in state.get("regions", [])}
    number, view = next_region(list(regions.values())), state["next_view"]
    wanted = [(None, box) for box in review.add] + [(regions[i], box) for i, box in review.move.items()]
    jobs = []
    for offset, (old, corners) in enumerate(wanted):
        parent = view_of(state["views"], old.view if old is not None and old.view is not None else state["overview"])
        region = Region(
            id=f"R{number + offset}",
            image=parent.image,
            box=_inside(corners, loupe, parent.image),
            view=parent.index,
            source="person",
            label=old.label if old else "",
        )
        jobs.append(Job(action=Zoom(view=parent.index, box=region.box), view=view + offset, region=region))
    return jobs


def _inside(corners: tuple[float, float, float, float], loupe: Loupe, image: int) -> BoundingBox:
    shown = loupe.image(image)
    x0, y0, x1, y1 = corners
    if not (x0 < x1 and y0 < y1):
        raise UsageError(f"box {corners} is not (left, upper, right, lower)")
    try:
        return BoundingBox.from_tuple(corners).clip(shown.width, shown.height)
    except ValueError:
        raise UsageError(f"box {corners} lies outside the image of {shown.width} x {shown.height} pixels") from None
