"""Findings as they were stated: those of the agent's answer, and those of one description by loupe-tiny."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from medloupe.agent.describe import DescriptionReply
from medloupe.evals.solvers.outcome import Found, Outcome
from medloupe.models.tiny import asking
from medloupe.models.vlm.base import VLMRequest
from medloupe.models.vlm.schema import json_schema, parse_json
from medloupe.types import Answer, BoundingBox, CheckedClaim, Observation, StatedAttribute

if TYPE_CHECKING:
    from medloupe.evals.solvers.asking import Evidence
    from medloupe.evals.solvers.bench import Opened
    from medloupe.tools.look import Loupe

__all__ = ["described", "outcome_of", "stated"]


# --- of an answer ---------------------------------------------------------------------------------------------------


def stated(answer: Answer) -> tuple[Found, ...]:
    """What an answer says is there: of a checked one what the checks left of it, of an unchecked one all of it."""
    if answer.abstained:
        return ()
    if answer.claims:
        return tuple(_checked(answer))
    seen = [o for o in answer.observations if _is_there(o.attributes)]
    return tuple(Found(box=_looked_at(o, answer), stated=o.attributes) for o in seen)


def _checked(answer: Answer) -> list[Found]:
    """One a statement whose finding itself was confirmed."""
    claims = {claim.id: claim for claim in answer.claims}
    found = []
    for statement in answer.statements:
        said = [claims[c] for c in statement.said if c in claims]
        if any(claim.attribute == "presence" and claim.value is True for claim in said):
            region = next((claim.region for claim in said if claim.region), None)
            found.append(Found(box=region.box if region else None, stated=tuple(_as_said(c) for c in said)))
    return found


def _as_said(claim: CheckedClaim) -> StatedAttribute:
    """The measured value where it was put in place of the stated one."""
    if claim.verdict == "refuted" and claim.measured is not None:
        return StatedAttribute(attribute=claim.attribute, value=claim.measured, unit=claim.unit)
    return StatedAttribute(attribute=claim.attribute, value=claim.value, unit=claim.stated_unit)


def _looked_at(observation: Observation, answer: Answer) -> BoundingBox | None:
    region = next((r for r in answer.regions if r.id == observation.region), None)
    view = next((v for v in answer.views if v.index == observation.view), None)
    return region.box if region else view.box if view else None


def _is_there(attributes: Sequence[StatedAttribute]) -> bool:
    return any(a.attribute == "presence" and a.value is True for a in attributes)


# --- of one description ---------------------------------------------------------------------------------------------


async def described(
    opened: Opened, loupe: Loupe | None, evidence: Evidence | None, *, temperature: float = 0.0, draw: int = 0
) -> Found | None:
    """What loupe-tiny sees on the last view of the evidence, or without a picture; None: nothing.

    Raises a ModelError, ReplyUnreadable among them.
    """
    assert opened.meter is not None
    schema = json_schema(DescriptionReply)
    view = image = None
    if loupe is None or evidence is None:
        request = asking.describe_nothing(opened.case.modality or "OT", schema)
    else:
        view = evidence.views[-1] if evidence.views else evidence.overview
        assert view is not None
        image = loupe.image(view.image)
        request = asking.describe(view, image, evidence.picture(view), schema)
    reply = await opened.meter(_drawn(request, temperature, draw))
    attributes = [a.stated() for a in parse_json(reply.text, DescriptionReply).attributes]
    if not _is_there(attributes):
        return None
    if view is not None and image is not None:
        attributes = [asking.in_image_units(a, view, image) for a in attributes]
    return Found(box=None, stated=tuple(attributes))


def _drawn(request: VLMRequest, temperature: float, draw: int) -> VLMRequest:
    return replace(request, temperature=temperature, draw=draw) if temperature else request


def outcome_of(drawn: Sequence[Found | None]) -> Outcome:
    """The answer that most draws give: whether there is a finding, then each attribute's commonest value."""
    there = [found for found in drawn if found is not None]
    share = len(there) / len(drawn)
    if share <= 0.5:
        return Outcome(status="answered", text="Nothing is seen.", confidence=1 - share)
    values: dict[str, Counter[StatedAttribute]] = {}
    for found in there:
        for attribute in found.stated:
            values.setdefault(attribute.attribute, Counter())[attribute] += 1
    # What fewer than half of the draws speak of is not said, as in each of those that do not.
    chosen = tuple(votes.most_common(1)[0][0] for votes in values.values() if votes.total() * 2 > len(there))
    text = ", ".join(f"{a.attribute.replace('_', ' ')} {a.value} {a.unit}".rstrip() for a in chosen)
    return Outcome(status="answered", text=text, confidence=share, findings=(Found(box=None, stated=chosen),))
