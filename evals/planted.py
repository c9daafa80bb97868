"""True statements that follow from masks of real images, and a false twin of each, wrong by a clear margin.

The truth comes from scikit-image and numpy alone: nothing here imports medloupe's tools, so that an error of theirs
cannot hide in the truth. What is verified is given as claims.json has it: a loose box and a statement, never the mask.

Statements are made only where the mask leaves no doubt (the margins below); a false twin is half as long again or two
thirds as long, in the opposite half of the image, a third more or fewer, of the opposite brightness, or of another
shape.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from skimage.color import rgb2gray
from skimage.io import imread
from skimage.measure import find_contours, label, regionprops
from skimage.morphology import isotropic_dilation

from medloupe.evals.real import real

__all__ = ["GROWN", "LABELLED", "Planted", "Subject", "number_of_images", "plant", "subjects"]

Bools = npt.NDArray[np.bool_]
Box = tuple[float, float, float, float]

LABELLED = {
    "us_breast_lesions_usg": "US",
    "mri_brain_tumour_brisc2025": "MR",
    "derm_isic2017_val": "DMS",
    "ct_lung_tumour_msd": "CT",
    "retina_idrid_exudates": "OP",
    "histo_nuclei_dsb2018": "SM",
}
"""Data sets with masks, and the modality that their files do not say. Blood smears have boxes: `_counted`."""

INSIDE = 127
"""Mask values above are inside, in any channel: masks are colour-coded, and some edges anti-aliased."""
GROWN = {"side": (0.10, 0.25), "total": (0.05, 0.125), "none": (0.0, 0.0)}
"""How far each side of the loose box is moved outwards, as a share of the tight box's side. "Grown by 10 to 25%" is
read as that much on each side; "total" is the milder reading, a box that is so much longer and wider; "none" is tight.
"""
WRONG = 1.5
"""Factor between a size and its false twin."""
LEAST = 12
"""Least long axis, pixels: below it a pixel is a tenth of the thing."""
OFF_MIDDLE = 0.10
"""Least distance of a centre from the image's middle, as a share of its size, for a side to be said."""
CONTRAST = 0.5
"""Least difference from the ring, in pooled standard deviations (a medium effect, Cohen 1988)."""
RING = 0.25
"""Width of the ring in equivalent radii, at least 3 pixels."""
NUCLEI = 3
"""Nuclei of one picture that statements are made of, the largest."""
_OTHERS = {
    "round": ("irregular", "oval"), "oval": ("irregular", "round"), "irregular": ("round", "oval"),
    "lobulated": ("round",),
}  # fmt: skip


class Subject(NamedTuple):
    """One labelled image."""

    data: str
    """Folder of its data set."""
    modality: str
    file: Path
    regions: tuple[Bools, ...]
    """Masks of what statements are made of, (rows, columns)."""
    counts: tuple[tuple[str, int], ...] = ()
    """(finding, number) in the whole image."""


class Planted(NamedTuple):
    """One statement, true or false."""

    claim: dict[str, Any]
    """As claims.json has it."""
    true: bool


def number_of_images(data: Path, most: int | None = None) -> int:
    """How many images `subjects` reads at most."""
    return sum(len(_items(data / name)[:most]) for name in (*LABELLED, "blood_cells_bccd"))


def subjects(data: Path, most: int | None = None) -> Iterator[Subject]:
    """The labelled images under a data folder, at most `most` of each set; sets that are not there are passed over."""
    for name, modality in LABELLED.items():
        for item in _items(data / name)[:most]:
            masks = [_mask(data / name / m["file"]) for m in item["masks"]]
            file = real(data / name / item["file"])
            if name.startswith("histo"):
                inner = sorted((m for m in masks if not _cut(m)), key=lambda m: -int(m.sum()))[:NUCLEI]
                yield Subject(name, modality, file, tuple(inner), (("nucleus", len(masks)),))
            else:
                whole = np.logical_or.reduce(masks)
                if whole.any():
                    yield Subject(name, modality, file, (_largest(whole),))
    for item in _items(data / "blood_cells_bccd")[:most]:
        counts = item["label"]["counts"]
        yield Subject(
            "blood_cells_bccd", "SM", data / "blood_cells_bccd" / item["file"], (),
            (("white blood cell", counts.get("WBC", 0)),),
        )  # fmt: skip


def _items(folder: Path) -> list[dict[str, Any]]:
    manifest = folder / "MANIFEST.json"
    items: list[dict[str, Any]] = (
        json.loads(manifest.read_text(encoding="utf-8"))["items"] if manifest.is_file() else []
    )
    return items


def plant(subject: Subject, rng: np.random.Generator, grown: str = "side") -> list[Planted]:
    """Every statement about an image, each with its false twin; grown: a key of `GROWN`."""
    grey = _grey(subject.file)
    planted: list[Planted] = []
    for number, mask in enumerate(subject.regions):
        shape = _shape(mask)
        if shape.long_axis < LEAST or mask.shape != grey.shape:
            continue
        region = {"box": list(loose_box(mask, rng, grown))}
        for name, right, wrong, unit in _said(mask, shape, grey, rng):
            for value, true in ((right, True), (wrong, False)):
                claim = {
                    "id": f"{number}-{name}-{true}", "attribute": name, "value": value, "unit": unit, "region": region,
                }  # fmt: skip
                planted.append(Planted(claim, true))
    for finding, count in subject.counts:
        planted += _counted(finding, count, rng)
    return planted


