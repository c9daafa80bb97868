"""`--like RUN`: a control given as much effort as another run spent, case by case."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from medloupe.errors import UsageError
from medloupe.evals.running.compare import read_rows

__all__ = ["MATCHED", "Effort", "Efforts", "efforts_of"]

MATCHED = ("random_crop", "full_image", "uniform_tiles", "majority_vote")
"""Solvers whose effort can be chosen: the crops by looks, the vote by tokens."""
_SAME = ("benchmark", "split", "dataset", "epochs")


class Effort(NamedTuple):
    """What one case took."""

    looks: int
    tokens: int


class Efforts(NamedTuple):
    """Another run's."""

    of: dict[tuple[str, int], Effort]
    """By case and epoch."""
    scores: str
    """sha-256 of its scores, by which it is named in records."""


def efforts_of(folder: Path, solver: str, parameters: dict[str, Any]) -> Efforts:
    """What a finished run spent on each case. UsageError when its cases are not the very ones of this run.

    parameters: this run's, as they are recorded.
    """
    if solver not in MATCHED:
        raise UsageError(f"--like is for the controls {', '.join(MATCHED)}; the effort of {solver} cannot be chosen")
    rows = read_rows(folder)
    try:
        about = json.loads((folder / "run.json").read_text("utf-8"))
        theirs, scores = about["parameters"], str(about["scores"])
    except (OSError, ValueError, KeyError):
        raise UsageError(f"{folder} holds no finished run (no run.json)") from None
    for name in _SAME:
        if theirs.get(name) != parameters[name]:
            values = "" if name == "dataset" else f" ({theirs.get(name)}, not {parameters[name]})"
            differs = "its cases" if name == "dataset" else name
            raise UsageError(f"--like needs a run over the same cases; {folder} differs in {differs}{values}")
    return Efforts({(row.id, row.epoch): Effort(row.looks, row.tokens) for row in rows}, scores)
