"""Drafting: what would be said, from the chain of observations and nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from pydantic import BaseModel

from medloupe.agent.describe import WireAttribute, attribute_names
from medloupe.agent.messages import Chain
from medloupe.agent.state import Draft, Drafted, StatedClaim
from medloupe.errors import ReplyCutOff, ReplyUnreadable
from medloupe.models.vlm.base import Message, Picture, VLMReply, VLMRequest
from medloupe.models.vlm.schema import json_schema, parse_json
from medloupe.prompts import prompt
from medloupe.types import Observation, View

__all__ = ["DraftReply", "DraftScene", "draft_with_vlm"]


class DraftSentence(BaseModel):
    """One sentence as a model writes it."""

    text: str
    views: list[int] = []
    claims: list[WireAttribute] = []


class DraftReply(BaseModel):
    """What a drafting model is asked for."""

    answerable: bool = True
    reason: str = ""
    statements: list[DraftSentence] = []


@dataclass(frozen=True, kw_only=True)
class DraftScene:
    """What a drafter is given."""

    question: str
    overview: View
    views: Sequence[View]
    observations: Sequence[Observation]
    prefix: tuple[Message, ...]
    picture: Callable[[View], Picture]
    ask: Callable[[VLMRequest], Awaitable[VLMReply]]


async def draft_with_vlm(scene: DraftScene) -> Draft:
    """The VLM's draft. An unreadable or cut-off reply is asked for once more, differently; then it is a ModelError."""
    request = _request(scene)
    try:
        said = parse_json((await scene.ask(request)).text, DraftReply)
    except ReplyCutOff:
        longer = replace(request, max_tokens=2 * request.max_tokens)
        said = parse_json((await scene.ask(longer)).text, DraftReply)
    except ReplyUnreadable as error:
        again = (*request.messages, Message(role="user", parts=(f"{error} Reply with that JSON and nothing else.",)))
        said = parse_json((await scene.ask(replace(request, messages=again))).text, DraftReply)
    return _draft(said, {view.index for view in scene.views})


def _request(scene: DraftScene) -> VLMRequest:
    """The interleaved chain: each view's picture beside what was said of it, then the question."""
    template = prompt("draft")
    chain = Chain(scene.views, scene.observations)
    parts: list[str | Picture] = []
    for view, line in chain.lines(bare=scene.overview.index):
        parts += [line] if view.index == scene.overview.index else [line, scene.picture(view)]
    parts.append(template.render(question=scene.question, attributes=attribute_names()))
    return VLMRequest(
        messages=(*scene.prefix, Message(role="user", parts=tuple(parts))),
        purpose="draft",
        schema=json_schema(DraftReply),
        schema_name="draft",
        max_tokens=1024,
        prompt=template.sha256,
    )


def _draft(said: DraftReply, known: set[int]) -> Draft:
    """As our own type; a view that does not exist is not cited."""
    sentences = tuple(
        Drafted(
            text=sentence.text.strip(),
            views=tuple(v for v in dict.fromkeys(sentence.views) if v in known),
            stated=tuple(
                StatedClaim(stated=claim.stated(), view=claim.view if claim.view in known else None)
                for claim in sentence.claims
            ),
        )
        for sentence in said.statements
        if sentence.text.strip()
    )
    if not said.answerable or not sentences:
        return Draft(answerable=False, reason=said.reason.strip() or "the model gave no answer")
    return Draft(sentences=sentences)
