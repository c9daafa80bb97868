"""Phantoms: drawn images with exact ground truth, as real files. Never a patient's, and named so in every file."""

from __future__ import annotations

from medloupe.evals.phantoms.files import Order, read_truth, write_phantom, write_set
from medloupe.evals.phantoms.kinds import make_scene
from medloupe.evals.phantoms.parameters import KINDS, split_of, split_seeds
from medloupe.evals.phantoms.truth import ImageTruth, LesionTruth, PhantomTruth, TrueOrFalse

__all__ = [
    "KINDS", "ImageTruth", "LesionTruth", "Order", "PhantomTruth", "TrueOrFalse", "make_scene", "read_truth",
    "split_of", "split_seeds", "write_phantom", "write_set",
]  # fmt: skip
