"""Chest-like CT slices: two lungs with vessel trees, fissures and bronchi in a body with ribs, a spine and a heart."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from medloupe.evals.phantoms.drawing import draw_lesions, lesion_sizes
from medloupe.evals.phantoms.lesion import Floats, Lesion
from medloupe.evals.phantoms.parameters import Profile, draw, parameters, scene_rng
from medloupe.evals.phantoms.scene import Distractor, Scene, Strokes, room_places, tapered

__all__ = ["THICKNESS_MM", "ct_scene", "ct_slices"]

_STEP = 2.0
"""Pixels between samples of the smooth field."""
THICKNESS_MM = 1.25
"""Millimetres between the slices of a series."""


def ct_scene(seed: int, profile: Profile = "standard", sizes: list[float] | None = None) -> Scene:
    """One slice. sizes: long axes of the lesions, pixels; drawn at random when None."""
    rng, own = scene_rng("ct", seed, profile), parameters("ct", profile)
    side = int(own["size"])
    tissue, lung = draw(rng, own["tissue_hu"]), draw(rng, own["lung_hu"])
    fields, lungs, frame = _anatomy(side, own, rng, tissue, lung)
    strokes, distractors = _inside(frame, lungs, own, rng)
    sizes = lesion_sizes(rng, profile) if sizes is None else sizes
    places = room_places(lungs, _STEP, sizes, rng)
    lesions = draw_lesions("ct", profile, rng, places, lung)
    return Scene(
        kind="ct", profile=profile, seed=seed, width=side, height=side,
        spacing_mm=round(draw(rng, own["spacing_mm"]), 4),
        fields=fields, field_step=_STEP, strokes=strokes, lesions=lesions,
        distractors=tuple(d for d in distractors if not any(_meets(d.box, l.box) for l in lesions)),
        blur=draw(rng, own["blur"]), noise=draw(rng, own["noise"]), grain=draw(rng, own["grain"]),
    )  # fmt: skip


def ct_slices(scene: Scene, count: int) -> list[Scene]:
    """A short series through a slice, which is its middle: lesions are balls in depth, vessels run on slantwise."""
    assert scene.spacing_mm is not None
    drift = scene_rng("ct", scene.seed, scene.profile, stream=2).uniform(-0.8, 0.8, 2)
    return [_slice(scene, number - count // 2, drift) for number in range(count)]


def _slice(scene: Scene, off: int, drift: npt.NDArray[np.float64]) -> Scene:
    if off == 0:
        return scene
    assert scene.spacing_mm is not None
    away = abs(off) * THICKNESS_MM / scene.spacing_mm
    lesions = [cut for lesion in scene.lesions if (cut := _thinner(lesion, away)) is not None]
    moved = tuple(
        replace(s, polygons=tuple((p + drift * off).astype(np.float32) for p in s.polygons)) for s in scene.strokes
    )
    return scene.with_lesions(lesions, strokes=moved)


def _thinner(lesion: Lesion, away: float) -> Lesion | None:
    """A lesion's cut, `away` pixels from its middle; None where less than 4 pixels are left of it."""
    radius = lesion.long_axis / 2
    left = lesion.long_axis * math.sqrt(max(1 - (away / radius) ** 2, 0))
    return None if left < 4 else replace(lesion, long_axis=left)


# --- anatomy --------------------------------------------------------------------------------------------------------


class _Frame(dict[str, Any]):
    """Where the organs lie, pixels of the field."""


