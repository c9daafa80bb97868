"""Attribute verification: a judge that sees a caption and never the image answers questions made from the truth.

The protocol of DAM's DLC-Bench. A recognition question first; where it fails, every score of the region is
min(0, score). Positive questions: +1 for the right value, -1 for a wrong one, 0 for none; negative questions: +1 for
not stating what is absent, -1 for stating it. Options are shuffled; a judge's reply that cannot be read is 0 and
counted. Questions here are medloupe's own, made from the releases' labels, so the figure has a name of its own and is
no DLC-Bench figure.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from medloupe.evals.scorers.readers import AdjustedAccuracy, adjusted_accuracy
from medloupe.evals.scorers.text import letters, normalised, read_option
from medloupe.models.vlm.base import VLM, Message, VLMRequest
from medloupe.prompts import prompt
from medloupe.types import Frozen

__all__ = [
    "AttributeOption", "AttributeQuestion", "AttributeScores", "CaptionJudge", "RegionScore", "VLMCaptionJudge",
    "WordJudge", "against_readers", "ask_judge", "attribute_scores", "region_score",
]  # fmt: skip


class AttributeOption(Frozen):
    """One possible answer, and what it scores."""

    text: str
    score: Literal[-1, 0, 1]
    words: tuple[str, ...] = ()
    """What a caption says that means this; for the judge without a model."""


class AttributeQuestion(Frozen):
    """One question about a caption."""

    id: str
    kind: Literal["recognition", "positive", "negative"]
    question: str
    options: tuple[AttributeOption, ...]
    votes: dict[str, int] = {}
    """Readers by the value that each gave, where several read it; a value need not be among the options."""


class CaptionJudge(Protocol):
    """Chooses the option that a caption supports."""

    @property
    def name(self) -> str:
        """What the run records."""
        ...

    async def __call__(
        self, caption: str, question: AttributeQuestion, options: Sequence[AttributeOption]
    ) -> int | None:
        """Place in `options` (shuffled); None when it could not be told. May raise a ModelError."""
        ...


@dataclass(frozen=True)
class VLMCaptionJudge:
    """A language model that is shown the caption alone."""

    vlm: VLM
    name: str = "vlm"

    async def __call__(
        self, caption: str, question: AttributeQuestion, options: Sequence[AttributeOption]
    ) -> int | None:
        """One request without a picture."""
        template = prompt("judge_caption")
        text = template.render(
            caption=caption, question=question.question, options=list(zip(letters(len(options)), options, strict=True))
        )
        request = VLMRequest(
            messages=(Message(role="user", parts=(text,)),), purpose="judge", max_tokens=64, prompt=template.sha256
        )
        return read_option((await self.vlm(request)).text, [option.text for option in options])


@dataclass(frozen=True)
class WordJudge:
    """No model: the option one of whose words stands in the caption; else the option without words ("not stated")."""

    name: str = "words"

    async def __call__(
        self,
        caption: str,
        question: AttributeQuestion,  # noqa: ARG002 - the judge's signature
        options: Sequence[AttributeOption],
    ) -> int | None:
        """None when words of several options stand there."""
        said = f" {normalised(caption)} "
        found = [n for n, o in enumerate(options) if any(f" {normalised(word)} " in said for word in o.words)]
        if not found:
            return next((n for n, option in enumerate(options) if not option.words), None)
        return found[0] if len(found) == 1 else None


class RegionScore(NamedTuple):
    """One region's means; nan where it has no such question."""

    positive: float
    negative: float
    recognised: bool
    unparsed: int

    @property
    def average(self) -> float:
        """(positive + negative) / 2, or the one there is; 0 without either."""
        halves = [half for half in (self.positive, self.negative) if not math.isnan(half)]
        return sum(halves) / len(halves) if halves else 0.0


async def ask_judge(
    caption: str, questions: Sequence[AttributeQuestion], judge: CaptionJudge
) -> list[AttributeOption | None]:
    """The option chosen for every question; None: unreadable. A ModelError is the judge's own failure and is raised."""
    chosen: list[AttributeOption | None] = []
    for question in questions:
        options = list(question.options)
        random.Random(question.id).shuffle(options)  # noqa: S311 - the same order every time, in no order of ours
        place = await judge(caption, question, options)
        chosen.append(None if place is None else options[place])
    return chosen


def against_readers(
    questions: Sequence[AttributeQuestion], chosen: Sequence[AttributeOption | None]
) -> AdjustedAccuracy | None:
    """The chosen values against the readers' votes, where there are any, and what the readers themselves reach."""
    voted = [(option, question.votes) for question, option in zip(questions, chosen, strict=True) if question.votes]
    if not voted:
        return None
    return adjusted_accuracy([option.text if option else None for option, _ in voted], [votes for _, votes in voted])


def region_score(questions: Sequence[AttributeQuestion], chosen: Sequence[AttributeOption | None]) -> RegionScore:
    """The region's means from the options chosen; None was unreadable and counts 0."""
    scores = [0 if option is None else option.score for option in chosen]
    pairs = list(zip(questions, scores, strict=True))
    recognised = all(score > 0 for question, score in pairs if question.kind == "recognition")
    gated = [(question.kind, score if recognised else min(0, score)) for question, score in pairs]
    return RegionScore(
        positive=_mean([score for kind, score in gated if kind == "positive"]),
        negative=_mean([score for kind, score in gated if kind == "negative"]),
        recognised=recognised,
        unparsed=sum(option is None for option in chosen),
    )


class AttributeScores(NamedTuple):
    """Means over the regions of a corpus."""

    positive: float
    negative: float
    average: float
    """(positive + negative) / 2."""
    recognised: float
    unparsed: int


def attribute_scores(regions: Sequence[RegionScore]) -> AttributeScores:
    """The corpus means of per-region means."""
    positive = _mean([r.positive for r in regions if not math.isnan(r.positive)])
    negative = _mean([r.negative for r in regions if not math.isnan(r.negative)])
    return AttributeScores(
        positive, negative, (positive + negative) / 2, _mean([float(r.recognised) for r in regions]),
        sum(r.unparsed for r in regions),
    )  # fmt: skip


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
