"""When readers disagree, the truth is uncertain: metrics averaged over plausible truths (Stutz et al. 2023).

Each reader's label is a vote. Plausibilities of the labels are drawn from the Dirichlet distribution of the votes, and
the metric is averaged over draws. The ceiling is what readers reach when each is judged by the others in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["AdjustedAccuracy", "adjusted_accuracy", "plausible_hits"]

_DRAWS = 1000
_SEED = 7


class AdjustedAccuracy(NamedTuple):
    """Accuracy against votes."""

    accuracy: float
    """Mean over draws and cases of whether the answer is the most plausible label."""
    ceiling: float
    """The same of a reader judged by the other readers; nan where no case has two."""


def plausible_hits(answer: str | None, votes: Mapping[str, int], *, weight: float = 1.0) -> float:
    """Share of plausible truths in which the answer is the most plausible label; 0 for no answer.

    weight: how far one vote is trusted, as a count of votes. Labels that nobody voted for are not plausible.
    """
    labels = sorted(label for label, count in votes.items() if count > 0)
    if not labels:
        raise ValueError("a case needs at least one reader's label")
    if answer not in labels:
        return 0.0
    if len(labels) == 1:
        return 1.0
    alpha = np.array([votes[label] * weight for label in labels], dtype=float)
    drawn = np.random.default_rng(_SEED).dirichlet(alpha, _DRAWS)
    return float((drawn.argmax(axis=1) == labels.index(answer)).mean())


def adjusted_accuracy(
    answers: Sequence[str | None], votes: Sequence[Mapping[str, int]], *, weight: float = 1.0
) -> AdjustedAccuracy:
    """Over the cases of a benchmark."""
    hits = [plausible_hits(a, v, weight=weight) for a, v in zip(answers, votes, strict=True)]
    human: list[float] = []
    for vote in votes:
        if sum(vote.values()) < 2:
            continue
        for label, count in vote.items():
            others = {**vote, label: count - 1}
            human += [plausible_hits(label, others, weight=weight)] * count
    return AdjustedAccuracy(float(np.mean(hits)), float(np.mean(human)) if human else float("nan"))
