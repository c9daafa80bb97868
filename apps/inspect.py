"""What `medloupe inspect` does: an inventory of a study, for a person, for a program, and as a contact sheet."""

from __future__ import annotations

import json
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from medloupe.apps.wording import clean, one_line
from medloupe.errors import InputRejected, UsageError
from medloupe.settings import Settings
from medloupe.tools.imaging import ImageStore, MemoryStore, load_study, render, whole
from medloupe.tools.imaging.deidentify import name_of
from medloupe.tools.imaging.geometry import along_normal
from medloupe.tools.imaging.sources import Source
from medloupe.types import RESEARCH_LABEL, Image, Series, Study

__all__ = ["contact_sheet", "inventory", "run_inspect"]

SCHEMA = "medloupe.inspect/1"
_TILE = 192
"""Pixels a side of one picture of the contact sheet."""
_ACROSS = 8
"""Pictures in a row: a series gets one row, its images evenly spread."""
_MOST_SERIES = 64
"""Rows of a sheet."""
_OBLIQUE = 0.9
"""Cosine between a normal and the nearest axis of the body below which a plane is called oblique (26 degrees)."""


def run_inspect(settings: Settings, path: Path, *, as_json: bool, out: Path | None) -> None:
    """Print the inventory, and write contact-sheet.png into `out`. A folder with some rejected files is no failure."""
    store, rejected = MemoryStore(), []

    def reject(source: Source, error: InputRejected) -> None:
        rejected.append({"file": name_of(source, path), "code": error.code, "reason": error.reason})

    study = load_study(path, store, modality=settings.modality, limits=settings.limits(), on_rejected=reject)
    found = inventory(study, rejected)
    if out is not None:
        found["contact_sheet"] = _write_sheet(study, store, out)
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        _print(found)


def inventory(study: Study, rejected: list[dict[str, str]]) -> dict[str, Any]:
    """What is in a study, without an identifier: counts, and per series what its images have in common."""
    return {
        "schema_version": SCHEMA,
        "label": RESEARCH_LABEL,
        "study": study.id,
        "images": len(study.images),
        "series": [_series(study, series) for series in study.series],
        "warnings": list(study.warnings),
        "rejected": rejected,
    }


def _series(study: Study, series: Series) -> dict[str, Any]:
    images = [study.images[i] for i in series.images]
    sizes = Counter((i.width, i.height) for i in images)
    first = images[0]
    spacings = Counter(i.spacing for i in images)
    spacing = spacings.most_common(1)[0][0]
    return {
        "index": series.index,
        "modality": series.modality,
        "images": len(images),
        "first_image": first.index,
        "sizes": [{"width": width, "height": height, "images": n} for (width, height), n in sizes.most_common()],
        "spacing_mm": None if spacing is None else [spacing.row_mm, spacing.column_mm],
        "spacing_varies": len(spacings) > 1,
        "spacing_source": None if spacing is None else spacing.source,
        "slice_step_mm": _step(images),
        "orientation": _plane(first),
        "values": first.values,
        "levels": [level.model_dump() for level in first.levels],
        "body_part": first.body_part,
        "laterality": first.laterality,
        "view_position": first.view_position,
        "transfer_syntax": sorted({i.transfer_syntax for i in images}),
    }


def _step(images: list[Image]) -> float | None:
    """Median distance of neighbouring slices along their normal, mm; None without positions, or for a single slice."""
    places = [place for image in images if (place := along_normal(image)) is not None]
    steps = [abs(b - a) for a, b in pairwise(places)]
    return round(float(np.median(steps)), 4) if steps and len(places) == len(images) else None


def _plane(image: Image) -> str | None:
    """axial, coronal or sagittal by the nearest axis of the body, "oblique" with it beyond 26 degrees."""
    if image.orientation is None:
        return None
    normal = np.abs(np.cross(image.orientation[:3], image.orientation[3:]))
    word = ("sagittal", "coronal", "axial")[int(normal.argmax())]
    return word if normal.max() >= _OBLIQUE else f"{word}, oblique"


# --- for a person ---------------------------------------------------------------------------------------------------


