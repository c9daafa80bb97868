"""Put a finished run's model into the package: its files, a card written from the run's records, and their sha-256.

    make ship-tiny RUN=out/tiny

Refused: a run that is not finished, weights that were not scored (`make bench-tiny`), a folder of more than 25 MB.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import click

from medloupe.errors import UsageError
from medloupe.evals.tiny.record import RunRecord, ScoreSheet, sha256
from medloupe.models.tiny import NAME, home, write_sums
from medloupe.models.tiny.language import LOOK_CLOSER

__all__ = ["MOST_BYTES", "card", "main", "ship"]

MOST_BYTES = 25_000_000
_WEIGHTS = "model.safetensors"
_FILES = (
    "config.json", "generation_config.json", _WEIGHTS, "tokenizer.json", "tokenizer_config.json",
    "processor_config.json", "chat_template.jinja",
)  # fmt: skip


def ship(run: Path, to: Path | None = None) -> Path:
    """Write the package's model (or another folder) from a run's; the folder. UsageError for what cannot be shipped."""
    model, to = run / NAME, to or home()
    record, scores = _finished(run), ScoreSheet.of(run)
    if absent := [name for name in _FILES if not (model / name).is_file()]:
        raise UsageError(f"{model} holds no {absent[0]}")
    if scores is None or scores.weights != sha256(model / _WEIGHTS):
        raise UsageError(f"these weights were not scored; score them first: make bench-tiny ARGS='--model {model}'")
    beside = to.with_name(f".{to.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        for name in _FILES:
            (beside / name).write_bytes((model / name).read_bytes())
        record.write(beside)
        (beside / "README.md").write_text(card(beside, record, scores) + "\n", encoding="utf-8")
        write_sums(beside)
        size = sum(p.stat().st_size for p in beside.iterdir())
        if size > MOST_BYTES:
            raise UsageError(f"the model takes {size / 1e6:.1f} MB; at most {MOST_BYTES / 1e6:.0f} MB are shipped")
        shutil.rmtree(to, ignore_errors=True)
        beside.replace(to)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return to


def _finished(run: Path) -> RunRecord:
    record = RunRecord.of(run)
    if record is None:
        raise UsageError(f"{run} is no training run (it holds no record.json)")
    if record.model_step < record.plan.total:
        raise UsageError(
            f"the model has learned {record.model_step} of {record.plan.total} steps; finish the run first"
        )
    return record


def card(model: Path, record: RunRecord, scores: ScoreSheet) -> str:
    """The model card of a folder, in Markdown."""
    from jinja2 import Environment, StrictUndefined

    rows = [
        {
            "name": name, "bar": f"{scores.bars[name]:.2f}" if name in scores.bars else "",
            "standard": _cell(scores.standard, name), "shifted": _cell(scores.shifted, name),
        }
        for name in dict.fromkeys([*scores.standard, *scores.shifted])
    ]  # fmt: skip
    plain = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)  # noqa: S701 - Markdown of our own figures
    text = (files("medloupe.evals.tiny") / "card.md.j2").read_text("utf-8")
    return plain.from_string(text).render(
        config=json.loads((model / "config.json").read_bytes()), record=record, scores=scores, rows=rows,
        closer=LOOK_CLOSER, parameters=_parameters(model / _WEIGHTS), size=(model / _WEIGHTS).stat().st_size,
    )  # fmt: skip


def _cell(table: dict[str, tuple[float, int]], name: str) -> str:
    figure, count = table.get(name, (0.0, 0))
    return f"{figure:.3f} ({count})" if count else "not asked"


def _parameters(weights: Path) -> int:
    """How many numbers a safetensors file holds, by its header (8 bytes of length, then JSON)."""
    with weights.open("rb") as file:
        header: dict[str, Any] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--to", type=click.Path(path_type=Path), help="Another folder than the package's own.")
def main(run: Path, to: Path | None) -> None:
    """Ship; see the module."""
    try:
        folder = ship(run, to)
    except UsageError as error:
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)
    size = sum(p.stat().st_size for p in folder.iterdir())
    click.echo(f"{folder}: {size / 1e6:.1f} MB, card and SHA256SUMS written")


if __name__ == "__main__":
    main()
