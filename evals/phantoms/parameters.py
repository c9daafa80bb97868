"""The numbers that phantoms are drawn with (prompts/knowledge/phantoms.yaml), and which seeds belong to which split."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, get_args

import numpy as np

from medloupe.errors import UsageError
from medloupe.prompts import knowledge

__all__ = [
    "KINDS", "Kind", "Profile", "attribute_names", "draw", "log_draw", "parameters", "scene_rng", "split_of",
    "split_seeds",
]  # fmt: skip

Kind = Literal["ct", "cxr", "derm", "us"]
Profile = Literal["standard", "shifted"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@cache
def parameters(of: str, profile: Profile = "standard") -> dict[str, Any]:
    """The parameters of "lesions" or of a kind; those of `shifted` stand over the standard ones."""
    table = knowledge("phantoms")
    found = table["lesions"] if of == "lesions" else table["kinds"][of]
    plain: dict[str, Any] = dict(found["standard"])
    if profile == "shifted":
        for name, value in found["shifted"].items():
            plain[name] = plain[name] | value if isinstance(value, dict) else value
    return plain


def attribute_names(kind: Kind) -> tuple[str, ...]:
    """The word attributes that a lesion of this kind has."""
    return tuple(knowledge("phantoms")["kinds"][kind]["says"])


def draw(rng: np.random.Generator, between: list[float]) -> float:
    """Evenly from a range of the parameters."""
    return float(rng.uniform(between[0], between[1]))


def log_draw(rng: np.random.Generator, between: list[float]) -> float:
    """Evenly on a logarithmic scale."""
    return float(np.exp(rng.uniform(np.log(between[0]), np.log(between[1]))))


def scene_rng(kind: Kind, seed: int, profile: Profile = "standard", stream: int = 0) -> np.random.Generator:
    """The generator of one phantom; the same for the same kind, seed, profile and stream on every machine."""
    return np.random.default_rng((KINDS.index(kind), get_args(Profile).index(profile), seed, stream))


def split_seeds(split: str) -> range:
    """The seeds of "train", "val" or "test"; UsageError for another word. No seed is in two of them."""
    ranges = knowledge("phantoms")["seeds"]
    if split not in ranges:
        raise UsageError(f"there is no split {split!r} of phantoms; there are {', '.join(ranges)}")
    first, last = ranges[split]
    return range(first, last + 1)


def split_of(seed: int) -> str:
    """The split that a seed belongs to; UsageError when it belongs to none."""
    ranges = knowledge("phantoms")["seeds"]
    for split, (first, last) in ranges.items():
        if first <= seed <= last:
            return str(split)
    ends = ", ".join(f"{split} {first} to {last}" for split, (first, last) in ranges.items())
    raise UsageError(f"seed {seed} belongs to no split of phantoms: {ends}")
