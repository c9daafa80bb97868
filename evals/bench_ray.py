"""An evaluation on a Ray cluster against the same one in one process.

    python -m medloupe.evals.bench_ray [--cases 60] [--kills 3]

The cluster is two machines of one CPU each as far as Ray knows, both on this one; drawn phantoms, a scripted endpoint
of 50 ms. Bars: both workers take part; the same calls, and scores.jsonl byte for byte those of one process; also where
the evaluation is killed (-9) again and again, and where a worker is; a finished run makes 0 calls. Exit 1 when a bar is
missed.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from medloupe.errors import BackendMissing
from medloupe.evals.bench_cases import CALLS, command, draw_cases, script
from medloupe.evals.bench_kill import AT_ONCE, Command, killed_run
from medloupe.models.vlm.loopback import ScriptedEndpoint

__all__ = ["workers"]

_WORKER = "ray::Worker"
"""How Ray names the process of an actor."""


def workers() -> list[int]:
    """Processes of this machine that are workers."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                name = (entry / "cmdline").read_bytes()
            except OSError:  # it has just ended
                continue
            if name.startswith(_WORKER.encode()):
                found.append(int(entry.name))
    return found


@contextmanager
def two_nodes() -> Iterator[str]:
    """The address of a cluster of two nodes, a CPU each."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        from ray.cluster_utils import Cluster
    except ImportError:
        raise BackendMissing("Ray", "pip install 'medloupe[ray]'") from None
    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        yield cluster.address
    finally:
        cluster.shutdown()


class _Watch:
    """Sees how many workers there are while a command runs, and may kill one of them."""

    def __init__(self, endpoint: ScriptedEndpoint, kill_after: int | None = None) -> None:
        self.most, self.killed = 0, 0
        self._endpoint, self._kill_after = endpoint, kill_after
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._over.wait(0.2):
            there = workers()
            self.most = max(self.most, len(there))
            if self._kill_after is not None and len(self._endpoint.digests) >= self._kill_after and there:
                os.kill(there[0], signal.SIGKILL)
                self.killed, self._kill_after = self.killed + 1, None

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()


@click.command()
@click.option("--cases", default=60, show_default=True)
@click.option("--kills", default=3, show_default=True)
@click.option("--seed", default=7, show_default=True)
def main(cases: int, kills: int, seed: int) -> None:
    """Print what was found; exit 1 when a bar is missed."""
    os.environ["MEDLOUPE_VIEW_PX"] = "128"
    with (
        tempfile.TemporaryDirectory(prefix="medloupe-ray-") as folder,
        ScriptedEndpoint(script, latency_s=0.05, keep_bodies=False) as endpoint,
    ):
        root = Path(folder)
        draw_cases(root / "data", cases)
        _timed("one process", command(root / "data", root / "one", endpoint.url), endpoint)
        scores, one = (root / "one" / "scores.jsonl").read_bytes(), endpoint.stats()
        endpoint.forget()
        with two_nodes() as address:
            bars = _on_ray(root, endpoint, address, one["calls"], kills, seed)
        same = {name: (root / name / "scores.jsonl").read_bytes() == scores for name in ("ray", "killed", "bereft")}
    bars |= {f"scores byte for byte: {name}": held for name, held in same.items()}
    for name, held in bars.items():
        print(f"{'ok    ' if held else 'MISSED'} {name}")
    sys.exit(not all(bars.values()))


def _timed(name: str, arguments: list[str], endpoint: ScriptedEndpoint) -> None:
    begin = time.monotonic()
    code, said = Command(arguments).wait()
    if code:
        raise click.ClickException(f"{name} failed: {said}")
    stats = endpoint.stats()
    print(
        f"{name}: {time.monotonic() - begin:.0f} s, {stats['calls']} calls, {stats['distinct']} different", flush=True
    )


def _on_ray(root: Path, endpoint: ScriptedEndpoint, address: str, calls: int, kills: int, seed: int) -> dict[str, bool]:
    def on_ray(out: str) -> list[str]:
        return command(root / "data", root / out, endpoint.url, "--ray", address)

    with _Watch(endpoint) as watch:
        _timed("two workers", on_ray("ray"), endpoint)
    first = endpoint.stats()
    endpoint.forget()
    _timed("two workers, again", on_ray("ray"), endpoint)
    again = len(endpoint.digests)
    endpoint.forget()
    done = killed_run(on_ray("killed"), endpoint, Command, kills=kills, seed=seed, most=calls // (kills + 1))
    killed = endpoint.stats()
    print(f"killed {done} times: {killed['calls']} calls, {killed['distinct']} different", flush=True)
    endpoint.forget()
    with _Watch(endpoint, kill_after=calls // 2) as bereft:
        _timed("a worker killed", on_ray("bereft"), endpoint)
    return {
        "two workers took part": watch.most == 2,
        "the same calls as one process": first == {**first, "calls": calls, "distinct": calls},
        "a finished run makes 0 calls": again == 0,
        f"{kills} kills": done == kills,
        "killed: nothing lost, at most what was in flight repeated": killed["distinct"] == calls
        and killed["calls"] - calls <= kills * AT_ONCE * CALLS,
        "one worker was killed, and at most its calls in flight repeated": bereft.killed == 1
        and endpoint.stats()["distinct"] == calls
        and len(endpoint.digests) - calls <= AT_ONCE * CALLS,
    }


if __name__ == "__main__":
    main()
