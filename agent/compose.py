"""Drafting where no VLM is configured: what measured facts answer, and which questions measuring cannot answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from medloupe.agent.describe import measured_sentence
from medloupe.agent.state import Draft, Drafted, StatedClaim
from medloupe.prompts import knowledge
from medloupe.tools.verify import bounds
from medloupe.types import Image, Observation, StatedAttribute

__all__ = ["QuestionReading", "beyond_measuring", "compose", "not_medical", "read_question"]


@dataclass(frozen=True)
class QuestionReading:
    """What a question asks for, as far as measuring goes."""

    attributes: tuple[str, ...]
    """Attributes asked for; empty: whatever was measured."""
    selects: tuple[str, ...]
    """Which regions are meant: "hyperintense", "largest", ..."""
    unknown: tuple[str, ...]
    """Content words that measuring cannot place."""
    regions: tuple[str, ...]
    """Regions that are named: "R1", ..."""
    superlative: str
    """"hyperintense" for the brightest, "hypointense" for the darkest; "" where there is no such word."""
    one: bool
    """One region is meant, not several."""
    unnamed: tuple[str, ...]
    """Nouns such as "lesion" that measuring cannot tell from any other region."""


def read_question(question: str) -> QuestionReading:
    """Reads a question by the word lists of prompts/knowledge/questions.yaml."""
    table = knowledge("questions")
    text = question.lower()
    regions = tuple(dict.fromkeys(f"R{n}" for n in re.findall(r"\br(\d+)\b", text)))
    asked = {name for name, phrases in table["asks_phrases"].items() for phrase in phrases if phrase in text}
    for phrase in (phrase for phrases in table["asks_phrases"].values() for phrase in phrases):
        text = text.replace(phrase, " ")
    words = re.findall(r"[^\W\d_]+", re.sub(r"\b[rv]\d+\b", " ", text))
    asked |= {name for name, cues in table["asks"].items() if set(cues) & set(words)}
    selects = tuple(name for name, cues in table["selects"].items() if set(cues) & set(words))
    cues = {cue for group in ("asks", "selects") for listed in table[group].values() for cue in listed}
    known = cues.union(table["subjects"], table["describe"], table["function_words"])
    extreme = (name for name, listed in table["superlatives"].items() if set(listed) & set(words))
    return QuestionReading(
        attributes=tuple(name for name in table["asks"] if name in asked),
        selects=selects,
        unknown=tuple(dict.fromkeys(word for word in words if word not in known)),
        regions=regions,
        superlative=next(extreme, ""),
        one=not set(words) & set(table["several"]),
        unnamed=tuple(dict.fromkeys(word for word in words if word in table["unnamed"])),
    )


def not_medical(question: str, image: Image) -> bool:
    """Whether a question for a "lesion" is put to a picture that nothing says is a medical one."""
    return bool(read_question(question).unnamed) and image.modality == "OT"


def beyond_measuring(question: str, image: Image) -> bool:
    """Whether no measurement can answer: `compose` says why, and looking would only cost time."""
    return bool(read_question(question).unknown) or not_medical(question, image)


def compose(question: str, observations: Sequence[Observation], image: Image | None = None) -> tuple[Draft, list[str]]:
    """A draft of measured statements, and warnings; not answerable when the question asks for more than that.

    image: what is spoken of. Measuring cannot tell a picture of anything from a medical one, so that a question about a
    lesion needs a modality, from the file or a person.
    """
    reading = read_question(question)
    if reading.unknown:
        named = ", ".join(repr(word) for word in reading.unknown[:5])
        return Draft(
            answerable=False,
            reason=f"without a vision-language model this question is not understood ({named}); measuring answers "
            "questions, in English, for size, place, side, number, brightness, density or shape",
        ), []
    if image is not None and not_medical(question, image):
        word = reading.unnamed[0]
        return Draft(
            answerable=False,
            reason=f"nothing says that this picture is a medical one, so it is open whether it shows a {word}; "
            "name its modality",
        ), []
    seen = [o for o in observations if o.fault is None and o.describer == "measured"]
    if not seen:
        return Draft(answerable=False, reason="no separate region that stands out from its surroundings was found"), []
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
_BY_SIZE = ("largest", "smallest")


def _choose(reading: QuestionReading, seen: list[Observation]) -> list[Observation]:
    """The observations that the question means; of a superlative the one, or all of them in its order."""
    chosen = [o for o in seen if not reading.regions or o.region in reading.regions]
    for word in (w for w in reading.selects if w not in _BY_SIZE):
        chosen = [o for o in chosen if word in (a.value for a in o.attributes)]
    by_size = next((w for w in _BY_SIZE if w in reading.selects), "")
    if by_size:
        return sorted(chosen, key=lambda o: _number(o, "long_axis"), reverse=by_size == "largest")[:1]
    if reading.superlative:
        ranked = sorted(chosen, key=lambda o: _number(o, "mean"), reverse=reading.superlative == "hyperintense")
        return ranked[:1] if reading.one else ranked
    return chosen


def _number(observation: Observation, attribute: str) -> float:
    """A number, or the middle of a range; 0 where there is none."""
    value = _value(observation, attribute)
    limits = None if value is None or isinstance(value, bool) else bounds(value)
    return 0.0 if limits is None else (limits[0] + limits[1]) / 2


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
        complete=True,
    )


def _count(chosen: list[Observation], reading: QuestionReading) -> Drafted:
    words = knowledge("measured_sentences")
    word = next((w for w in _BRIGHTNESS if w in reading.selects), "")
    count = StatedAttribute(attribute="count", value=float(len(chosen)), finding=word)
    return Drafted(
        text=words["count_of" if word else "count"].format(value=len(chosen), word=word),
        views=tuple(o.view for o in chosen),
        stated=(StatedClaim(stated=count),),
        complete=True,
    )
