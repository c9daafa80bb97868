"""Things to be outlined: Kvasir-SEG, BUSI and HAM10000. None has an official split."""

from __future__ import annotations

import re
from collections.abc import Iterator

from medloupe.errors import InputRejected
from medloupe.evals.tasks.case import Benchmark, Case
from medloupe.evals.tasks.release import Release
from medloupe.prompts import knowledge
from medloupe.types import BoundingBox

__all__ = ["BUSI", "HAM10000", "KVASIR_SEG"]


def _kvasir(release: Release, split: str) -> Iterator[Case]:  # noqa: ARG001 - there is no official split
    """Jha et al., MMM 2020. Masks are JPEG, so they are thresholded; the boxes' file is `kavsir_bboxes.json`."""
    boxes = release.json("kavsir_bboxes.json") if release.has("kavsir_bboxes.json") else {}
    for image in release.all("images/*.jpg"):
        stem = image.removeprefix("images/").removesuffix(".jpg")
        found = boxes.get(stem, {}).get("bbox", [])
        yield Case(
            id=stem, kind="mask", images=(image,), masks=(f"masks/{stem}.jpg",), cluster=stem, modality="ES",
            question=_outline("kvasir_seg"),
            boxes=tuple(
                BoundingBox(x0=b["xmin"], y0=b["ymin"], x1=b["xmax"], y1=b["ymax"]) for b in found
            ),
        )  # fmt: skip


_BUSI_MASK = re.compile(r"_mask(_\d+)?\.png$")


def _busi(release: Release, split: str) -> Iterator[Case]:  # noqa: ARG001 - there is no official split
    """Al-Dhabyani et al., Data in Brief 2020. Some images have several masks; those of normal breasts are empty and are
    left out: there is nothing to outline.
    """
    root = "Dataset_BUSI_with_GT/" if release.has("Dataset_BUSI_with_GT") else ""
    for image in release.all(f"{root}benign/*.png", f"{root}malignant/*.png"):
        if _BUSI_MASK.search(image):
            continue
        stem = image.removesuffix(".png")
        masks = [f"{stem}_mask.png", *(f"{stem}_mask_{n}.png" for n in range(1, 6))]
        kind = stem.removeprefix(root).partition("/")[0]
        yield Case(
            id=stem.removeprefix(root), kind="mask", images=(image,), cluster=stem.removeprefix(root), modality="US",
            masks=(masks[0], *(m for m in masks[1:] if release.has(m))), question=_outline("busi"),
            groups={"diagnosis": kind},
        )  # fmt: skip


def _ham10000(release: Release, split: str) -> Iterator[Case]:  # noqa: ARG001 - there is no official split
    """Tschandl et al., Sci Data 2018, with the masks of Tschandl et al. 2020. Several images show one lesion."""
    columns = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")
    folders = ("HAM10000_images_part_1", "HAM10000_images_part_2", "HAM10000_images", "images")
    mask_folders = ("HAM10000_segmentations_lesion_tschandl", "segmentations", "masks")
    masks = next((f for f in mask_folders if release.has(f)), None)
    if masks is None:
        raise InputRejected("missing-file", f"{mask_folders[0]} is missing from the release's folder")
    name = release.find("HAM10000_metadata.csv", "HAM10000_metadata")
    for row in release.table(name, columns):
        image = row["image_id"]
        where = next((f for f in folders if release.has(f"{f}/{image}.jpg")), folders[0])
        yield Case(
            id=image, kind="mask", images=(f"{where}/{image}.jpg",), masks=(f"{masks}/{image}_segmentation.png",),
            question=_outline("ham10000"), cluster=row["lesion_id"], modality="DMS",
            groups={
                "diagnosis": row["dx"], "sex": row["sex"], "age": _decade(row["age"]), "site": row["localization"],
            },
        )  # fmt: skip


def _decade(age: str) -> str:
    try:
        return f"{int(float(age)) // 20 * 20}-{int(float(age)) // 20 * 20 + 19}"
    except ValueError:
        return "unknown"


def _outline(name: str) -> str:
    return str(knowledge("benchmarks")["mask"][name])


KVASIR_SEG = Benchmark(
    name="kvasir_seg", title="Kvasir-SEG", licence="research and education", splits=("all",),
    needs=("images/*.jpg", "masks/*.jpg"), read=_kvasir, released={"all": 1000}, test_splits=("all",),
)  # fmt: skip
BUSI = Benchmark(
    name="busi", title="BUSI", licence="CC BY 4.0", splits=("all",),
    needs=("**/benign/*_mask.png", "**/malignant/*_mask.png"), read=_busi, released={"all": 647}, test_splits=("all",),
)  # fmt: skip
HAM10000 = Benchmark(
    name="ham10000", title="HAM10000", licence="CC BY-NC 4.0", splits=("all",), needs=("HAM10000_metadata*",),
    read=_ham10000, released={"all": 10015}, cluster="lesion", test_splits=("all",),
)  # fmt: skip
