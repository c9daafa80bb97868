"""What the benches of evaluation run: one question a drawn phantom, and a model that looks twice and answers."""

from __future__ import annotations

import json
import re
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medloupe.evals.bench_script import BOXES
from medloupe.evals.phantoms import Order, read_truth, split_seeds, write_phantom
from medloupe.evals.tasks.case import Case
from medloupe.evals.tasks.drawn import phantom_cases
from medloupe.evals.tasks.written import write_cases
from medloupe.models.vlm.base import ToolCall
from medloupe.models.vlm.loopback import Reply

__all__ = ["CALLS", "LOOKS", "command", "draw_cases", "script"]

LOOKS = BOXES[:2]
"""What the model looks at, 0 to 1000."""
CALLS = 10
"""Of one case: a plan, two descriptions, a plan, a draft, four of a probe (a pair in both orders), the answer."""


def draw_cases(folder: Path, count: int) -> None:
    """A benchmark of `count` phantoms, CT (DICOM) and ultrasound (PNG) in turn, each asked one of its questions."""
    write_cases(folder, _drawn(folder, count))


def _drawn(folder: Path, count: int) -> Iterator[Case]:
    first = split_seeds("test").start
    for number in range(count):
        order = Order(kind=("ct", "us")[number % 2])
        place = f"{order.kind}-{number:05d}"
        (truth,) = write_phantom(folder / place, order, first + number)
        cases = [case for case in phantom_cases(read_truth(truth), place) if case.kind != "boxes"]
        yield cases[number // 2 % len(cases)]


def script(body: dict[str, Any]) -> Reply | str:
    """Two looks, a description each, a draft with one claim, and an answer that depends on the pictures alone."""
    last = body["messages"][-1]["content"]
    parts: list[dict[str, Any]] = [{"type": "text", "text": last}] if isinstance(last, str) else last
    text = " ".join(part["text"] for part in parts if part["type"] == "text")
    schema = body.get("response_format", {}).get("json_schema", {}).get("name", "")
    if body.get("tools"):
        boxes = () if re.search(r"\bV1\b", text) else LOOKS
        looks = tuple(
            ToolCall(id=f"c{n}", name="zoom", arguments=json.dumps({"view": 0, "box": list(box)}))
            for n, box in enumerate(boxes)
        )
        return Reply(tool_calls=looks or (ToolCall(id="done", name="answer", arguments="{}"),))
    if schema == "description":
        return json.dumps({"text": "A round, bright structure.", "attributes": []})
    if schema == "draft":
        claim = {"attribute": "presence", "value": True, "finding": "nodule", "view": 1}
        return json.dumps({"statements": [{"text": "There is a nodule.", "views": [1], "claims": [claim]}]})
    if schema == "answer":
        seen = 0
        for part in parts:
            seen = zlib.crc32(part["image_url"]["url"].encode(), seen) if part["type"] == "image_url" else seen
        word = ("yes", "no")[seen % 2] if '"yes" or "no"' in text else "AB"[seen % 2]
        return json.dumps({"answer": word, "confidence": 0.5 + (seen // 2 % 50) / 100})
    return "no" if re.search(r'Statement: "[^"]* absent"', text) else "yes"


def command(folder: Path, out: Path, url: str, *more: str, parallel: int = 4) -> list[str]:
    """`medloupe eval phantoms` with the scripted model and small views, `parallel` cases at once."""
    return [
        sys.executable, "-m", "medloupe", "eval", "phantoms", str(folder), "--out", str(out), "--vlm", url,
        "--vlm-model", "scripted", "--segmenter", "none", "--no-mlflow", "--parallel", str(parallel), *more,
    ]  # fmt: skip
