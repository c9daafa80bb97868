"""A case's trace as a trajectory: each look becomes the tool call that asked for it and the picture that it brought.

What was said of a picture is the thought before the next call; what was checked is the thought before the answer.
Looks that were made side by side follow each other in the order of their views.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from pydantic import TypeAdapter

from medloupe.agent.trace import TraceEvent
from medloupe.errors import ReplyUnreadable
from medloupe.evals.scorers.rows import Row
from medloupe.evals.scorers.text import letters
from medloupe.evals.solvers.asking import read_reply
from medloupe.evals.tasks.case import Case
from medloupe.evals.training.records import ToolUse, Trajectory, Turn, VerdictReward
from medloupe.prompts import prompt
from medloupe.tools.look.actions import Action, Compare, Crop, Segment, SetWindow, Slice, Zoom
from medloupe.types import Answer, BoundingBox, Claim, Observation, Verdict, View

__all__ = ["answers_of", "trajectory_of"]

_ACTION: TypeAdapter[Action] = TypeAdapter(Action)
_REWARDS = {"supported": 1, "refuted": -1, "undetermined": 0}
_TYPES = {
    "option": "multiple choice", "yesno": "yes/no", "open": "open-ended", "caption": "description",
    "boxes": "grounding", "mask": "segmentation",
}  # fmt: skip
_LAST = ("choose", "locate")


def trajectory_of(
    case: Case, row: Row, events: Sequence[TraceEvent], *, source: str, split: str, folder: str
) -> Trajectory | None:
    """None where there is nothing to learn from: no picture was shown, or no answer came.

    folder: where the pictures lie, as paths in the record begin.
    """
    views = {view.index: view for view in _views(events)}
    final = answers_of(case, events)[-1]
    if not views or not final:
        return None
    said = _said(events)
    order = sorted(views)
    number = {index: place for place, index in enumerate(order, start=1)}
    planned = _planned(events)
    turns = [Turn(role="system", text=prompt("trajectory").render()), _asked(case, views[order[0]])]
    for before, index in pairwise(order):
        tool = _tool(planned.get(index), views[index], views, number)
        turns.append(Turn(role="assistant", text=_spaced(said.get(before, "")), tool=tool))
        turns.append(_shown(views[index], number[index]))
    verdicts = _verdicts(events)
    thought = " ".join([said.get(order[-1], ""), *(f"{v.claim}: {v.verdict}." for v in verdicts)])
    turns.append(Turn(role="assistant", text=_spaced(thought), answer=_spaced(final)))
    return Trajectory(
        source=source, split=split, question_id=case.id if row.epoch == 1 else f"{case.id}#{row.epoch}",
        question=case.question, answer=_truth(case), question_type=_TYPES[case.kind], score=row.value,
        turns=tuple(turns), images=tuple(f"{folder}/{views[index].digest}.png" for index in order), verdicts=verdicts,
    )  # fmt: skip


def answers_of(case: Case, events: Sequence[TraceEvent]) -> tuple[str, str]:
    """What would have been answered without verification, and what was; "" for none. Options by letter."""
    replies = [e.data["reply"] for e in events if e.event == "call" and e.data["purpose"] in _LAST and e.data["reply"]]
    if replies:
        found = [_lettered(case, reply) for reply in (replies[0], replies[-1])]
        return found[0], found[1]
    for event in reversed(events):
        if event.event == "answer":
            answer = Answer.model_validate(event.data["answer"])
            before = " ".join(statement.original or statement.text for statement in answer.statements)
            return before, "" if answer.abstained else answer.answer
    return "", ""


def _lettered(case: Case, reply: str) -> str:
    if case.kind in ("boxes", "mask"):
        return reply.strip()
    try:
        return read_reply(reply).text
    except ReplyUnreadable:
        return ""


def _truth(case: Case) -> str:
    if case.kind == "option":
        return letters(len(case.options))[case.options.index(case.answer)]
    if case.kind in ("boxes", "mask"):
        return str([[round(v, 1) for v in box.as_tuple()] for box in case.boxes])
    return case.answer or " ".join(phrase.text for phrase in case.reference)


def _views(events: Sequence[TraceEvent]) -> list[View]:
    return [View.model_validate(e.data["view"]) for e in events if e.event == "look" and e.data.get("view")]


def _said(events: Sequence[TraceEvent]) -> dict[int, str]:
    """View to what was said of it, the model's words and the measured ones."""
    found: dict[int, list[str]] = {}
    for event in events:
        if event.event == "describe":
            observation = Observation.model_validate(event.data["observation"])
            if observation.text:
                found.setdefault(observation.view, []).append(" ".join(observation.text.split()))
    return {view: " ".join(texts) for view, texts in found.items()}


