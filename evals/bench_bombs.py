"""Files that inflate, or declare what they do not hold, against the worker pool: refused in time and within memory.

    python -m medloupe.evals.bench_bombs

Each of medloupe.evals.hostile.BOMBS is written to disk and opened as a user would open it, with a pool that has just
read a plain file: its start is not the bomb's. The seconds are the whole call's. The worker's memory is what the kernel
says of it (VmHWM, its most pages in memory, and VmPeak, its most address space), read every few milliseconds until it
ends; a new pool is taken for each, for both only rise. Exit 1 when one is opened, takes longer than 3 s, or takes more
than 1.5 GiB.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click

from medloupe.errors import InputRejected
from medloupe.evals.bench_load import family
from medloupe.evals.hostile import BOMBS, plain_ct
from medloupe.tools.imaging import MemoryStore, load_study
from medloupe.tools.imaging.workers import close_pool

__all__ = ["LONGEST_S", "MOST_BYTES", "Outcome", "explode", "main"]

LONGEST_S, MOST_BYTES = 3.0, 3 * 2**29
_EVERY_S = 0.003


class Outcome(NamedTuple):
    """Of one bomb."""

    code: str
    """InputRejected's; "OPENED" when it was not refused."""
    seconds: float
    resident: int
    """VmHWM of the worker, bytes."""
    address_space: int
    """VmPeak of the worker, bytes."""

    def holds(self) -> bool:
        """Whether every bar does."""
        return self.code != "OPENED" and self.seconds <= LONGEST_S and self.address_space <= MOST_BYTES


def explode(path: Path) -> Outcome:
    """Open a file with a pool that has read nothing but a plain one, and watch its workers."""
    close_pool()
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder, "plain.dcm")
        plain_ct().save_as(plain, enforce_file_format=True)
        load_study(plain, MemoryStore())
    code, begun = "OPENED", time.perf_counter()

    def load() -> None:
        nonlocal code
        try:
            load_study(path, MemoryStore())
        except InputRejected as error:
            code = error.code

    peaks = _peaks_during(load)
    return Outcome(code, time.perf_counter() - begun, peaks["VmHWM"], peaks["VmPeak"])


def _peaks_during(work: Callable[[], None]) -> dict[str, int]:
    """The most of each, bytes, over the workers that lived while it ran."""
    peaks, done = {"VmHWM": 0, "VmPeak": 0}, threading.Event()

    def watch() -> None:
        while not done.is_set():
            _look(peaks)
            done.wait(_EVERY_S)
        _look(peaks)

    watcher = threading.Thread(target=watch)
    watcher.start()
    work()
    done.set()
    watcher.join()
    return peaks


def _look(peaks: dict[str, int]) -> None:
    try:
        for pid in list(family(os.getpid()))[2:]:  # after this process and the pool's server
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                name, _, rest = line.partition(":")
                if name in peaks:
                    peaks[name] = max(peaks[name], int(rest.split()[0]) * 1024)
    except OSError:  # a process ended between listing and reading
        return


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--only", help="One bomb, by its name.")
def main(only: str | None) -> None:
    """Print the table; see the module."""
    click.echo(f"load {os.getloadavg()[0]:.1f} at the start; {os.cpu_count()} cores")
    click.echo(f"{'bomb':<22}{'bytes':>11}{'refused as':>18}{'s':>7}{'VmHWM MiB':>11}{'VmPeak MiB':>12}")
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, make in BOMBS.items():
            if only not in (None, name):
                continue
            path = Path(folder, name)
            path.write_bytes(make())
            outcome = explode(path)
            missed += not outcome.holds()
            click.echo(
                f"{name:<22}{path.stat().st_size:>11,}{outcome.code:>18}{outcome.seconds:>7.2f}"
                f"{outcome.resident / 2**20:>11.0f}{outcome.address_space / 2**20:>12.0f}"
                f"{'' if outcome.holds() else '  MISSED'}"
            )
            path.unlink()
    click.echo(
        f"{len(BOMBS) if only is None else 1} bombs, {missed} missed; bars {LONGEST_S:g} s and "
        f"{MOST_BYTES / 2**30:g} GiB of address space"
    )
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
