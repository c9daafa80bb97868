"""Damaged files against the reader: nothing but a study or InputRejected may come of one, and in time.

    python -m medloupe.evals.fuzz --mutants 5000 --atheris 60

Mutants of the DICOM files that come with pydicom (seeded: bit flips, cuts, length fields, deletions, splices) are
loaded as a user would load them, through the worker pool; then atheris, where it is installed, drives the function
that the workers run, in a process of its own. Exit 1 when anything but the two outcomes is seen, a file takes longer
than 10 s, or this process grows by 50 MB.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np
import pydicom.data

from medloupe.errors import InputRejected
from medloupe.tools.imaging import MemoryStore, load_study

LONGEST_S, MOST_GROWTH = 10.0, 50 * 2**20
_MAX_BASE = 2**18
"""Larger files only make mutants slower."""
_WARM_UP = 50
"""Loads before the process's size is taken for the first time."""


@dataclass
class Tally:
    """What came of the mutants."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """"loaded", "loaded with warnings", or an InputRejected's code."""
    untyped: list[str] = field(default_factory=list)
    """Any other error: the mutant's number and the error's type."""
    longest_s: float = 0.0
    growth: int = 0
    """Of this process, bytes."""

    def holds(self) -> bool:
        """Whether every bar does."""
        return not self.untyped and self.longest_s <= LONGEST_S and self.growth < MOST_GROWTH


def bases() -> list[bytes]:
    """The files to damage: pydicom's own, in the order of their names."""
    folder = Path(pydicom.data.__file__).parent / "test_files"
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size <= _MAX_BASE)
    return [data for data in (p.read_bytes() for p in files) if data[128:132] == b"DICM" or b"\x08\0" in data[:8]]


def mutants(number: int, seed: int = 0) -> Iterator[bytes]:
    """So many mutants, the same for the same seed."""
    rng, whole = np.random.default_rng(seed), bases()
    ways = (_flip, _cut, _lengthen, _delete, _splice)
    for n in range(number):
        data = bytearray(whole[int(rng.integers(len(whole)))])
        for _ in range(int(rng.integers(1, 4))):
            data = ways[n % len(ways)](data, rng, whole)
        yield bytes(data)


def _place(data: bytearray, rng: np.random.Generator) -> int:
    """Anywhere, and half of the time in the header."""
    return int(rng.integers(min(len(data), 4096) if rng.random() < 0.5 else len(data))) if data else 0


def _flip(data: bytearray, rng: np.random.Generator, _: list[bytes]) -> bytearray:
    for _n in range(int(rng.integers(1, 9))):
        data[_place(data, rng)] ^= 1 << int(rng.integers(8))
    return data


def _cut(data: bytearray, rng: np.random.Generator, _: list[bytes]) -> bytearray:
    return data[: max(1, _place(data, rng))]


def _lengthen(data: bytearray, rng: np.random.Generator, _: list[bytes]) -> bytearray:
    """Overwrite what may be a length, or a count, with one that is absurd."""
    place = _place(data, rng)
    if rng.random() < 0.5:
        data[place : place + 2] = struct.pack("<H", int(rng.choice([0, 1, 0x7FFF, 0xFFFF])))
    else:
        data[place : place + 4] = struct.pack("<I", int(rng.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFF0, 0xFFFFFFFF])))
    return data


def _delete(data: bytearray, rng: np.random.Generator, _: list[bytes]) -> bytearray:
    place = _place(data, rng)
    del data[place : place + int(rng.integers(1, 64))]
    return data or bytearray(b"\0")


def _splice(data: bytearray, rng: np.random.Generator, whole: list[bytes]) -> bytearray:
    other = whole[int(rng.integers(len(whole)))]
    start, place = int(rng.integers(len(other))), _place(data, rng)
    data[place : place + int(rng.integers(1, 512))] = other[start : start + int(rng.integers(1, 512))]
    return data


def load_mutants(number: int, seed: int = 0) -> Tally:
    """Load each as a user would."""
    tally, size = Tally(), 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mutant.dcm")
        for n, data in enumerate(mutants(number, seed)):
            path.write_bytes(data)
            begun = time.perf_counter()
            tally.outcomes[_outcome(path, n, tally)] += 1
            tally.longest_s = max(tally.longest_s, time.perf_counter() - begun)
            if n == min(_WARM_UP, number // 2):
                size = _resident()
    tally.growth = _resident() - size
    return tally


def _outcome(path: Path, number: int, tally: Tally) -> str:
    try:
        return "loaded with warnings" if load_study(path, MemoryStore()).warnings else "loaded"
    except InputRejected as error:
        return error.code
    except Exception as error:  # noqa: BLE001 - the very thing that is looked for
        tally.untyped.append(f"{number}: {type(error).__name__}")
        return "untyped"


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# --- atheris --------------------------------------------------------------------------------------------------------

_TARGET = """
import io, resource, sys
import atheris
with atheris.instrument_imports(include=["medloupe.tools.imaging", "pydicom.filereader", "pydicom.fileutil"]):
    from medloupe.tools.imaging.reading import read_stream
from medloupe.errors import InputRejected

def one(data):
    try:
        read_stream(io.BytesIO(data), len(data), ".dcm", None)
    except (InputRejected, MemoryError):
        pass

atheris.Setup(sys.argv, one)
atheris.Fuzz()
"""


def run_atheris(duration: int) -> tuple[bool, str]:
    """Whether it found nothing, and its last line; in a process of its own, which may crash."""
    with tempfile.TemporaryDirectory() as folder:
        for n, data in enumerate(bases()):
            Path(folder, f"{n:03d}").write_bytes(data)
        options = [f"-max_total_time={duration}", "-timeout=10", "-rss_limit_mb=1536", "-max_len=65536",
                   f"-artifact_prefix={folder}/found-"]  # fmt: skip
        command = [sys.executable, "-W", "ignore", "-c", _TARGET, folder, *options]
        ran = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603
    said = [line for line in ran.stderr.splitlines() if line.strip()]
    done = [line for line in said if line.startswith("Done ")]
    return ran.returncode == 0, (done or said or ["nothing said"])[-1]


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--mutants", "number", default=5000, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--atheris", "duration", default=60, show_default=True, help="Seconds; 0 leaves it out.")
def main(number: int, seed: int, duration: int) -> None:
    """Print what came of them; see the module."""
    tally = load_mutants(number, seed)
    for name, times in tally.outcomes.most_common():
        click.echo(f"{times:>7}  {name}")
    click.echo(
        f"{number} mutants, seed {seed}: {len(tally.untyped)} untyped errors {tally.untyped[:5]}, longest"
        f" {tally.longest_s:.2f} s (bar {LONGEST_S:.0f}), growth {tally.growth / 2**20:.1f} MB (bar 50)"
        f"  {'met' if tally.holds() else 'MISSED'}"
    )
    found_nothing, line = run_atheris(duration) if duration else (True, "left out")
    click.echo(f"atheris, {duration} s: {line}  {'met' if found_nothing else 'MISSED'}")
    sys.exit(0 if tally.holds() and found_nothing else 1)


if __name__ == "__main__":
    main()
