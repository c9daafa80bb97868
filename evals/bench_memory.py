"""The memory of a long evaluation: 10,000 cases with a picture of 1 MB each, opened one by one.

    python -m medloupe.evals.bench_memory [--cases 10000] [--solver single_pass]

Pictures are 1024 x 1024 8-bit noise, which PNG cannot make smaller; a hundred different ones under 10,000 names (hard
links, so that they fit on any disk), every one of them read, decoded, cut and encoded for its case. Every case asks
something else, so that no reply is another's. The command runs in a process of its own; its memory is what it and all
processes it started hold (PSS, which counts shared pages once), every two seconds. The endpoint is not counted.

Bar: the most at any time is below 2 GB. Exit 1 when it is missed.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
import cv2
import numpy as np

from medloupe.evals.bench_cases import command
from medloupe.evals.bench_kill import Command
from medloupe.evals.tasks.case import Case
from medloupe.evals.tasks.written import write_cases
from medloupe.models.vlm.loopback import EndpointProcess

__all__ = ["draw_pictures", "pss_of_tree"]

BAR_GB = 2.0
_DIFFERENT = 100
_SIDE = 1024


def draw_pictures(folder: Path, count: int) -> int:
    """A benchmark of `count` names; bytes of one picture."""
    (folder / "images").mkdir(parents=True)
    for number in range(min(_DIFFERENT, count)):
        noise = np.random.default_rng(number).integers(0, 256, (_SIDE, _SIDE), dtype=np.uint8)
        cv2.imwrite(str(folder / "images" / f"{number}.png"), noise)
    for number in range(_DIFFERENT, count):
        os.link(folder / "images" / f"{number % _DIFFERENT}.png", folder / "images" / f"{number}.png")
    write_cases(folder, _cases(count))
    return (folder / "images" / "0.png").stat().st_size


def _cases(count: int) -> Iterator[Case]:
    for number in range(count):
        yield Case(
            id=f"{number}", kind="yesno", images=(f"images/{number}.png",), cluster=f"{number}", answer="yes",
            question=f"Is this picture number {number}?", modality="OT",
        )  # fmt: skip


def pss_of_tree(root: int) -> int:
    """Bytes that a process and all its descendants hold; a page that several share is counted once."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # it has just ended
                continue
    tree, more = {root}, True
    while more:
        found = {pid for pid, parent in parents.items() if parent in tree} - tree
        tree, more = tree | found, bool(found)
    return sum(_pss(pid) for pid in tree)


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


@click.command()
@click.option("--cases", default=10_000, show_default=True)
@click.option("--solver", default="single_pass", show_default=True)
@click.option("--parallel", default=16, show_default=True)
def main(cases: int, solver: str, parallel: int) -> None:
    """Print what was found; exit 1 when the bar is missed."""
    with (
        tempfile.TemporaryDirectory(prefix="medloupe-memory-") as folder,
        EndpointProcess("medloupe.evals.bench_cases:script") as endpoint,
    ):
        root = Path(folder)
        size = draw_pictures(root / "data", cases)
        begin, seen = time.monotonic(), [0]
        running = Command(
            command(root / "data", root / "out", endpoint.url, "--solver", solver, parallel=parallel)
        )  # fmt: skip
        while not running.ended():
            seen.append(pss_of_tree(running.pid))
            time.sleep(2)
        code, said = running.wait()
        calls = endpoint.stats()
        rows = (root / "out" / "scores.jsonl").read_text().count("\n") if code == 0 else 0
    if code:
        raise click.ClickException(f"the run failed: {said[-300:]}")
    print(f"{rows} cases of {size / 1e6:.2f} MB, {solver}, {parallel} at once, in {time.monotonic() - begin:.0f} s")
    print(f"{calls['calls']} calls, {calls['distinct']} different")
    tenths = [max(seen[n * len(seen) // 10 : (n + 1) * len(seen) // 10] or [0]) / 1e9 for n in range(10)]
    print("most memory in each tenth of the time, GB: " + " ".join(f"{tenth:.2f}" for tenth in tenths))
    most = max(seen) / 1e9
    print(f"most: {most:.2f} GB (bar: {BAR_GB:g})")
    sys.exit(not (most < BAR_GB and rows == cases))


if __name__ == "__main__":
    main()
