"""Whether what is said answers what was asked."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medloupe.agent.compose import not_medical, read_question
from medloupe.prompts import knowledge
from medloupe.tools.measure.vocabulary import findings
from medloupe.tools.verify import claims_from_text
from medloupe.types import Claim, Image, Statement

__all__ = ["answers", "of_what_was_asked", "relevance", "subjects"]

_ALIKE = (
    frozenset({"long_axis", "short_axis", "area", "thickness", "distance"}),
    frozenset({"site", "side"}),
    frozenset({"intensity", "density", "mean", "colour"}),
    frozenset({"shape", "margin", "symmetry"}),
)
"""Attributes that answer for each other: who asks how large it is may be told its area."""


def answers(question: str, statements: Sequence[Statement], claims: Sequence[Claim], image: Image) -> bool:
    """Whether a statement says an attribute, or a finding, that the question asks for, of the thing it asks about.

    A question that asks for neither in words that are known here is answered by any statement. The size of a region is
    no answer about an aneurysm, or a kidney, whose presence was not confirmed; nor about a "lesion" in a picture that
    nothing says is a medical one.
    """
    attributes, named = _asked(question, image)
    anything = not attributes and not named
    known = {claim.id: claim for claim in claims}
    return any(
        anything or any(_answers(known[c], attributes, named) for c in statement.said)
        for statement in of_what_was_asked(question, statements, claims, image)
    )


def of_what_was_asked(
    question: str, statements: Sequence[Statement], claims: Sequence[Claim], image: Image
) -> list[Statement]:
    """The statements that can be of the thing that the question names: its presence, if they speak of it, is said."""
    _, named = _asked(question, image)
    known = {claim.id: claim for claim in claims}
    stand = []
    for statement in statements:
        said = [known[c] for c in statement.said]
        silent = [known[c] for c in statement.claims if c not in statement.said]
        if any(c.attribute == "presence" and (c.finding in named or c.finding not in findings()) for c in silent):
            continue
        if not_medical(question, image) and not any(c.attribute == "presence" for c in said):
            continue
        if said:
            stand.append(statement)
    return stand


def subjects(question: str, words: Sequence[str]) -> list[str]:
    """Things that the question asks about by names that are no known finding, among `words`: "kidney", "optic disc"."""
    unknown, said = read_question(question).unknown, {word.lower() for word in words}
    runs: list[list[str]] = []
    at_end = False
    for word in re.findall(r"[^\W\d_]+", question.lower()):
        inside = word in unknown and word in said
        if inside and at_end:
            runs[-1].append(word)
        elif inside:
            runs.append([word])
        at_end = inside
    return list(dict.fromkeys(" ".join(run) for run in runs))


def relevance(question: str, claims: Sequence[Claim], image: Image) -> list[Claim]:
    """The claims, those first that the question asks for."""
    attributes, named = _asked(question, image)
    return sorted(claims, key=lambda claim: not _answers(claim, attributes, named))


def _answers(claim: Claim, attributes: frozenset[str], named: frozenset[str]) -> bool:
    return claim.attribute in attributes or (claim.attribute == "presence" and claim.finding in named)


def _asked(question: str, image: Image) -> tuple[frozenset[str], frozenset[str]]:
    """Attributes and findings that a question names. "Lesion" stands for any finding, so it asks for none."""
    asked = frozenset(read_question(question).attributes)
    attributes = asked.union(*(group for group in _ALIKE if group & asked))
    claims, _ = claims_from_text(question, first_id=1, image=image, region=None, view=0)
    vague = {*knowledge("questions")["unnamed"], *(name for name, entry in findings().items() if entry.get("generic"))}
    return attributes, frozenset(claim.finding for claim in claims if claim.finding and claim.finding not in vague)
