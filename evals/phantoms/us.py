"""Ultrasound-like pictures: speckled layers of tissue, masses, shadows, and vessels as dark tubes."""

from __future__ import annotations

import math

import cv2
import numpy as np

from medloupe.evals.phantoms.drawing import draw_lesions, lesion_sizes
from medloupe.evals.phantoms.lesion import Floats, Lesion
from medloupe.evals.phantoms.parameters import Profile, draw, parameters, scene_rng
from medloupe.evals.phantoms.scene import Distractor, Scene, Strokes, room_places, tapered

__all__ = ["us_scene"]

_STEP = 4.0


def us_scene(seed: int, profile: Profile = "standard", sizes: list[float] | None = None) -> Scene:
    """One picture. sizes: long axes of the lesions, pixels; drawn at random when None."""
    rng, own = scene_rng("us", seed, profile), parameters("us", profile)
    side = int(own["size"])
    tissue = draw(rng, own["tissue"])
    fields, room = _layers(int(side / _STEP), tissue, rng)
    sizes = lesion_sizes(rng, profile) if sizes is None else sizes
    lesions = draw_lesions("us", profile, rng, room_places(room, _STEP, sizes, rng), tissue)
    vessels, distractors = _vessels(side, tissue, rng)
    shades = [_below(lesion, side, rng) for lesion in lesions if lesion.long_axis > 20 and rng.random() < 0.5]
    for _ in range(int(rng.integers(own["shadows"][0], own["shadows"][1] + 1))):
        x, w, y = rng.uniform(0.05, 0.95) * side, rng.uniform(10, 40), rng.uniform(0.1, 0.5) * side
        shades.append(_column(x - w / 2, x + w / 2, y, side, rng.uniform(0.35, 0.6)))
        distractors.append(Distractor("shadow", (x - w / 2, y, x + w / 2, float(side))))
    return Scene(
        kind="us", profile=profile, seed=seed, width=side, height=side, spacing_mm=None,
        fields=fields, field_step=_STEP, strokes=(vessels,), lesions=lesions, distractors=tuple(distractors),
        shades=tuple(shades), blur=draw(rng, own["blur"]), noise=draw(rng, own["noise"]),
        grain=draw(rng, own["grain"]), speckle=True, limits=(0.0, 255.0),
    )  # fmt: skip


def _layers(n: int, tissue: float, rng: np.random.Generator) -> tuple[Floats, np.ndarray]:
    """((rows, columns, 1) brightness, room for lesions): skin, fat, gland, muscle, each with a wavy border."""
    rows, columns = np.mgrid[:n, :n].astype(np.float32) / n
    wave = rng.uniform(0.01, 0.04) * np.sin(columns * rng.uniform(4, 9) + rng.uniform(0, 6))
    values = np.full((n, n), tissue, np.float32)
    values[rows < 0.05 + wave / 2] = tissue * 1.5
    values = np.where((rows >= 0.05 + wave / 2) & (rows < rng.uniform(0.12, 0.2) + wave), tissue * 0.7, values)
    muscle = rng.uniform(0.84, 0.92)
    values = np.where(rows > muscle + wave, tissue * 0.75, values)
    mottle = cv2.resize(rng.normal(1, 0.09, (12, 12)).astype(np.float32), (n, n), interpolation=cv2.INTER_CUBIC)
    values = cv2.GaussianBlur((values * mottle).astype(np.float32), (0, 0), 1.5)
    room = ((rows > 0.24) & (rows < muscle - 0.04) & (columns > 0.03) & (columns < 0.97)).astype(np.uint8)
    return values[..., None], room


def _vessels(side: int, tissue: float, rng: np.random.Generator) -> tuple[Strokes, list[Distractor]]:
    """Dark tubes that run along the layers."""
    polygons: list[Floats] = []
    found = []
    for _ in range(int(rng.integers(0, 3))):
        width, x, y = rng.uniform(6, 14), rng.uniform(0, 0.7) * side, rng.uniform(0.2, 0.9) * side
        length, slope = rng.uniform(0.15, 0.3) * side, rng.uniform(-0.4, 0.4)
        at = np.linspace(0, 1, 7)
        path = np.stack([x + at * length, y + at * length * slope + 8 * np.sin(at * 5)], axis=1)
        polygons += tapered(path, np.full(7, width))
        low, high = path.min(axis=0) - width / 2, path.max(axis=0) + width / 2
        found.append(Distractor("vessel", (float(low[0]), float(low[1]), float(high[0]), float(high[1]))))
    return Strokes(tuple(polygons), (tissue * 0.3,), soft=1.0), found


def _below(lesion: Lesion, side: int, rng: np.random.Generator) -> Strokes:
    """Shadow below a mass, or enhancement below a dark one."""
    x0, _, x1, y1 = lesion.box
    dark = lesion.attributes["intensity"] == "hypointense" and rng.random() < 0.5
    return _column(x0 + 2, x1 - 2, y1 - 1, side, rng.uniform(1.15, 1.35) if dark else rng.uniform(0.55, 0.75))


def _column(x0: float, x1: float, y: float, side: int, factor: float) -> Strokes:
    corners = np.array([[x0, y], [x1, y], [x1 + (side - y) * 0.05, side], [x0 - (side - y) * 0.05, side]], np.float32)
    return Strokes((corners,), (factor,), soft=max(1.5, min(6.0, math.sqrt(x1 - x0))))
