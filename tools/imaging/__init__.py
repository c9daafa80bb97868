"""Files to pixels and geometry: open a study, keep its pixels, cut the views that models are shown.

Names are loaded on first use: the processes that read files need few of them, and start for every cold load.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medloupe.tools.imaging.region import Patch, whole
    from medloupe.tools.imaging.store import DiskStore, ImageStore, MemoryStore
    from medloupe.tools.imaging.study import load_study
    from medloupe.tools.imaging.view import cut_view, pair_view, render
    from medloupe.tools.imaging.window import preset_names, window_for

_HOME = {
    "DiskStore": "store",
    "ImageStore": "store",
    "MemoryStore": "store",
    "Patch": "region",
    "cut_view": "view",
    "load_study": "study",
    "pair_view": "view",
    "preset_names": "window",
    "render": "view",
    "whole": "region",
    "window_for": "window",
}

__all__ = [
    "DiskStore", "ImageStore", "MemoryStore", "Patch", "cut_view", "load_study", "pair_view", "preset_names",
    "render", "whole", "window_for",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
