"""Files to pixels and geometry: open a study, keep its pixels, cut the views that models are shown."""

from medloupe.tools.imaging.region import Patch, region, whole
from medloupe.tools.imaging.store import DiskStore, ImageStore, MemoryStore
from medloupe.tools.imaging.study import load_study
from medloupe.tools.imaging.view import cut_view, pair_view, render
from medloupe.tools.imaging.window import preset_names, window_for

__all__ = [
    "DiskStore", "ImageStore", "MemoryStore", "Patch", "cut_view", "load_study", "pair_view", "preset_names", "region",
    "render", "whole", "window_for",
]  # fmt: skip
