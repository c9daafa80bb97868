"""Ophiuchus's record layout, read and written without loss; the chat form beside it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from medloupe.errors import InputRejected
from medloupe.evals.training.records import (
    ToolUse,
    Trajectory,
    Turn,
    VerdictReward,
    from_chat,
    from_ophiuchus,
    to_chat,
    to_ophiuchus,
)

THEIRS: dict[str, Any] = {
    "source": "Somewhere",
    "split": "train",
    "question_id": 7,
    "question": "Is anything wrong on this slice?",
    "answer": "B",
    "question_type": "multiple choice",
    "conversations": [
        {"role": "system", "content": "system\nYou may use tools."},
        {"role": "user", "content": "<image>\n### Question:\nIs anything wrong?\nThe index of the given image is 1."},
        {
            "role": "assistant",
            "content": "<think> Perhaps the spleen.\n</think> Action: <tool_call>BiomedParse\n```json\n"
            '[{\n    "index": 1,\n    "captions": "spleen lesion"\n}]\n```</tool_call>',
        },
        {"role": "user", "content": "<image>\nThe index of the given image is 2 (width: 512, height: 512)."},
        {
            "role": "assistant",
            "content": "<think> Closer. </think> Action: <tool_call>Zoom-in\n```json\n"
            '[{\n    "index": 2,\n    "bbox_2d": [200, 221, 210, 232]\n}]\n```</tool_call>',
        },
        {"role": "user", "content": "<image>\nThe index of the given image is 3 (width: 192, height: 192)."},
        {"role": "assistant", "content": "<think> It is dark. </think> Action: Answer\n<answer> B </answer>"},
    ],
    "score": 1.0,
    "images": ["a.png", "b.png", "c.png"],
}


def with_last(content: str) -> dict[str, Any]:
    return {**THEIRS, "conversations": [*THEIRS["conversations"][:-1], {"role": "assistant", "content": content}]}


def test_a_record_is_read_field_by_field_and_word_by_word() -> None:
    found = from_ophiuchus(THEIRS)
    assert [turn.role for turn in found.turns] == ["system", *["user", "assistant"] * 3]
    assert found.turns[2].tool == ToolUse(name="segment_text", arguments=({"index": 1, "captions": "spleen lesion"},))
    zoom = found.turns[4].tool
    assert zoom == ToolUse(name="zoom", arguments=({"index": 2, "bbox_2d": [200, 221, 210, 232]},))
    assert found.turns[6].answer == " B "
    assert sum(turn.images for turn in found.turns) == len(found.images) == 3
    assert all(turn.verbatim is None for turn in found.turns[:3] + found.turns[5:])


RECORDS = {
    "as released": THEIRS,
    "fields of its own": {**THEIRS, "options": ["A. no", "B. yes"], "mask_path": ["m.png"]},
    "two pictures in one turn": {
        **THEIRS, "conversations": [{"role": "user", "content": "<image>\n<image>\nWhich?"}], "images": ["a", "b"],
    },
    "a picture in the middle": with_last("See <image> here."),
    "JSON written another way": with_last(
        '<think> x </think> Action: <tool_call>SAM2\n```json\n[{"index":1,"bbox_2d":[1,2,3,4]}]\n```</tool_call>'
    ),
    "no JSON at all": with_last("<think> x </think> Action: <tool_call>SAM2\n```json\nnothing\n```</tool_call>"),
    "a tool by our name": with_last(
        '<think>x</think> Action: <tool_call>zoom\n```json\n[{\n    "index": 1\n}]\n```</tool_call>'
    ),
    "no thought": with_last("The answer is B."),
    "letters beyond ASCII": with_last("<think> µ, \u2028 and 肝 </think> Action: Answer\n<answer>肝</answer>"),
    "a numbered name": {**THEIRS, "question_id": "case/7"},
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDS)
def test_their_record_through_ours_and_the_chat_form_is_the_same(name: str) -> None:
    record = json.loads(json.dumps(RECORDS[name]))
    ours = from_ophiuchus(record)
    assert to_ophiuchus(ours) == record
    chat = json.loads(json.dumps(to_chat(ours)))
    assert from_chat(chat) == ours
    assert to_ophiuchus(from_chat(chat)) == record


ZOOM = {"index": 1, "bbox_2d": [1, 2, 30, 40], "label": "disc"}
OURS = Trajectory(
    source="phantoms", split="train", question_id="p0", question="On which side?", answer="A",
    question_type="multiple choice", score=0.0,
    turns=(
        Turn(role="system", text="Look closely."),
        Turn(role="user", text="### Question:\nOn which side?", images=1),
        Turn(role="assistant", text=" A disc. ", tool=ToolUse(name="zoom", arguments=(ZOOM,))),
        Turn(role="user", text="The index of the given image is 2.", images=1),
        Turn(role="assistant", text="  ", tool=ToolUse(name="window", arguments=({"index": 2, "preset": "lung"},))),
        Turn(role="user", text="The index of the given image is 3.", images=1),
        Turn(role="assistant", text=" It lies left. ", answer=" B "),
    ),
    images=("images/a.png", "images/b.png", "images/c.png"),
    verdicts=(
        VerdictReward(claim="disc: side left", verdict="supported", reward=1, method="measured", independent=True),
        VerdictReward(claim="disc is present", verdict="undetermined", reward=0, method="probe", independent=False),
    ),
)  # fmt: skip


def test_our_trajectory_through_their_layout_is_the_same() -> None:
    theirs = json.loads(json.dumps(to_ophiuchus(OURS)))
    assert from_ophiuchus(theirs) == OURS
    assert [message["content"].split("\n")[0] for message in theirs["conversations"]][2:] == [
        "<think> A disc. </think> Action: <tool_call>Zoom-in",
        "<image>",
        "<think>  </think> Action: <tool_call>window",
        "<image>",
        "<think> It lies left. </think> Action: Answer",
    ]
    assert set(theirs) == {*THEIRS, "medloupe"}


def test_the_chat_form_has_tool_calls_and_pictures_in_user_messages() -> None:
    record = to_chat(OURS)
    assert from_chat(json.loads(json.dumps(record))) == OURS
    assert [m["role"] for m in record["messages"]] == [
        "system", "user", "assistant", "tool", "user", "assistant", "tool", "user", "assistant",
    ]  # fmt: skip
    call = record["messages"][2]["tool_calls"][0]
    assert call["function"]["name"] == "zoom" and record["messages"][3]["tool_call_id"] == call["id"]
    assert record["messages"][1]["content"][0] == {"type": "image"}
    assert record["messages"][-1]["content"].strip() == "B"
    assert record["reward"] == 0.5  # one supported, one undecided


def test_what_is_no_record_is_refused() -> None:
    with pytest.raises(InputRejected, match="a record has no score"):
        from_ophiuchus({name: value for name, value in THEIRS.items() if name != "score"})
    with pytest.raises(InputRejected, match="not in Ophiuchus's layout"):
        from_ophiuchus({**THEIRS, "conversations": "none"})
    with pytest.raises(InputRejected, match="not in Ophiuchus's layout"):
        from_ophiuchus({**THEIRS, "score": "good"})
