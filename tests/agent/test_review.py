"""A person stops the run, changes the regions, and it goes on from there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from langgraph.types import Command
from reader_script import ENOUGH, ReaderScript, zooms

from medloupe.agent.checkpoints import open_checkpoints
from medloupe.agent.resources import Resources
from medloupe.graphs.reader import make_graph
from medloupe.models.vlm import EndpointVLM
from medloupe.models.vlm.loopback import ScriptedEndpoint

QUESTION = "How large is the structure?"


async def test_a_person_adds_and_excludes_regions_and_the_run_goes_on_from_there(
    disc_ct: Path, tmp_path: Path, vlm: EndpointVLM, script: ReaderScript
) -> None:
    script.plan = [zooms((600, 600, 900, 900)), ENOUGH]
    config = {"configurable": {"thread_id": "s1"}}
    async with open_checkpoints(tmp_path / "checkpoints.sqlite") as saver:
        graph = make_graph(Resources(vlm=vlm), checkpointer=saver, review=True)
        stopped = await graph.ainvoke({"study": str(disc_ct), "question": QUESTION}, config)
        shown = stopped["__interrupt__"][0].value["regions"]
        assert [region["id"] for region in shown] == ["R1"]
        said = {"add": [[55, 75, 105, 125]], "exclude": ["R1"]}
        answer = (await graph.ainvoke(Command(resume=said), config))["answer"]
    added = next(region for region in answer.regions if region.id == "R2")
    assert added.source == "person"
    assert [view.region for view in answer.views] == [None, "R1", "R2"]


async def test_a_moved_region_is_looked_at_anew_and_what_was_seen_before_is_left_out(
    disc_ct: Path, tmp_path: Path, endpoint: ScriptedEndpoint, vlm: EndpointVLM, script: ReaderScript
) -> None:
    script.plan = [zooms((600, 600, 900, 900)), ENOUGH]
    script.describe = [json.dumps({"text": "Seen at the old place."}), json.dumps({"text": "Seen at the new place."})]
    config = {"configurable": {"thread_id": "s1"}}
    async with open_checkpoints(tmp_path / "checkpoints.sqlite") as saver:
        graph = make_graph(Resources(vlm=vlm), checkpointer=saver, review=True)
        await graph.ainvoke({"study": str(disc_ct), "question": QUESTION}, config)
        answer = (await graph.ainvoke(Command(resume={"move": {"R1": [55, 75, 105, 125]}}), config))["answer"]
    assert answer.regions[-1].id == "R2"
    drafted_from = json.dumps(next(b for b in endpoint.requests if ReaderScript.step(b) == "draft"))
    assert "Seen at the new place." in drafted_from
    assert "Seen at the old place." not in drafted_from


@pytest.mark.parametrize("said", [{"exclude": ["R77"]}, {"add": [[10, 10, 5, 5]]}, {"add": [[1, 2, 3]]}, {"tilt": 1}])
async def test_a_malformed_review_is_asked_for_again_and_the_session_lives(
    said: dict[str, Any], disc_ct: Path, tmp_path: Path, vlm: EndpointVLM
) -> None:
    config = {"configurable": {"thread_id": "s1"}}
    async with open_checkpoints(tmp_path / "checkpoints.sqlite") as saver:
        graph = make_graph(Resources(vlm=vlm), checkpointer=saver, review=True)
        await graph.ainvoke({"study": str(disc_ct), "question": QUESTION}, config)
        again = await graph.ainvoke(Command(resume=said), config)
        assert "error" in again["__interrupt__"][0].value
        answer = (await graph.ainvoke(Command(resume=True), config))["answer"]
    assert answer.question == QUESTION