def _planned(events: Sequence[TraceEvent]) -> dict[int, Action]:
    """View to the action that asked for it: every planned action is given the next index, also one that fails."""
    found: dict[int, Action] = {}
    following = 1
    for event in events:
        if event.event == "plan":
            for action in event.data["actions"]:
                found[following] = _ACTION.validate_python(action)
                following += 1
    return found


def _tool(action: Action | None, view: View, views: Mapping[int, View], number: Mapping[int, int]) -> ToolUse:
    """The call that brings this view; of a look that no planner asked for, one that would."""
    match action:
        case Zoom() if action.view in number:
            return _call("zoom", number[action.view], **_box(action.box, views[action.view]), **_label(action.label))
        case Segment() if action.box is not None and action.view in number:
            return _call("segment", number[action.view], **_box(action.box, views[action.view]), **_label(action.label))
        case Crop() if action.view in number:
            return _call("crop", number[action.view], region=action.region)
        case SetWindow() if action.view in number:
            chosen = {"preset": action.preset} if action.preset else {}
            window = {"centre": action.window.centre, "width": action.window.width} if action.window else {}
            return _call("window", number[action.view], **chosen, **window)
        case Slice():
            plane = {"plane": action.plane} if action.plane else {}
            return ToolUse(name="slice", arguments=({"series": action.series, "number": action.index, **plane},))
        case Compare() if action.view in number and action.other in number:
            return _call("compare", number[action.view], other=number[action.other])
    parent = view.parent if view.parent is not None and view.parent in number else min(number)
    return _call("zoom", number[parent], **_box(view.box, views[parent]))


def _call(name: str, index: int, **arguments: Any) -> ToolUse:
    return ToolUse(name=name, arguments=({"index": index, **arguments},))


def _box(box: BoundingBox, view: View) -> dict[str, Any]:
    """In whole pixels of the picture that it is asked on."""
    return {"bbox_2d": [round(v) for v in view.box_from_image(box).as_tuple()]}


def _label(label: str) -> dict[str, str]:
    return {"label": label} if label else {}


def _asked(case: Case, view: View) -> Turn:
    options = list(zip(letters(len(case.options)), case.options, strict=True))
    text = prompt("trajectory_question").render(
        question=case.question, options=options, width=view.width, height=view.height
    )
    return Turn(role="user", text=text, images=1)


def _shown(view: View, index: int) -> Turn:
    text = prompt("trajectory_view").render(index=index, width=view.width, height=view.height)
    return Turn(role="user", text=text, images=1)


def _verdicts(events: Sequence[TraceEvent]) -> tuple[VerdictReward, ...]:
    """Of every claim, the last word."""
    found: dict[str, VerdictReward] = {}
    for event in events:
        if event.event == "verdict":
            claim, verdict = Claim.model_validate(event.data["claim"]), Verdict.model_validate(event.data["verdict"])
            found[claim.id] = VerdictReward.model_validate(
                {
                    "claim": claim.sentence(), "verdict": verdict.verdict, "reward": _REWARDS[verdict.verdict],
                    "method": verdict.method, "independent": verdict.independent,
                }
            )  # fmt: skip
    return tuple(found[claim] for claim in sorted(found, key=lambda c: int(c.removeprefix("C"))))


def _spaced(text: str) -> str:
    """As Ophiuchus writes between its marks."""
    return f" {text.strip()} "
