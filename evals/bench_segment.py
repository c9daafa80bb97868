"""Mean Dice of the default segmenter on real images: the whole image against zoom-then-segment, and the bars to hold.

    python -m medloupe.evals.bench_segment --data ../shared/data

The prompt is the tight box of the mask's largest component; that component alone is the truth. Exit 1 when a bar is
missed, 2 when the data are absent.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import cv2
import numpy as np

from medloupe.errors import MedloupeError
from medloupe.evals.real import real
from medloupe.models.segment import Segmenter, load_segmenter
from medloupe.tools.imaging import MemoryStore, load_study
from medloupe.tools.look import Outliner
from medloupe.types import BoolArray, BoundingBox

BARS = {
    "us_breast_lesions_usg": 0.90,
    "mri_brain_tumour_brisc2025": 0.91,
    "derm_isic2017_val": 0.89,
    "ct_lung_tumour_msd": 0.80,
}
"""Least mean Dice of zoom-then-segment, by data set."""
INSIDE = 127
"""Mask values above are lesion, in any channel: the masks are colour-coded, and some edges anti-aliased."""


class Score(NamedTuple):
    """Of one image."""

    whole: float
    zoomed: float


def dice(a: BoolArray, b: BoolArray) -> float:
    """2 |A and B| / (|A| + |B|); 1 for two empty masks."""
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0


def largest_component(mask: BoolArray) -> BoolArray:
    """The largest 8-connected component of a mask."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    kept: BoolArray = labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    return kept


def cases(folder: Path) -> Iterator[tuple[Path, BoolArray]]:
    """(image file, truth) of each item of a data set's MANIFEST.json whose mask is not empty."""
    manifest = json.loads((folder / "MANIFEST.json").read_text(encoding="utf-8"))
    for item in manifest["items"]:
        parts = [cv2.imread(str(folder / mask["file"]), cv2.IMREAD_COLOR) for mask in item["masks"]]
        lesion = np.any([part.max(axis=2) > INSIDE for part in parts if part is not None], axis=0)
        if lesion.any():
            yield folder / item["file"], largest_component(lesion)


def score(segmenter: Segmenter, file: Path, truth: BoolArray) -> Score:
    """Both ways on one image, through the code that the look tools use."""
    store = MemoryStore()
    image = load_study(real(file), store).images[0]
    outliner, box = Outliner(store, segmenter), BoundingBox.of_mask(truth)
    everything = BoundingBox(x0=0, y0=0, x1=image.width, y1=image.height)
    whole = outliner.outline_in(image, image.window, everything, box=box)
    zoomed = outliner.outline(image, image.window, box=box)
    return Score(*(0.0 if found is None else dice(found.mask.to_array(), truth) for found in (whole, zoomed)))


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"), show_default=True)
@click.option("--segmenter", "name", default="litemedsam", show_default=True, help="As medloupe ask takes it.")
def main(data: Path, name: str) -> None:
    """Print the table; see the module."""
    absent = [folder for folder in BARS if not (data / folder / "MANIFEST.json").is_file()]
    if absent:
        click.echo(f"no data at {data}: {', '.join(absent)} absent", err=True)
        sys.exit(2)
    try:
        segmenter = load_segmenter(name)
    except MedloupeError as error:
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)
    if segmenter is None:
        click.echo("this measures a segmenter; 'none' has nothing to measure", err=True)
        sys.exit(2)
    click.echo(f"segmenter {segmenter.name}; mean Dice, prompt: tight box of the mask's largest component")
    click.echo(f"{'data set':<28}{'n':>4}{'whole image':>13}{'zoom, segment':>15}{'bar':>7}")
    missed = [folder for folder, bar in BARS.items() if not _row(segmenter, data / folder, bar)]
    sys.exit(1 if missed else 0)


def _row(segmenter: Segmenter, folder: Path, bar: float) -> bool:
    """Score a data set and print its line; whether the bar holds."""
    scores, begun = [], time.perf_counter()
    for file, truth in cases(folder):
        scores.append(score(segmenter, file, truth))
        if sys.stderr.isatty():
            click.echo(f"\r{folder.name}: {len(scores)} images", nl=False, err=True)
    if sys.stderr.isatty():
        click.echo("\r" + " " * 60 + "\r", nl=False, err=True)
    whole, zoomed = (float(v) for v in np.mean(scores, axis=0))
    verdict = "met" if zoomed >= bar else "MISSED"
    seconds = time.perf_counter() - begun
    click.echo(
        f"{folder.name:<28}{len(scores):>4}{whole:>13.3f}{zoomed:>15.3f}{bar:>7.2f}  {verdict}  ({seconds:.0f} s)"
    )
    return zoomed >= bar


if __name__ == "__main__":
    main()
