"""Phrases to be found: MS-CXR, MedSG-Bench and the boxes of ChestX-ray14."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from PIL import Image

from medloupe.errors import InputRejected
from medloupe.evals.tasks.case import Benchmark, Case
from medloupe.evals.tasks.release import Release
from medloupe.prompts import knowledge
from medloupe.types import BoundingBox

__all__ = ["CHESTXRAY14", "MEDSG_BENCH", "MS_CXR"]

_MEDSG_SIDE = 336


def _asked(label: str) -> str:
    return str(knowledge("benchmarks")["boxes"].format(label=label))


def _ms_cxr(release: Release, split: str) -> Iterator[Case]:
    """Boecking et al., ECCV 2022. One row a box: rows are grouped by (dicom_id, label_text). Version 1.1 has splits.

    Images are MIMIC-CXR's, at the row's `path`, below `files/` or beside the table; boxes are for the size given in the
    row, and are scaled where a copy was resized.
    """
    columns = ("category_name", "label_text", "path", "x", "y", "w", "h", "image_width", "image_height", "dicom_id")
    tables = (f"MS_CXR_Local_Alignment_v1.{minor}.{kind}" for kind in ("csv", "json") for minor in ("1.0", "*"))
    name = release.find(*tables)
    grouped: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for row in _rows(release, name, columns):
        if split == "all" or row.get("split", "") == split:
            grouped[row["dicom_id"], row["label_text"]].append(row)
    if split != "all" and not grouped:
        raise InputRejected("no-such-split", f"{name} has no split {split}; version 1.0 has none, so ask for all")
    for (dicom_id, phrase), rows in grouped.items():
        image = rows[0]["path"]
        if not release.has(image) and release.has(image.removeprefix("files/")):
            image = image.removeprefix("files/")
        scale = _scale(release, image, int(float(rows[0]["image_width"])), int(float(rows[0]["image_height"])))
        boxes = tuple(
            BoundingBox.from_sides(*(float(r[k]) * s for k, s in zip("xywh", (*scale, *scale), strict=True)))
            for r in rows
        )
        yield Case(
            id=f"{dicom_id}/{phrase}", kind="boxes", images=(image,), question=_asked(phrase), boxes=boxes,
            cluster=dicom_id, modality="DX", groups={"category": rows[0]["category_name"]}, tags={"phrase": phrase},
        )  # fmt: skip


def _rows(release: Release, name: str, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Of the table, or of the JSON that holds the same."""
    if name.endswith(".csv"):
        return release.table(name, columns)
    return [{key: str(value) for key, value in row.items()} for row in release.json_rows(name, columns)]


def _scale(release: Release, image: str, width: int, height: int) -> tuple[float, float]:
    """(x, y) factors from the released size to the size of the user's copy; 1 where it cannot be read as a picture."""
    path = release.folder / image
    if not path.is_file() or path.suffix.lower() in (".dcm", ".dicom"):
        return 1.0, 1.0
    try:
        with Image.open(path) as picture:  # its header only
            return picture.width / width, picture.height / height
    except OSError:
        raise InputRejected("unreadable", f"{image} is no picture") from None


def _medsg(release: Release, split: str) -> Iterator[Case]:  # noqa: ARG001 - there is one split
    """MedSG-Bench (2025): a JSON a task; boxes [x1, y1, x2, y2] on 336 x 336 pictures, or on `size` for multi_view.

    Paths carry prefixes of the authors' machines; what lies below a folder that is here is kept.
    """
    for name in release.all("*.json", "test/*.json"):
        for number, row in enumerate(release.json_rows(name, ("images", "question", "answer"))):
            images = tuple(_known_part(release, str(image)) for image in row["images"])
            size = row.get("size") or (_MEDSG_SIDE, _MEDSG_SIDE)
            yield Case(
                id=f"{name.removesuffix('.json')}/{number}", kind="boxes", images=images,
                question=str(row["question"]).replace("<image>", "").strip(), boxes=_medsg_boxes(row["answer"], name),
                cluster=images[0], groups={"task": str(row.get("task", name.removesuffix(".json")))},
                tags={"width": str(size[0]), "height": str(size[1])},
            )  # fmt: skip


def _known_part(release: Release, path: str) -> str:
    """The longest end of a path that exists here; the whole path where none does, so that it is reported missing."""
    parts = path.replace("\\", "/").split("/")
    ends = ("/".join(parts[n:]) for n in range(len(parts)))
    return next((end for end in ends if end and release.has(end)), path)


def _medsg_boxes(answer: Any, name: str) -> tuple[BoundingBox, ...]:
    found = answer if answer and isinstance(answer[0], list) else [answer]
    try:
        return tuple(BoundingBox.from_tuple([float(n) for n in box]) for box in found)
    except (TypeError, ValueError):
        raise InputRejected("changed-file", f"{name}: an answer is no box [x1, y1, x2, y2]") from None


def _chestxray14(release: Release, split: str) -> Iterator[Case]:  # noqa: ARG001 - all boxes lie on test images
    """Wang et al., CVPR 2017: 984 boxes on 880 test images. The header splits "Bbox [x,y,w,h]" over four columns."""
    path = release.folder / "BBox_List_2017.csv"
    release.table("BBox_List_2017.csv", ("Image Index", "Finding Label"))
    grouped: dict[tuple[str, str], list[BoundingBox]] = defaultdict(list)
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        next(rows)
        for row in rows:
            try:
                x, y, width, height = (float(number) for number in row[2:6])
            except ValueError:
                raise InputRejected("changed-file", f"BBox_List_2017.csv: {row[:1]} has no four numbers") from None
            grouped[row[0], row[1]].append(BoundingBox.from_sides(x, y, width, height))
    folders = ["images", *(f"images_{n:03d}/images" for n in range(1, 13)), "."]
    patients = _patients(release)
    for (image, label), boxes in grouped.items():
        where = next((f"{f}/{image}" for f in folders if release.has(f"{f}/{image}")), f"images/{image}")
        finding = "infiltration" if label == "Infiltrate" else label.lower()  # the box file's own spelling
        yield Case(
            id=f"{image}/{label}", kind="boxes", images=(where.removeprefix("./"),), question=_asked(finding),
            boxes=tuple(boxes), cluster=patients.get(image, image.partition("_")[0]), modality="DX",
            groups={"finding": finding}, tags={"phrase": finding},
        )  # fmt: skip


def _patients(release: Release) -> dict[str, str]:
    """Image to patient, where Data_Entry_2017 is beside; its header is split and ends in an empty column."""
    found = next((n for n in ("Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv") if release.has(n)), None)
    if found is None:
        return {}
    return {row["Image Index"]: row["Patient ID"] for row in release.table(found, ("Image Index", "Patient ID"))}


MS_CXR = Benchmark(
    name="ms_cxr", title="MS-CXR", licence="PhysioNet credentialed", splits=("test", "val", "train", "all"),
    needs=("MS_CXR_Local_Alignment_v1.*[vn]",), read=_ms_cxr, released={}, test_splits=("test", "all"),
)  # fmt: skip
MEDSG_BENCH = Benchmark(
    name="medsg_bench", title="MedSG-Bench", licence="CC BY 4.0", splits=("test",), needs=("**/*.json",), read=_medsg,
    released={},
)  # fmt: skip
CHESTXRAY14 = Benchmark(
    name="chestxray14", title="ChestX-ray14 boxes", licence="NIH, attribution", splits=("test",),
    needs=("BBox_List_2017.csv",), read=_chestxray14, released={}, cluster="patient",
)  # fmt: skip
