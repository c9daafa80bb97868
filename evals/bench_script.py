"""What the scripted endpoint of `make bench-agent` answers: one plan of six looks, descriptions, a draft, a probe."""

from __future__ import annotations

import json
from typing import Any

from medloupe.models.vlm.base import ToolCall
from medloupe.models.vlm.loopback import Reply

__all__ = ["BOXES", "answer"]

BOXES = tuple((100 + 250 * (n % 3), 150 + 400 * (n // 3), 300 + 250 * (n % 3), 350 + 400 * (n // 3)) for n in range(6))
"""Six boxes, 0 to 1000."""


def answer(body: dict[str, Any]) -> Reply | str:
    """By what the request asks for: tools, a schema's name, or neither (a probe)."""
    if body.get("tools"):
        calls = (json.dumps({"view": 0, "box": list(box)}) for box in BOXES)
        return Reply(tool_calls=tuple(ToolCall(id=f"call_{n}", name="zoom", arguments=c) for n, c in enumerate(calls)))
    schema = body.get("response_format", {}).get("json_schema", {}).get("name", "")
    if schema == "description":
        return json.dumps({"text": "A round, bright structure.", "attributes": []})
    if schema == "draft":
        claim = {"attribute": "presence", "value": True, "finding": "nodule", "view": 1}
        return json.dumps({"statements": [{"text": "There is a nodule.", "views": [1], "claims": [claim]}]})
    last = body["messages"][-1]["content"]
    question = last if isinstance(last, str) else " ".join(part.get("text", "") for part in last)
    statement = question.lower().rpartition("statement: ")[2]  # what is named before it is not asked about
    return "no" if " no " in f" {statement} " or "absent" in statement else "yes"
