"""How much of a bare loop's rate an evaluation keeps, and what it adds to a sample beside bare Inspect AI.

    python -m medloupe.evals.bench_throughput [--cases 120] [--rounds 2] [--at-once 16] [--latency 0.2]

Drawn phantoms, one question each, an endpoint of 200 ms in a process of its own, two looks a case: a plan, two
descriptions at once, a plan, a draft, a probe's pair at once, in both orders, the answer: 10 calls, 1.4 s of critical
path. The loop opens the same files, cuts and encodes the same 512-pixel views and sends requests of the same content
with the same client, `at-once` cases at a time; no graph, checks, ledger, log or scores. Loop and evaluation take turns
on cases of their own. An evaluation's time is all of it, with its log, summary and report.

Bars: at least 0.75 of the loop's rate; a finished run again makes 0 calls. Exit 1 when one is missed.
"""

from __future__ import annotations

import asyncio
import base64
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medloupe.agent.describe import DescriptionReply, attribute_names
from medloupe.agent.draft import DraftReply
from medloupe.agent.planner_tools import tool_definitions
from medloupe.evals.bare import reply_form, send, text_part
from medloupe.evals.bench_cases import CALLS, LOOKS, draw_cases
from medloupe.evals.running.evaluate import evaluate
from medloupe.evals.running.run import Run, spec_of
from medloupe.evals.tasks.case import Case
from medloupe.models.vlm.loopback import EndpointProcess
from medloupe.prompts import prompt
from medloupe.settings import load_settings
from medloupe.tools.imaging import MemoryStore, cut_view, load_study
from medloupe.types import BoundingBox, View

if TYPE_CHECKING:
    from openai import AsyncOpenAI

BAR = 0.75
"""Of the loop's rate."""


class BareLoop:
    """The cases by hand: open, cut, encode and send, in the order that the critical path needs, and nothing else."""

    def __init__(self, client: AsyncOpenAI, folder: Path) -> None:
        self._client, self._folder = client, folder

    async def __call__(self, cases: Sequence[Case], at_once: int) -> None:
        """All of them, `at_once` at a time."""
        room = asyncio.Semaphore(at_once)

        async def one(case: Case) -> None:
            async with room:
                await self._case(case)

        await asyncio.gather(*(one(case) for case in cases))

    async def _case(self, case: Case) -> None:
        store = MemoryStore()
        path = self._folder / case.images[0]
        study = await asyncio.to_thread(load_study, path, store, modality=case.modality)
        image = study.images[0]

        def picture(view: View) -> dict[str, Any]:
            uri = "data:image/png;base64," + base64.b64encode(store.get_png(view.digest)).decode()
            return {"type": "image_url", "image_url": {"url": uri}}

        whole = BoundingBox(x0=0, y0=0, x1=image.width, y1=image.height)
        over = await asyncio.to_thread(cut_view, store, image, whole, index=0, kind="overview", longest=512)
        prefix: list[dict[str, Any]] = [
            {"role": "system", "content": prompt("system").text},
            {"role": "user", "content": [text_part(prompt("modality").text), picture(over)]},
        ]
        tools = list(tool_definitions(grey=image.values != "RGB", slices=False))

        async def look(index: int, corners: tuple[int, int, int, int]) -> View:
            scale = (image.width, image.height, image.width, image.height)
            box = BoundingBox.from_tuple([n * side / 1000 for n, side in zip(corners, scale, strict=True)])
            view = await asyncio.to_thread(cut_view, store, image, box, index=index, kind="zoom", longest=512)
            words = prompt("describe").text + " ".join(attribute_names())
            await send(
                self._client,
                prefix,
                [text_part(words), picture(view)],
                response_format=reply_form("description", DescriptionReply),
            )
            return view

        await send(self._client, prefix, [text_part(prompt("plan_tools").text)], tools=tools)
        views = await asyncio.gather(*(look(n + 1, box) for n, box in enumerate(LOOKS)))
        chain = [p for view in views for p in (text_part(f"V{view.index}: A round, bright structure."), picture(view))]
        await send(self._client, prefix, [text_part(f"{prompt('plan_tools').text} V1")], tools=tools)
        await send(
            self._client,
            prefix,
            [*chain, text_part(prompt("draft").text)],
            response_format=reply_form("draft", DraftReply),
        )
        probe = [{"role": "system", "content": prompt("probe").text}]  # a probe stands alone: docs/adr/0003
        shown = picture(views[0])
        for _ in range(2):  # a pair in both orders
            await asyncio.gather(
                *(send(self._client, probe, [shown, text_part(f"nodule {word}?")]) for word in ("present", "absent"))
            )
        await send(
            self._client,
            prefix,
            [*chain, text_part(prompt("choose").text)],
            response_format=reply_form("answer", DraftReply),
        )


