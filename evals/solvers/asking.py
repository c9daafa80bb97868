"""The last request of a case: a choice, a place or a free answer, from what was seen. The same for every solver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from medloupe.agent.messages import Chain
from medloupe.agent.planner_grounding import GroundingReply
from medloupe.errors import ActionRejected, ReplyUnreadable
from medloupe.evals.scorers.text import letters
from medloupe.evals.tasks.case import Case
from medloupe.models.vlm.base import Message, Picture, VLMRequest
from medloupe.models.vlm.profiles import ModelProfile
from medloupe.models.vlm.schema import json_schema, parse_json
from medloupe.prompts import prompt
from medloupe.types import BoundingBox, Observation, Statement, View

__all__ = ["Evidence", "Reply", "choose_request", "locate_request", "read_boxes", "read_reply"]

_WANTED = {
    "option": "the letter of the right option",
    "yesno": '"yes" or "no"',
    "open": "the answer in as few words as possible",
    "caption": "the description, in one to four sentences",
}


class _Answered(BaseModel):
    answer: str | int
    confidence: float | None = None


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the answer may rest on."""

    prefix: tuple[Message, ...]
    """What every request of the case begins with; for a question without a picture, the system text alone."""
    picture: Callable[[View], Picture]
    overview: View | None = None
    views: Sequence[View] = ()
    """Besides the overview; each is shown."""
    observations: Sequence[Observation] = ()
    checked: Sequence[Statement] = ()

    def without_checks(self) -> Evidence:
        """The same, as if nothing had been verified."""
        return Evidence(
            prefix=self.prefix, picture=self.picture, overview=self.overview, views=self.views,
            observations=self.observations,
        )  # fmt: skip

    def lines(self) -> list[tuple[View, str]]:
        """The chain, a line a view."""
        views = [*([self.overview] if self.overview else []), *self.views]
        return Chain(views, self.observations).lines(bare=self.overview.index if self.overview else -1)


@dataclass(frozen=True)
class Reply:
    """What the model chose."""

    text: str
    confidence: float | None


def choose_request(case: Case, evidence: Evidence, *, temperature: float = 0.0, draw: int = 0) -> VLMRequest:
    """Ask for the answer of a case that is not a place."""
    template = prompt("choose")
    text = template.render(
        chain=[line for _, line in evidence.lines()], checked=list(evidence.checked), question=case.question,
        options=list(zip(letters(len(case.options)), case.options, strict=True)), wanted=_WANTED[case.kind],
    )  # fmt: skip
    return VLMRequest(
        messages=_messages(evidence, text), purpose="choose", schema=json_schema(_Answered), schema_name="answer",
        temperature=temperature, draw=draw, prompt=template.sha256,
    )  # fmt: skip


def locate_request(case: Case, evidence: Evidence, profile: ModelProfile) -> VLMRequest:
    """Ask for boxes on the overview, in the model's own convention."""
    template = prompt("locate")
    text = template.render(
        chain=[line for _, line in evidence.lines()], checked=list(evidence.checked), question=case.question,
        box_key=profile.box_keys[0], overview=evidence.overview.index if evidence.overview else 0,
        convention=profile.describe_convention(),
    )  # fmt: skip
    return VLMRequest(
        messages=_messages(evidence, text), purpose="locate", schema=json_schema(GroundingReply), schema_name="regions",
        prompt=template.sha256,
    )  # fmt: skip


def _messages(evidence: Evidence, text: str) -> tuple[Message, ...]:
    parts: list[str | Picture] = []
    for view in evidence.views:
        parts += [f"V{view.index}:", evidence.picture(view)]
    return (*evidence.prefix, Message(role="user", parts=(*parts, text)))


def read_reply(text: str) -> Reply:
    """The answer in a reply: its JSON, or, where it holds none, all of it. Reading a choice out of it is scoring."""
    try:
        said = parse_json(text, _Answered)
    except ReplyUnreadable:
        return Reply(text.strip(), None)
    sure = said.confidence if said.confidence is not None and 0 <= said.confidence <= 1 else None
    return Reply(str(said.answer).strip(), sure)


def read_boxes(text: str, profile: ModelProfile, overview: View) -> tuple[BoundingBox, ...]:
    """Boxes in full-image pixels; a box that is none is left out. ReplyUnreadable for a reply without JSON."""
    found = []
    for item in parse_json(text, GroundingReply).regions:
        numbers = profile.box_in(item)
        if isinstance(numbers, list):
            try:
                found.append(overview.box_to_image(profile.to_view_box(numbers, overview.width, overview.height)))
            except ActionRejected:
                continue
    return tuple(found)
