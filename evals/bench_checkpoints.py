"""What a checkpoint costs: LangGraph's own SQLite saver against ours, which commits waiting writes in groups.

The same small graph (eight steps, a fan-out of six) is run with no saver, with the library's AsyncSqliteSaver and with
GroupCommitSaver, 32 sessions at once, durability "sync". CPU seconds of the process, so that other load matters little.

    python -m medloupe.evals.bench_checkpoints
"""

from __future__ import annotations

import asyncio
import operator
import statistics
import tempfile
import time
import uuid
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from medloupe.agent.checkpoints import open_checkpoints
from medloupe.types import BoundingBox, View

SESSIONS = 32
ROUNDS = 5


class _State(TypedDict, total=False):
    views: Annotated[list[View], operator.add]
    step: int


class _Task(TypedDict):
    index: int


async def _step(state: _State) -> dict[str, Any]:
    return {"step": state.get("step", 0) + 1}


async def _look(state: _Task) -> dict[str, Any]:
    box = BoundingBox(x0=0, y0=0, x1=64, y1=64)
    view = View(index=state["index"], kind="zoom", image=0, box=box, width=512, height=512, digest="0" * 64)
    return {"views": [view]}


def _builder() -> StateGraph[_State, None, _State, _State]:
    builder = StateGraph(_State)
    names = ("open", "plan", "draft", "claims", "revise", "answer")
    for name in names:
        builder.add_node(name, _step)
    builder.add_node("look", _look, input_schema=_Task)
    for edge in ((START, "open"), ("open", "plan"), ("look", "draft"), ("draft", "claims"), ("claims", "revise"),
                 ("revise", "answer"), ("answer", END)):  # fmt: skip
        builder.add_edge(*edge)
    builder.add_conditional_edges("plan", lambda _: [Send("look", {"index": n}) for n in range(6)], ["look"])
    return builder


async def _cost(saver: Any) -> tuple[float, float]:
    """(CPU, wall) seconds of SESSIONS sessions at once; medians of ROUNDS."""
    graph = _builder().compile(checkpointer=saver)
    options: dict[str, Any] = {"durability": "sync"} if saver else {}

    async def one() -> None:
        await graph.ainvoke({"step": 0}, {"configurable": {"thread_id": uuid.uuid4().hex}}, **options)

    await one()
    cpu, wall = [], []
    for _ in range(ROUNDS):
        begin, began = time.process_time(), time.perf_counter()
        await asyncio.gather(*(one() for _ in range(SESSIONS)))
        cpu.append(time.process_time() - begin)
        wall.append(time.perf_counter() - began)
    return statistics.median(cpu), statistics.median(wall)


async def measure() -> None:
    """Print the three costs."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [("none", await _cost(None))]
        async with AsyncSqliteSaver.from_conn_string(f"{folder}/library.sqlite") as library:
            rows.append(("AsyncSqliteSaver", await _cost(library)))
        async with open_checkpoints(Path(folder) / "ours.sqlite") as ours:
            rows.append(("GroupCommitSaver", await _cost(ours)))
    print(f"{SESSIONS} sessions at once, median of {ROUNDS}; per session:")
    for name, (cpu, wall) in rows:
        print(f"  {name:18} {1000 * cpu / SESSIONS:5.1f} ms CPU   {1000 * wall / SESSIONS:5.1f} ms wall")


if __name__ == "__main__":
    asyncio.run(measure())
