"""What goes wrong with pictures: noise, blur, motion and text burned into the pixels. The truth stays what it was."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np

from medloupe.evals.phantoms.lesion import Floats
from medloupe.evals.phantoms.scene import Scene

__all__ = ["FAULTS", "spoil"]

_SPREAD = {"ct": 1500.0, "cxr": 3200.0, "derm": 255.0, "us": 255.0}
"""From black to white, in a kind's own values."""


def spoil(values: Floats, scene: Scene, faults: tuple[str, ...], rng: np.random.Generator) -> Floats:
    """The same picture with faults, (rows, columns, channels). KeyError for a fault that is none of FAULTS."""
    for fault in faults:
        values = FAULTS[fault](values, _SPREAD[scene.kind], rng).reshape(values.shape)
    return np.clip(values, *scene.limits)


def _noise(values: Floats, spread: float, rng: np.random.Generator) -> Floats:
    strength = np.float32(spread * rng.uniform(0.03, 0.08))
    return values + rng.standard_normal(values.shape, dtype=np.float32) * strength


def _blur(values: Floats, spread: float, rng: np.random.Generator) -> Floats:
    del spread
    blurred: Floats = cv2.GaussianBlur(values, (0, 0), values.shape[1] / 512 * rng.uniform(1.2, 2.5))
    return blurred


def _motion(values: Floats, spread: float, rng: np.random.Generator) -> Floats:
    """A straight path of a hundredth of the width or so."""
    del spread
    length = max(3, round(values.shape[1] * rng.uniform(0.006, 0.015)))
    kernel = np.zeros((2 * length + 1, 2 * length + 1), np.float32)
    turn = rng.uniform(0, math.pi)
    reach = np.array([math.cos(turn), math.sin(turn)]) * length
    ends = [tuple(np.rint(length + side * reach).astype(int).tolist()) for side in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0)
    moved: Floats = cv2.filter2D(values, -1, kernel / kernel.sum())
    return moved


def _text(values: Floats, spread: float, rng: np.random.Generator) -> Floats:
    """Words and numbers of no patient, as scanners burn them in."""
    del rng
    layer = np.zeros(values.shape[:2], np.uint8)
    scale = values.shape[1] / 700
    for line, words in enumerate(("PHANTOM", "NO PATIENT", "TEST TEXT 0000")):
        place = (round(8 * scale), round((20 + 18 * line) * scale))
        cv2.putText(layer, words, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5 * scale, 255, max(1, round(scale)), cv2.LINE_AA)
    share = (layer.astype(np.float32) / 255)[..., None]
    return values + share * (np.float32(values.max() if spread > 300 else 255) - values)


FAULTS: dict[str, Callable[[Floats, float, np.random.Generator], Floats]] = {
    "noise": _noise, "blur": _blur, "motion": _motion, "text": _text,
}  # fmt: skip
