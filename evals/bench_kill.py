"""Kill -9 an evaluation again and again, and hold it against one that was left alone.

    python -m medloupe.evals.bench_kill [--cases 400] [--kills 50]

Drawn phantoms through the agent, a scripted endpoint of 50 ms, the command itself in a process of its own (forked from
one that has imported it, so that a kill costs no imports; the unbroken run starts from nothing). Bars: 0 cases lost, 0
doubled, 0 recorded calls repeated, no more repeats than were in flight, and scores.jsonl byte for byte that of the
unbroken run; of two at once one works and the other says so; on a full disk (a RAM disk, where one may be mounted) a
clear stop, after which the same command ends it. Exit 1 when a bar is missed.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import runpy
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Protocol

import click

from medloupe.evals.bench_cases import CALLS, command, draw_cases, script
from medloupe.models.vlm.loopback import ScriptedEndpoint

__all__ = ["AT_ONCE", "Command", "Forked", "Running", "killed_run", "recorded"]

AT_ONCE = 4
"""Cases at once."""
_FULL_KB = 300
"""Size of the disk that fills up; much less than the run writes."""


class Running(Protocol):
    """A command in a process of its own."""

    def ended(self) -> bool:
        """Whether it is over."""
        ...

    def kill(self) -> None:
        """kill -9, it and what it started."""
        ...

    def wait(self) -> tuple[int, str]:
        """Exit code, and what it said on stderr."""
        ...


class Command:
    """Started from nothing."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by wait; no pipe, since nobody reads it meanwhile
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            arguments, stdout=subprocess.DEVNULL, stderr=self._said, start_new_session=True
        )
        self.pid = self._process.pid

    def ended(self) -> bool:
        """Whether it is over."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """kill -9, it and what it started."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self.wait()

    def wait(self) -> tuple[int, str]:
        """Exit code, and what it said on stderr."""
        code = self._process.wait()
        with self._said:
            self._said.seek(0)
            return code, self._said.read()


class Forked:
    """Forked from a process that has imported what the command needs."""

    def __init__(self, arguments: Sequence[str]) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["medloupe.apps.cli", "medloupe.apps.evaluate", "medloupe.evals.inspect_tasks"])
        handle, name = tempfile.mkstemp(prefix="medloupe-said-")
        os.close(handle)
        self._said = Path(name)
        self._process: ForkServerProcess = context.Process(target=_run, args=(list(arguments), name))
        self._process.start()

    def ended(self) -> bool:
        """Whether it is over."""
        return self._process.exitcode is not None

    def kill(self) -> None:
        """kill -9; the processes that read its files end with it."""
        self._process.kill()
        self.wait()

    def wait(self) -> tuple[int, str]:
        """Exit code, and what it said on stderr."""
        self._process.join()
        said = self._said.read_text("utf-8")
        self._said.unlink()
        return self._process.exitcode or 0, said


def _run(arguments: list[str], said: str) -> None:
    """In the forked process: the command, as `python -m medloupe` runs it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(said, os.O_WRONLY), 2)
    sys.argv = ["medloupe", *arguments[arguments.index("medloupe") + 1 :]]
    runpy.run_module("medloupe", run_name="__main__")


def killed_run(
    arguments: Sequence[str],
    endpoint: ScriptedEndpoint,
    start: Callable[[Sequence[str]], Running],
    *,
    kills: int,
    seed: int,
    most: int,
    say: Callable[[str], None] = lambda _: None,
) -> int:
    """Kills done: after a random number of calls up to `most`, or before the first. Then it is left to end."""
    chance, done = random.Random(seed), 0  # noqa: S311 - where to kill
    while done < kills:
        goal = len(endpoint.digests) + chance.randint(0, most)
        running = start(arguments)
        while len(endpoint.digests) < goal and not running.ended():
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.2))
        if running.ended():
            say(f"the run ended by itself after {done} kills: {running.wait()[1][-300:]}")
            break
        running.kill()
        done += 1
        if done % 10 == 0:
            say(f"{done} kills, {len(endpoint.digests)} calls received")
    code, said = start(arguments).wait()
    if code:
        raise click.ClickException(f"the run did not end: {said}")
    return done


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
mkdir -p "$0" && mount -t tmpfs -o size=${1}k tmpfs "$0" || exit 99
shift; "$@"; code=$?
cp -a "$0/." "$0.kept"; exit $code
"""
"""A mount of its own namespace, gone with the process; what it held is copied out."""


