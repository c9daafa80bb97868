"""What a lesion of a kind may look like: its words drawn at random, and the numbers that go with them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from medloupe.evals.phantoms.lesion import VARIANTS, Lesion, Outline
from medloupe.evals.phantoms.parameters import Kind, Profile, draw, log_draw, parameters
from medloupe.prompts import knowledge

__all__ = ["draw_lesion", "draw_lesions", "lesion_sizes", "shape_words"]

_SHAPES = ("round", "oval", "lobulated", "irregular")
_MARGINS = ("well-defined", "ill-defined", "spiculated")
_SPICULATED = 0.30
"""Share of spiculated lesions among those large enough; they are a fourth or so of all."""


def lesion_sizes(rng: np.random.Generator, profile: Profile) -> list[float]:
    """The long axes, pixels, of the lesions of one image."""
    table = parameters("lesions", profile)
    low, high = table["count"]
    return [log_draw(rng, table["long_axis"]) for _ in range(int(rng.integers(low, high + 1)))]


def shape_words(rng: np.random.Generator, size: float) -> tuple[str, str]:
    """(shape, margin) that can be seen at a size, pixels. A spiculated lesion is irregular: its outline is stellate."""
    least = knowledge("phantoms")["least"]
    allowed = [m for m in _MARGINS[:2] if size >= least.get(m, 0)]
    if size >= least["spiculated"] and rng.random() < _SPICULATED:
        return "irregular", "spiculated"
    shapes = [s for s in _SHAPES if size >= least.get(s, 0)]
    return str(rng.choice(shapes)), str(rng.choice(allowed))


def draw_lesions(
    kind: Kind, profile: Profile, rng: np.random.Generator, places: Sequence[tuple[float, float, float]], ground: float
) -> tuple[Lesion, ...]:
    """A lesion at each (column, row, long axis), named L1, L2, ..."""
    drawn = (draw_lesion(kind, profile, rng, place, ground) for place in places)
    return tuple(replace(lesion, name=f"L{n}") for n, lesion in enumerate(drawn, start=1))


def draw_lesion(
    kind: Kind, profile: Profile, rng: np.random.Generator, place: tuple[float, float, float], ground: float
) -> Lesion:
    """A lesion at (column, row) with a long axis, pixels. ground: the value around it."""
    x, y, size = place
    shape, margin = shape_words(rng, size)
    least, table = knowledge("phantoms")["least"], parameters("lesions", profile)
    even = size < least["heterogeneous"] or rng.random() < 0.5
    attributes = {"shape": shape, "margin": margin}
    level, extra = _LEVELS[kind](parameters(kind, profile), rng, size, ground, attributes)
    if attributes.get("density") != "part-solid":
        attributes["homogeneity"] = "homogeneous" if even else "heterogeneous"
    outline = _outline(shape, margin, table, rng)
    radius = size * math.sqrt(outline.aspect) / 2
    edge = draw(rng, table["ill_edge"]) * radius if margin == "ill-defined" else draw(rng, table["sharp_edge"])
    contrast = abs(level[0] - ground) if len(level) == 1 and not extra.get("adds") else max(abs(v) for v in level)
    if len(level) == 3:
        contrast = 110.0
    textured = 0.0 if attributes.get("homogeneity") != "heterogeneous" else draw(rng, table["texture"]) * contrast
    return Lesion(
        finding=knowledge("phantoms")["kinds"][kind]["finding"], x=x, y=y, long_axis=size, outline=outline,
        angle=float(rng.uniform(0, 2 * math.pi)), edge=edge, level=level, texture=textured,
        texture_seed=int(rng.integers(2**31)), attributes=attributes, **extra,
    )  # fmt: skip


def _outline(shape: str, margin: str, table: dict[str, Any], rng: np.random.Generator) -> Outline:
    variant = int(rng.integers(VARIANTS))
    if margin == "spiculated":
        return Outline(
            shape, spiculated=True, variant=variant % 256, aspect=draw(rng, table["body_aspect"]),
            spicules=int(rng.integers(table["spicules"][0], table["spicules"][1] + 1)),
            length=round(draw(rng, table["spicule_length"]), 1),
        )  # fmt: skip
    if shape in ("round", "oval"):
        return Outline(shape, variant=variant % 16, aspect=draw(rng, table[f"{shape}_aspect"]))
    solid = round(draw(rng, table[f"{shape}_solidity"]), 2)
    return Outline(shape, variant=variant % 256, aspect=draw(rng, table["body_aspect"]), solidity=solid)


# --- levels: what is inside, by kind --------------------------------------------------------------------------------

_Level = tuple[tuple[float, ...], dict[str, Any]]


def _ct(own: dict[str, Any], rng: np.random.Generator, size: float, ground: float, said: dict[str, str]) -> _Level:
    del ground
    words = [w for w in own["density"] if size >= knowledge("phantoms")["least"].get(w, 0)]
    word = str(rng.choice(words))
    said["density"] = word
    level = draw(rng, own["density"][word])
    if word != "part-solid":
        return (level,), {}
    core = draw(rng, parameters("lesions")["core"])
    return (level,), {"core": core, "core_level": draw(rng, own["density"]["solid"])}


def _cxr(own: dict[str, Any], rng: np.random.Generator, size: float, ground: float, said: dict[str, str]) -> _Level:
    del size, ground
    said["intensity"] = "hyperintense"
    return (draw(rng, own["opacity"]),), {"adds": True}


def _derm(own: dict[str, Any], rng: np.random.Generator, size: float, ground: float, said: dict[str, str]) -> _Level:
    del size, ground
    said["colour"] = str(rng.choice(list(own["colours"])))
    anchor = np.asarray(own["colours"][said["colour"]], float)
    return tuple((anchor + rng.uniform(-own["jitter"], own["jitter"], 3)).tolist()), {}


def _us(own: dict[str, Any], rng: np.random.Generator, size: float, ground: float, said: dict[str, str]) -> _Level:
    del size
    said["intensity"] = "hypointense" if rng.random() < 0.65 else "hyperintense"
    return (draw(rng, own[said["intensity"]]) * ground,), {}


_LEVELS = {"ct": _ct, "cxr": _cxr, "derm": _derm, "us": _us}
