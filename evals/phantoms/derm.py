"""Dermoscopy-like pictures: skin with a vignette, hairs and air bubbles, and coloured lesions."""

from __future__ import annotations

import math

import cv2
import numpy as np

from medloupe.evals.phantoms.drawing import draw_lesions, lesion_sizes
from medloupe.evals.phantoms.parameters import Profile, draw, parameters, scene_rng
from medloupe.evals.phantoms.scene import Distractor, Scene, Strokes, room_places, tapered

__all__ = ["derm_scene"]

_STEP = 8.0


def derm_scene(seed: int, profile: Profile = "standard", sizes: list[float] | None = None) -> Scene:
    """One picture. sizes: long axes of the lesions, pixels; drawn at random when None."""
    rng, own = scene_rng("derm", seed, profile), parameters("derm", profile)
    side = int(own["size"])
    n = int(side / _STEP)
    skin = np.asarray(own["skin"][int(rng.integers(len(own["skin"])))], np.float32) + rng.uniform(-8, 8, 3)
    mottle = cv2.resize(rng.normal(0, 5, (9, 9)).astype(np.float32), (n, n), interpolation=cv2.INTER_CUBIC)
    rows, columns = np.mgrid[:n, :n].astype(np.float32) / n - 0.5
    away = np.hypot(rows, columns)
    vignette = 1 - rng.uniform(0.1, 0.5) * np.clip(away - 0.30, 0, 1)
    fields = ((skin + mottle[..., None] * (0.8, 1.0, 1.0)) * vignette[..., None]).astype(np.float32)
    room = (np.maximum(abs(rows), abs(columns)) < 0.47).astype(np.uint8)
    sizes = lesion_sizes(rng, profile) if sizes is None else sizes
    lesions = draw_lesions("derm", profile, rng, room_places(room, _STEP, sizes, rng), 0.0)
    bubbles, distractors = _bubbles(side, rng)
    hairs = _hairs(side, int(rng.integers(*own["hairs"])), own["hair_px"], rng)
    return Scene(
        kind="derm", profile=profile, seed=seed, width=side, height=side, spacing_mm=None, fields=fields,
        field_step=_STEP, strokes=(bubbles,), lesions=lesions, distractors=tuple(distractors), shades=(hairs,),
        blur=draw(rng, own["blur"]), noise=draw(rng, own["noise"]), grain=draw(rng, own["grain"]), limits=(0.0, 255.0),
    )  # fmt: skip


def _hairs(side: int, count: int, widths: list[float], rng: np.random.Generator) -> Strokes:
    """Long thin dark bows over everything."""
    polygons = []
    for _ in range(count):
        start, turn = rng.uniform(0, side, 2), rng.uniform(0, 2 * math.pi)
        length, bow = rng.uniform(0.2, 0.7) * side, rng.uniform(-0.25, 0.25)
        at = np.linspace(0, 1, 10)
        ahead = np.array([math.cos(turn), math.sin(turn)]) * length
        path = start + at[:, None] * ahead + (bow * np.sin(at * math.pi))[:, None] * np.array([-ahead[1], ahead[0]])
        polygons += tapered(path, np.full(10, draw(rng, widths)))
    return Strokes(tuple(polygons), (0.28, 0.25, 0.25))


def _bubbles(side: int, rng: np.random.Generator) -> tuple[Strokes, list[Distractor]]:
    """Rings of air in the gel: round, and no lesion."""
    turns = np.linspace(0, 2 * math.pi, 24)
    polygons, found = [], []
    for _ in range(int(rng.integers(0, 4))):
        (x, y), radius = rng.uniform(0.08, 0.92, 2) * side, rng.uniform(8, 40)
        path = np.stack([x + radius * np.cos(turns), y + radius * np.sin(turns)], axis=1)
        polygons += tapered(path, np.full(24, max(2.0, radius * 0.14)))
        found.append(Distractor("air bubble", (x - radius, y - radius, x + radius, y + radius)))
    return Strokes(tuple(polygons), (245.0, 240.0, 238.0), opacity=0.55, soft=1.0), found
