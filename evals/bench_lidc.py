"""Measured attributes of LIDC nodule crops against the readers' mean scores, by Spearman's rank correlation.

    python -m medloupe.evals.bench_lidc --data ../shared/data

Every number without a unit that tools/measure gives is set against every score, so that what is added there appears
here. Exit 2 when the data are absent.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import cv2
import numpy as np

from medloupe.evals.planted import INSIDE, loose_box
from medloupe.evals.real import real
from medloupe.evals.statistics import spearman_interval
from medloupe.models.segment import Segmenter, load_segmenter
from medloupe.tools.imaging import MemoryStore, load_study
from medloupe.tools.look import Loupe
from medloupe.types import BoundingBox, Mask, Region

__all__ = ["SCORES", "Nodule", "nodules", "table"]

SCORES = ("sphericity", "margin", "lobulation", "spiculation", "texture")
"""Of LIDC's characteristics, those that pixels of a slice could show; 1 to 5."""


class Nodule(NamedTuple):
    """One crop, measured in the readers' union outline and in the segmenter's own from a loose box."""

    scores: dict[str, float]
    drawn: dict[str, float]
    outlined: dict[str, float] | None
    """None where nothing could be outlined."""


def nodules(folder: Path, segmenter: Segmenter | None) -> Iterator[Nodule]:
    """Each crop whose readers' outline does not fill it."""
    items = json.loads((folder / "MANIFEST.json").read_text(encoding="utf-8"))["items"]
    for number, item in enumerate(items):
        file = next((m["file"] for m in item["masks"] if m["file"].endswith("_union.png")), None)
        picture = cv2.imread(str(folder / file), cv2.IMREAD_GRAYSCALE) if file else None
        if picture is None or not 16 <= (picture > INSIDE).sum() < 0.9 * picture.size:
            continue
        mask = picture > INSIDE
        store = MemoryStore()
        loupe = Loupe(load_study(real(folder / item["file"]), store, modality="CT"), store, segmenter)
        box = BoundingBox.from_tuple(loose_box(mask, np.random.default_rng(number)))
        region = Region(id="R1", image=0, box=box, source="claim")
        own = loupe.outline(0, box)
        yield Nodule(
            item["label"]["mean_scores"],
            _numbers(loupe, region, Mask.from_array(mask)),
            None if own is None else _numbers(loupe, region, own[0]),
        )


def _numbers(loupe: Loupe, region: Region, mask: Mask) -> dict[str, float]:
    """Every measured number without a unit, whatever there is."""
    measured = loupe.measure(region.model_copy(update={"mask": mask}))
    return {
        q.name: float(q.value)
        for q in measured.quantities
        if q.unit == "1/1" and not isinstance(q.value, str) and not q.name.startswith("site")
    }


def table(found: list[Nodule]) -> Iterator[str]:
    """The whole matrix, as it is found."""
    sources = {"readers' outline": [(n.scores, n.drawn) for n in found]}
    sources["own outline, loose box"] = [(n.scores, n.outlined) for n in found if n.outlined is not None]
    for source, pairs in sources.items():
        yield f"{source}, n = {len(pairs)}"
        yield f"{'':<24}" + "".join(f"{score:>24}" for score in SCORES)
        for name in sorted({key for _, numbers in pairs for key in numbers}):
            held = [(scores, numbers[name]) for scores, numbers in pairs if name in numbers]
            cells = (spearman_interval([v for _, v in held], [s[score] for s, _ in held]) for score in SCORES)
            yield f"{name:<24}" + "".join(f"{r:+8.2f} ({a:+5.2f}..{b:+5.2f})" for r, a, b in cells)


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"), show_default=True)
@click.option("--segmenter", "name", default="litemedsam", show_default=True, help="As medloupe ask takes it.")
def main(data: Path, name: str) -> None:
    """Print the matrix; see the module."""
    folder = data / "ct_lidc_idri"
    if not (folder / "MANIFEST.json").is_file():
        click.echo(f"no LIDC crops at {data}", err=True)
        sys.exit(2)
    click.echo(f"Spearman's rho (95% interval, bootstrap over nodules) with readers' mean scores; segmenter {name}")
    for line in table(list(nodules(folder, load_segmenter(name)))):
        click.echo(line)


if __name__ == "__main__":
    main()
