"""One case, scored: a row. What a run is made of, what its summary, its report and a comparison are made from."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Literal

from medloupe.errors import InputRejected, ModelError
from medloupe.evals.scorers.attributes import CaptionJudge, judge_region
from medloupe.evals.scorers.overlap import covered, dice, mask_iou, match_boxes, union_iou
from medloupe.evals.scorers.readers import plausible_hits
from medloupe.evals.scorers.text import exact_match, normalised, read_option, read_yes_no, token_f1, token_recall
from medloupe.evals.solvers.outcome import Outcome
from medloupe.evals.tasks.case import Case
from medloupe.evals.tasks.images import read_mask
from medloupe.types import Frozen

__all__ = ["HEADLINES", "Row", "Status", "score_case"]

Status = Literal["scored", "unparsed", "abstained", "failed", "refused"]
"""Only "scored" answers can score; the others count as wrong in the headline, and are told apart beside it."""

HEADLINES = {
    "option": "accuracy", "yesno": "accuracy", "open": "exact match", "caption": "attribute average",
    "boxes": "IoU of the union of boxes", "mask": "Dice",
}  # fmt: skip
"""What a row's `value` is, by the kind of case."""

_CANNOT = ("cannot tell", "cannot be told", "unable to determine", "not possible to tell", "i cannot tell")


class Row(Frozen):
    """One case of a run."""

    id: str
    epoch: int
    kind: str
    cluster: str
    groups: dict[str, str] = {}
    status: Status
    value: float
    """The headline's share of this case, 0 unless scored (an attribute average: -1 to 1)."""
    values: dict[str, float] = {}
    """The protocol's other figures."""
    answer: str = ""
    """As it was read: an option's text, "yes", "no", or the reply."""
    expected: str = ""
    right: bool | None = None
    """None where a case is not right or wrong."""
    right_before: bool | None = None
    """Whether the answer without verification was right."""
    confidence: float | None = None
    verdicts: dict[str, int] = {}
    looks: int = 0
    calls: int = 0
    tokens: int = 0
    seconds: float = 0.0
    """Of waiting for the model, as measured when the calls were sent."""
    fault: str = ""
    tags: dict[str, str] = {}


async def score_case(case: Case, outcome: Outcome, *, epoch: int, folder: Path, judge: CaptionJudge) -> Row:
    """The row of an outcome. A judge's failure is raised; a mask that cannot be read is InputRejected."""
    status, answer, value, values = await _value(case, outcome, folder, judge)
    if case.boxes and outcome.status == "answered":
        values["inspected"] = covered(case.boxes, outcome.inspected)
    right = bool(value == 1.0) if case.kind in ("option", "yesno", "open") else None
    before = None
    if right is not None and outcome.before is not None:
        before = _read(case, outcome.before)[1] == 1.0
    return Row(
        id=case.id, epoch=epoch, kind=case.kind, cluster=case.cluster, groups=case.groups, status=status, value=value,
        values={name: round(v, 9) for name, v in values.items() if not math.isnan(v)}, answer=answer,
        expected=case.answer, right=right, right_before=before, confidence=outcome.confidence,
        verdicts={word: outcome.verdicts.count(word) for word in sorted(set(outcome.verdicts))},
        looks=outcome.looks, calls=outcome.spent.calls, tokens=outcome.spent.tokens,
        seconds=round(outcome.spent.seconds, 4), fault=outcome.fault, tags=case.tags,
    )  # fmt: skip


async def _value(
    case: Case, outcome: Outcome, folder: Path, judge: CaptionJudge
) -> tuple[Status, str, float, dict[str, float]]:
    if outcome.status != "answered":
        return outcome.status, "", 0.0, {}
    if case.kind == "boxes":
        return "scored", f"{len(outcome.boxes)} boxes", *_boxes(case, outcome)
    if case.kind == "mask":
        return "scored", "a mask" if outcome.mask else "no mask", *_mask(case, outcome, folder)
    if not outcome.text.strip():
        return "abstained", "", 0.0, {}
    if case.kind == "caption":
        return await _caption(case, outcome, judge)
    answer, value = _read(case, outcome.text)
    if answer is None:
        cannot = normalised(outcome.text).startswith(_CANNOT)
        return "abstained" if cannot else "unparsed", outcome.text[:300], 0.0, {}
    values = {"recall": token_recall(answer, case.answer), "f1": token_f1(answer, case.answer)}
    if case.votes:
        values["adjusted"] = plausible_hits(answer, case.votes)
    return "scored", answer, value, values if case.kind == "open" or case.votes else {}


def _read(case: Case, text: str) -> tuple[str | None, float]:
    """(answer as it was read, 1 if it is right); None for one that cannot be read."""
    if case.kind == "option":
        place = read_option(text, case.options)
        return (None, 0.0) if place is None else (case.options[place], float(case.options[place] == case.answer))
    if case.kind == "yesno":
        said = read_yes_no(text)
        return (None, 0.0) if said is None else ("yes" if said else "no", float(said == (case.answer == "yes")))
    if normalised(text).startswith(_CANNOT):
        return None, 0.0
    return text[:300], float(exact_match(text, case.answer))


def _boxes(case: Case, outcome: Outcome) -> tuple[float, dict[str, float]]:
    found = match_boxes(outcome.boxes, case.boxes)
    values = {"precision@0.5": found.precision(), "recall@0.5": found.recall(), "recall@0.3": found.recall(0.3)}
    return union_iou(outcome.boxes, case.boxes), values


def _mask(case: Case, outcome: Outcome, folder: Path) -> tuple[float, dict[str, float]]:
    with tempfile.TemporaryDirectory(prefix="medloupe-mask-") as scratch:
        true = read_mask(folder, case.masks, Path(scratch))
    mask = outcome.mask.to_array() if outcome.mask else None
    if mask is not None and mask.shape != true.shape:
        raise InputRejected("changed-file", f"the mask of {case.id} has another size than its image")
    return dice(mask, true), {"IoU": mask_iou(mask, true)}


async def _caption(case: Case, outcome: Outcome, judge: CaptionJudge) -> tuple[Status, str, float, dict[str, float]]:
    try:
        found = await judge_region(outcome.text, case.attributes, judge)
    except ModelError as error:
        return "failed", outcome.text, 0.0, {"judge failed": float(bool(str(error)))}
    halves = [half for half in (found.positive, found.negative) if not math.isnan(half)]
    values = {
        "positive": found.positive, "negative": found.negative, "recognised": float(found.recognised),
        "judge unparsed": float(found.unparsed),
    }  # fmt: skip
    return "scored", outcome.text, sum(halves) / len(halves) if halves else 0.0, values
