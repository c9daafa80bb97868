"""Drafting where no VLM is configured: what measured facts answer, and which questions measuring cannot answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from medloupe.agent.describe import measured_sentence
from medloupe.agent.state import Draft, Drafted, StatedClaim
from medloupe.prompts import knowledge
from medloupe.types import Image, Observation, StatedAttribute

__all__ = ["QuestionReading", "compose", "read_question"]


@dataclass(frozen=True)
class QuestionReading:
    """What a question asks for, as far as measuring goes."""

    attributes: tuple[str, ...]
    """Attributes asked for; empty: whatever was measured."""
    selects: tuple[str, ...]
    """Which regions are meant: "hyperintense", "largest", ..."""
    unknown: tuple[str, ...]
    """Content words that measuring cannot place."""
    unnamed: tuple[str, ...]
    """Nouns such as "lesion" that measuring cannot tell from any other region."""


def read_question(question: str) -> QuestionReading:
    """Reads a question by the word lists of prompts/knowledge/questions.yaml."""
    words = re.findall(r"[^\W\d_]+", question.lower())
    table = knowledge("questions")
    attributes = tuple(name for name, cues in table["asks"].items() if set(cues) & set(words))
    selects = tuple(name for name, cues in table["selects"].items() if set(cues) & set(words))
    cues = {cue for group in ("asks", "selects") for listed in table[group].values() for cue in listed}
    known = cues.union(table["subjects"], table["describe"], table["function_words"])
    return QuestionReading(
        attributes=attributes,
        selects=selects,
        unknown=tuple(dict.fromkeys(word for word in words if word not in known)),
        unnamed=tuple(dict.fromkeys(word for word in words if word in table["unnamed"])),
    )


def compose(question: str, observations: Sequence[Observation], image: Image | None = None) -> tuple[Draft, list[str]]:
    """A draft of measured statements, and warnings; not answerable when the question asks for more than that.

    image: what is spoken of. Measuring cannot tell a photograph of anything from a medical one, so that a question
    about a lesion in a colour picture needs a modality, from the file or a person. Grey pictures without one are
    answered: most of them are medical.
    """
    reading = read_question(question)
    if reading.unknown:
        named = ", ".join(repr(word) for word in reading.unknown[:5])
        return Draft(
            answerable=False,
            reason=f"no vision-language model is configured, and measuring alone cannot tell what {named} is",
        ), []
    if reading.unnamed and image is not None and image.values == "RGB" and image.modality == "OT":
        word = reading.unnamed[0]
        return Draft(
            answerable=False,
            reason=f"nothing says that this colour picture is a medical one, so it is open whether it shows a {word}; "
            "name its modality",
        ), []
    seen = [o for o in observations if o.fault is None and o.describer == "measured"]
    if not seen:
        return Draft(answerable=False, reason="nothing in the image stands out from its surroundings"), []
    chosen = _choose(reading, seen)
    if not chosen:
        return Draft(answerable=False, reason="no measured region is as the question says"), []
    warnings = [
        f"measuring finds regions that stand out; it cannot tell whether one is a {word}"
        for word in reading.unnamed[:1]
    ]
    sentences = [_sentence(o, reading) for o in chosen]
    if "count" in reading.attributes:
        sentences.insert(0, _count(chosen, reading))
    return Draft(sentences=tuple(sentences)), warnings


_BRIGHTNESS = ("hyperintense", "hypointense")


def _choose(reading: QuestionReading, seen: list[Observation]) -> list[Observation]:
    """The observations that the question means, largest first where it asks for size."""
    chosen = seen
    for word in _BRIGHTNESS:
        if word in reading.selects:
            chosen = [o for o in chosen if _value(o, "intensity") == word]
    if "largest" in reading.selects or "smallest" in reading.selects:
        ranked = sorted(
            chosen, key=lambda o: float(_value(o, "long_axis") or 0.0), reverse="largest" in reading.selects
        )
        chosen = ranked[:1]
    return chosen


def _value(observation: Observation, attribute: str) -> bool | float | str | None:
    return next((a.value for a in observation.attributes if a.attribute == attribute), None)


_USUAL = ("site", "intensity", "long_axis")
"""What is said of a region whatever was asked: where it lies, how it stands out and how large it is."""


def _sentence(observation: Observation, reading: QuestionReading) -> Drafted:
    wanted = {*_USUAL, *reading.attributes, *(("side",) if "site" in reading.attributes else ())}
    stated = [a for a in observation.attributes if a.attribute in wanted]
    return Drafted(
        text=measured_sentence(observation.region or "A region", stated),
        views=(observation.view,),
        stated=tuple(StatedClaim(stated=a, view=observation.view) for a in stated),
    )


def _count(chosen: list[Observation], reading: QuestionReading) -> Drafted:
    words = knowledge("measured_sentences")
    word = next((w for w in _BRIGHTNESS if w in reading.selects), "")
    count = StatedAttribute(attribute="count", value=float(len(chosen)), finding=word)
    return Drafted(
        text=words["count_of" if word else "count"].format(value=len(chosen), word=word),
        views=tuple(o.view for o in chosen),
        stated=(StatedClaim(stated=count),),
    )
