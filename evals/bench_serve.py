"""loupe-tiny served for real: questions on phantoms through the agent, over the ordinary endpoint client.

    make bench-serve

Phantoms of the test seeds, all four kinds, a question each, to `medloupe serve-tiny` on loopback. Printed and written
as JSON: failures (bar: 0), calls, tokens, latency of a question and of a call, questions a second, and the share of the
wall time that the server had a request to work on. One question at a time; on a GPU also 8 and 64 at once. No
segmenter: what is measured is the serving. Exit 1 when the bar is missed.

A failure is a question without an answer, or a call that the server did not answer. A reply that came but cannot be
used (cut off, not the JSON that was asked for) is the model's, and counted beside it.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from medloupe.agent.resources import Resources
from medloupe.errors import MedloupeError, ModelError, ReplyCutOff, ReplyRefused, ReplyUnreadable
from medloupe.evals.phantoms import Order, read_truth, split_seeds, write_phantom
from medloupe.evals.serving import ServedTiny
from medloupe.evals.tiny.record import device_words, sha256
from medloupe.evals.tiny.samples import kind_of
from medloupe.graphs.reader import make_graph
from medloupe.models.tiny import packaged
from medloupe.models.vlm import VLM, EndpointVLM, VLMReply, VLMRequest
from medloupe.models.vlm.local import placed
from medloupe.prompts import knowledge
from medloupe.tools.imaging import MemoryStore
from medloupe.types import Answer

__all__ = ["Metered", "Question", "ask_all", "draw_questions"]

_AT_ONCE = {"cpu": (1,), "cuda": (1, 8, 64)}


class Question(NamedTuple):
    """A phantom's file, and what is asked of it."""

    study: Path
    text: str


def draw_questions(folder: Path, count: int) -> list[Question]:
    """Phantoms of the test seeds in a folder, and the question of each kind."""
    seeds, kinds = split_seeds("test"), knowledge("phantoms")["kinds"]
    asked = []
    for number in range(count):
        kind = kind_of(number)
        truth = write_phantom(folder / f"{number}", Order(kind=kind), seeds[number])[0]
        asked.append(Question(truth.parent / read_truth(truth).images[0].file, f"Is there a {kinds[kind]['finding']}?"))
    return asked


class Metered:
    """A VLM whose every call is timed, and counted by how it ended."""

    def __init__(self, vlm: VLM) -> None:
        self.model, self.profile, self._vlm = vlm.model, vlm.profile, vlm
        self.spans: list[tuple[float, float]] = []
        """Begin and end of each call, seconds of time.perf_counter."""
        self.prompt_tokens = self.completion_tokens = 0
        self.faults: Counter[str] = Counter()
        """Calls without a reply, by error."""
        self.unusable: Counter[str] = Counter()
        """Replies that cannot be used, by error."""

    async def __call__(self, request: VLMRequest) -> VLMReply:
        """One call."""
        begin = time.perf_counter()
        try:
            reply = await self._vlm(request)
        except (ReplyCutOff, ReplyRefused, ReplyUnreadable) as error:
            self.unusable[type(error).__name__] += 1
            raise
        except ModelError as error:
            self.faults[str(error)] += 1
            raise
        finally:
            self.spans.append((begin, time.perf_counter()))
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens
        return reply

    async def close(self) -> None:
        """Close the model."""
        await self._vlm.close()

    def busy(self) -> float:
        """Seconds during which at least one call was under way."""
        total, until = 0.0, 0.0
        for begin, end in sorted(self.spans):
            total += max(end - max(begin, until), 0.0)
            until = max(until, end)
        return total


