"""One case, scored: a row. What a run is made of, what its summary, its report and a comparison are made from."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Literal

from medloupe.errors import InputRejected, ModelError
from medloupe.evals.scorers.attributes import against_readers, ask_judge, region_score
from medloupe.evals.scorers.judges import Judges
from medloupe.evals.scorers.overlap import covered, dice, mask_iou, match_boxes, union_iou
from medloupe.evals.scorers.radfact import Phrase, box_entailment, radfact, sentences
from medloupe.evals.scorers.readers import adjusted_accuracy
from medloupe.evals.scorers.text import exact_match, normalised, read_option, read_yes_no, token_f1, token_recall
from medloupe.evals.solvers.outcome import Outcome
from medloupe.evals.tasks.case import Case
from medloupe.evals.tasks.images import read_mask
from medloupe.types import Frozen

__all__ = ["ADJUSTED", "CEILING", "HEADLINES", "MOST_SENTENCES", "Row", "Status", "score_case"]

Status = Literal["scored", "unparsed", "abstained", "failed", "refused"]
"""Only "scored" answers can score; the others count as wrong in the headline, and are told apart beside it."""

HEADLINES = {
    "option": "accuracy", "yesno": "accuracy", "open": "exact match", "caption": "attribute average",
    "boxes": "IoU of the union of boxes", "mask": "Dice",
}  # fmt: skip
"""What a row's `value` is, by the kind of case."""

ADJUSTED, CEILING = "against readers", "readers against each other"
"""Accuracy averaged over plausible truths, and what the readers themselves reach by it."""
MOST_SENTENCES = 32
"""Of a description, that RadFact's judge is asked about."""
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
    value_before: float | None = None
    """The same share of the answer without verification; None where nothing was verified."""
    confidence: float | None = None
    verdicts: dict[str, int] = {}
    looks: int = 0
    calls: int = 0
    tokens: int = 0
    completion_tokens: int = 0
    """Of `tokens`."""
    seconds: float = 0.0
    """Of waiting for the model, as measured when the calls were sent."""
    fault: str = ""
    tags: dict[str, str] = {}


async def score_case(case: Case, outcome: Outcome, *, epoch: int, folder: Path, judges: Judges) -> Row:
    """The row of an outcome. A judge's failure is raised; a mask that cannot be read is InputRejected."""
    status, answer, value, values = await _value(case, outcome, folder, judges)
    if case.boxes and outcome.status == "answered":
        values["inspected"] = covered(case.boxes, outcome.inspected)
    right = bool(value == 1.0) if case.kind in ("option", "yesno", "open") else None
    before = await _before(case, outcome, value, judges)
    return Row(
        id=case.id, epoch=epoch, kind=case.kind, cluster=case.cluster, groups=case.groups, status=status, value=value,
        values={name: round(v, 9) for name, v in values.items() if not math.isnan(v)}, answer=answer,
        expected=case.answer, right=right, right_before=None if right is None or before is None else before == 1.0,
        value_before=before, confidence=outcome.confidence,
        verdicts={word: outcome.verdicts.count(word) for word in sorted(set(outcome.verdicts))},
        looks=outcome.looks, calls=outcome.spent.calls, tokens=outcome.spent.tokens,
        completion_tokens=outcome.spent.completion_tokens,
        seconds=round(outcome.spent.seconds, 4), fault=outcome.fault, tags=case.tags,
    )  # fmt: skip


async def _value(
    case: Case, outcome: Outcome, folder: Path, judges: Judges
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
        return await _caption(case, outcome, judges)
    answer, value = _read(case, outcome.text)
    if answer is None:
        cannot = normalised(outcome.text).startswith(_CANNOT)
        return "abstained" if cannot else "unparsed", outcome.text[:300], 0.0, {}
    values = {}
    if case.kind == "open":
        values = {"recall": token_recall(answer, case.answer), "f1": token_f1(answer, case.answer)}
    if case.votes:
        found = adjusted_accuracy([answer], [case.votes])
        values |= {ADJUSTED: found.accuracy, CEILING: found.ceiling}
    return "scored", answer, value, values


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
    values["spatial precision"], values["spatial recall"] = box_entailment(outcome.boxes, case.boxes)
    return union_iou(outcome.boxes, case.boxes), values


def _mask(case: Case, outcome: Outcome, folder: Path) -> tuple[float, dict[str, float]]:
    with tempfile.TemporaryDirectory(prefix="medloupe-mask-") as scratch:
        true = read_mask(folder, case.masks, Path(scratch))
    mask = outcome.mask.to_array() if outcome.mask else None
    if mask is not None and mask.shape != true.shape:
        raise InputRejected("changed-file", f"the mask of {case.id} has another size than its image")
    return dice(mask, true), {"IoU": mask_iou(mask, true)}


async def _before(case: Case, outcome: Outcome, value: float, judges: Judges) -> float | None:
    """What the answer would have scored unverified."""
    if outcome.status != "answered" or outcome.before is None or case.kind in ("boxes", "mask"):
        return None
    if outcome.before == outcome.text:
        return value
    if case.kind != "caption":
        return _read(case, outcome.before)[1]
    try:
        chosen = await ask_judge(outcome.before, case.attributes, judges.caption)
    except ModelError:
        return None
    return region_score(case.attributes, chosen).average


async def _caption(case: Case, outcome: Outcome, judges: Judges) -> tuple[Status, str, float, dict[str, float]]:
    try:
        chosen = await ask_judge(outcome.text, case.attributes, judges.caption)
    except ModelError:
        return "failed", outcome.text, 0.0, {"judge failed": 1.0}
    found = region_score(case.attributes, chosen)
    values = {
        "positive": found.positive, "negative": found.negative, "recognised": float(found.recognised),
        "judge unparsed": float(found.unparsed),
    }  # fmt: skip
    if readers := against_readers(case.attributes, chosen):
        values |= {ADJUSTED: readers.accuracy, CEILING: readers.ceiling}
    if case.reference:
        values |= await _radfact(case, outcome, judges)
    return "scored", outcome.text, found.average, values


async def _radfact(case: Case, outcome: Outcome, judges: Judges) -> dict[str, float]:
    """Both directions. Of a region that was asked about, its place was given: then places say nothing."""
    written = outcome.said or tuple(Phrase(sentence) for sentence in sentences(outcome.text))
    found = await radfact(written[:MOST_SENTENCES], case.reference, judges.entailment)
    values = {name.replace("_", " "): value for name, value in found._asdict().items()} | {
        "logical F1": found.logical_f1
    }
    placed = not case.region and any(phrase.boxes for phrase in case.reference)
    return {name: value for name, value in values.items() if placed or not name.startswith(("grounding", "spatial"))}
