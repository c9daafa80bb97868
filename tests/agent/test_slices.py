"""A planner may ask for a slice across a volume, is told what there is, and its view is looked at like any other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medloupe.agent.resources import Resources
from medloupe.graphs.reader import make_graph
from medloupe.models.vlm.base import ToolCall, VLMReply, VLMRequest
from medloupe.models.vlm.profiles import profile_for
from medloupe.models.vlm.scripted import ScriptedVLM
from medloupe.tools.imaging import MemoryStore


def reply(text: str = "", *calls: ToolCall) -> VLMReply:
    return VLMReply(text=text, tool_calls=calls, model="scripted")


@pytest.fixture
def answers() -> Iterator[tuple[ScriptedVLM, list[str]]]:
    """A model that asks for a coronal slice, then describes and answers; and what it was told when it planned."""
    told: list[str] = []
    calls = iter(
        [
            reply("", ToolCall(id="1", name="slice", arguments='{"index": 9999, "plane": "coronal"}')),
            reply("", ToolCall(id="2", name="slice", arguments='{"index": 100, "plane": "coronal"}')),
        ]
    )

    def answer(request: VLMRequest) -> VLMReply:
        if request.purpose == "plan":
            told.append(" ".join(str(part) for message in request.messages for part in message.parts))
            return next(calls, reply("", ToolCall(id="3", name="answer", arguments="{}")))
        if request.purpose == "describe":
            told.append("described: " + str(request.messages[-1].parts))
            return reply(json.dumps({"text": "The upper part is dark.", "attributes": []}))
        return reply(json.dumps({"answerable": True, "sentences": [{"text": "The upper part is dark.", "views": [1]}]}))

    yield ScriptedVLM(answer, profile=profile_for("gpt-5")), told


async def test_a_coronal_slice_is_asked_for_made_and_described(
    shared_data: Path, answers: tuple[ScriptedVLM, list[str]]
) -> None:
    vlm, told = answers
    graph = make_graph(Resources(store=MemoryStore(), vlm=vlm, planner="tools", verify=False))
    study = shared_data / "mri_t1_dicom_studyforrest" / "stack_0150"
    done: dict[str, Any] = await graph.ainvoke({"study": str(study), "question": "Is the upper part dark?"})
    views = done["answer"].views
    assert [(v.kind, v.plane) for v in views] == [("overview", None), ("slice", "coronal")]
    assert "Series 0 has 24 images" in told[0]
    assert "coronal slices 0 to " in told[0]
    assert "there is no slice 9999" in told[1]
    assert any("coronal slice across the same study" in said for said in told if said.startswith("described"))