class _Shape(NamedTuple):
    long_axis: float
    short_axis: float
    area: int
    solidity: float


def _shape(mask: Bools) -> _Shape:
    """Maximum and minimum Feret diameter, area and solidity, pixels."""
    props = regionprops(mask.astype(np.uint8))[0]
    outline = np.vstack(find_contours(np.pad(mask, 1).astype(float), 0.5))
    turns = np.linspace(0, np.pi, 360, endpoint=False)
    across = outline @ np.stack([np.cos(turns), np.sin(turns)])
    return _Shape(
        float(props.feret_diameter_max), float(np.ptp(across, axis=0).min()), int(props.area), float(props.solidity)
    )


def _said(
    mask: Bools, shape: _Shape, grey: npt.NDArray[np.float64], rng: np.random.Generator
) -> Iterator[tuple[str, float | str, float | str, str]]:
    """(attribute, right value, wrong value, unit) of everything that the mask makes plain."""
    factor = WRONG if rng.random() < 0.5 else 1 / WRONG
    yield "long_axis", round(shape.long_axis, 1), round(shape.long_axis * factor, 1), "px"
    yield "short_axis", round(shape.short_axis, 1), round(shape.short_axis * factor, 1), "px"
    yield "area", float(shape.area), round(shape.area * factor**2, 1), "px2"
    if (site := _site(mask)) is not None:
        yield "site", *site, ""
    contrast = _contrast(mask, grey)
    if abs(contrast) >= CONTRAST:
        words = ("hyperintense", "hypointense")
        right, wrong = words if contrast > 0 else words[::-1]
        yield "intensity", right, wrong, ""
    if (word := _word(shape)) is not None:
        yield "shape", word, str(rng.choice(_OTHERS[word])), ""


def _site(mask: Bools) -> tuple[str, str] | None:
    """The half that the centre lies in and the opposite one; None near the middle of both axes."""
    rows, columns = mask.nonzero()
    off = ((columns.mean() + 0.5) / mask.shape[1] - 0.5, (rows.mean() + 0.5) / mask.shape[0] - 0.5)
    axis = int(np.argmax(np.abs(off)))
    if abs(off[axis]) < OFF_MIDDLE:
        return None
    words = (("image left", "image right"), ("image upper", "image lower"))[axis]
    return words if off[axis] < 0 else words[::-1]


def _contrast(mask: Bools, grey: npt.NDArray[np.float64]) -> float:
    """(mean inside - mean of the ring) / pooled standard deviation."""
    radius = float(np.sqrt(mask.sum() / np.pi))
    ring = isotropic_dilation(mask, max(3.0, RING * radius)) & ~mask
    inside, outside = grey[mask], grey[ring]
    pooled = float(np.sqrt((inside.var() + outside.var()) / 2))
    return float((inside.mean() - outside.mean()) / pooled) if pooled else 0.0


def _word(shape: _Shape) -> str | None:
    """The shape's word where it is plain; None in between."""
    aspect = shape.short_axis / shape.long_axis
    if shape.solidity >= 0.95:
        return "round" if aspect >= 0.87 else "oval" if aspect <= 0.73 else None
    if shape.solidity <= 0.75:
        return "irregular"
    return "lobulated" if 0.83 <= shape.solidity <= 0.89 else None


def _counted(finding: str, count: int, rng: np.random.Generator) -> Iterator[Planted]:
    """A count, and one that is off by half or a third."""
    wrong = round(count * 1.5) if rng.random() < 0.5 or count < 4 else round(count / 1.5)
    for value, true in ((count, True), (max(wrong, count + 1) if wrong >= count else wrong, False)):
        yield Planted({"id": f"count-{true}", "attribute": "count", "value": value, "finding": finding}, true)


def loose_box(mask: Bools, rng: np.random.Generator, grown: str = "side") -> Box:
    """The mask's box, each side moved outwards by its own share (`GROWN`), half-open, within the image."""
    rows, columns = np.any(mask, axis=1).nonzero()[0], np.any(mask, axis=0).nonzero()[0]
    x0, y0, x1, y1 = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    left, top, right, bottom = rng.uniform(*GROWN[grown], 4) * [x1 - x0, y1 - y0, x1 - x0, y1 - y0]
    height, width = mask.shape
    return (max(x0 - left, 0.0), max(y0 - top, 0.0), min(x1 + right, float(width)), min(y1 + bottom, float(height)))


def _mask(file: Path) -> Bools:
    values = np.asarray(imread(file))
    values = values[..., :3].max(axis=2) if values.ndim == 3 else values
    return np.asarray(values > INSIDE)


def _grey(file: Path) -> npt.NDArray[np.float64]:
    values = np.asarray(imread(file))
    return np.asarray(rgb2gray(values[..., :3]) if values.ndim == 3 else values, dtype=np.float64)


def _largest(mask: Bools) -> Bools:
    parts = label(mask, connectivity=2)
    return np.asarray(parts == 1 + int(np.bincount(parts.ravel())[1:].argmax()))


def _cut(mask: Bools) -> bool:
    """Whether the image's edge cuts it."""
    return bool(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())