async def ask_all(vlm: Metered, questions: Sequence[Question], at_once: int) -> dict[str, Any]:
    """Every question through the agent, so many at a time; what came of it."""
    graph: Any = make_graph(Resources(store=MemoryStore(), vlm=vlm))
    room = asyncio.Semaphore(at_once)
    seconds: list[float] = []
    failed: list[str] = []
    answers: list[Answer] = []

    async def ask(question: Question) -> None:
        async with room:
            begin = time.perf_counter()
            config = {"configurable": {"thread_id": uuid.uuid4().hex}}
            try:
                state = await graph.ainvoke({"study": str(question.study), "question": question.text}, config)
            except MedloupeError as error:
                failed.append(f"{question.study.name}: {error}")
                return
            seconds.append(time.perf_counter() - begin)
            answers.append(state["answer"])

    begin = time.perf_counter()
    await asyncio.gather(*(ask(question) for question in questions))
    wall = time.perf_counter() - begin
    return {
        "at_once": at_once, "questions": len(questions), "answered": len(answers),
        "failures": len(failed) + vlm.faults.total(), "failed": [*failed, *vlm.faults][:10],
        "abstained": sum(answer.abstained for answer in answers),
        "unusable_replies": sum(o.fault is not None for a in answers for o in a.observations) + vlm.unusable.total(),
        "calls": len(vlm.spans), "prompt_tokens": vlm.prompt_tokens, "completion_tokens": vlm.completion_tokens,
        "wall_s": round(wall, 2), "questions_a_second": round(len(answers) / wall, 3),
        "question_s": _spread(seconds), "call_s": _spread([end - begin for begin, end in vlm.spans]),
        "server_busy_share": round(vlm.busy() / wall, 3), "load": round(os.getloadavg()[0], 1),
    }  # fmt: skip


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    """p50 and p95; nothing where there is nothing."""
    if len(seconds) < 2:
        return {f"p{share}": round(s, 3) for s in seconds for share in (50, 95)}
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return {"p50": round(cuts[49], 3), "p95": round(cuts[94], 3)}


async def _rounds(server: ServedTiny, questions: Sequence[Question], levels: Sequence[int]) -> list[dict[str, Any]]:
    rounds = []
    for at_once in levels:
        vlm = Metered(EndpointVLM(server.url, server.model))
        try:
            rounds.append(await ask_all(vlm, questions, at_once))
        finally:
            await vlm.close()
        _print(rounds[-1])
    return rounds


def _print(found: dict[str, Any]) -> None:
    answered, asked, abstained = (found[name] for name in ("answered", "questions", "abstained"))
    print(f"{found['at_once']} at once: {answered} of {asked} answered ({abstained} abstained)")
    unusable, calls = found["unusable_replies"], found["calls"]
    print(f"  failures {found['failures']} (bar: 0)   unusable replies {unusable} of {calls} calls")
    for name in found["failed"]:
        print(f"    {name}")
    print(f"  tokens {found['prompt_tokens']} in, {found['completion_tokens']} out")
    for name in ("question", "call"):
        print(f"  a {name}: " + ", ".join(f"{p} {s:.2f} s" for p, s in found[f"{name}_s"].items()))
    busy = f"server busy {100 * found['server_busy_share']:.0f}% of it, load {found['load']}"
    print(f"  {found['questions_a_second']:.2f} questions a second over {found['wall_s']:.0f} s, {busy}", flush=True)


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--model", type=click.Path(path_type=Path), help="Another folder than the packaged one.")
@click.option("--questions", "count", default=100, show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option(
    "--at-once", "levels", type=int, multiple=True, help="Questions at once; default 1, and on a GPU 1, 8 and 64."
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("out/bench-serve.json"), show_default=True)
def main(model: Path | None, count: int, device: str, levels: tuple[int, ...], out: Path) -> None:
    """Ask, print and write; see the module."""
    folder = model or packaged()
    at, dtype = placed(device)
    with tempfile.TemporaryDirectory(prefix="medloupe-serve-") as scratch:
        questions = draw_questions(Path(scratch), count)
        with ServedTiny(folder, device=device) as server:
            print(f"loupe-tiny on {server.placed}; {device_words(at)}, {os.cpu_count()} cores")
            rounds = asyncio.run(_rounds(server, questions, levels or _AT_ONCE[at.partition(":")[0]]))
            record = {
                "device": device_words(at), "dtype": dtype, "placed": server.placed, "cores": os.cpu_count(),
                "weights": sha256(folder / "model.safetensors"), "rounds": rounds,
            }  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"written to {out}")
    sys.exit(any(found["failures"] for found in rounds))


if __name__ == "__main__":
    main()
