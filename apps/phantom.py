"""`medloupe phantom`: drawn test images with known truth, and questions about them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

import click

from medloupe.evals.phantoms import Order, write_set
from medloupe.evals.phantoms.parameters import Kind
from medloupe.evals.tasks.drawn import write_phantom_cases

__all__ = ["run_phantom"]


def run_phantom(
    out: Path, kind: str, *, count: int, seed: int, shifted: bool, slices: int, pairs: bool, faults: tuple[str, ...]
) -> None:
    """Write them, with a progress bar on a terminal; UsageError for what cannot be drawn or a folder in use."""
    profile: Any = "shifted" if shifted else "standard"
    order = Order(kind=cast(Kind, kind), profile=profile, slices=slices, pairs=pairs, faults=faults)
    with click.progressbar(length=count, label="drawing", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        truths = write_set(out, order, count=count, seed=seed, progress=lambda: bar.update(1))
    write_phantom_cases(out, truths)
    click.echo(f"{count} phantom{'s' if count > 1 else ''} in {out}, {len(truths)} truth.json")
    for split in sorted(file.stem.removeprefix("cases_") for file in out.glob("cases_*.jsonl")):
        click.echo(f"To evaluate on them: medloupe eval phantoms {out} --split {split}")
