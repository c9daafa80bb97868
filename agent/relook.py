"""One more look at what a probe could not decide: a zoom on the claim's region, where it was shown small before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from medloupe.agent.budget import Budget, Spent
from medloupe.agent.state import Job
from medloupe.tools.look import Loupe
from medloupe.tools.look.actions import Zoom
from medloupe.types import BoundingBox, Claim, Region, Verdict, View

__all__ = ["SecondLook", "second_look"]

_GROWN = 0.15
"""Of the region's box on each side: some surroundings, and little else."""
_PROBE = 4
"""Most requests that a probe takes."""
_CLOSER = 2.0
"""A zoom is another picture only if it shows at most half the area of the view that the claim was probed on."""


class SecondLook(NamedTuple):
    """What is looked at once more, and which claims are then probed where."""

    jobs: list[Job]
    recheck: dict[str, int]
    """Claim id to the view that it is probed on."""


def second_look(
    claims: Sequence[Claim], verdicts: Mapping[str, Verdict], views: Sequence[View], loupe: Loupe, *, first_view: int,
    budget: Budget, spent: Spent,
) -> SecondLook:  # fmt: skip
    """Zooms that could settle undetermined claims, within what is left of the budget; none, most of the time.

    A measurement is not improved by a zoom (it is made on full-resolution pixels), a contradiction is not settled by
    one, and a model that failed is not asked again: so only claims whose probe was answered and did not decide.
    """
    nothing = SecondLook([], {})
    if spent.reached(budget):
        return nothing
    by_index = {view.index: view for view in views}
    jobs: dict[str, Job] = {}
    recheck: dict[str, int] = {}
    calls = budget.calls - spent.calls
    for claim in claims:
        view, region = by_index.get(-1 if claim.view is None else claim.view), claim.region
        if (
            not _was_asked(verdicts[claim.id])
            or view is None
            or region is None
            or view.overlay == "pair"
            or view.image != region.image
        ):
            continue
        box = _close_up(region, loupe)
        if box is None or view.box.area < _CLOSER * box.area:
            continue
        new = region.id not in jobs
        calls -= _PROBE + new
        if calls < 0 or (new and len(jobs) >= budget.looks - spent.looks):
            break
        if new:
            index = first_view + len(jobs)
            jobs[region.id] = Job(action=Zoom(view=view.index, box=box), view=index, region=region)
        recheck[claim.id] = jobs[region.id].view
    return SecondLook(list(jobs.values()), recheck)


def _was_asked(verdict: Verdict) -> bool:
    """Whether a probe was answered and did not decide; not where something else than a view is in doubt."""
    if verdict.verdict != "undetermined" or verdict.method == "rules" or verdict.numbers.get("faults"):
        return False
    return bool(verdict.numbers.get("asked"))


def _close_up(region: Region, loupe: Loupe) -> BoundingBox | None:
    image = loupe.image(region.image)
    try:
        return region.box.grow(_GROWN).clip(image.width, image.height)
    except ValueError:
        return None
