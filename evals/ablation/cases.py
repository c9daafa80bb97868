"""Phantoms of the test seeds, 1024 and 2048 pixels wide, each with one lesion or none.

One lesion, so that "the lesion" is never ambiguous to a solver that sees the whole image and cannot say which it means.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from medloupe.evals.phantoms import ImageTruth, Order, read_truth, split_seeds, write_phantom
from medloupe.evals.phantoms.parameters import Kind, Profile, log_draw
from medloupe.evals.tasks.case import Case
from medloupe.evals.tasks.written import write_cases
from medloupe.prompts import knowledge
from medloupe.types import BoundingBox

__all__ = ["LESION_PX", "make_cases", "truth_of"]

LESION_PX = [8.0, 200.0]
"""Long axes, drawn evenly on a logarithmic scale: two of five are under 32 pixels."""
_KINDS: tuple[Kind, ...] = ("derm", "cxr")
_FREE_OF = 3
"""Every third phantom has no lesion."""


def make_cases(
    folder: Path, phantoms: int, profile: Profile = "standard", progress: Callable[[], object] = lambda: None
) -> list[Case]:
    """That many phantoms' files and cases; files that are there already are not drawn again."""
    cases = []
    for seed in split_seeds("test")[:phantoms]:
        place = seed - split_seeds("test")[0]
        kind = _KINDS[place % len(_KINDS)]
        size = log_draw(np.random.default_rng((seed, 79)), LESION_PX)
        sizes = () if place % _FREE_OF == _FREE_OF - 1 else (size,)
        name = f"{kind}-{profile}-{seed}"
        if not (folder / name / "truth.json").is_file():  # written last, so all of it is there
            write_phantom(folder / name, Order(kind=kind, profile=profile, sizes=sizes), seed)
        cases.append(_case(folder, name, kind))
        progress()
    write_cases(folder, cases)
    return cases


def _case(folder: Path, name: str, kind: Kind) -> Case:
    truth, about = truth_of(folder, name), knowledge("phantoms")["kinds"][kind]
    return Case(
        id=name, kind="caption", images=(f"{name}/{truth.file}",), cluster=name, modality=about["modality"],
        question=f"Is there a {about['finding']}? Describe it.", groups={"kind": kind},
        boxes=tuple(BoundingBox.from_tuple(lesion.box) for lesion in truth.lesions),
    )  # fmt: skip


def truth_of(folder: Path, name: str) -> ImageTruth:
    """What is true of a case's image."""
    return read_truth(folder / name / "truth.json").images[0]
