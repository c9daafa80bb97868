"""What a session remembers. Pixels are never in it: views are addressed by index and digest, and lie in the ImageStore.

Lists grow over the turns of a session; what belongs to one question only (`jobs`, `draft`, `spent`, ...) is reset by
`open`. Everything here is written to checkpoints, so each type is one of medloupe's own frozen ones or plain.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypedDict

from langgraph.types import Overwrite

from medloupe.agent.budget import Spent
from medloupe.tools.look.actions import Action
from medloupe.types import (
    Answer,
    Claim,
    Frozen,
    Measurement,
    Observation,
    Region,
    StatedAttribute,
    Statement,
    Verdict,
    View,
)

__all__ = [
    "Draft",
    "Drafted",
    "Job",
    "LookTask",
    "ReaderState",
    "Review",
    "StatedClaim",
    "VerifyTask",
    "fresh_turn",
    "kept_observations",
    "merge_regions",
    "next_region",
    "view_of",
]


class Job(Frozen):
    """One look to be made: an action with the indices its results will bear, so that order never depends on timing."""

    action: Action
    view: int
    """Index of the view it makes."""
    region: Region | None = None
    """The region it looks at; its mask may still be outlined by the look."""


class StatedClaim(Frozen):
    """A checkable thing as the drafter stated it, and the view that is said to show it."""

    stated: StatedAttribute
    view: int | None = None


class Drafted(Frozen):
    """One sentence of a draft."""

    text: str
    views: tuple[int, ...] = ()
    stated: tuple[StatedClaim, ...] = ()
    complete: bool = False
    """`stated` is all that it says, so that its words need not be read for more."""


class Draft(Frozen):
    """What would be said, before it is checked."""

    sentences: tuple[Drafted, ...] = ()
    answerable: bool = True
    reason: str = ""
    """Why there is nothing to say."""


class Review(Frozen):
    """What a person changed at the interrupt: boxes are (x0, y0, x1, y1) in full-image pixels."""

    add: tuple[tuple[float, float, float, float], ...] = ()
    move: dict[str, tuple[float, float, float, float]] = {}
    exclude: tuple[str, ...] = ()


def merge_regions(known: list[Region], new: list[Region]) -> list[Region]:
    """Later versions of a region (with its mask) take the place of earlier ones; order of first appearance is kept."""
    merged = {region.id: region for region in known}
    merged.update({region.id: region for region in new})
    return list(merged.values())


def merge_warnings(known: list[str], new: list[str]) -> list[str]:
    """Each warning once, in order."""
    return list(dict.fromkeys([*known, *new]))


class ReaderState(TypedDict, total=False):
    """The graph's state. Input: `study` (a path, first turn only), `question`, optionally `modality` and `image`."""

    study: str
    question: str
    modality: str | None
    image: int | None
    """Index of the image to start from; None: the middle of the largest series."""

    session: str
    """The thread's id, or one made up where there is no checkpointer."""
    study_id: str
    opened: str
    """The path that `study_id` was loaded from."""
    turn: int
    views: Annotated[list[View], operator.add]
    regions: Annotated[list[Region], merge_regions]
    measurements: Annotated[list[Measurement], operator.add]
    observations: Annotated[list[Observation], operator.add]
    excluded: list[str]
    """Regions that a person took out: what was seen there supports nothing."""

    next_view: int
    """The next view's index: one that was given out is never given again, even if its look failed."""
    next_claim: int
    """The next claim's number."""
    overview: int
    """View index of the current overview."""
    jobs: list[Job]
    reviewed: bool
    plan_done: str
    """Why planning ended; "" while it goes on."""
    draft: Draft | None
    recheck: dict[str, int]
    """Claims that were undetermined and are probed once more, each on the view made for it; empty: none yet."""
    claims: Annotated[list[Claim], operator.add]
    verdicts: Annotated[list[Verdict], operator.add]
    unparsed: list[str]
    statements: list[Statement]
    spent: Annotated[Spent, operator.add]
    started: float
    """Seconds since the epoch."""
    warnings: Annotated[list[str], merge_warnings]
    answer: Answer | None


def view_of(views: Sequence[View], index: int) -> View:
    """The view of that index."""
    return next(view for view in views if view.index == index)


def next_region(regions: Sequence[Region]) -> int:
    """Number of the next region's id."""
    return max([0, *(int(r.id.removeprefix("R")) for r in regions)]) + 1


def kept_observations(state: ReaderState) -> list[Observation]:
    """Observations, less those of regions that a person excluded."""
    excluded = set(state.get("excluded", []))
    return [o for o in state.get("observations", []) if o.region is None or o.region not in excluded]


class LookTask(TypedDict):
    """What one branch of the look fan-out is given: everything it needs and no more."""

    job: Job
    session: str
    study_id: str
    turn: int
    views: list[View]
    regions: list[Region]
    spent: Spent
    started: float
    overview: int


class VerifyTask(TypedDict):
    """What one branch of the verify fan-out is given."""

    claim: Claim
    claims: list[Claim]
    """All of the draft's, for contradictions."""
    session: str
    study_id: str
    turn: int
    views: list[View]
    regions: list[Region]
    observations: list[Observation]
    spent: Spent
    started: float
    overview: int


def fresh_turn(turn: int, question: str) -> dict[str, Any]:
    """What belongs to one question only, emptied."""
    return {
        "question": question, "turn": turn, "jobs": [], "reviewed": False, "plan_done": "", "draft": None,
        "claims": Overwrite([]), "verdicts": Overwrite([]), "unparsed": [], "statements": [], "recheck": {},
        "spent": Overwrite(Spent()), "started": time.time(), "warnings": Overwrite([]), "answer": None,
    }  # fmt: skip


PlannerName = Literal["auto", "tools", "grounding", "policy"]