def _anatomy(
    side: int, own: dict[str, Any], rng: np.random.Generator, tissue: float, lung: float
) -> tuple[Floats, npt.NDArray[np.uint8], _Frame]:
    """((rows, columns, 1) values, (rows, columns) room for lesions, frame), on the field's samples."""
    n = int(side / _STEP)
    cx, cy = n / 2 + rng.uniform(-4, 4), n / 2 + rng.uniform(-4, 4)
    a, b = n * rng.uniform(0.40, 0.45), n * rng.uniform(0.29, 0.33)
    values = np.full((n, n), -1000, np.float32)
    _ellipse(values, cx, cy, a + 6, b + 6, draw(rng, own["fat_hu"]))
    _ellipse(values, cx, cy, a, b, tissue)
    _ribs(values, cx, cy, a, b, own, rng)
    room = np.zeros((n, n), np.uint8)
    frame = _Frame(n=n, cx=cx, cy=cy, lungs=[])
    for sign in (-1, 1):
        lx, ly = cx + sign * a * rng.uniform(0.47, 0.52), cy + rng.uniform(-3, 3)
        la, lb = a * rng.uniform(0.36, 0.41), b * rng.uniform(0.78, 0.86)
        _ellipse(room, lx, ly, la, lb, 1, sign * rng.uniform(3, 12))
        frame["lungs"].append((lx, ly, la, lb, sign))
    heart = (
        cx + a * rng.uniform(0.05, 0.15),
        cy - b * rng.uniform(0.05, 0.2),
        a * rng.uniform(0.26, 0.33),
        b * rng.uniform(0.34, 0.45),
    )
    _ellipse(room, *heart, 0, 25)
    gradient = np.linspace(-25, 35, n, dtype=np.float32)[:, None]
    values = np.where(room > 0, lung + gradient, values).astype(np.float32)
    _ellipse(values, *heart, tissue, 25)
    _ellipse(values, cx, cy + b * 0.68, n * 0.055, n * 0.05, draw(rng, own["bone_hu"]) * 0.7)
    _ellipse(values, cx - n * 0.02, cy + b * 0.42, n * 0.03, n * 0.03, tissue + 5)
    return cv2.GaussianBlur(values, (0, 0), 0.6)[..., None], room, frame


def _ellipse(
    values: npt.NDArray[Any], x: float, y: float, a: float, b: float, level: float, turned: float = 0.0
) -> None:
    """Filled, in place; turned in degrees."""
    shift = 1 << 6
    cv2.ellipse(
        values, (round(x * shift), round(y * shift)), (round(a * shift), round(b * shift)), turned, 0, 360, level, -1,
        cv2.LINE_8, 6,
    )  # fmt: skip


def _ribs(
    values: Floats, cx: float, cy: float, a: float, b: float, own: dict[str, Any], rng: np.random.Generator
) -> None:
    """Short arcs in the chest wall."""
    start = rng.uniform(0, 40)
    for turn in np.arange(start, start + 360, rng.uniform(32, 46)):
        cv2.ellipse(
            values, (round(cx), round(cy)), (round(a * 0.955), round(b * 0.955)), 0, turn, turn + rng.uniform(9, 20),
            draw(rng, own["bone_hu"]), max(2, round(a * 0.035)),
        )  # fmt: skip


def _inside(
    frame: _Frame, room: npt.NDArray[np.uint8], own: dict[str, Any], rng: np.random.Generator
) -> tuple[tuple[Strokes, ...], list[Distractor]]:
    """Vessels, bronchi and fissures of both lungs, and those of them that look like lesions."""
    strokes: list[Strokes] = []
    found: list[Distractor] = []
    for lx, ly, la, lb, sign in frame["lungs"]:
        hilum = np.array([lx - sign * la * 0.85, ly + lb * rng.uniform(-0.05, 0.2)]) * _STEP
        tree: list[Floats] = []
        for _ in range(int(rng.integers(*own["vessels"]))):
            turn = rng.uniform(-1.35, 1.35)
            aim = np.array([lx + sign * la * math.cos(turn) * 0.9, ly + lb * math.sin(turn) * 0.9]) * _STEP
            tree += _branch(hilum, aim, rng.uniform(0.5, 1.0) * own["vessel_px"][1], own["vessel_px"][0], rng, 2)
        strokes.append(Strokes(tuple(_clipped(tree, room)), (draw(rng, own["vessel_hu"]),)))
        strokes.append(_fissure(lx, ly, la, lb, rng))
        strokes.append(_dots(lx, ly, la, lb, own, rng))
    tubes, boxes = _tubes(room, own, rng)
    return (*strokes, *tubes), [*found, *boxes]


def _branch(
    start: npt.NDArray[np.float64], end: npt.NDArray[np.float64], width: float, least: float,
    rng: np.random.Generator, depth: int,
) -> list[Floats]:  # fmt: skip
    """A wavy, tapering path and the smaller ones that leave it."""
    ahead = end - start
    across = np.array([-ahead[1], ahead[0]])
    at = np.linspace(0, 1, 6)
    bow = rng.uniform(-0.18, 0.18) * np.sin(at * math.pi) + rng.normal(0, 0.012, 6)
    path = start + at[:, None] * ahead + bow[:, None] * across
    widths = np.maximum(width * (1 - at) ** 0.7, least)
    drawn = tapered(path, widths)
    if depth:
        for place in rng.uniform(0.3, 0.9, 2):
            i = int(place * 5)
            turn = rng.choice([-1, 1]) * rng.uniform(0.5, 1.1)
            cos, sin = math.cos(turn), math.sin(turn)
            aside = np.array([ahead[0] * cos - ahead[1] * sin, ahead[0] * sin + ahead[1] * cos])
            drawn += _branch(path[i], path[i] + aside * rng.uniform(0.25, 0.5), widths[i] * 0.7, least, rng, depth - 1)
    return drawn