def _full_disk(data: Path, root: Path, url: str, whole: bytes) -> tuple[str, bool | None]:
    """(what was said, whether the same command ended it with the same scores afterwards, with room).

    None where a RAM disk may not be mounted.
    """
    out, kept = root / "full", root / "full.kept"
    small = ["unshare", "--mount", "sh", "-c", _ON_A_SMALL_DISK, str(out), str(_FULL_KB), *command(data, out, url)]
    code, said = Command(small).wait()
    if not (kept / "run.sqlite").exists():
        return "not tried: a RAM disk may not be mounted here", None
    database = sqlite3.connect(kept / "run.sqlite")
    sound = database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
    again, _ = Forked(command(data, kept, url)).wait()
    last = said.strip().splitlines()[-1]
    clear = code == 2 and "Traceback" not in said and "full" in last
    return last, clear and sound and again == 0 and (kept / "scores.jsonl").read_bytes() == whole


@click.command()
@click.option("--cases", default=400, show_default=True)
@click.option("--kills", default=50, show_default=True)
@click.option("--seed", default=7, show_default=True)
@click.option(
    "--view-px", default=128, show_default=True, help="Small pictures: the calls matter here, not the pixels."
)
def main(cases: int, kills: int, seed: int, view_px: int) -> None:
    """Print what was found; exit 1 when a bar is missed."""
    os.environ["MEDLOUPE_VIEW_PX"] = str(view_px)
    with tempfile.TemporaryDirectory(prefix="medloupe-kill-") as folder:
        root, begin = Path(folder), time.monotonic()
        draw_cases(root / "data", cases)
        with ScriptedEndpoint(script, latency_s=0.05, keep_bodies=False) as endpoint:
            bars = _kills(root, endpoint, kills, seed)
            whole = (root / "unbroken" / "scores.jsonl").read_bytes()
            bars |= _two_at_once(root, endpoint)
            said, good = _full_disk(root / "data", root, endpoint.url, whole)
        print(f"full disk: {said}")
        if good is not None:
            bars["full disk: a clear stop, then it ends"] = good
    for name, held in bars.items():
        print(f"{'ok    ' if held else 'MISSED'} {name}")
    print(f"{time.monotonic() - begin:.0f} s")
    sys.exit(not all(bars.values()))


def _kills(root: Path, endpoint: ScriptedEndpoint, kills: int, seed: int) -> dict[str, bool]:
    """An unbroken run, a killed one, and one more on top."""
    unbroken, killed = (root / name for name in ("unbroken", "killed"))
    Command(command(root / "data", unbroken, endpoint.url)).wait()
    alone, cases = endpoint.stats(), recorded(unbroken)
    print(f"unbroken: {cases} cases, {alone['calls']} calls", flush=True)
    endpoint.forget()
    again = command(root / "data", killed, endpoint.url)
    most = max(2 * alone["calls"] // max(kills, 1) - 4, 1)
    done = killed_run(
        again, endpoint, Forked, kills=kills, seed=seed, most=most, say=lambda text: print(text, flush=True)
    )
    stats, in_flight = endpoint.stats(), _in_flight(killed)
    repeated = stats["calls"] - stats["distinct"]
    scores = [(folder / "scores.jsonl").read_bytes() for folder in (unbroken, killed)]
    ids = [[json.loads(line)["id"] for line in written.splitlines()] for written in scores]
    print(f"killed: {done} kills; {stats['calls']} calls, {stats['distinct']} of them different")
    print(f"  repeated {repeated}; in flight at a kill {in_flight}")
    endpoint.forget()
    Forked(again).wait()
    return {
        f"{kills} kills": done == kills,
        "0 lost, 0 doubled": ids[0] == ids[1] and len(set(ids[1])) == len(ids[1]) == recorded(killed) == cases,
        "the same calls as unbroken": stats["distinct"] == alone["distinct"],
        "0 recorded calls repeated": repeated <= in_flight,
        "at most the calls in flight": in_flight <= done * AT_ONCE * CALLS,
        "scores byte for byte": scores[0] == scores[1],
        "a finished run makes 0 calls": not endpoint.digests,
    }  # fmt: skip


def _two_at_once(root: Path, endpoint: ScriptedEndpoint) -> dict[str, bool]:
    """Two resumers of a run that was killed half way."""
    arguments = command(root / "data", root / "two", endpoint.url)
    cut = Forked(arguments)
    while len(endpoint.digests) < 40 and not cut.ended():
        time.sleep(0.01)
    cut.kill()
    before, first = len(endpoint.digests), Forked(arguments)
    while len(endpoint.digests) == before and not first.ended():
        time.sleep(0.01)
    code, said = Forked(arguments).wait()
    print(f"second of two: {said.strip()}")
    return {"of two resumers, one works and the other says so": (first.wait()[0], code) == (0, 2)}


if __name__ == "__main__":
    main()