def bare_inspect(cases: Sequence[Case], logs: Path, at_once: int) -> float:
    """Seconds of Inspect AI on as many samples that take nothing: a fixed answer, a fixed score."""
    from inspect_ai import Task
    from inspect_ai import eval as inspect_eval
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.model import ModelOutput
    from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
    from inspect_ai.solver import Generate, Solver, TaskState, solver

    @solver
    def nothing() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:  # noqa: ARG001 - Inspect's signature
            state.output = ModelOutput.from_content("none", "A")
            return state

        return solve

    @scorer(metrics=[mean()])
    def right() -> Scorer:
        async def score(state: TaskState, target: Target) -> Score:  # noqa: ARG001 - Inspect's signature
            return Score(value=1.0)

        return score

    samples = [Sample(id=case.id, input=case.question, target=case.answer) for case in cases]
    task = Task(dataset=MemoryDataset(samples), solver=nothing(), scorer=right(), model="none/none")
    begin = time.perf_counter()
    inspect_eval(
        task, display="none", log_dir=str(logs), max_samples=at_once, log_images=False, log_model_api=False,
        log_realtime=False, ctl_server=False, acp_server=False, score_display=False,
    )  # fmt: skip
    return time.perf_counter() - begin


class _Bench:
    """Folders of drawn cases, and the endpoint."""

    def __init__(self, root: Path, endpoint: EndpointProcess, at_once: int) -> None:
        self._root, self._endpoint, self._at_once = root, endpoint, at_once
        self.settings = load_settings(segmenter="none", vlm=endpoint.url, vlm_model="scripted", out=root / "out")

    def run(self, name: str) -> Run:
        """An evaluation of the cases in a folder, not begun."""
        return Run(
            spec_of("phantoms", self._root / name, self.settings.out, out=self.settings.out / name), self.settings
        )

    def evaluation(self, name: str) -> tuple[float, int]:
        """(seconds, calls) of all of an evaluation."""
        before, begin = self._endpoint.stats()["calls"], time.perf_counter()
        evaluate(self.run(name), parallel=self._at_once)
        return time.perf_counter() - begin, self._endpoint.stats()["calls"] - before

    def loop(self, name: str) -> tuple[float, int]:
        """(seconds, calls) of the same by hand."""
        from openai import AsyncOpenAI

        cases = list(self.run(name).cases.values())

        async def all_of_them() -> float:
            async with AsyncOpenAI(base_url=self._endpoint.url, api_key="none", max_retries=0) as client:
                begin = time.perf_counter()
                await BareLoop(client, self._root / name)(cases, self._at_once)
                return time.perf_counter() - begin

        before = self._endpoint.stats()["calls"]
        seconds = asyncio.run(all_of_them())
        return seconds, self._endpoint.stats()["calls"] - before


@click.command()
@click.option("--cases", default=120, show_default=True)
@click.option("--rounds", default=2, show_default=True)
@click.option("--at-once", default=16, show_default=True)
@click.option("--latency", default=0.2, show_default=True, help="Seconds a call.")
@click.option("--data", type=click.Path(path_type=Path), help="Keep the drawn phantoms there, or take those that are.")
def main(cases: int, rounds: int, at_once: int, latency: float, data: Path | None) -> None:
    """Print what was found; exit 1 when a bar is missed."""
    os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"
    with (
        tempfile.TemporaryDirectory(prefix="medloupe-rate-") as folder,
        EndpointProcess("medloupe.evals.bench_cases:script", latency_s=latency) as endpoint,
    ):
        root = data or Path(folder)
        for name, count in (("warm", at_once), *((f"round{n}", cases) for n in range(rounds))):
            if not (root / name).exists():
                draw_cases(root / name, count)
        bench = _Bench(root, endpoint, at_once)
        bench.settings = bench.settings.model_copy(update={"out": Path(folder) / "out"})
        held = _measure(bench, cases, rounds, Path(folder), at_once)
    sys.exit(not held)


def _measure(bench: _Bench, cases: int, rounds: int, root: Path, at_once: int) -> bool:
    """Loop and evaluation in turns, then the finished run again, then bare Inspect."""
    for side in (bench.loop, bench.evaluation):
        side("warm")
    loop_s = ours_s = 0.0
    calls = [0, 0]
    for n in range(rounds):
        for place, side in enumerate((bench.loop, bench.evaluation)):
            seconds, made = side(f"round{n}")
            loop_s, ours_s = (loop_s + seconds, ours_s) if place == 0 else (loop_s, ours_s + seconds)
            calls[place] += made
            print(f"round {n + 1}, {('loop', 'evaluation')[place]}: {cases / seconds:.2f} cases a second", flush=True)
    total = cases * rounds
    ratio = loop_s / ours_s
    print(
        f"{at_once} at once, {total} cases: loop {total / loop_s:.2f}, evaluation {total / ours_s:.2f} cases a second:"
    )
    print(f"    {ratio:.2f} of the loop's rate (bar: {BAR}); calls: loop {calls[0]}, evaluation {calls[1]}")
    again_s, again = bench.evaluation("round0")
    alone_s = bare_inspect(list(bench.run("round0").cases.values()), root / "alone", at_once)
    over = 1000 * (again_s - alone_s) / cases
    print(f"a finished run again: {again} calls, {1000 * again_s / cases:.1f} ms a sample")
    print(f"    beside bare Inspect AI's {1000 * alone_s / cases:.1f} ms: {over:.1f} ms more, report included")
    return ratio >= BAR and again == 0 and calls == [total * CALLS] * 2


if __name__ == "__main__":
    main()
