"""What is true of a phantom, from how it was drawn. Imports none of medloupe's tools: their errors cannot hide here.

truth.json lies beside the files that it is about. Boxes are half-open, (column, row), full-image pixels; lengths are
between the outer edges of pixels; masks are run-length coded (medloupe.types.Mask).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull

from medloupe.evals.phantoms.lesion import Lesion
from medloupe.evals.phantoms.scene import Scene
from medloupe.prompts import knowledge
from medloupe.types import Frozen, Mask

__all__ = [
    "Change",
    "ImageTruth",
    "LesionTruth",
    "PhantomTruth",
    "TrueOrFalse",
    "assessable",
    "image_truth",
    "site_word",
]

Bools = npt.NDArray[np.bool_]
Change = Literal["same", "grown", "shrunk", "new", "gone"]
_OFF_MIDDLE = 0.1
"""Least distance of a centre from the image's middle, as a share of its width, for a patient's side to be said."""


class TrueOrFalse(Frozen):
    """One statement about an image, as Claim has it, and whether it is true. False ones are the twin of a true one."""

    text: str
    attribute: str
    value: bool | float | str
    unit: str = ""
    finding: str = ""
    lesion: str | None = None
    """Of which lesion; None: of the whole image."""
    true: bool


class LesionTruth(Frozen):
    """One lesion on one image."""

    id: str
    """"L1", ...; the same lesion has the same id on every slice and at both times."""
    finding: str
    box: tuple[float, float, float, float]
    """Of the mask."""
    mask: Mask
    """Pixels whose centre lies where the lesion is at least half there."""
    long_axis_px: float
    """Greatest diameter of the mask (Feret)."""
    short_axis_px: float
    """Least diameter of the mask (Feret)."""
    long_axis_mm: float | None = None
    drawn_long_axis_px: float
    """Of the outline that it was drawn from; on the middle slice of a series."""
    area_px: int
    attributes: dict[str, str]
    """Words of prompts/knowledge/attributes.yaml; those that its size does not let be seen are left out."""
    level: float | None = None
    """Value that it was drawn with (HU in CT), without texture, grain and blur; of a part-solid one its glassy part."""
    site: str
    side: Literal["left", "right"] | None = None
    """The patient's, where it is clear and the file tells."""
    lidc: dict[str, int] = {}
    """LIDC-IDRI's nine characteristics, 1 to 5 (calcification to 6), as it was drawn; a convention, no reading."""
    change: Change = "same"
    """Since the other time of a pair."""


class DistractorTruth(Frozen):
    """Something that looks like a lesion and is none."""

    what: str
    box: tuple[float, float, float, float]


class ImageTruth(Frozen):
    """One file."""

    file: str
    """Relative to truth.json."""
    lesions: tuple[LesionTruth, ...]
    distractors: tuple[DistractorTruth, ...] = ()
    findings: tuple[str, ...] = ()
    """Of the whole image, besides the lesions."""
    statements: tuple[TrueOrFalse, ...] = ()


class PhantomTruth(Frozen):
    """truth.json."""

    schema_version: Literal["medloupe.phantom/1"] = "medloupe.phantom/1"
    phantom: Literal[True] = True
    label: str
    """Says in words that it shows no patient."""
    kind: str
    modality: str
    profile: str
    seed: int
    split: str
    spacing_mm: float | None = None
    time: Literal["only", "prior", "current"] = "only"
    faults: tuple[str, ...] = ()
    """What was done to the finished picture: "noise", "blur", "motion", "text"."""
    images: tuple[ImageTruth, ...]


def assessable(attribute: str, long_axis: float) -> bool:
    """Whether an attribute can be seen in a lesion of that long axis, pixels."""
    return long_axis >= float(knowledge("phantoms")["assessable"].get(attribute, 0))


def site_word(x: float, y: float) -> str:
    """Where a point lies in an image, each axis from 0 to 1: central, or the half that it is deepest in."""
    table = knowledge("attributes")["attributes"]["site"]
    across, down = x - 0.5, y - 0.5
    if max(abs(across), abs(down)) <= table["thresholds"]["central_inner"]["value"]:
        return "central"
    if abs(across) >= abs(down):
        return "image left" if across < 0 else "image right"
    return "image upper" if down < 0 else "image lower"


def image_truth(scene: Scene, file: str, changes: dict[int, Change] | None = None) -> ImageTruth:
    """All that is true of one image. changes: by place in scene.lesions."""
    lesions = []
    for n, lesion in enumerate(scene.lesions):
        mask = lesion.mask(scene.drawn(scene.whole()))
        if mask.any():
            lesions.append(_lesion_truth(scene, lesion, mask, (changes or {}).get(n, "same")))
    finding = knowledge("phantoms")["kinds"][scene.kind]["finding"]
    return ImageTruth(
        file=file, lesions=tuple(lesions), findings=scene.findings,
        distractors=tuple(DistractorTruth(what=d.what, box=_inside(d.box, scene)) for d in scene.distractors),
        statements=tuple(_statements(scene, finding, lesions)),
    )  # fmt: skip


def _inside(box: tuple[float, float, float, float], scene: Scene) -> tuple[float, float, float, float]:
    """A drawn box where it lies in the image."""
    (dx, dy), (x0, y0, x1, y1) = scene.shift, (float(v) for v in box)
    return (max(x0 + dx, 0.0), max(y0 + dy, 0.0), min(x1 + dx, scene.width), min(y1 + dy, scene.height))