def _clipped(polygons: list[Floats], room: npt.NDArray[np.uint8]) -> list[Floats]:
    """Those whose middle lies in a lung."""
    n = len(room)
    middles = np.array([p.mean(axis=0) for p in polygons]) / _STEP
    columns, rows = np.clip(middles.astype(int), 0, n - 1).T
    return [p for p, inside in zip(polygons, room[rows, columns] > 0, strict=True) if inside]


def _fissure(lx: float, ly: float, la: float, lb: float, rng: np.random.Generator) -> Strokes:
    """A thin faint line across a lung."""
    at = np.linspace(-0.85, 0.85, 9)
    slope, bow = rng.uniform(-0.5, 0.5), rng.uniform(-0.2, 0.2)
    path = np.stack([lx + at * la, ly + lb * (slope * at + bow * (1 - at**2)) * 0.6], axis=1) * _STEP
    return Strokes(tuple(tapered(path, np.full(9, 1.2))), (-350.0,), opacity=0.5, soft=0.5)


def _dots(lx: float, ly: float, la: float, lb: float, own: dict[str, Any], rng: np.random.Generator) -> Strokes:
    """Vessels cut across: bright dots of at most 4 pixels."""
    turns = np.linspace(0, 2 * math.pi, 8, endpoint=False)
    ring = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    dots = []
    for _ in range(int(rng.integers(8, 25))):
        turn, away = rng.uniform(0, 2 * math.pi), math.sqrt(rng.uniform(0, 0.8))
        middle = np.array([lx + la * away * math.cos(turn), ly + lb * away * math.sin(turn)]) * _STEP
        dots.append((middle + ring * rng.uniform(0.8, 2.0)).astype(np.float32))
    return Strokes(tuple(dots), (draw(rng, own["vessel_hu"]),), opacity=0.9)


def _tubes(
    room: npt.NDArray[np.uint8], own: dict[str, Any], rng: np.random.Generator
) -> tuple[list[Strokes], list[Distractor]]:
    """Stretches of vessel without a tree, and bronchi: what is taken for nodules."""
    strokes, found = [], []
    inner = cv2.distanceTransform(room, cv2.DIST_L2, 3)
    rows, columns = np.nonzero(inner > 9)
    for _ in range(int(rng.integers(2, 6))):
        at = int(rng.integers(len(rows)))
        middle = np.array([columns[at], rows[at]]) * _STEP
        turn, width = rng.uniform(0, math.pi), rng.uniform(3, 7)
        half = np.array([math.cos(turn), math.sin(turn)]) * width * rng.uniform(2.2, 4.0)
        bend = np.array([-half[1], half[0]]) * rng.uniform(-0.35, 0.35)
        path = np.stack(
            [
                middle - half,
                middle - half / 2 + bend * 0.75,
                middle + bend,
                middle + half / 2 + bend * 0.75,
                middle + half,
            ]
        )
        strokes.append(
            Strokes(tuple(tapered(path, np.array([0.6, 0.9, 1, 0.9, 0.6]) * width)), (draw(rng, own["vessel_hu"]),))
        )
        found.append(Distractor("vessel", _around(path, width / 2)))
    for _ in range(int(rng.integers(0, 3))):
        at = int(rng.integers(len(rows)))
        middle, radius = np.array([columns[at], rows[at]]) * _STEP, rng.uniform(4, 8)
        turns = np.linspace(0, 2 * math.pi, 20)
        path = middle + np.stack([np.cos(turns), np.sin(turns)], axis=1) * radius
        strokes.append(Strokes(tuple(tapered(path, np.full(20, 2.2))), (draw(rng, own["vessel_hu"]),), opacity=0.8))
        found.append(Distractor("bronchus", _around(path, 1.2)))
    return strokes, found


def _around(path: npt.NDArray[np.float64], reach: float) -> tuple[float, float, float, float]:
    low, high = path.min(axis=0) - reach, path.max(axis=0) + reach
    return (math.floor(low[0]), math.floor(low[1]), math.ceil(high[0]), math.ceil(high[1]))


def _meets(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
