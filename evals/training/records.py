"""Trajectories to train on: chat messages with images and tool calls, and Ophiuchus's record layout, both ways.

Ophiuchus (Jiang et al. 2025, `data/example/data_case/biomedparser-SFT.json`) keeps a trajectory as

    {"source", "split", "question_id", "question", "answer", "question_type", "score", "images": [paths],
     "conversations": [{"role", "content"}, ...]}

with an "<image>" mark for every picture in a user's content, images numbered from 1, and an assistant's content as

    <think> ... </think> Action: <tool_call>Zoom-in
    ```json
    [{"index": 1, "bbox_2d": [x1, y1, x2, y2]}]
    ```</tool_call>                                    or     <think> ... </think> Action: Answer
                                                              <answer> C </answer>

Nothing is lost either way: words that would be written otherwise are kept as they stood (`Turn.verbatim`), fields of
other names in `Trajectory.extra`; what Ophiuchus has no field for travels in one more, "medloupe".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from medloupe.errors import InputRejected
from medloupe.types import Frozen, VerdictValue

__all__ = ["ToolUse", "Trajectory", "Turn", "VerdictReward", "from_chat", "from_ophiuchus", "to_chat", "to_ophiuchus"]

_IMAGE = "<image>\n"
_ACTION = re.compile(
    r"<think>(?P<thought>.*?)</think> Action: (?:"
    r"<tool_call>(?P<tool>[^\n]+)\n```json\n(?P<payload>.*)\n```</tool_call>|Answer\n<answer>(?P<answer>.*)</answer>)",
    re.DOTALL,
)
_THEIRS = {"zoom": "Zoom-in", "segment": "SAM2", "segment_text": "BiomedParse"}
_OURS = {theirs: ours for ours, theirs in _THEIRS.items()}
_SEEN = "The picture follows."
"""What a tool replies in chat; chat templates want a reply, and pictures stand in user messages only."""


class ToolUse(Frozen):
    """One call of a tool."""

    name: str
    """zoom, segment (by box), segment_text, crop, window, slice, compare; another record's own tools by their names."""
    arguments: tuple[dict[str, Any], ...]
    """As a list, which is how Ophiuchus writes even one. `index` counts images from 1; boxes are pixels of that one."""


class Turn(Frozen):
    """One message."""

    role: Literal["system", "user", "assistant"]
    text: str = ""
    """What is said; of an assistant, what it thinks, with the spaces around it."""
    images: int = 0
    """Pictures shown before the text, the next ones of the trajectory."""
    tool: ToolUse | None = None
    answer: str | None = None
    """Of the last turn, with the spaces around it."""
    verbatim: str | None = None
    """The content as it stood in Ophiuchus's layout, where that is not how it would be written from the fields."""


class VerdictReward(Frozen):
    """What a check made of one claim on the way."""

    claim: str
    """As a sentence."""
    verdict: VerdictValue
    reward: Literal[-1, 0, 1]
    """1 supported, -1 refuted, 0 undetermined."""
    method: str
    independent: bool
    """The check did not rest on the describer."""


class Trajectory(Frozen):
    """One case as it was looked at, thought about and answered."""

    source: str
    split: str
    question_id: int | str
    question: str
    answer: str
    """The truth: an option's letter, "yes", "no", or the reference."""
    question_type: str
    score: float
    """What the benchmark's protocol gave the answer."""
    turns: tuple[Turn, ...]
    images: tuple[str, ...]
    """Paths, in the order in which they are shown."""
    verdicts: tuple[VerdictReward, ...] = ()
    extra: dict[str, Any] = {}
    """Fields of another record that have no name here."""

    @property
    def reward(self) -> float | None:
        """Mean of the verdicts' rewards; None without any."""
        return sum(v.reward for v in self.verdicts) / len(self.verdicts) if self.verdicts else None


_SHARED = ("source", "split", "question_id", "question", "answer", "question_type", "score", "images")


# --- Ophiuchus ------------------------------------------------------------------------------------------------------


def to_ophiuchus(trajectory: Trajectory) -> dict[str, Any]:
    """The record in Ophiuchus's layout."""
    whole = trajectory.model_dump(mode="json")
    record = {name: whole[name] for name in _SHARED} | dict(trajectory.extra)
    record["conversations"] = [{"role": turn.role, "content": _content(turn)} for turn in trajectory.turns]
    if trajectory.verdicts:
        record["medloupe"] = {"verdicts": whole["verdicts"]}
    return record


