"""RadFact (Bannur et al. 2024, MAIRA-2): is each sentence of one report entailed by the other, and in the right place?

Precision asks it of what was written, recall of the reference. Logical: entailed sentences of all. Grounding: of the
entailed sentences with boxes, those whose place is entailed too. Spatial: of all sentences with boxes, those entailed
in both ways. A place is entailed when more than half of its pixels lie in the boxes of the evidence. A judge that
fails counts as "not entailed", and is counted; no key is ever left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from pydantic import BaseModel

from medloupe.errors import ModelError
from medloupe.evals.scorers.overlap import covered
from medloupe.evals.scorers.text import words_of
from medloupe.models.vlm.base import VLM, Message, VLMRequest
from medloupe.models.vlm.schema import json_schema, parse_json
from medloupe.prompts import knowledge, prompt
from medloupe.types import BoundingBox

__all__ = [
    "Entailment", "EntailmentJudge", "Phrase", "RadFact", "VLMEntailmentJudge", "WordEntailmentJudge",
    "box_entailment", "radfact", "sentences",
]  # fmt: skip

MORE_THAN = 0.5
"""Of a place's pixels."""


class Phrase(NamedTuple):
    """One sentence, and where it is said to be."""

    text: str
    boxes: tuple[BoundingBox, ...] = ()


class Entailment(NamedTuple):
    """A judge's word on one hypothesis."""

    entailed: bool
    evidence: tuple[int, ...] = ()
    """Places among the premises."""


class EntailmentJudge(Protocol):
    """Says whether premises make a hypothesis true."""

    @property
    def name(self) -> str:
        """What the run records."""
        ...

    async def __call__(self, hypothesis: str, premises: Sequence[str]) -> Entailment:
        """May raise a ModelError."""
        ...


class WordEntailmentJudge:
    """No model: a hypothesis follows from a premise that holds all of its words of content, and denies as it denies.

    "There is a nodule" follows from "A small nodule on the left", and not the other way round; of "nodule/mass", either
    word will do. It knows no synonyms, so it is a lower bound, for fixed words and for runs without a judge.
    """

    name = "words"

    async def __call__(self, hypothesis: str, premises: Sequence[str]) -> Entailment:
        """Every premise that entails it is evidence."""
        wanted, denied = _content(hypothesis)
        found = []
        for number, premise in enumerate(premises):
            said, denies = _content(premise)
            if wanted and denied == denies and all(group & frozenset().union(*said) for group in wanted):
                found.append(number)
        return Entailment(bool(found), tuple(found))


def _content(text: str) -> tuple[list[frozenset[str]], bool]:
    """(words of content, those joined by a slash together; whether something is denied)."""
    language = knowledge("language")
    empty = frozenset(language["function_words"]) | frozenset(language["negations"])
    groups = [frozenset(words_of(part)) - empty for part in text.split()]
    return [group for group in groups if group], any(word in words_of(text) for word in language["negations"])


class _Judged(BaseModel):
    entailed: bool
    evidence: list[int] = []


@dataclass(frozen=True)
class VLMEntailmentJudge:
    """A language model that is shown the two texts."""

    vlm: VLM
    name: str = "vlm"

    async def __call__(self, hypothesis: str, premises: Sequence[str]) -> Entailment:
        """One request; numbers of statements that are not there are left out."""
        template = prompt("judge_entailment")
        request = VLMRequest(
            messages=(Message(role="user", parts=(template.render(hypothesis=hypothesis, premises=list(premises)),)),),
            purpose="judge", schema=json_schema(_Judged), schema_name="entailment", prompt=template.sha256,
        )  # fmt: skip
        said = parse_json((await self.vlm(request)).text, _Judged)
        return Entailment(said.entailed, tuple(n - 1 for n in said.evidence if 1 <= n <= len(premises)))


class RadFact(NamedTuple):
    """Shares, 0 to 1; nan where there is nothing to divide by."""

    logical_precision: float
    logical_recall: float
    grounding_precision: float
    grounding_recall: float
    spatial_precision: float
    spatial_recall: float
    judge_failures: int

    @property
    def logical_f1(self) -> float:
        """Harmonic mean; 0 when either is 0, nan when either is."""
        p, r = self.logical_precision, self.logical_recall
        return 2 * p * r / (p + r) if p + r else p + r


class _Side(NamedTuple):
    logical: float
    grounding: float
    spatial: float
    failures: int


async def radfact(written: Sequence[Phrase], reference: Sequence[Phrase], judge: EntailmentJudge) -> RadFact:
    """Both directions of one report."""
    precision = await _side(written, reference, judge)
    recall = await _side(reference, written, judge)
    return RadFact(
        precision.logical, recall.logical, precision.grounding, recall.grounding, precision.spatial, recall.spatial,
        precision.failures + recall.failures,
    )  # fmt: skip


async def _side(phrases: Sequence[Phrase], others: Sequence[Phrase], judge: EntailmentJudge) -> _Side:
    premises = [other.text for other in others]
    logical: list[bool] = []
    placed: list[tuple[bool, bool]] = []  # (entailed, and in its place) of phrases with boxes
    failures = 0
    for phrase in phrases:
        try:
            found = await judge(phrase.text, premises) if premises else Entailment(False)
        except ModelError:
            found, failures = Entailment(False), failures + 1
        logical.append(found.entailed)
        if phrase.boxes:
            evidence = [box for n in found.evidence for box in others[n].boxes]
            inside = covered(phrase.boxes, evidence) > MORE_THAN
            placed.append((found.entailed, found.entailed and inside))
    entailed = [place for said, place in placed if said]
    return _Side(_share(logical), _share(entailed), _share([place for _, place in placed]), failures)


def box_entailment(predicted: Sequence[BoundingBox], true: Sequence[BoundingBox]) -> tuple[float, float]:
    """(spatial precision, spatial recall) of the boxes of one phrase, which is given: entailed boxes of all, each way.

    nan on a side without boxes.
    """
    return (
        _share([covered([box], true) > MORE_THAN for box in predicted]),
        _share([covered([box], predicted) > MORE_THAN for box in true]),
    )


def sentences(text: str) -> list[str]:
    """A text in sentences; a full stop within a number or an abbreviation in lower case ends none."""
    return [part for part in re.split(r"(?<=[.!?;])\s+(?=[A-Z0-9\"(])|\n+", text.strip()) if part.strip()]


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / len(hits) if hits else math.nan
