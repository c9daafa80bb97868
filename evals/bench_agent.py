"""Orchestration cost: the reader graph against a bare asyncio loop that makes the same calls with the same client.

One question: one plan, six looks in parallel (512-pixel views), one draft with its claims, one verification (a probe is
four requests sent together): 0.8 s of critical path at 200 ms a call. The graph writes checkpoints to SQLite with
durability "sync". The loop cuts and encodes the same views and sends requests of the same content; no segmenter, no
checkpoints. Bars: at most 50 ms above the loop (medians of the same run); 32 questions at once at most 1.25 x the loop.

    python -m medloupe.evals.bench_agent [--rounds 20] [--at-once 32] [--latency 0.2]
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medloupe.agent.budget import Budget
from medloupe.agent.checkpoints import open_checkpoints
from medloupe.agent.describe import DescriptionReply, attribute_names
from medloupe.agent.draft import DraftReply
from medloupe.agent.planner_tools import tool_definitions
from medloupe.agent.resources import Resources
from medloupe.evals.bare import reply_form, send, text_part
from medloupe.evals.bench_script import BOXES
from medloupe.graphs.reader import make_graph
from medloupe.models.vlm import EndpointVLM
from medloupe.models.vlm.loopback import EndpointProcess
from medloupe.prompts import prompt
from medloupe.tools.imaging import MemoryStore, cut_view, load_study
from medloupe.types import BoundingBox, View

if TYPE_CHECKING:
    from openai import AsyncOpenAI

QUESTION = "Is there a nodule?"
BAR_MS = 50.0
BAR_RATIO = 1.25
Ask = Callable[[], Awaitable[None]]


def make_study(path: Path) -> Path:
    """A 1024 x 1024 16-bit picture of smooth blobs and noise."""
    import cv2

    rng = np.random.default_rng(7)
    blobs = cv2.GaussianBlur(rng.standard_normal((1024, 1024)).astype(np.float32), (0, 0), 24)
    grey = 30_000 + 150_000 * blobs + 150 * rng.standard_normal((1024, 1024))
    cv2.imwrite(str(path), np.clip(grey, 0, 65535).astype(np.uint16))
    return path


class BareLoop:
    """The same question by hand: cut, encode and send, in the order that its critical path needs, and nothing else."""

    def __init__(self, client: AsyncOpenAI, study: Path) -> None:
        self._client = client
        self._path = study

    async def __call__(self) -> None:
        """One question."""
        store = MemoryStore()
        study = await asyncio.to_thread(load_study, self._path, store)
        image = study.images[0]
        whole = BoundingBox(x0=0, y0=0, x1=image.width, y1=image.height)

        def picture(view: View) -> dict[str, Any]:
            uri = "data:image/png;base64," + base64.b64encode(store.get_png(view.digest)).decode()
            return {"type": "image_url", "image_url": {"url": uri}}

        overview = await asyncio.to_thread(cut_view, store, image, whole, index=0, kind="overview", longest=512)
        prefix: list[dict[str, Any]] = [
            {"role": "system", "content": prompt("system").text},
            {"role": "user", "content": [{"type": "text", "text": prompt("modality").text}, picture(overview)]},
        ]
        await send(
            self._client,
            prefix,
            [text_part(prompt("plan_tools").text)],
            tools=list(tool_definitions(grey=True, slices=False)),
        )

        async def look(index: int, corners: tuple[int, int, int, int]) -> View:
            box = BoundingBox.from_tuple([n * image.width / 1000 for n in corners])
            view = await asyncio.to_thread(cut_view, store, image, box, index=index, kind="zoom", longest=512)
            await send(
                self._client,
                prefix,
                [text_part(prompt("describe").text + " ".join(attribute_names())), picture(view)],
                response_format=reply_form("description", DescriptionReply),
            )
            return view

        views = await asyncio.gather(*(look(n + 1, box) for n, box in enumerate(BOXES)))
        chain = [
            part for view in views for part in (text_part(f"V{view.index}: A round, bright structure."), picture(view))
        ]
        await send(
            self._client,
            prefix,
            [*chain, text_part(prompt("draft").text)],
            response_format=reply_form("draft", DraftReply),
        )
        shown = picture(views[0])
        probe = [{"role": "system", "content": prompt("probe").text}]  # a probe stands alone: docs/adr/0003
        await asyncio.gather(
            *(
                send(self._client, probe, [shown, text_part(f"nodule {word}?{after}")])
                for word in ("present", "absent")
                for after in ("", " asked after its twin")
            )
        )


class Reader:
    """The same question asked of the graph; each time a new session."""

    def __init__(self, graph: Any, study: Path) -> None:
        self._graph, self._path = graph, study
        self.answer: Any = None

    async def __call__(self) -> None:
        """One question."""
        config = {"configurable": {"thread_id": uuid.uuid4().hex}}
        state = await self._graph.ainvoke({"study": str(self._path), "question": QUESTION}, config, durability="sync")
        self.answer = state["answer"]


async def timed(ask: Ask) -> float:
    """Seconds of one question."""
    begin = time.perf_counter()
    await ask()
    return time.perf_counter() - begin


async def timed_at_once(ask: Ask, number: int) -> float:
    """Seconds until `number` questions, asked together, are all answered."""
    begin = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(number)))
    return time.perf_counter() - begin


async def measure(rounds: int, at_once: int, latency: float) -> bool:
    """Print both comparisons; whether both bars hold. Loop and graph take turns, so that both see the same machine."""
    from openai import AsyncOpenAI

    script = "medloupe.evals.bench_script:answer"
    with tempfile.TemporaryDirectory() as folder, EndpointProcess(script, latency_s=latency) as endpoint:
        study = make_study(Path(folder) / "study.png")
        vlm = EndpointVLM(endpoint.url, "scripted")
        resources = Resources(store=MemoryStore(), vlm=vlm, budget=Budget(looks=6))
        async with (
            AsyncOpenAI(base_url=endpoint.url, api_key="none", max_retries=0) as client,
            open_checkpoints(Path(folder) / "checkpoints.sqlite") as saver,
        ):
            bare = BareLoop(client, study)
            reader = Reader(make_graph(resources, checkpointer=saver), study)
            ok = await _compare(bare, reader, endpoint, rounds, at_once, latency)
        await vlm.close()
    return ok


async def _compare(
    bare: BareLoop, reader: Reader, endpoint: EndpointProcess, rounds: int, at_once: int, latency: float
) -> bool:
    await bare()
    await reader()  # both warm
    asks: tuple[Ask, Ask] = (bare, reader)
    calls = []
    for ask in asks:
        before = endpoint.stats()["calls"]
        await ask()
        calls.append(endpoint.stats()["calls"] - before)
    one: tuple[list[float], list[float]] = ([], [])
    for done in range(rounds):
        for times, ask in zip(one, asks, strict=True):
            times.append(await timed(ask))
        _progress(f"one question: {done + 1} of {rounds}")
    loop_s, graph_s = (statistics.median(times) for times in one)
    many: tuple[list[float], list[float]] = ([], [])
    for done in range(3):
        for times, ask in zip(many, asks, strict=True):
            times.append(await timed_at_once(ask, at_once))
        _progress(f"{at_once} at once: {done + 1} of 3")
    loop_many, graph_many = (statistics.median(times) for times in many)
    above, ratio = 1000 * (graph_s - loop_s), graph_many / loop_many
    path = 4 * latency
    print(f"calls a question: loop {calls[0]}, graph {calls[1]}; statements: {len(reader.answer.statements)}")
    over = 1000 * (loop_s - path)
    print(f"one question, median of {rounds}: loop {loop_s:.3f} s ({over:.0f} ms over the {path:.1f} s critical path),")
    print(f"    graph {graph_s:.3f} s: {above:.0f} ms above the loop (bar: {BAR_MS:.0f} ms)")
    print(f"{at_once} at once, median of 3: loop {loop_many:.2f} s, graph {graph_many:.2f} s:")
    print(f"    {ratio:.2f} x (bar: {BAR_RATIO} x)")
    return above <= BAR_MS and ratio <= BAR_RATIO


def _progress(text: str) -> None:
    sys.stderr.write(f"\r{text}  " if sys.stderr.isatty() else f"{text}\n")


def main() -> None:
    """Run and print; exit code 1 when a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m medloupe.evals.bench_agent", description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--at-once", type=int, default=32)
    parser.add_argument("--latency", type=float, default=0.2, metavar="SECONDS")
    arguments = parser.parse_args()
    ok = asyncio.run(measure(arguments.rounds, arguments.at_once, arguments.latency))
    raise SystemExit(0 if ok else 1)


if __name__ == "__main__":
    main()
