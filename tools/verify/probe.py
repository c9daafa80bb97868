"""A claim and its hallucinated twin, asked as two separate yes/no questions; only a pair that comes out right counts.

The pairing follows ProbMed (Yan et al., 2024): a model that says yes to whatever is suggested affirms both, and one
that denies everything denies both, and neither decides anything.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from typing import NamedTuple

from medloupe.errors import ModelError
from medloupe.models.vlm.base import Message, VLMReply, VLMRequest
from medloupe.prompts import prompt
from medloupe.tools.measure.vocabulary import DENIED, attribute, canonical_value
from medloupe.tools.verify._numbers import bounds
from medloupe.tools.verify.scene import Scene
from medloupe.types import Claim, Evidence, Image, Verdict, VerdictValue, View

__all__ = ["ProbeVerifier", "read_answer", "twin"]

_MAX_TOKENS = 64
_ANSWER = re.compile(r"\b(yes|no|unsure)\b", re.IGNORECASE)


class _Answer(NamedTuple):
    """One of the two answers."""

    yes: bool | None
    reply: str = ""
    fault: str = ""


class ProbeVerifier:
    """Asks the scene's model about a claim and its twin. `independent` when that model described nothing here."""

    name = "probe"

    async def __call__(self, claim: Claim, scene: Scene) -> Verdict | None:
        """A verdict, or None without a model, a view or a twin, or where a picture cannot show the answer."""
        view = scene.view_of(claim)
        if scene.ask is None or scene.picture is None or view is None:
            return None
        other = twin(claim)
        if other is None or _unknowable(claim, scene.loupe.study.images[view.image]):
            return None
        turned = _turned(claim, view)
        pair = (other, claim) if turned else (claim, other)
        answers = await asyncio.gather(*(_ask(_request(c, view, scene), scene) for c in pair))
        of_claim, of_twin = reversed(answers) if turned else answers
        return _verdict(claim, other, of_claim, of_twin, scene)


def twin(claim: Claim) -> Claim | None:
    """The claim that a hallucination would be: the opposite word, twice the size, another number, the denial of it.

    None where the vocabulary knows no other value.
    """
    entry, value = attribute(claim.attribute), claim.value
    if entry is None:
        return None
    if entry["kind"] == "truth" and isinstance(value, bool):
        return claim.model_copy(update={"value": not value})
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and entry["kind"] == "word":
        if value.startswith(DENIED):
            return claim.model_copy(update={"value": value.removeprefix(DENIED)})
        if canonical_value(claim.attribute, value) == value:
            return claim.model_copy(update={"value": entry["values"][value]["twin"]})
    limits = bounds(value, whole=entry["kind"] == "count")
    return None if limits is None else claim.model_copy(update={"value": _other_number(claim, *limits)})


def _other_number(claim: Claim, low: float, high: float) -> float | str:
    """Twice a size or a number; half again as many (at least one more) of a count; past the bound of a bound."""
    if claim.unit == "HU":
        return low + 300.0 if low == high else f">{high + 200:g}"
    more = max(low + 1, round(low * 1.5)) if claim.attribute == "count" else low * 2
    if low == high:
        return float(more)
    if high == float("inf"):
        return f"<{low:g}"
    return f">{2 * high:g}"


def read_answer(text: str) -> bool | None:
    """True for yes, False for no, None for anything else; whole words, so that "Normal" is not "no"."""
    words = {m[1].lower() for m in _ANSWER.finditer(text)}
    return {"yes": True, "no": False}.get(words.pop()) if len(words) == 1 else None


def _unknowable(claim: Claim, image: Image) -> bool:
    """What no picture shows: millimetres without a scale, HU in other values, a side that the file does not tell."""
    entry = attribute(claim.attribute) or {}
    if entry["kind"] == "number" and claim.unit not in ("px", "px2", "HU"):
        return image.spacing is None
    if claim.unit == "HU":
        return image.values != "HU"
    return claim.attribute == "side" and image.patient_orientation is None and not image.laterality


def _turned(claim: Claim, view: View) -> bool:
    """Whether the twin goes first: a coin that falls the same way for the same claim on the same view."""
    return bool(hashlib.sha256(f"{claim.sentence()}|{view.digest}".encode()).digest()[0] & 1)


def _request(claim: Claim, view: View, scene: Scene) -> VLMRequest:
    """System text, then the picture, then the question: all but the question is the same for claim and twin."""
    assert scene.picture is not None
    template = prompt("probe")
    system, question = template.render(statement=claim.sentence()).split("\n---\n", maxsplit=1)
    return VLMRequest(
        messages=(Message("system", (system,)), Message("user", (scene.picture(view), question))),
        purpose="probe",
        max_tokens=_MAX_TOKENS,
        prompt=template.sha256,
    )


async def _ask(request: VLMRequest, scene: Scene) -> _Answer:
    assert scene.ask is not None
    try:
        reply: VLMReply = await scene.ask(request)
    except ModelError as error:
        return _Answer(None, fault=f"{type(error).__name__}: {error}")
    return _Answer(read_answer(reply.text), reply=reply.text)


def _verdict(claim: Claim, other: Claim, of_claim: _Answer, of_twin: _Answer, scene: Scene) -> Verdict:
    verdict, reason = _judge(of_claim, of_twin, other)
    faults = [a.fault for a in (of_claim, of_twin) if a.fault]
    describers = scene.describers(claim)
    return Verdict(
        claim=claim.id, verdict=verdict, reason=reason, method="probe",
        independent=verdict != "undetermined" and scene.verifier_model not in describers,
        numbers={"asked": 2.0, "faults": float(len(faults))},
        evidence=tuple(
            Evidence(tool="probe", version=scene.verifier_model, reply=f"{c.sentence()}? {a.reply or a.fault}")
            for c, a in ((claim, of_claim), (other, of_twin))
        ),
    )  # fmt: skip


def _judge(of_claim: _Answer, of_twin: _Answer, other: Claim) -> tuple[VerdictValue, str]:
    fault = of_claim.fault or of_twin.fault
    if fault:
        return "undetermined", f"the verifier's model failed ({fault})"
    pair = (of_claim.yes, of_twin.yes)
    if pair == (True, False):
        return "supported", f'affirmed when asked, and its twin "{other.sentence()}" denied'
    if pair == (False, True):
        return "refuted", f'denied when asked, and its twin "{other.sentence()}" affirmed'
    if None in pair:
        return "undetermined", "an answer was neither yes nor no"
    word = "affirmed" if of_claim.yes else "denied"
    return "undetermined", f'both the claim and its twin "{other.sentence()}" were {word}'
