"""Planted errors on real images: how many false statements are refuted, and how many true ones are not left alone.

    python -m medloupe.evals.bench_verify --data ../shared/data

The verifier is given the image, a loose box and the statement (medloupe.averify_claims), never the mask; the truth is
made by medloupe.evals.planted. Exit 1 when a bar is missed, 2 when the data are absent.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from medloupe.agent.resources import Resources
from medloupe.agent.verifying import averify_claims
from medloupe.errors import MedloupeError
from medloupe.evals.planted import GROWN, Subject, number_of_images, plant, subjects
from medloupe.evals.statistics import cluster_interval
from medloupe.models.segment import Segmenter, load_segmenter
from medloupe.types import CheckedClaim

__all__ = ["Row", "check_subject", "missed_bars", "part_of", "run"]

SEED = 20261122
FALSE_REFUTED, FALSE_CAUGHT, TRUE_REFUTED, UNDETERMINED = 0.90, 0.97, 0.02, 0.10
"""The bars: least share of the false refuted, and refuted or undetermined; most of the true refuted, and of all
undetermined."""


_TELL = 30.0
"""Seconds between lines of progress where there is no terminal."""


class Row(NamedTuple):
    """One statement after its check."""

    data: str
    image: str
    """The cluster."""
    true: bool
    checked: CheckedClaim

    @property
    def verdict(self) -> str:
        """supported | refuted | undetermined."""
        return self.checked.verdict


async def check_subject(
    subject: Subject, segmenter: Segmenter | None, seed: int = SEED, grown: str = "side"
) -> list[Row]:
    """Every planted statement of one image, checked. The generator depends on the image alone, not on the order."""
    planted = plant(subject, np.random.default_rng([seed, zlib.crc32(subject.file.name.encode())]), grown)
    if not planted:
        return []
    found = await averify_claims(
        subject.file, [p.claim for p in planted], resources=Resources(segmenter=segmenter), modality=subject.modality
    )
    true = {p.claim["id"]: p.true for p in planted}
    return [Row(subject.data, subject.file.name, true[c.id], c) for c in found.verdicts]


def run(
    data: Path, segmenter: Segmenter | None, most: int | None = None, seed: int = SEED, *,
    part: str = "all", grown: str = "side", tell: Callable[[str], None] | None = None,
) -> list[Row]:  # fmt: skip
    """Every statement of every labelled image of a part; tell: is given a line of progress after each image."""
    rows: list[Row] = []
    begun, images = time.perf_counter(), number_of_images(data, most)
    for done, subject in enumerate(subjects(data, most), 1):
        if part in ("all", part_of(subject.file)):
            rows += asyncio.run(check_subject(subject, segmenter, seed, grown))
        spent = time.perf_counter() - begun
        if tell is not None:
            left = spent / done * max(images - done, 0)
            tell(f"{done}/{images} images, {len(rows)} statements, {done / spent:.2f} images/s, {left:.0f} s left")
    return rows


def part_of(file: Path) -> str:
    """ "dev" for a fixed third of the images, by a hash of the name; "rest" for the others.

    Methods are chosen on the first third; what the others give was not looked at before.
    """
    return "dev" if zlib.crc32(f"dev{file.name}".encode()) % 3 == 0 else "rest"


class Rates(NamedTuple):
    """Of a group of statements, with its 95% interval each."""

    false_refuted: tuple[float, float, float]
    false_caught: tuple[float, float, float]
    true_refuted: tuple[float, float, float]
    undetermined: tuple[float, float, float]


def rates(rows: Sequence[Row]) -> Rates:
    """The four shares; (nan, nan, nan) where there is nothing to count."""

    def share(of: Callable[[Row], bool], verdicts: tuple[str, ...]) -> tuple[float, float, float]:
        chosen = [row for row in rows if of(row)]
        return cluster_interval([row.verdict in verdicts for row in chosen], [row.image for row in chosen])

    return Rates(
        share(lambda r: not r.true, ("refuted",)),
        share(lambda r: not r.true, ("refuted", "undetermined")),
        share(lambda r: r.true, ("refuted",)),
        share(lambda _: True, ("undetermined",)),
    )


def missed_bars(rows: Sequence[Row]) -> list[str]:
    """The bars that these statements miss, in words."""
    found = rates(rows)
    true_refuted = sum(row.true and row.verdict == "refuted" for row in rows)
    missed = []
    if not found.false_refuted[0] >= FALSE_REFUTED:
        missed.append(f"false refuted {found.false_refuted[0]:.1%} < {FALSE_REFUTED:.0%}")
    if not found.false_caught[0] >= FALSE_CAUGHT:
        missed.append(f"false refuted or undetermined {found.false_caught[0]:.1%} < {FALSE_CAUGHT:.0%}")
    if true_refuted > 1 and found.true_refuted[0] > TRUE_REFUTED:
        missed.append(f"true refuted {found.true_refuted[0]:.1%} ({true_refuted}) > {TRUE_REFUTED:.0%}")
    if not found.undetermined[0] <= UNDETERMINED:
        missed.append(f"undetermined {found.undetermined[0]:.1%} > {UNDETERMINED:.0%}")
    return missed


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Lines: by data set, by attribute, by both, and the whole."""
    yield f"{'':<46}{'n':>5} {'false refuted':>22} {'false caught':>22} {'true refuted':>22} {'undetermined':>22}"
    names, attributes = (list(dict.fromkeys(values)) for values in zip(*_keys(rows), strict=True))
    groups: list[tuple[str | None, str | None]] = [(data, None) for data in names] + [
        (None, attribute) for attribute in attributes
    ]
    groups += [(data, attribute) for data in names for attribute in attributes]
    for data, attribute in [*groups, (None, None)]:
        keys = zip(rows, _keys(rows), strict=True)
        chosen = [row for row, (d, a) in keys if data in (None, d) and attribute in (None, a)]
        name = " ".join(word for word in (data, attribute) if word) or "all"
        if chosen:
            cells = " ".join(f"{value:6.1%} ({low:5.1%}..{high:6.1%})" for value, low, high in rates(chosen))
            yield f"{name:<46}{len(chosen):>5} {cells}"


