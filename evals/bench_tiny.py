"""How well loupe-tiny reads phantoms that it has never seen, drawn as in training and with shifted parameters.

    python -m medloupe.evals.bench_tiny --model out/tiny/loupe-tiny --phantoms 60

Views of phantoms of the test seeds are described, searched and asked about, through the same client as any VLM.
Printed: accuracy of each attribute on zoomed views, F1 of the finding, recall and precision of the boxes, valid JSON,
statements judged rightly in pairs (both of a pair). Exit 1 when a bar is missed on unseen seeds. Of a run's model the
scores go into the run's folder too, from where `make ship-tiny` takes them.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import itertools
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import PIL.Image

from medloupe.agent.describe import DescriptionReply
from medloupe.agent.planner_grounding import GroundingReply
from medloupe.errors import ModelError, ReplyUnreadable
from medloupe.evals.phantoms.parameters import Profile
from medloupe.evals.tiny.record import RunRecord, ScoreSheet, sha256
from medloupe.evals.tiny.samples import Turn, ViewSample, kind_of, samples_of
from medloupe.models.tiny import NAME, packaged
from medloupe.models.tiny.language import GRID
from medloupe.models.vlm import VLM, Message, Picture, VLMRequest, load_vlm, parse_json

__all__ = ["BARS", "Scores", "request_of", "score"]

BARS = {"attribute": 0.90, "finding F1": 0.95, "valid JSON": 0.99, "pairs": 0.85}
_MOST_TOKENS = 160
_SIZE_RATIO = 1.2
"""Two readers of one lesion differ by up to about 20% (prompts/knowledge/attributes.yaml, long_axis)."""
_OVERLAP = 0.5
"""Least IoU of a found box (PASCAL VOC's criterion, Everingham, IJCV 2010)."""

Box = tuple[float, float, float, float]


@dataclass
class Scores:
    """Right and asked, by what was asked; a reply that cannot be read is wrong."""

    attributes: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))
    valid: list[bool] = field(default_factory=list)
    present: list[tuple[bool, bool]] = field(default_factory=list)
    """(said, true) of the finding, a view."""
    closer: list[bool] = field(default_factory=list)
    """Of views that show a lesion too small to describe: whether it said to look closer."""
    pairs: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))
    boxes: list[tuple[int, int, int]] = field(default_factory=list)
    """(found, said, there) a view."""

    def table(self) -> dict[str, tuple[float, int]]:
        """Name to (figure, how many)."""
        found = {name: _share(right) for name, right in sorted(self.attributes.items())}
        found["finding F1"] = (_f1(self.present), len(self.present))
        hits, said, there = (sum(part) for part in zip(*self.boxes, strict=True)) if self.boxes else (0, 0, 0)
        found["boxes recall"], found["boxes precision"] = (hits / max(there, 1), there), (hits / max(said, 1), said)
        found["looks closer"], found["valid JSON"] = _share(self.closer), _share(self.valid)
        found |= {f"pairs {name}": _share(right) for name, right in sorted(self.pairs.items())}
        found["pairs"] = _share([x for right in self.pairs.values() for x in right])
        return found

    def missed(self) -> list[str]:
        """Names of the bars that are missed."""
        bars = self.bars()
        return [name for name, (figure, n) in self.table().items() if n and figure < bars.get(name, 0.0)]

    def bars(self) -> dict[str, float]:
        """Bar of each figure that has one."""
        bars = BARS | dict.fromkeys(self.attributes, BARS["attribute"])
        return {name: bars[name] for name in self.table() if name in bars}


def _share(right: Sequence[bool]) -> tuple[float, int]:
    return (sum(right) / len(right) if right else 0.0, len(right))


def _f1(pairs: Sequence[tuple[bool, bool]]) -> float:
    both = sum(said and true for said, true in pairs)
    return 2 * both / max(sum(said + true for said, true in pairs), 1)


async def score(
    vlm: VLM, numbers: Sequence[int], view_px: int, profile: Profile = "standard", scores: Scores | None = None
) -> Scores:
    """Ask everything about the views of those phantoms of the test seeds; adds to `scores` when given."""
    scores = scores or Scores()
    for number in numbers:
        views = [view for view in samples_of(number, view_px, "test", profile) if view.turns]
        asked = [(n, turn) for n, view in enumerate(views) for turn in view.turns]
        replies = await asyncio.gather(*(_ask(vlm, views[n], turn) for n, turn in asked))
        for n, view in enumerate(views):
            said = [(turn, reply) for (of, turn), reply in zip(asked, replies, strict=True) if of == n]
            _judge(scores, view, said)
    return scores


def request_of(view: ViewSample, turn: Turn) -> VLMRequest:
    """A turn about a view as it is asked."""
    out = io.BytesIO()
    PIL.Image.fromarray(view.picture).save(out, "PNG")
    png = out.getvalue()
    side = view.picture.shape[0]
    picture = Picture(hashlib.sha256(png).hexdigest(), png, side, side)
    return VLMRequest(messages=(Message("user", (picture, turn.ask)),), purpose="describe", max_tokens=_MOST_TOKENS)


