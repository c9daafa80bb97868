"""Radiograph-like frontals: lungs, heart, diaphragm, ribs and clavicles added up as a projection, and a side marker."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from medloupe.evals.phantoms.drawing import draw_lesions, lesion_sizes
from medloupe.evals.phantoms.lesion import Floats
from medloupe.evals.phantoms.parameters import Profile, draw, parameters, scene_rng
from medloupe.evals.phantoms.scene import Distractor, Scene, Strokes, room_places, tapered

__all__ = ["cxr_scene"]

_STEP = 8.0


def cxr_scene(seed: int, profile: Profile = "standard", sizes: list[float] | None = None) -> Scene:
    """One frontal. sizes: long axes of the lesions, pixels; drawn at random when None."""
    rng, own = scene_rng("cxr", seed, profile), parameters("cxr", profile)
    side = int(own["size"])
    lung = draw(rng, own["lung"])
    fields, room, findings = _anatomy(side, own, rng, lung)
    strokes, distractors = _bones(side, own, rng)
    sizes = lesion_sizes(rng, profile) if sizes is None else sizes
    places = room_places(room, _STEP, [max(size, 10.0) for size in sizes], rng)
    return Scene(
        kind="cxr", profile=profile, seed=seed, width=side, height=side,
        spacing_mm=round(draw(rng, own["spacing_mm"]), 4),
        fields=fields, field_step=_STEP, strokes=(*strokes, _marker(side)), distractors=tuple(distractors),
        lesions=draw_lesions("cxr", profile, rng, places, lung), findings=findings,
        blur=draw(rng, own["blur"]), noise=draw(rng, own["noise"]), grain=draw(rng, own["grain"]), limits=(0.0, 4095.0),
    )  # fmt: skip


def _anatomy(
    side: int, own: dict[str, Any], rng: np.random.Generator, lung: float
) -> tuple[Floats, npt.NDArray[np.uint8], tuple[str, ...]]:
    """((rows, columns, 1) values, room for lesions, findings of the whole image)."""
    n = int(side / _STEP)
    chest = draw(rng, own["chest"])
    values = np.full((n, n), 250, np.float32)
    cv2.ellipse(values, (n // 2, int(n * 0.62)), (int(n * 0.46), int(n * 0.60)), 0, 0, 360, chest, -1)
    room = np.zeros((n, n), np.uint8)
    bases = []
    for sign in (-1, 1):
        x = n * (0.5 + sign * rng.uniform(0.185, 0.205))
        base = n * rng.uniform(0.70, 0.76)
        _lung(room, n, x, base, sign, rng)
        bases.append((x, base, sign))
    wide = rng.random() < own["enlarged_share"]
    heart = rng.uniform(0.225, 0.265) if wide else rng.uniform(0.13, 0.165)
    values = np.where(room > 0, lung, values).astype(np.float32)
    middle = draw(rng, own["heart"])
    _blob(values, n * 0.5, n * 0.42, n * 0.055, n * 0.33, middle)
    heart_x = n * (0.5 + (0.035 if wide else 0.045))
    _blob(values, heart_x, n * 0.62, n * heart, n * 0.135, middle, 20)
    _blob(room, heart_x, n * 0.62, n * heart, n * 0.135, 0, 20)
    _blob(room, n * 0.5, n * 0.42, n * 0.055, n * 0.33, 0)
    findings = ("cardiomegaly",) if wide else ()
    if rng.random() < own["effusion_share"]:
        findings = (*findings, "effusion")
        _effusion(values, room, n, bases[int(rng.integers(2))], draw(rng, own["effusion"]), rng)
    values = cv2.GaussianBlur(values, (0, 0), 1.4)
    drift = cv2.resize(rng.normal(0, 60, (5, 5)).astype(np.float32), (n, n), interpolation=cv2.INTER_CUBIC)
    return (values + drift)[..., None], cv2.erode(room, np.ones((5, 5), np.uint8)), findings


def _lung(room: npt.NDArray[np.uint8], n: int, x: float, base: float, sign: int, rng: np.random.Generator) -> None:
    """One lung field with a domed base."""
    top, half = n * rng.uniform(0.10, 0.14), n * rng.uniform(0.145, 0.165)
    at = np.linspace(0, 1, 24)
    outer = half * (0.50 + 0.50 * at**0.6)
    down = top + at * (base + n * 0.05 - top)
    right = np.stack([x + sign * outer, down], axis=1)
    along = np.linspace(1, -1, 14)
    dome = base - n * 0.055 * (1 - (along * 0.9) ** 2) + n * 0.05 * (along > 0) * along
    bottom = np.stack([x + sign * half * along, dome], axis=1)
    left = np.stack([x - sign * half * (0.45 + 0.5 * at[::-1]), top + at[::-1] * (base - top)], axis=1)
    cap = np.stack(
        [x + sign * half * 0.5 * np.linspace(-1, 1, 8), top - n * 0.02 * (1 - np.linspace(-1, 1, 8) ** 2)], axis=1
    )
    cv2.fillPoly(room, [np.rint(np.concatenate([right, bottom, left, cap])).astype(np.int32)], 1)


def _effusion(
    values: Floats, room: npt.NDArray[np.uint8], n: int, where: tuple[float, float, int], level: float,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Whiteness from the base up to a concave line that climbs at the chest wall."""
    x, base, sign = where
    rows, columns = np.mgrid[:n, :n].astype(np.float32)
    outwards = (columns - x) * sign / (n * 0.16)
    height = n * rng.uniform(0.07, 0.16)
    surface = base - height * (0.55 + 0.75 * np.clip(outwards, 0, 1) ** 2)
    inside = (rows > surface) & (np.sign(columns - n / 2) == sign) & (room > 0)
    values[inside] += level
    room[inside] = 0


