"""A scene of any kind."""

from __future__ import annotations

from collections.abc import Callable

from medloupe.evals.phantoms.ct import ct_scene
from medloupe.evals.phantoms.cxr import cxr_scene
from medloupe.evals.phantoms.derm import derm_scene
from medloupe.evals.phantoms.parameters import Kind, Profile
from medloupe.evals.phantoms.scene import Scene
from medloupe.evals.phantoms.us import us_scene

__all__ = ["make_scene"]

_MAKERS: dict[Kind, Callable[[int, Profile, list[float] | None], Scene]] = {
    "ct": ct_scene, "cxr": cxr_scene, "derm": derm_scene, "us": us_scene,
}  # fmt: skip


def make_scene(kind: Kind, seed: int, profile: Profile = "standard", sizes: list[float] | None = None) -> Scene:
    """The phantom of a kind and a seed. sizes: long axes of its lesions, pixels; drawn at random when None."""
    return _MAKERS[kind](seed, profile, sizes)
