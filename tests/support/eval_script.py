"""A model to be played by the loopback endpoint through whole evaluations: it answers in every step's form."""

from __future__ import annotations

import json
from typing import Any

from reader_script import DISC_BOX, ENOUGH, zooms

from medloupe.models.vlm.loopback import Reply

TRUE_BOX = (146, 250, 458, 562)
"""Of the disc in a miniature's picture, 0 to 1000."""


def answer(body: dict[str, Any]) -> Reply | str:
    """First option, yes, a short phrase, or the disc's box; the plan is one zoom, the draft one claim."""
    schema = body.get("response_format", {}).get("json_schema", {}).get("name", "")
    text = json.dumps(body["messages"][-1]["content"])
    if body.get("tools"):
        return ENOUGH if "V1" in text else zooms(DISC_BOX)
    if schema == "description":
        return json.dumps({"text": "A round, bright nodule on the left.", "attributes": []})
    if schema == "draft":
        claim = {"attribute": "presence", "value": True, "finding": "nodule", "view": 1}
        said = {"text": "There is a small nodule on the left.", "views": [1], "claims": [claim]}
        return json.dumps({"statements": [said]})
    if schema == "regions":
        return json.dumps({"regions": [{"bbox_2d": list(TRUE_BOX), "label": "it"}]})
    if schema == "answer":
        if "the letter of the right option" in text:
            return json.dumps({"answer": "A", "confidence": 0.8})
        return json.dumps(
            {"answer": "yes" if '\\"yes\\" or' in text else "a small nodule on the left", "confidence": 0.6}
        )
    return "A" if "Reply with one letter" in text else "yes"