def _blob(values: npt.NDArray[Any], x: float, y: float, a: float, b: float, level: float, turned: float = 0.0) -> None:
    cv2.ellipse(values, (round(x), round(y)), (round(a), round(b)), turned, 0, 360, level, -1)


def _bones(side: int, own: dict[str, Any], rng: np.random.Generator) -> tuple[list[Strokes], list[Distractor]]:
    """Ribs behind (falling outwards) and in front (falling inwards), clavicles; crossings look like opacities."""
    strokes, crossings = [], []
    gap, start = side * rng.uniform(0.072, 0.085), side * rng.uniform(0.12, 0.16)
    width = side * rng.uniform(0.016, 0.022)
    for sign in (-1, 1):
        behind, before = [], []
        for k in range(9):
            y = start + k * gap
            behind.append(_arc(side, sign, y, 0.06, 0.14))
            before.append(_arc(side, sign, y + gap * 0.5, 0.12, -0.07) if k > 1 else None)
            if k in (3, 5, 7) and rng.random() < 0.7:
                x = side * (0.5 + sign * 0.30)
                crossings.append(Distractor("rib crossing", (x - 30, y - 10, x + 50, y + 70)))
        lines = [p for path in behind for p in tapered(path, np.full(len(path), width))]
        strokes.append(Strokes(tuple(lines), (draw(rng, own["rib"]),), adds=True, soft=4))
        lines = [p for path in before if path is not None for p in tapered(path, np.full(len(path), width * 1.1))]
        strokes.append(Strokes(tuple(lines), (draw(rng, own["rib"]) * 0.6,), adds=True, soft=6))
        clavicle = np.array([[0.5 + sign * 0.04, 0.165], [0.5 + sign * 0.18, 0.12], [0.5 + sign * 0.34, 0.13]]) * side
        strokes.append(
            Strokes(
                tuple(tapered(clavicle, np.full(3, width * 1.3))), (draw(rng, own["rib"]) * 1.4,), adds=True, soft=4
            )
        )
    return strokes, crossings


def _arc(side: int, sign: int, y: float, inner: float, fall: float) -> npt.NDArray[np.float64]:
    at = np.linspace(0, 1, 12)
    x = side * (0.5 + sign * (inner + (0.38 - inner) * np.sin(at * math.pi / 2)))
    return np.stack([x, y + side * fall * at**1.6 - side * 0.02 * np.sin(at * math.pi)], axis=1)


def _marker(side: int) -> Strokes:
    """The lead letter L, beside the patient's left, which is the image's right."""
    x, y, h, w = side * 0.93, side * 0.06, side * 0.035, side * 0.006
    upright = np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]], np.float32)
    foot = np.array([[x, y + h - w], [x + h * 0.6, y + h - w], [x + h * 0.6, y + h], [x, y + h]], np.float32)
    return Strokes((upright, foot), (3900.0,))
