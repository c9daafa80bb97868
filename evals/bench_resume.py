"""Kill -9 a small training again and again, resume it, and hold its losses against those of one left alone.

    make bench-resume [ARGS="--compiled"]

Bar: losses.csv and the weights byte for byte those of the unbroken run. On a CPU with one thread: sums are then made in
one order. Exit 1 when the bar is missed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from medloupe.evals.tiny.plan import Plan
from medloupe.models.tiny import NAME

__all__ = ["command", "killed", "steps_kept"]


def command(folder: Path, plan: Plan, *, compiled: bool = False) -> list[str]:
    """The training, its batches drawn by a worker, a checkpoint at every step."""
    return [
        sys.executable, "-m", "medloupe.evals.tiny.train", "--out", str(folder), "--steps", str(plan.steps),
        "--speaking", str(plan.speaking), "--scenes", str(plan.scenes),
        "--seed", str(plan.seed), "--peak", str(plan.peak), "--device", "cpu",
        "--threads", "1", "--save-every", "0", "--workers", "1", "--compiled" if compiled else "--eager",
    ]  # fmt: skip


def steps_kept(folder: Path) -> int:
    """Steps in losses.csv."""
    kept = folder / "losses.csv"
    return max(len(kept.read_text().splitlines()) - 1, 0) if kept.is_file() else 0


def killed(folder: Path, plan: Plan, at: int, *, compiled: bool = False) -> int:
    """Start or resume the run and kill it (-9) once it has kept `at` steps; the steps that it kept."""
    with tempfile.TemporaryFile() as words:
        asked = command(folder, plan, compiled=compiled)
        running = subprocess.Popen(asked, stdout=words, stderr=words, start_new_session=True)  # noqa: S603 - our own module
        while steps_kept(folder) < at and running.poll() is None:
            time.sleep(0.01)
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        if running.returncode != -signal.SIGKILL and steps_kept(folder) < at:
            words.seek(0)
            raise click.ClickException(words.read().decode("utf-8", "replace")[-500:])
    return steps_kept(folder)


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--steps", default=12, show_default=True)
@click.option("--kills", default=3, show_default=True)
@click.option("--compiled/--eager", default=False, show_default=True, help="Compiling takes a minute or two a start.")
def main(steps: int, kills: int, compiled: bool) -> None:
    """Train, kill, resume and compare; see the module."""
    plan = Plan(steps=steps // 2, speaking=steps - steps // 2, scenes=1)
    with tempfile.TemporaryDirectory(prefix="medloupe-resume-") as scratch:
        whole, broken = Path(scratch, "whole"), Path(scratch, "broken")
        for number in range(1, kills + 1):
            kept = killed(broken, plan, number * steps // (kills + 1), compiled=compiled)
            print(f"kill {number}: after {kept} of {steps} steps", flush=True)
        for folder in (broken, whole):
            subprocess.run(command(folder, plan, compiled=compiled), check=True, capture_output=True)  # noqa: S603 - our own module
        bars = {
            f"{what} byte for byte": (whole / file).read_bytes() == (broken / file).read_bytes()
            for what, file in (("losses.csv", "losses.csv"), ("weights", f"{NAME}/model.safetensors"))
        }
        print(f"{steps_kept(broken)} steps after {kills} kills; unbroken {steps_kept(whole)}")
    for name, held in bars.items():
        print(f"{'ok    ' if held else 'MISSED'} {name}")
    sys.exit(not all(bars.values()))


if __name__ == "__main__":
    main()
