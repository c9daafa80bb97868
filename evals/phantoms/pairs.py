"""The same phantom at a later time: lesions grown, shrunk, new and gone, the patient not quite in the same place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medloupe.evals.phantoms.kinds import make_scene
from medloupe.evals.phantoms.lesion import Lesion
from medloupe.evals.phantoms.parameters import scene_rng
from medloupe.evals.phantoms.scene import Scene
from medloupe.evals.phantoms.truth import Change

__all__ = ["follow_up"]

_GROWN = (1.3, 1.8)
"""Factors of the long axis; RECIST 1.1 calls 1.2 and more progression (Eisenhauer, Eur J Cancer 2009)."""
_SHRUNK = (0.45, 0.7)
"""RECIST 1.1: 0.7 and less is response."""


def follow_up(prior: Scene) -> tuple[Scene, dict[int, Change], dict[int, Change]]:
    """(scene at the later time, changes by lesion of the prior, changes by lesion of the later one)."""
    rng = scene_rng(prior.kind, prior.seed, prior.profile, stream=3)
    kept: list[Lesion] = []
    before: dict[int, Change] = {}
    after: dict[int, Change] = {}
    for n, lesion in enumerate(prior.lesions):
        change: Change = str(rng.choice(["same", "grown", "shrunk", "gone"]))  # type: ignore[assignment] # words of it
        before[n] = change
        if change == "gone":
            continue
        factor = {"same": 1.0, "grown": float(rng.uniform(*_GROWN)), "shrunk": float(rng.uniform(*_SHRUNK))}[change]
        after[len(kept)] = change
        kept.append(_resized(lesion, factor))
    new = _new(prior, kept, rng)
    for lesion in new:
        after[len(kept)] = "new"
        kept.append(replace(lesion, name=f"L{len(prior.lesions) + 1}"))
    return _moved(prior.with_lesions(kept), rng), before, after


def _resized(lesion: Lesion, factor: float) -> Lesion:
    soft = lesion.attributes["margin"] == "ill-defined"
    return replace(
        lesion, long_axis=lesion.long_axis * factor, edge=lesion.edge * factor if soft else lesion.edge
    )  # fmt: skip


def _new(prior: Scene, kept: list[Lesion], rng: np.random.Generator) -> list[Lesion]:
    """In half of the cases one more lesion, taken from another drawing of the same anatomy."""
    if rng.random() < 0.5:
        return []
    other = make_scene(prior.kind, prior.seed, prior.profile, [float(rng.uniform(10, 40)) for _ in range(6)])
    for lesion in other.lesions:
        reach = lesion.long_axis / 2 + 6
        if all(np.hypot(lesion.x - o.x, lesion.y - o.y) > o.long_axis + reach for o in (*kept, *prior.lesions)):
            return [lesion]
    return []


def _moved(scene: Scene, rng: np.random.Generator) -> Scene:
    """Everything some pixels further."""
    step = scene.width / 128
    return replace(scene, shift=(float(rng.uniform(-step, step)), float(rng.uniform(-step, step))))
