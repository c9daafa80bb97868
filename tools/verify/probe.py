"""A claim and its hallucinated twin, asked as separate yes/no questions in both orders; only all right counts.

The pairing follows ProbMed (Yan et al., 2024): a model that says yes to whatever is suggested affirms both, and one
that denies everything denies both, and neither decides anything. In the first order the claim is asked cold and the
twin after the claim was named, in the second the other way round: what was just suggested must change no answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from medloupe.errors import ModelError
from medloupe.models.tiny.asking import probe as tiny_probe
from medloupe.models.vlm.base import Message, VLMReply, VLMRequest
from medloupe.prompts import prompt
from medloupe.tools.measure.vocabulary import DENIED, attribute, canonical_value
from medloupe.tools.verify._numbers import bounds
from medloupe.tools.verify.scene import Scene
from medloupe.types import Claim, Evidence, Image, Verdict, VerdictValue, View

__all__ = ["Answer", "ProbeVerifier", "Question", "ask", "question_request", "read_answer", "twin", "unknowable"]

_MAX_TOKENS = 64
_ANSWER = re.compile(r"\b(yes|no|unsure)\b", re.IGNORECASE)


class Answer(NamedTuple):
    """One of the answers."""

    yes: bool | None
    """None for what is neither yes nor no."""
    reply: str = ""
    fault: str = ""
    """Why none came."""


@dataclass(frozen=True, eq=False)
class Question:
    """One statement to be judged, and the one that is named before it."""

    of: Claim
    after: Claim | None = None


class ProbeVerifier:
    """Asks the scene's model about a claim and its twin, in both orders.

    `independent` when that model described nothing here.
    """

    name = "probe"

    def __init__(self, orders: Literal[1, 2] = 2) -> None:
        """orders: 1 asks each of the two cold (2 requests); 2 then asks them in the other order (2 more).

        The second two are sent only where the first two decide: else nothing they bring could.
        """
        self.orders = orders

    async def __call__(self, claim: Claim, scene: Scene) -> Verdict | None:
        """A verdict, or None without a model, a view or a twin, or where a picture cannot show the answer."""
        view = scene.view_of(claim)
        if scene.ask is None or scene.picture is None or view is None:
            return None
        other = twin(claim)
        if other is None or unknowable(claim, scene.loupe.image(view.image)):
            return None
        rounds = [[Question(claim), Question(other)], [Question(claim, after=other), Question(other, after=claim)]]
        answers: dict[Question, Answer] = {}
        for asked in rounds[: self.orders]:
            if _turned(claim, view):
                asked.reverse()
            said = await asyncio.gather(*(ask(question_request(q, view, scene), scene) for q in asked))
            answers |= zip(asked, said, strict=True)
            if sorted(str(answer.yes) for answer in said) != ["False", "True"]:
                break
        return _verdict(claim, other, answers, scene)


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


def unknowable(claim: Claim, image: Image) -> bool:
    """What no picture shows: millimetres without a scale, HU in other values, a side that the file does not tell."""
    entry = attribute(claim.attribute) or {}
    if entry["kind"] == "number" and claim.unit not in ("px", "px2", "HU"):
        return image.spacing is None
    if claim.unit == "HU":
        return image.values != "HU"
    return claim.attribute == "side" and image.patient_orientation is None and not image.laterality


def _turned(claim: Claim, view: View) -> bool:
    """Whether they are sent the other way round: a coin that falls the same way for the same claim on the same view."""
    return bool(hashlib.sha256(f"{claim.sentence()}|{view.digest}".encode()).digest()[0] & 1)


def question_request(question: Question, view: View, scene: Scene) -> VLMRequest:
    """System text, then the picture, then the question: all but the question is the same for all of a claim's."""
    assert scene.picture is not None
    if scene.verifier_profile is not None and scene.verifier_profile.prompts == "tiny":
        return tiny_probe(question.of, view, scene.loupe.study.images[view.image], scene.picture(view))
    template = prompt("probe")
    before = question.after.sentence() if question.after else ""
    system, words = template.render(statement=question.of.sentence(), before=before).split("\n---\n", maxsplit=1)
    return VLMRequest(
        messages=(Message("system", (system,)), Message("user", (scene.picture(view), words))),
        purpose="probe",
        max_tokens=_MAX_TOKENS,
        prompt=template.sha256,
    )


async def ask(request: VLMRequest, scene: Scene) -> Answer:
    """What the scene's model answers; a ModelError is an answer that did not come."""
    assert scene.ask is not None
    try:
        reply: VLMReply = await scene.ask(request)
    except ModelError as error:
        return Answer(None, fault=f"{type(error).__name__}: {error}")
    return Answer(read_answer(reply.text), reply=reply.text)


def _verdict(claim: Claim, other: Claim, answers: Mapping[Question, Answer], scene: Scene) -> Verdict:
    of_claim = [answer for question, answer in answers.items() if question.of is claim]
    of_twin = [answer for question, answer in answers.items() if question.of is other]
    verdict, reason = _judge(of_claim, of_twin, other)
    return Verdict(
        claim=claim.id, verdict=verdict, reason=reason, method="probe",
        independent=verdict != "undetermined" and scene.verifier_model not in scene.describers(claim),
        numbers={"asked": float(len(answers)), "faults": float(sum(bool(a.fault) for a in answers.values()))},
        evidence=tuple(
            Evidence(tool="probe", version=scene.verifier_model, reply=f"{q.of.sentence()}? {a.reply or a.fault}")
            for q, a in answers.items()
        ),
    )  # fmt: skip


def _judge(of_claim: list[Answer], of_twin: list[Answer], other: Claim) -> tuple[VerdictValue, str]:
    fault = next((a.fault for a in (*of_claim, *of_twin) if a.fault), "")
    if fault:
        return "undetermined", f"the verifier's model failed ({fault})"
    said = ({a.yes for a in of_claim}, {a.yes for a in of_twin})
    orders = ", in both orders" if len(of_claim) == 2 else ""
    if said == ({True}, {False}):
        return "supported", f'affirmed when asked, and its twin "{other.sentence()}" denied{orders}'
    if said == ({False}, {True}):
        return "refuted", f'denied when asked, and its twin "{other.sentence()}" affirmed{orders}'
    if None in said[0] | said[1]:
        return "undetermined", "an answer was neither yes nor no"
    if len(said[0]) > 1 or len(said[1]) > 1:
        return "undetermined", "the answers changed with the order of the questions"
    word = "affirmed" if said[0] == {True} else "denied"
    return "undetermined", f'both the claim and its twin "{other.sentence()}" were {word}'
