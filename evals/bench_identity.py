"""The same view, the same words: loupe-tiny in this process against loupe-tiny behind transformers' server.

    make bench-identity

Views of phantoms of the test seeds, a question each (describe, locate, a statement, in turn), greedy decoding, one at
a time, the same image-processor class and dtype on both sides. Bar: all replies identical. Then in this process in
batches of eight, whose padding changes the arithmetic: how many replies differ is reported, not barred. Exit 1 when the
bar is missed.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click

from medloupe.errors import ModelError
from medloupe.evals.bench_tiny import request_of
from medloupe.evals.serving import ServedTiny
from medloupe.evals.tiny.samples import samples_of
from medloupe.models.serve import image_processor_of
from medloupe.models.tiny import packaged
from medloupe.models.vlm import VLM, EndpointVLM, LocalVLM, VLMRequest
from medloupe.models.vlm.local import placed

__all__ = ["Compared", "compare", "questions"]

_TASKS = ("describe", "locate", "probe")
_BATCH = 8


class Compared(NamedTuple):
    """Replies to the same requests, in their order; a fault is its name."""

    here: list[str]
    """In this process, one at a time."""
    served: list[str]
    batched: list[str]
    """In this process, eight at a time."""
    place_here: str
    """Device, dtype and image processor."""
    place_served: str

    def differing(self, other: Sequence[str]) -> list[int]:
        """Places at which replies are not those of this process, one at a time."""
        return [n for n, (one, two) in enumerate(zip(self.here, other, strict=True)) if one != two]


def questions(count: int, view_px: int = 144) -> list[VLMRequest]:
    """One question about each of so many views that were not trained on."""
    views = (v for number in itertools.count() for v in samples_of(number, view_px, "test") if v.turns)
    asked = []
    for number, view in enumerate(itertools.islice(views, count)):
        wanted = _TASKS[number % len(_TASKS)]
        turn = next((t for t in view.turns if t.task == wanted), view.turns[0])
        asked.append(request_of(view, turn))
    return asked


async def compare(
    folder: Path, server: ServedTiny, requests: Sequence[VLMRequest], *, device: str = "auto"
) -> Compared:
    """Ask all three ways."""
    at, dtype = placed(device)
    here = await _replies(LocalVLM(folder, device=device, max_batch=1), requests, at_once=1)
    served = await _replies(EndpointVLM(server.url, server.model), requests, at_once=1)
    batched = await _replies(LocalVLM(folder, device=device, max_batch=_BATCH), requests, at_once=_BATCH)
    place = f"{at}, {dtype}, pictures by {image_processor_of(str(folder))}"
    return Compared(here, served, batched, place, server.placed)


async def _replies(vlm: VLM, requests: Sequence[VLMRequest], *, at_once: int) -> list[str]:
    room = asyncio.Semaphore(at_once)

    async def ask(request: VLMRequest) -> str:
        async with room:
            try:
                return (await vlm(request)).text
            except ModelError as error:
                return type(error).__name__

    try:
        return await asyncio.gather(*(ask(request) for request in requests))
    finally:
        await vlm.close()


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--model", type=click.Path(path_type=Path), help="Another folder than the packaged one.")
@click.option("--views", default=200, show_default=True)
@click.option("--device", default="auto", show_default=True)
def main(model: Path | None, views: int, device: str) -> None:
    """Compare and print; see the module."""
    folder = model or packaged()
    with ServedTiny(folder, device=device) as server:
        found = asyncio.run(compare(folder, server, questions(views), device=device))
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    print(f"in process: {found.place_here}\nserved:     {found.place_served}")
    wrong, batched = found.differing(found.served), found.differing(found.batched)
    print(f"{views} views, {len(set(found.here))} different replies, one at a time")
    print(f"  served as in process:                  {views - len(wrong)} of {views} identical (bar: all)")
    print(f"  in batches of {_BATCH} as one at a time:       {views - len(batched)} of {views} identical (no bar)")
    for name, replies, places in (("served", found.served, wrong), ("batched", found.batched, batched)):
        for n in places[:3]:
            print(f"  view {n}: in process {found.here[n]!r}, {name} {replies[n]!r}")
    same_place = found.place_here == found.place_served
    if not same_place:
        print("MISSED: device, dtype or image processor differ")
    sys.exit(bool(wrong) or not same_place)


if __name__ == "__main__":
    main()
