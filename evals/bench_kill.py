"""Kill -9 an evaluation again and again, and hold it against one that was left alone.

    python -m medloupe.evals.bench_kill [--cases 400] [--kills 50]

Drawn phantoms (a disc on noise, left or right) through the agent, a scripted endpoint of 50 ms, the command itself in a
process of its own. Bars: 0 cases lost, 0 doubled, 0 recorded calls repeated, no more repeats than were in flight, and
scores.jsonl byte for byte that of the unbroken run; of two at once one works and the other says so; on a full disk (a
RAM disk, where one may be mounted) a clear stop, after which the same command ends it. Exit 1 when a bar is missed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np

from medloupe.evals.bench_script import BOXES
from medloupe.evals.tasks.case import Case
from medloupe.evals.tasks.written import write_cases
from medloupe.models.vlm.base import ToolCall
from medloupe.models.vlm.loopback import Reply, ScriptedEndpoint

__all__ = ["command", "draw_cases", "killed_run", "recorded", "script"]

AT_ONCE = 4
"""Cases at once."""
_CALLS_A_CASE = 8
"""Calls that one case may have under way: two looks at once, or the four of a probe, with room."""


def draw_cases(folder: Path, count: int) -> None:
    """A benchmark of `count` small pictures with a disc on the left or the right."""
    (folder / "images").mkdir(parents=True)
    cases = []
    for number in range(count):
        rng = np.random.default_rng(number)
        picture = rng.integers(30, 60, (96, 96)).astype(np.uint8)
        side = ("left", "right")[int(rng.integers(2))]
        cv2.circle(picture, (28 if side == "left" else 68, 40), 12, 200, -1)
        cv2.imwrite(str(folder / "images" / f"{number}.png"), picture)
        cases.append(
            Case(
                id=f"{number}", kind="option", images=(f"images/{number}.png",), question="On which side is the disc?",
                options=("left", "right"), answer=side, cluster=f"{number // 2}",
            )
        )  # fmt: skip
    write_cases(folder, cases)


def script(body: dict[str, Any]) -> Reply | str:
    """Two looks, a description each, a draft with one claim, and an answer that depends on the pictures alone."""
    text = json.dumps(body["messages"])
    schema = body.get("response_format", {}).get("json_schema", {}).get("name", "")
    if body.get("tools"):
        boxes = () if '"V1' in text or "V1 (" in text else BOXES[:2]
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
        return json.dumps({"answer": "AB"[sum(text.encode()) % 2], "confidence": 0.5 + (sum(text.encode()) % 50) / 100})
    return "yes"


def command(folder: Path, out: Path, url: str) -> list[str]:
    """The evaluation."""
    return [
        sys.executable, "-m", "medloupe", "eval", "phantoms", str(folder), "--out", str(out), "--vlm", url,
        "--vlm-model", "scripted", "--segmenter", "none", "--no-mlflow", "--parallel", str(AT_ONCE),
    ]  # fmt: skip


def _start(arguments: list[str], **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - our own module
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **options
    )


def killed_run(
    folder: Path, out: Path, endpoint: ScriptedEndpoint, kills: int, seed: int, most: int, say: Callable[[str], None]
) -> tuple[int, str]:
    """(kills done, words of the run that ended): killed after a random number of calls, or before its first."""
    chance, done = random.Random(seed), 0  # noqa: S311 - where to kill
    while done < kills:
        goal = len(endpoint.bodies) + chance.randint(0, most)
        running = _start(command(folder, out, endpoint.url))
        while len(endpoint.bodies) < goal and running.poll() is None:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.2))
        if running.poll() is not None:
            say(f"the run ended by itself after {done} kills: {running.communicate()[1][-300:]}")
            break
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
        done += 1
        if done % 10 == 0:
            say(f"{done} kills, {recorded(out)} cases recorded, {len(endpoint.bodies)} calls received")
    ended = _start(command(folder, out, endpoint.url))
    words, errors = ended.communicate()
    if ended.returncode:
        raise click.ClickException(f"the run did not end: {errors}")
    return done, words


def recorded(out: Path) -> int:
    """Cases in the record."""
    if not (out / "run.sqlite").exists():
        return 0
    database = sqlite3.connect(f"file:{out / 'run.sqlite'}?mode=ro", uri=True)
    try:
        return int(database.execute("SELECT COUNT(*) FROM cases").fetchone()[0])
    except sqlite3.OperationalError:  # killed before the tables were made
        return 0
    finally:
        database.close()


def _in_flight(out: Path) -> int:
    return int(json.loads((out / "run.json").read_text())["calls"]["in_flight"])


_ON_A_SMALL_DISK = """
mkdir -p "$0" && mount -t tmpfs -o size=300k tmpfs "$0" || exit 99
"$@"; code=$?
cp -a "$0/." "$0.kept"; exit $code
"""
"""A mount of its own namespace, gone with the process; what it held is copied out."""


def _full_disk(folder: Path, root: Path, endpoint: ScriptedEndpoint) -> tuple[str, bool | None]:
    """(what was said, whether the same command ended it with the same scores afterwards, with room).

    None where a RAM disk may not be mounted.
    """
    out, kept = root / "full", root / "full.kept"
    arguments = ["unshare", "--mount", "sh", "-c", _ON_A_SMALL_DISK, str(out), *command(folder, out, endpoint.url)]
    stopped = _start(arguments)
    _, said = stopped.communicate()
    if not (kept / "run.sqlite").exists():
        return "not tried: a RAM disk may not be mounted here", None
    database = sqlite3.connect(kept / "run.sqlite")
    whole = database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
    again = _start(command(folder, kept, endpoint.url))
    again.communicate()
    same = (
        again.returncode == 0
        and (kept / "scores.jsonl").read_bytes() == (root / "unbroken" / "scores.jsonl").read_bytes()
    )
    clear = stopped.returncode == 2 and "Traceback" not in said and "full" in said.strip().splitlines()[-1]
    return said.strip().splitlines()[-1], clear and whole and same


@click.command()
@click.option("--cases", default=400, show_default=True)
@click.option("--kills", default=50, show_default=True)
@click.option("--seed", default=7, show_default=True)
def main(cases: int, kills: int, seed: int) -> None:
    """Print what was found; exit 1 when a bar is missed."""
    root = Path(tempfile.mkdtemp(prefix="medloupe-kill-"))
    draw_cases(root / "data", cases)
    bars: dict[str, bool] = {}
    with ScriptedEndpoint(script, latency_s=0.05) as endpoint:
        _start(command(root / "data", root / "unbroken", endpoint.url)).communicate()
        alone = endpoint.stats()
        print(f"unbroken: {recorded(root / 'unbroken')} cases, {alone['calls']} calls", flush=True)
        endpoint.bodies.clear()
        most = 2 * alone["calls"] // max(kills, 1) - 4
        done, _ = killed_run(root / "data", root / "killed", endpoint, kills, seed, max(most, 1), print)
        stats, in_flight = endpoint.stats(), _in_flight(root / "killed")
        again = stats["calls"] - stats["distinct"]
        scores = [(root / name / "scores.jsonl").read_bytes() for name in ("unbroken", "killed")]
        ids = [json.loads(line)["id"] for line in scores[1].splitlines()]
        print(f"killed: {done} kills; {stats['calls']} calls, {stats['distinct']} of them different")
        print(f"  repeated {again}; in flight at a kill {in_flight}")
        bars[f"{kills} kills"] = done == kills
        bars["0 lost, 0 doubled"] = ids == [str(n) for n in range(cases)]
        bars["the same calls as unbroken"] = stats["distinct"] == alone["distinct"]
        bars["0 recorded calls repeated"] = again <= in_flight
        bars["at most the calls in flight"] = in_flight <= done * AT_ONCE * _CALLS_A_CASE
        bars["scores byte for byte"] = scores[0] == scores[1]
        endpoint.bodies.clear()
        _start(command(root / "data", root / "killed", endpoint.url)).communicate()
        bars["a finished run makes 0 calls"] = not endpoint.bodies
        bars |= _two_at_once(root, endpoint)
        said, good = _full_disk(root / "data", root, endpoint)
        print(f"full disk: {said}")
        if good is not None:
            bars["full disk: a clear stop, then it ends"] = good
    for name, held in bars.items():
        print(f"{'ok    ' if held else 'MISSED'} {name}")
    sys.exit(not all(bars.values()))


def _two_at_once(root: Path, endpoint: ScriptedEndpoint) -> dict[str, bool]:
    first = _start(command(root / "data", root / "two", endpoint.url))
    while not endpoint.bodies and first.poll() is None:
        time.sleep(0.01)
    second = _start(command(root / "data", root / "two", endpoint.url))
    _, said = second.communicate()
    first.communicate()
    print(f"second of two: {said.strip()}")
    return {"of two, one works and the other says so": (first.returncode, second.returncode) == (0, 2)}


if __name__ == "__main__":
    main()