def _print(found: dict[str, Any]) -> None:
    # Into a file or a pipe nothing is folded: a line is a series.
    console = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 200)
    table = Table(
        "series", "type", "images", "pixels", "mm/pixel", "mm/slice", "plane", "values", "stored as",
        box=None, header_style="bold",
    )  # fmt: skip
    for series in found["series"]:
        table.add_row(*_row(series))
    console.print(table)
    for series in found["series"]:
        for number, level in enumerate(series["levels"]):
            size = f"{level['width']} × {level['height']}"
            tiles = f"tiles of {level['tile_width']} × {level['tile_height']}"
            console.print(f"level     series {series['index']}, level {number}: {size}, {tiles}")
    for warning in found["warnings"]:
        console.print(f"warning   {one_line(warning)}")
    for left in found["rejected"]:
        console.print(f"rejected  {one_line(left['file'])}  [{left['code']}] {one_line(left['reason'])}")
    if sheet := found.get("contact_sheet"):
        console.print(f"sheet     {sheet['path']} ({sheet['shown']} of {found['images']} images)")
    console.print(RESEARCH_LABEL)


def _row(series: dict[str, Any]) -> tuple[str, ...]:
    sizes = ", ".join(f"{s['width']} × {s['height']}" for s in series["sizes"][:2])
    more = ", ..." if len(series["sizes"]) > 2 else ""
    step = series["slice_step_mm"]
    return (
        str(series["index"]), series["modality"], str(series["images"]), sizes + more,
        _spacing_words(series),
        "" if step is None else f"{step:.4g}", series["orientation"] or "unknown", series["values"],
        clean(", ".join(name.partition(" (")[0] for name in series["transfer_syntax"])),
    )  # fmt: skip


def _spacing_words(series: dict[str, Any]) -> str:
    """Across, then down, as the pixels beside it."""
    spacing, more = series["spacing_mm"], ", ..." if series["spacing_varies"] else ""
    return ("unknown" if spacing is None else f"{spacing[1]:.4g} × {spacing[0]:.4g}") + more


# --- the contact sheet ----------------------------------------------------------------------------------------------


def contact_sheet(study: Study, store: ImageStore) -> tuple[npt.NDArray[np.uint8], int]:
    """(rows, columns, 3) uint8: a row a series, up to eight images evenly spread, and how many images are on it."""
    rows = [_picked(series.images) for series in study.series[:_MOST_SERIES]]
    across = max(map(len, rows))
    sheet: npt.NDArray[np.uint8] = np.zeros((len(rows) * _TILE, across * _TILE, 3), np.uint8)
    for down, indices in enumerate(rows):
        for right, index in enumerate(indices):
            tile = _tile(study.images[index], store)
            cv2.putText(tile, f"S{down} I{index}", (4, _TILE - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 255, 255), 1)
            sheet[down * _TILE : (down + 1) * _TILE, right * _TILE : (right + 1) * _TILE] = tile
    return sheet, sum(map(len, rows))


def _picked(images: tuple[int, ...]) -> list[int]:
    places = np.linspace(0, len(images) - 1, min(len(images), _ACROSS))
    return [images[round(place)] for place in places]


def _tile(image: Image, store: ImageStore) -> npt.NDArray[np.uint8]:
    """The whole image in a black square, in its own window; pixels are made square where the spacing is known."""
    shown = render(whole(store, image).values, image, image.window)
    tall = image.spacing.row_mm / image.spacing.column_mm if image.spacing else 1.0
    width, height = float(image.width), image.height * tall
    scale = (_TILE - 4) / max(width, height)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    small = cv2.resize(shown, size, interpolation=cv2.INTER_AREA)
    tile: npt.NDArray[np.uint8] = np.zeros((_TILE, _TILE, 3), np.uint8)
    top, left = (_TILE - size[1]) // 2, (_TILE - size[0]) // 2
    tile[top : top + size[1], left : left + size[0]] = small if small.ndim == 3 else small[..., None]
    return tile


def _write_sheet(study: Study, store: ImageStore, out: Path) -> dict[str, Any]:
    sheet, shown = contact_sheet(study, store)
    path = out / "contact-sheet.png"
    encoded = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1].tobytes()
    try:
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(encoded)
    except OSError as error:
        raise UsageError(f"the output folder {out} cannot be written: {error.strerror}") from None
    return {"path": str(path), "shown": shown}