async def _ask(vlm: VLM, view: ViewSample, turn: Turn) -> str:
    """The reply's text; "" for a fault."""
    try:
        return (await vlm(request_of(view, turn))).text
    except ModelError:
        return ""


def _judge(scores: Scores, view: ViewSample, said: Sequence[tuple[Turn, str]]) -> None:
    pairs: dict[tuple[str, int], list[bool]] = defaultdict(list)
    for turn, reply in said:
        if turn.task == "describe":
            _judge_description(scores, view, turn, reply)
        elif turn.task == "locate":
            _judge_boxes(scores, view, reply)
        elif turn.say != "unsure":
            pairs[turn.attribute, turn.pair].append(reply.strip() == turn.say)
    for (attribute, _), right in pairs.items():
        scores.pairs[attribute].append(all(right))


def _judge_description(scores: Scores, view: ViewSample, turn: Turn, reply: str) -> None:
    wanted = _values(parse_json(turn.say, DescriptionReply))
    try:
        got = _values(parse_json(reply, DescriptionReply))
    except ReplyUnreadable:
        got = {}
    scores.valid.append(bool(got))
    scores.present.append((got.get("presence") is True, wanted["presence"] is True))
    if view.lesion is None:
        return
    if view.closer:
        scores.closer.append("long_axis" not in got and got.get("presence") is True)
        return
    for name, value in wanted.items():
        if name == "presence":
            continue
        scores.attributes[name].append(_right(name, value, got.get(name)))


def _values(reply: DescriptionReply) -> dict[str, Any]:
    return {a.attribute: a.value for a in reply.attributes}


def _right(name: str, wanted: Any, got: Any) -> bool:
    if name != "long_axis":
        return bool(wanted == got)
    if not isinstance(got, float | int) or not got:
        return False
    return bool(1 / _SIZE_RATIO <= got / wanted <= _SIZE_RATIO)


def _judge_boxes(scores: Scores, view: ViewSample, reply: str) -> None:
    try:
        said = [_box(region) for region in parse_json(reply, GroundingReply).regions]
    except ReplyUnreadable:
        said = []
        scores.valid.append(False)
    else:
        scores.valid.append(True)
    left = list(view.boxes)
    hits = 0
    for box in said:
        best = max(left, key=lambda other: _iou(box, other), default=None)
        if best is not None and _iou(box, best) >= _OVERLAP:
            left.remove(best)
            hits += 1
    scores.boxes.append((hits, len(said), len(view.boxes)))


def _box(region: dict[str, object]) -> Box:
    numbers = region.get("bbox_2d")
    if isinstance(numbers, list) and len(numbers) == 4 and all(isinstance(n, int | float) for n in numbers):
        x0, y0, x1, y1 = (float(n) / GRID for n in numbers)
        return (x0, y0, x1, y1)
    return (0.0, 0.0, 0.0, 0.0)


def _iou(a: Box, b: Box) -> float:
    across, down = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if across <= 0 or down <= 0:
        return 0.0
    both = across * down
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--model", default="out/tiny/loupe-tiny", show_default=True, help="A model folder, or an endpoint's URL.")
@click.option("--name", help="The model's name at the endpoint.")
@click.option("--phantoms", type=int, default=60, show_default=True, help="Of each profile, eight views each.")
@click.option("--view-px", type=int, default=144, show_default=True)
@click.option("--kind", type=click.Choice(["ct", "cxr", "derm", "us"]), help="Only of this kind.")
def main(model: str, name: str | None, phantoms: int, view_px: int, kind: str | None) -> None:
    """Score and print; see the module."""
    folder = Path(packaged() if model == NAME else model)
    record = RunRecord.of(folder.parent) or RunRecord.of(folder)
    if record is not None:
        print(f"trained: {record.words()}")
    scored: dict[Profile, Scores] = {}
    for profile in ("standard", "shifted"):
        begin = time.monotonic()
        scored[profile] = scores = asyncio.run(_scored(load_vlm(model, name), phantoms, view_px, profile, kind))
        seeds = "unseen seeds" if profile == "standard" else "shifted parameters"
        print(f"\n{seeds}: {phantoms} phantoms, {time.monotonic() - begin:.0f} s")
        for what, (figure, n) in scores.table().items():
            print(f"  {what:22s} {figure:6.3f}  of {n}")
    standard = scored["standard"]
    print(f"\nbars missed on unseen seeds: {', '.join(standard.missed()) or 'none'}")
    if RunRecord.of(folder.parent) is not None and kind is None:
        ScoreSheet(
            weights=sha256(folder / "model.safetensors"), phantoms=phantoms, standard=standard.table(),
            shifted=scored["shifted"].table(), bars=standard.bars(), missed=tuple(standard.missed()),
        ).write(folder.parent)  # fmt: skip
    sys.exit(bool(standard.missed()))


async def _scored(vlm: VLM, phantoms: int, view_px: int, profile: Profile, kind: str | None) -> Scores:
    numbers = (n for n in itertools.count() if kind in (None, kind_of(n)))
    try:
        return await score(vlm, list(itertools.islice(numbers, phantoms)), view_px, profile)
    finally:
        await vlm.close()


if __name__ == "__main__":
    main()