def _lesion_truth(scene: Scene, lesion: Lesion, mask: Bools, change: Change) -> LesionTruth:
    rows, columns = np.any(mask, axis=1).nonzero()[0], np.any(mask, axis=0).nonzero()[0]
    longest, shortest = _diameters(mask)
    x, y = _centre(mask)
    mm = None if scene.spacing_mm is None else round(longest * scene.spacing_mm, 2)
    return LesionTruth(
        id=lesion.name, finding=lesion.finding, mask=Mask.from_array(mask), area_px=int(mask.sum()),
        box=(float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)),
        long_axis_px=round(longest, 2), short_axis_px=round(shortest, 2), long_axis_mm=mm,
        drawn_long_axis_px=round(lesion.long_axis, 2),
        attributes={k: v for k, v in lesion.attributes.items() if assessable(k, lesion.long_axis)},
        level=round(lesion.level[0], 1) if len(lesion.level) == 1 else None,
        site=site_word(x / scene.width, y / scene.height), side=_side(scene, x),
        lidc=_lidc(lesion) if scene.kind == "ct" else {}, change=change,
    )  # fmt: skip


def _diameters(mask: Bools) -> tuple[float, float]:
    """Greatest and least distance of two parallel lines that touch the outer edges of the pixels' middles."""
    rows, columns = np.nonzero(mask & ~_eroded(mask))
    middles = np.stack([columns, rows], axis=1).astype(float)
    steps = np.array([[-0.5, 0], [0.5, 0], [0, -0.5], [0, 0.5]])
    edges = (middles[:, None] + steps[None]).reshape(-1, 2)
    corners = edges[ConvexHull(edges).vertices]
    sides = np.roll(corners, -1, axis=0) - corners
    normals = np.stack([-sides[:, 1], sides[:, 0]], axis=1) / np.linalg.norm(sides, axis=1, keepdims=True)
    away = np.linalg.norm(corners[:, None] - corners[None], axis=2)
    return float(away.max()), float(np.ptp(corners @ normals.T, axis=0).min())


def _eroded(mask: Bools) -> Bools:
    padded = np.pad(mask, 1)
    return padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]


def _centre(mask: Bools) -> tuple[float, float]:
    rows, columns = mask.nonzero()
    return float(columns.mean()) + 0.5, float(rows.mean()) + 0.5


def _side(scene: Scene, x: float) -> Literal["left", "right"] | None:
    """As files of these kinds are written, columns run to the patient's left."""
    if scene.kind not in ("ct", "cxr") or abs(x / scene.width - 0.5) < _OFF_MIDDLE:
        return None
    return "right" if x < scene.width / 2 else "left"


def _lidc(lesion: Lesion) -> dict[str, int]:
    table, said = knowledge("phantoms")["lidc"], lesion.attributes
    density, margin, shape = said["density"], said["margin"], said["shape"]
    subtlety = min(5, max(1, round(math.log2(max(lesion.long_axis, 4) / 4) + (density != "ground-glass"))))
    malignancy = table["malignancy"].get(margin, table["malignancy"][density])
    return {
        "subtlety": subtlety, "internalStructure": table["internalStructure"],
        "calcification": table["calcification"][density], "sphericity": table["sphericity"][shape],
        "margin": table["margin"][margin], "lobulation": table["lobulation"][shape],
        "spiculation": table["spiculation"][margin], "texture": table["texture"][density], "malignancy": malignancy,
    }  # fmt: skip


# --- statements -----------------------------------------------------------------------------------------------------


def _statements(scene: Scene, finding: str, lesions: Sequence[LesionTruth]) -> list[TrueOrFalse]:
    said = _presence(finding, bool(lesions))
    if scene.kind == "cxr":
        for other in ("effusion", "cardiomegaly"):
            said += _presence(other, other in scene.findings)
    more = len(lesions) + max(1, round(len(lesions) / 2))
    if lesions:
        said += _pair(
            finding, None, "count", float(len(lesions)), float(more), "", f"There are {{}} of type {finding}."
        )
    for lesion in lesions:
        said += _about(lesion)
    return said


def _presence(finding: str, there: bool) -> list[TrueOrFalse]:
    texts = {True: f"There is a {finding}.", False: f"There is no {finding}."}
    return [
        TrueOrFalse(text=texts[value], attribute="presence", value=value, finding=finding, true=value is there)
        for value in (there, not there)
    ]


def _about(lesion: LesionTruth) -> list[TrueOrFalse]:
    """Of one lesion: its words, place and size, each with its twin."""
    tables, who = knowledge("attributes")["attributes"], lesion.finding
    said: list[TrueOrFalse] = []
    words = lesion.attributes | {"site": lesion.site} | ({"side": lesion.side} if lesion.side else {})
    for name, value in words.items():
        twin = tables[name]["values"][value]["twin"]
        said += _pair(who, lesion.id, name, value, twin, "", f"The {name} of the {who} is {{}}.")
    size, unit = (lesion.long_axis_px, "px") if lesion.long_axis_mm is None else (lesion.long_axis_mm, "mm")
    text = f"The long axis of the {who} is {{}} {unit}."
    return said + _pair(who, lesion.id, "long_axis", round(size, 1), round(size * 2, 1), unit, text)


def _pair(
    finding: str, lesion: str | None, name: str, right: float | str, wrong: float | str, unit: str, text: str
) -> list[TrueOrFalse]:
    return [
        TrueOrFalse(
            text=text.format(f"{value:g}" if isinstance(value, float) else value), attribute=name, value=value,
            unit=unit, finding=finding, lesion=lesion, true=true,
        )
        for value, true in ((right, True), (wrong, False))
    ]  # fmt: skip
