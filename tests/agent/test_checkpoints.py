"""Checkpoints: private, safe to read back, and enough to go on after kill -9 without paying a call twice."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from reader_script import ReaderScript

from medloupe.agent.checkpoints import open_checkpoints
from medloupe.agent.resources import Resources
from medloupe.graphs.reader import make_graph
from medloupe.models.vlm import EndpointVLM
from medloupe.models.vlm.loopback import Reply, ScriptedEndpoint
from medloupe.tools.imaging import DiskStore

CHILD = """
import asyncio, sys
from pathlib import Path
from medloupe import DiskStore, EndpointVLM, Resources, make_graph, open_checkpoints

async def main(url, study, folder):
    vlm = EndpointVLM(url, "scripted")
    async with open_checkpoints(Path(folder) / "checkpoints.sqlite") as saver:
        graph = make_graph(Resources(store=DiskStore(Path(folder) / "store"), vlm=vlm), checkpointer=saver)
        config = {"configurable": {"thread_id": "s"}}
        await graph.ainvoke({"study": study, "question": "How large is it?"}, config, durability="sync")

asyncio.run(main(*sys.argv[1:]))
"""


async def test_after_kill_9_the_run_goes_on_and_no_answered_call_is_made_again(
    disc_ct: Path, tmp_path: Path, script: ReaderScript, endpoint: ScriptedEndpoint
) -> None:
    good = script.draft
    script.draft = [Reply(fault="stall")]
    child = subprocess.Popen([sys.executable, "-c", CHILD, endpoint.url, str(disc_ct), str(tmp_path)])
    deadline = time.monotonic() + 60
    while "draft" not in [ReaderScript.step(body) for body in endpoint.requests]:
        assert time.monotonic() < deadline
        assert child.poll() is None
        await asyncio.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    before = [ReaderScript.step(body) for body in endpoint.requests]
    assert before.count("plan") >= 1
    assert before.count("describe") == 1
    script.draft = good
    vlm = EndpointVLM(endpoint.url, "scripted")
    async with open_checkpoints(tmp_path / "checkpoints.sqlite") as saver:
        resources = Resources(store=DiskStore(tmp_path / "store"), vlm=vlm)
        state = await make_graph(resources, checkpointer=saver).ainvoke(
            None, {"configurable": {"thread_id": "s"}}, durability="sync"
        )
    await vlm.close()
    after = [ReaderScript.step(body) for body in endpoint.requests][len(before) :]
    assert "plan" not in after
    assert "describe" not in after
    assert [view.index for view in state["answer"].views] == [0, 1]


class Numbers(TypedDict):
    total: Annotated[int, lambda a, b: a + b]


def counting_graph(saver: object) -> object:
    async def add(_: Numbers) -> dict[str, int]:
        return {"total": 1}

    builder = StateGraph(Numbers)
    for name in "abc":
        builder.add_node(name, add)
    for edge in ((START, "a"), ("a", "b"), ("b", "c"), ("c", END)):
        builder.add_edge(*edge)
    return builder.compile(checkpointer=saver)  # type: ignore[arg-type]


async def test_many_sessions_at_once_keep_their_own_history(tmp_path: Path) -> None:
    async with open_checkpoints(tmp_path / "c.sqlite") as saver:
        graph = counting_graph(saver)
        configs = [{"configurable": {"thread_id": str(n)}} for n in range(20)]
        await asyncio.gather(*(graph.ainvoke({"total": 10}, c, durability="sync") for c in configs))  # type: ignore[attr-defined]
        await asyncio.gather(*(graph.ainvoke({"total": 0}, c, durability="sync") for c in configs))  # type: ignore[attr-defined]
    async with open_checkpoints(tmp_path / "c.sqlite") as saver:
        for config in configs:
            kept = await counting_graph(saver).aget_state(config)  # type: ignore[attr-defined]
            assert kept.values == {"total": 16}
            assert len([c async for c in saver.alist(config)]) == 10


async def test_a_full_or_broken_database_is_an_error_and_not_a_silent_loss(tmp_path: Path) -> None:
    async with open_checkpoints(tmp_path / "c.sqlite") as saver:
        with sqlite3.connect(tmp_path / "c.sqlite") as database:
            database.execute("DROP TABLE checkpoints")
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            await counting_graph(saver).ainvoke({"total": 0}, {"configurable": {"thread_id": "x"}}, durability="sync")  # type: ignore[attr-defined]


async def test_a_checkpoint_cannot_name_a_class_to_be_called(tmp_path: Path) -> None:
    import ormsgpack

    marker = tmp_path / "marker"
    hostile = ormsgpack.packb(
        ormsgpack.Ext(0, ormsgpack.packb(("pathlib", "Path.touch", [str(marker)]))), option=ormsgpack.OPT_NON_STR_KEYS
    )
    async with open_checkpoints(tmp_path / "c.sqlite") as saver:
        config = {"configurable": {"thread_id": "x"}}
        await counting_graph(saver).ainvoke({"total": 0}, config, durability="sync")  # type: ignore[attr-defined]
        with sqlite3.connect(tmp_path / "c.sqlite") as database:
            database.execute("UPDATE writes SET type='msgpack', value=?", (hostile,))
        await saver.aget_tuple(config)
        loaded = saver.serde.loads_typed(("msgpack", hostile))
    assert not marker.exists()
    assert not isinstance(loaded, Path)


async def test_checkpoints_are_strict_even_where_langgraph_was_loaded_first() -> None:
    code = """
import langgraph.graph
from langgraph.checkpoint.serde import _msgpack
from medloupe.agent.checkpoints import strict_serializer
import ormsgpack
assert not _msgpack.STRICT_MSGPACK_ENABLED
call = ormsgpack.packb(ormsgpack.Ext(0, ormsgpack.packb(("subprocess", "getoutput", "echo called"))))
print(strict_serializer().loads_typed(("msgpack", call)) == "called")
from medloupe.types import BoundingBox
box = BoundingBox(x0=0, y0=0, x1=2, y1=2)
print(strict_serializer().loads_typed(strict_serializer().dumps_typed(box)) == box)
"""
    environment = {name: value for name, value in os.environ.items() if name != "LANGGRAPH_STRICT_MSGPACK"}
    said = subprocess.check_output([sys.executable, "-W", "ignore", "-c", code], text=True, env=environment)
    assert [line for line in said.splitlines() if line in ("True", "False")] == ["False", "True"]


async def test_one_sessions_bad_row_is_not_anothers_loss(tmp_path: Path) -> None:
    async with open_checkpoints(tmp_path / "c.sqlite") as saver:
        graph = counting_graph(saver)
        configs = [{"configurable": {"thread_id": name}} for name in ("good", "bad \ud800 name")]
        done = await asyncio.wait_for(
            asyncio.gather(
                *(graph.ainvoke({"total": 0}, c, durability="sync") for c in configs),  # type: ignore[attr-defined]
                return_exceptions=True,
            ),
            timeout=20,
        )
    assert done[0] == {"total": 3}
    assert isinstance(done[1], UnicodeEncodeError)
