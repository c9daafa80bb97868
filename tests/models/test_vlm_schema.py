"""JSON in a model's words: found, validated, never mended."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ConfigDict

from medloupe.errors import ReplyUnreadable
from medloupe.models.vlm import parse_json


class Finding(BaseModel):
    model_config = ConfigDict(extra="forbid")
    finding: str = ""
    size_mm: float | None = None


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param('{"finding": "nodule"}', id="bare"),
        pytest.param('```json\n{"finding": "nodule"}\n```', id="fenced"),
        pytest.param('Sure! Here it is:\n```\n{"finding": "nodule"}\n```\nAnything else?', id="fenced, with prose"),
        pytest.param('The set {a, b} aside, it is {"finding": "nodule"}.', id="after other braces"),
        pytest.param('<think>maybe {"finding": "cyst"}</think>{"finding": "nodule"}', id="after thinking"),
        pytest.param('[1, 2] {"finding": "nodule"} {"finding": "cyst"}', id="the first that fits"),
    ],
)
def test_json_is_found(reply) -> None:
    assert parse_json(reply, Finding) == Finding(finding="nodule")


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        pytest.param("It is a nodule.", "holds no JSON", id="prose"),
        pytest.param("", "holds no JSON", id="empty"),
        pytest.param('{"finding": "nod', "holds no JSON", id="broken off"),
        pytest.param(
            '{"finding": ["a", {"size_mm": 3}', "holds no JSON", id="a part of what is broken off is no reply"
        ),
        pytest.param('{"result": {"finding": "nodule"}}', "does not fit", id="a part of another object is no reply"),
        pytest.param('{"finding": 3}', "finding", id="wrong type"),
        pytest.param('{"finding": "a", "size_mm": NaN}', "holds no JSON", id="NaN"),
        pytest.param("[" * 100_000, "holds no JSON", id="a hundred thousand brackets"),
        pytest.param("{} " * 50_000 + "[1]", "at finding", id="many values"),
    ],
)
def test_what_is_no_reply_is_one_clear_line(reply, words) -> None:
    class Strict(Finding):
        finding: str

    with pytest.raises(ReplyUnreadable, match=words) as caught:
        parse_json(reply, Strict)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 200