def _keys(rows: Sequence[Row]) -> list[tuple[str, str]]:
    return [(row.data, row.checked.attribute) for row in rows]


def _progress() -> Callable[[str], None]:
    """Onto one line of a terminal; of a file a line every half minute."""
    told = time.monotonic()

    def tell(line: str) -> None:
        nonlocal told
        if sys.stderr.isatty():
            click.echo(f"\r{line:<79}", nl=False, err=True)
        elif time.monotonic() - told >= _TELL:
            told = time.monotonic()
            click.echo(line, err=True)

    return tell


def _dump(rows: Sequence[Row], path: Path) -> None:
    """One JSON line a statement, to be looked at."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            content: dict[str, Any] = {"data": row.data, "image": row.image, "true": row.true}
            file.write(json.dumps(content | row.checked.model_dump(mode="json", exclude={"region"})) + "\n")


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"), show_default=True)
@click.option("--segmenter", "name", default="litemedsam", show_default=True, help="As medloupe ask takes it.")
@click.option("--most", type=int, default=None, help="Images of each data set; default: all.")
@click.option("--seed", type=int, default=SEED, show_default=True)
@click.option("--part", type=click.Choice(["all", "dev", "rest"]), default="all", show_default=True)
@click.option(
    "--grown", type=click.Choice(list(GROWN)), default="side", show_default=True, help="How loose the box is."
)
@click.option("--rows", "dump", type=click.Path(path_type=Path), default=None, help="Write every statement here.")
def main(data: Path, name: str, most: int | None, seed: int, part: str, grown: str, dump: Path | None) -> None:
    """Print the tables; see the module."""
    try:
        segmenter = load_segmenter(name)
    except MedloupeError as error:
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)
    rows = run(data, segmenter, most, seed, part=part, grown=grown, tell=_progress())
    if not rows:
        click.echo(f"no labelled data at {data}", err=True)
        sys.exit(2)
    if dump:
        _dump(rows, dump)
    click.echo(
        f"segmenter {name}, seed {seed}, images {part}, box grown {grown}; share (95% interval, bootstrap over images)"
    )
    for line in table(rows):
        click.echo(line)
    missed = missed_bars(rows)
    click.echo(f"bars: {'; '.join(missed) + ': MISSED' if missed else 'met'}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
