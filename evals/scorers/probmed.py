"""ProbMed's pairing (Yan et al. 2024): a true question and its hallucinated twin are right together or not at all.

Modality and organ: a pair's credit needs both answers right. Abnormality, condition and position: credit only if all
of the image's pairs are right. The whole: means over the categories' units.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["ALL_OF_IMAGE", "ProbMedAnswer", "ProbMedUnit", "probmed_units", "split_type"]

ALL_OF_IMAGE = ("condition", "position", "entity", "grounding", "abnormality")
"""Categories where one wrong pair costs the image's credit, in the paper's and in the file's words."""


class ProbMedAnswer(NamedTuple):
    """One question's outcome."""

    image: str
    qa_type: str
    """The category with its suffix, as released: "modality_gt", "modality_hallu"."""
    number: str
    """What the two of a pair share besides image and category."""
    right: bool


class ProbMedUnit(NamedTuple):
    """What credit is given for: a pair, or all pairs of an image."""

    image: str
    category: str
    right: bool


def split_type(qa_type: str) -> tuple[str, bool]:
    """(category, whether it is the hallucinated twin)."""
    for suffix, twin in (("_hallu", True), ("_gt", False)):
        if qa_type.endswith(suffix):
            return qa_type.removesuffix(suffix), twin
    return qa_type, False


def probmed_units(answers: Iterable[ProbMedAnswer]) -> list[ProbMedUnit]:
    """Credits, in order of first appearance. A question whose twin is missing has no pair, and gets no credit."""
    pairs: dict[tuple[str, str, str], list[tuple[bool, bool]]] = defaultdict(list)
    for answer in answers:
        category, twin = split_type(answer.qa_type)
        number = "" if category in ALL_OF_IMAGE else answer.number
        pairs[answer.image, category, number].append((twin, answer.right))
    return [
        ProbMedUnit(image, category, {twin for twin, _ in found} == {True, False} and all(right for _, right in found))
        for (image, category, _), found in pairs.items()
    ]
