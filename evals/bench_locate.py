"""Whether the agent with loupe-tiny finds small lesions in 1024-pixel phantoms with at most 24 calls.

    python -m medloupe.evals.bench_locate --model out/tiny/loupe-tiny --phantoms 60

Phantoms of the test seeds, as they are drawn and with shifted parameters. A lesion is found when the centre of a box
lies within half its diameter of its own centre (LUNA16: Setio et al., Med Image Anal 2017); every other box is false, a
second one on the same lesion too, but not one on a lesion of fewer than 12 pixels, which is not asked for. Printed
beside it: recall at an IoU of 0.5 (PASCAL VOC), recall by size, calls, tokens and seconds. Exit 1 when a bar is missed.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from medloupe.agent.budget import Budget
from medloupe.agent.resources import Resources
from medloupe.evals.phantoms import LesionTruth, Order, read_truth, split_seeds, write_phantom
from medloupe.evals.phantoms.parameters import KINDS, Kind, Profile
from medloupe.evals.statistics import cluster_interval
from medloupe.graphs.reader import make_graph
from medloupe.models.segment import Segmenter, load_segmenter
from medloupe.models.vlm import VLM, load_vlm
from medloupe.tools.imaging import MemoryStore
from medloupe.types import Answer, BoundingBox

__all__ = ["CALLS", "LEAST", "Located", "judge", "locate", "report", "stated_boxes"]

CALLS = 24
LEAST = 12.0
"""Long axis of a lesion that is asked for, pixels."""
RECALL, FALSE_BOXES = 0.90, 1.0
_SIZES = (12, 20, 32, 64, 1024)
_OVERLAP = 0.5


class Located(NamedTuple):
    """One phantom."""

    sizes: tuple[float, ...]
    """Long axes of the lesions that are asked for, pixels."""
    found: tuple[bool, ...]
    overlapping: tuple[bool, ...]
    """Of each, whether a box has an IoU of 0.5 with it."""
    false: int
    calls: int = 0
    tokens: int = 0
    seconds: float = 0.0


def judge(boxes: Sequence[BoundingBox], lesions: Sequence[LesionTruth]) -> Located:
    """Boxes against the truth of one image; each box is given to the nearest lesion that it hits."""
    left = list(boxes)
    found, overlapping, sizes = [], [], []
    for lesion in sorted(lesions, key=lambda x: -x.long_axis_px):  # the asked for before those that are not
        true = BoundingBox.from_tuple(lesion.box)
        hits = [box for box in left if _away(box, true) <= lesion.long_axis_px / 2]
        if hits:
            left.remove(min(hits, key=lambda box: _away(box, true)))
        if lesion.long_axis_px >= LEAST:
            sizes.append(lesion.long_axis_px)
            found.append(bool(hits))
            overlapping.append(any(box.iou(true) >= _OVERLAP for box in boxes))
    return Located(tuple(sizes), tuple(found), tuple(overlapping), len(left))


def _away(box: BoundingBox, true: BoundingBox) -> float:
    (x, y), (u, v) = box.centre, true.centre
    return math.hypot(x - u, y - v)


def stated_boxes(answer: Answer) -> list[BoundingBox]:
    """The regions that were looked at and of which something was said to be there."""
    there = {
        o.region
        for o in answer.observations
        if any(a.attribute == "presence" and a.value is True for a in o.attributes)
    }
    return [region.box for region in answer.regions if region.id in there]


async def locate(vlm: VLM, segmenter: Segmenter | None, folder: Path, order: Order, seed: int) -> Located:
    """One phantom through the graph, without verification: all calls are for looking."""
    truth = read_truth(write_phantom(folder / f"{order.profile}-{seed}", order, seed)[0]).images[0]
    resources = Resources(
        store=MemoryStore(), vlm=vlm, segmenter=segmenter, verify=False,
        budget=Budget(calls=CALLS, looks=CALLS, seconds=3600),
    )  # fmt: skip
    file = folder / f"{order.profile}-{seed}" / truth.file
    begin = time.monotonic()
    state = await make_graph(resources).ainvoke({"study": str(file), "question": "Where are the lesions?"})
    answer: Answer = state["answer"]
    spent = answer.budget["spent"]
    assert isinstance(spent, dict)
    return judge(stated_boxes(answer), truth.lesions)._replace(
        calls=spent["calls"], tokens=spent["tokens"], seconds=time.monotonic() - begin
    )


def report(found: Sequence[Located]) -> tuple[list[str], float, float]:
    """(lines, recall, false boxes an image)."""
    names = [str(n) for n, one in enumerate(found) for _ in one.found]
    hits = [float(hit) for one in found for hit in one.found]
    recall = cluster_interval(hits, names)
    overlapping = cluster_interval([float(hit) for one in found for hit in one.overlapping], names)
    false = float(np.mean([one.false for one in found]))
    lines = [
        f"recall, centre within the lesion's radius {recall.text()} of {len(hits)} lesions",
        f"recall, IoU of {_OVERLAP}                       {overlapping.text()}",
        f"false boxes an image                      {false:.3f}",
    ]
    sized = [(size, hit) for one in found for size, hit in zip(one.sizes, one.found, strict=True)]
    for low, high in itertools.pairwise(_SIZES):
        mine = [hit for size, hit in sized if low <= size < high]
        if mine:
            lines.append(f"  {low:4d} to {high:4d} px {np.mean(mine):.3f} of {len(mine)}")
    calls, tokens, seconds = (
        np.array([getattr(one, name) for one in found]) for name in ("calls", "tokens", "seconds")
    )
    lines.append(
        f"calls {calls.mean():.1f} (at most {calls.max()}), tokens {tokens.mean():.0f}, {seconds.mean():.1f} s"
    )
    return lines, recall.value, false


async def _all(vlm: VLM, segmenter: Segmenter | None, kind: Kind, profile: Profile, phantoms: int) -> list[Located]:
    found = []
    begin = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="medloupe-locate-") as folder:
            for n, seed in enumerate(split_seeds("test")[:phantoms], start=1):
                found.append(await locate(vlm, segmenter, Path(folder), Order(kind=kind, profile=profile), seed))
                left = (time.monotonic() - begin) / n * (phantoms - n)
                click.echo(f"\r{profile} {n}/{phantoms}, {left:.0f} s left ", nl=False, err=True)
    finally:
        await vlm.close()
    click.echo("", err=True)
    return found


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--model", default="out/tiny/loupe-tiny", show_default=True, help="A model folder, or an endpoint's URL.")
@click.option("--name", help="The model's name at the endpoint.")
@click.option("--phantoms", type=int, default=60, show_default=True, help="Of each profile.")
@click.option("--kind", type=click.Choice(KINDS), default="derm", show_default=True, help="derm has 1024 pixels.")
@click.option("--segmenter", default="litemedsam", show_default=True, help='As medloupe ask takes it; "none" for none.')
@click.option("--batch", type=int, default=16, show_default=True, help="Pictures that a model folder answers at once.")
def main(model: str, name: str | None, phantoms: int, kind: Kind, segmenter: str, batch: int) -> None:
    """Locate and print; see the module."""
    missed = []
    profiles: tuple[Profile, ...] = ("standard", "shifted")
    outlines = load_segmenter(segmenter)
    for profile in profiles:
        vlm = load_vlm(model, name, max_batch=batch)
        found = asyncio.run(_all(vlm, outlines, kind, profile, phantoms))
        lines, recall, false = report(found)
        print(f"\n{'unseen seeds' if profile == 'standard' else 'shifted parameters'}: {phantoms} {kind} phantoms")
        print("\n".join(f"  {line}" for line in lines))
        if profile == "standard":
            missed += [f"recall of {RECALL}"] * (recall < RECALL)
            missed += [f"{FALSE_BOXES:g} false box an image"] * (false > FALSE_BOXES)
            missed += [f"{CALLS} calls"] * any(one.calls > CALLS for one in found)
    print(f"\nbars missed on unseen seeds: {', '.join(missed) or 'none'}")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