def from_ophiuchus(record: Mapping[str, Any]) -> Trajectory:
    """A record of Ophiuchus's layout; InputRejected when it lacks a field or holds another kind of thing."""
    rest = dict(record)
    try:
        fields = {name: rest.pop(name) for name in _SHARED}
        turns = [_turn(message["role"], message["content"]) for message in rest.pop("conversations")]
        return Trajectory(
            **fields, turns=tuple(turns), verdicts=rest.pop("medloupe", {}).get("verdicts", ()), extra=rest
        )
    except KeyError as error:
        raise InputRejected("changed-file", f"a record has no {error.args[0]}") from None
    except (ValidationError, TypeError, AttributeError):
        raise InputRejected("changed-file", "a record is not in Ophiuchus's layout") from None


def _content(turn: Turn) -> str:
    if turn.verbatim is not None:
        return turn.verbatim
    if turn.tool is not None:
        name = _THEIRS.get(turn.tool.name, turn.tool.name)
        called = f"<tool_call>{name}\n```json\n{_payload(turn.tool.arguments)}\n```</tool_call>"
        return f"<think>{turn.text}</think> Action: {called}"
    if turn.answer is not None:
        return f"<think>{turn.text}</think> Action: Answer\n<answer>{turn.answer}</answer>"
    return _IMAGE * turn.images + turn.text


def _payload(calls: tuple[dict[str, Any], ...]) -> str:
    """A list of objects, a line a field."""
    lines = (
        ",\n".join(f"    {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in c.items()) for c in calls
    )
    return "[" + ", ".join(f"{{\n{fields}\n}}" for fields in lines) + "]"


def _turn(role: Any, content: str) -> Turn:
    """A turn that writes this content again, word for word."""
    found = _read(role, content)
    return found if _content(found) == content else found.model_copy(update={"verbatim": content})


def _read(role: Any, content: str) -> Turn:
    action = _ACTION.fullmatch(content) if role == "assistant" else None
    if action is None:
        images = content.count("<image>") if role == "user" else 0
        return Turn(role=role, text=content.removeprefix(_IMAGE * images), images=images)
    if action["answer"] is not None:
        return Turn(role=role, text=action["thought"], answer=action["answer"])
    try:
        said = json.loads(action["payload"])
        tool = ToolUse(name=_OURS.get(action["tool"], action["tool"]), arguments=said)
    except (ValueError, ValidationError):
        return Turn(role=role, text=content)
    return Turn(role=role, text=action["thought"], tool=tool)


# --- chat -----------------------------------------------------------------------------------------------------------


def to_chat(trajectory: Trajectory) -> dict[str, Any]:
    """A supervised record: chat messages (OpenAI's form, pictures as parts of user messages), reward, provenance."""
    whole = trajectory.model_dump(mode="json", exclude={"turns"})
    messages: list[dict[str, Any]] = []
    for turn in trajectory.turns:
        messages += _messages(turn, f"call_{len(messages)}")
    return {"schema_version": "medloupe.trajectory/1", **whole, "reward": trajectory.reward, "messages": messages}


def from_chat(record: Mapping[str, Any]) -> Trajectory:
    """What `to_chat` wrote."""
    fields = {name: record[name] for name in (*_SHARED, "verdicts", "extra")}
    turns = [_chat_turn(message) for message in record["messages"] if message["role"] != "tool"]
    return Trajectory(**fields, turns=tuple(turns))


def _messages(turn: Turn, call: str) -> list[dict[str, Any]]:
    kept = {} if turn.verbatim is None else {"verbatim": turn.verbatim}
    if turn.role != "assistant":
        parts = [{"type": "image"}] * turn.images + [{"type": "text", "text": turn.text}]
        return [{"role": turn.role, "content": parts, **kept}]
    if turn.tool is None and turn.answer is None:  # another record's words, in no known form
        return [{"role": "assistant", "content": turn.text, **kept}]
    message: dict[str, Any] = {
        "role": "assistant", "reasoning_content": turn.text, "content": turn.answer or "", **kept
    }  # fmt: skip
    if turn.tool is None:
        return [message]
    function = {"name": turn.tool.name, "arguments": json.dumps(turn.tool.arguments, ensure_ascii=False)}
    message["tool_calls"] = [{"id": call, "type": "function", "function": function}]
    return [message, {"role": "tool", "tool_call_id": call, "content": _SEEN}]


def _chat_turn(message: Mapping[str, Any]) -> Turn:
    kept = {"role": message["role"], "verbatim": message.get("verbatim")}
    if message["role"] != "assistant":
        *pictures, text = message["content"]
        return Turn(**kept, text=text["text"], images=len(pictures))
    if calls := message.get("tool_calls"):
        function = calls[0]["function"]
        tool = ToolUse(name=function["name"], arguments=json.loads(function["arguments"]))
        return Turn(**kept, text=message["reasoning_content"], tool=tool)
    if "reasoning_content" not in message:
        return Turn(**kept, text=message["content"])
    return Turn(**kept, text=message["reasoning_content"], answer=message["content"])
