"""SEG, RTSTRUCT and SR read as regions and text. Words come from the standards' code tables, never from the file.

Labels and free text of such objects are typed by people and may name the patient: only coded concepts (DCM, SNOMED CT,
UCUM, ... as pydicom ships them), code strings and numbers pass.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import Any, Literal

import numpy as np

from medloupe.limits import Limits
from medloupe.prompts import knowledge
from medloupe.tools.imaging.frame import check_size
from medloupe.tools.imaging.geometry import Orientation, Position, Warn, plane
from medloupe.tools.imaging.pixels import check_length, decoded
from medloupe.tools.imaging.slide import MAX_REGION_PIXELS
from medloupe.tools.imaging.slide_dicom import is_sparse, tile_places
from medloupe.tools.imaging.tags import BadValueError, code, functional, item, items, numbers, uid, whole
from medloupe.types import BoundingBox, Frozen, Level, Mask

__all__ = ["Mark", "read_rtstruct", "read_seg", "read_sr"]

Contour = tuple[tuple[float, float, float], ...]
_MAX_MARKS = 20_000
_SEMANTIC_TAG = re.compile(r"( \((body structure|property|qualifier value|substance|morphologic abnormality)\))+$")
"""What SNOMED CT appends to a name to say what kind of thing it names."""


class Mark(Frozen):
    """A region or a text of another object, before it has found its image."""

    kind: Literal["region", "text"]
    source: Literal["SEG", "RTSTRUCT", "SR", "label map"]
    label: str = ""
    text: str = ""
    sop_instance_uid: str | None = None
    """The image it was drawn on, where the object says so."""
    frame: int | None = None
    """Zero-based frame of that image."""
    mask: Mask | None = None
    contours: tuple[Contour, ...] = ()
    """Closed outlines, mm, LPS."""
    position: Position | None = None
    orientation: Orientation | None = None
    spacing: tuple[float, float] | None = None
    """(row, column), mm."""


# --- words ----------------------------------------------------------------------------------------------------------


@cache
def _meanings() -> dict[tuple[str, str], str]:
    """(scheme, code value) to the standard's own words."""
    from pydicom.sr._concepts_dict import concepts
    from pydicom.sr._snomed_dict import mapping

    table = {
        (scheme, value): words
        for scheme, named in concepts.items()
        for entry in named.values()
        for value, (words, _) in entry.items()
    }
    retired = {("SRT", old): table[("SCT", new)] for old, new in mapping["SRT"].items() if ("SCT", new) in table}
    return table | retired


def meaning(ds: Any, keyword: str) -> str:
    """The words of a coded concept; "" when the code is in no table."""
    coded = item(ds, keyword)
    if coded is None:
        return ""
    scheme, value = (str(coded.get(k, "")).strip() for k in ("CodingSchemeDesignator", "CodeValue"))
    return _SEMANTIC_TAG.sub("", _meanings().get((scheme, value), ""))


# --- SEG ------------------------------------------------------------------------------------------------------------


def read_seg(ds: Any, warn: Warn, limits: Limits) -> list[Mark]:
    """One mark for each segment on each frame that holds any of it (PS3.3 C.8.20)."""
    rows, columns, frames = whole(ds, "Rows") or 0, whole(ds, "Columns") or 0, whole(ds, "NumberOfFrames") or 1
    check_size(columns, rows, frames, limits)
    check_length(ds, frames)
    labels = {whole(s, "SegmentNumber"): _segment_label(s) for s in items(ds, "SegmentSequence")}
    labelmap = code(ds, "SegmentationType", ("BINARY", "FRACTIONAL", "LABELMAP")) == "LABELMAP"
    half = (whole(ds, "MaximumFractionalValue") or 1) / 2
    if whole(ds, "TotalPixelMatrixRows"):
        return _slide_marks(ds, frames, labels, labelmap, half)
    marks: list[Mark] = []
    for n, array in enumerate(decoded(ds)):
        identified = functional(ds, n, "SegmentIdentificationSequence")
        number = None if identified is None else whole(identified, "ReferencedSegmentNumber")
        for segment, inside in _segments_in(array, number, labelmap, half)[: len(labels) + 1]:
            marks.append(_region(ds, n, frames, labels.get(segment) or f"segment {segment}", inside, warn))
    return marks[:_MAX_MARKS]


def _segments_in(array: Any, number: int | None, labelmap: bool, half: float) -> list[tuple[int | None, Any]]:
    """Number and pixels of each segment that a frame holds any of."""
    if labelmap:
        return [(int(value), array == value) for value in np.unique(array) if value]
    inside = array > 0 if half <= 1 else array >= half
    return [(number, inside)] if inside.any() else []


def _slide_marks(ds: Any, frames: int, labels: dict[int | None, str], labelmap: bool, half: float) -> list[Mark]:
    """One mark for each segment, put together of its tiles, on the slide's image of the same size."""
    size = (whole(ds, "TotalPixelMatrixColumns") or 0, whole(ds, "TotalPixelMatrixRows") or 0)
    level = Level(width=size[0], height=size[1], tile_width=int(ds.Columns), tile_height=int(ds.Rows))
    columns, rows = tile_places(ds, level, frames)
    a_segment = -(-level.width // level.tile_width) * -(-level.height // level.tile_height)
    tiles: dict[int | None, list[tuple[int, int, Any]]] = {}
    for n, array in enumerate(decoded(ds)):
        identified = functional(ds, n, "SegmentIdentificationSequence")
        in_order = None if is_sparse(ds) else list(labels)[min(n // a_segment, len(labels) - 1)]
        number = in_order if identified is None else whole(identified, "ReferencedSegmentNumber")
        for segment, inside in _segments_in(array, number, labelmap, half):
            tiles.setdefault(segment, []).append((int(columns[n]), int(rows[n]), inside))
    drawn_on = _source_instance(ds)
    return [
        Mark(
            kind="region",
            source="SEG",
            label=labels.get(segment) or f"segment {segment}",
            sop_instance_uid=drawn_on,
            mask=_of_tiles(placed, level),
        )
        for segment, placed in list(tiles.items())[:_MAX_MARKS]
    ]


def _source_instance(ds: Any) -> str | None:
    """The slide's instance that it was drawn on, by its first frame's source, else the first that it refers to."""
    derivation = functional(ds, 0, "DerivationImageSequence")
    frame = None if derivation is None else item(derivation, "SourceImageSequence")
    series = item(ds, "ReferencedSeriesSequence")
    instance = None if series is None else item(series, "ReferencedInstanceSequence")
    source = frame if frame is not None else instance
    return None if source is None else uid(source, "ReferencedSOPInstanceUID")


def _of_tiles(tiles: list[tuple[int, int, Any]], level: Level) -> Mask:
    """A mask of the whole slide; one that reaches over very much of it is reduced."""
    x0, y0 = min(x for x, _, _ in tiles), min(y for _, y, _ in tiles)
    x1, y1 = max(x + t.shape[1] for x, _, t in tiles), max(y + t.shape[0] for _, y, t in tiles)
    step = max(1, math.ceil(math.sqrt((x1 - x0) * (y1 - y0) / MAX_REGION_PIXELS)))
    across, down = np.arange(x0, x1, step), np.arange(y0, y1, step)
    inside = np.zeros((len(down), len(across)), bool)
    for x, y, tile in tiles:
        columns = slice(*np.searchsorted(across, (x, x + tile.shape[1])))
        rows = slice(*np.searchsorted(down, (y, y + tile.shape[0])))
        inside[rows, columns] |= tile[np.ix_(down[rows] - y, across[columns] - x)]
    box = BoundingBox(x0=x0, y0=y0, x1=x0 + len(across) * step, y1=y0 + len(down) * step)
    return Mask.placed(inside, box, width=level.width, height=level.height)


def _segment_label(segment: Any) -> str:
    kind, site = meaning(segment, "SegmentedPropertyTypeCodeSequence"), meaning(segment, "AnatomicRegionSequence")
    return f"{kind}, {site}" if kind and site else kind or site


def _region(ds: Any, n: int, frames: int, label: str, inside: Any, warn: Warn) -> Mark:
    position, orientation = plane(ds, n, frames, warn)
    measures = functional(ds, n, "PixelMeasuresSequence")
    spacing = None if measures is None else numbers(measures, "PixelSpacing", 2)
    derivation = functional(ds, n, "DerivationImageSequence")
    drawn_on = None if derivation is None else item(derivation, "SourceImageSequence")
    number = None if drawn_on is None else numbers(drawn_on, "ReferencedFrameNumber")
    return Mark(
        kind="region",
        source="SEG",
        label=label,
        sop_instance_uid=None if drawn_on is None else uid(drawn_on, "ReferencedSOPInstanceUID"),
        frame=int(number[0]) - 1 if number else None,
        mask=Mask.from_array(inside),
        position=position,
        orientation=orientation,
        spacing=None if spacing is None else (spacing[0], spacing[1]),
    )


# --- RTSTRUCT -------------------------------------------------------------------------------------------------------


def read_rtstruct(ds: Any, warn: Warn, limits: Limits) -> list[Mark]:  # noqa: ARG001 - all three are called alike
    """One mark for each structure on each image; only closed planar contours are regions (PS3.3 C.8.8.6)."""
    labels = {whole(roi, "ReferencedROINumber"): _roi_label(roi) for roi in items(ds, "RTROIObservationsSequence")}
    marks: list[Mark] = []
    for roi in items(ds, "ROIContourSequence"):
        number = whole(roi, "ReferencedROINumber")
        together: dict[tuple[str | None, float], list[Contour]] = {}
        for drawn in items(roi, "ContourSequence"):
            if code(drawn, "ContourGeometricType", ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")):
                contour = _contour(drawn)
                together.setdefault((_drawn_on(drawn), round(contour[0][2], 3)), []).append(contour)
            else:
                warn("Points and open lines of a structure set are left out.")
        label = labels.get(number) or f"structure {number}"
        marks += [
            Mark(kind="region", source="RTSTRUCT", label=label, sop_instance_uid=image, contours=tuple(contours))
            for (image, _), contours in together.items()
        ]
    return marks[:_MAX_MARKS]


def _roi_label(observation: Any) -> str:
    """Its code's words, else its type (GTV, ORGAN, ...). The ROI's name is free text and stays in the file."""
    types = knowledge("dicom_terms")["roi_types"]
    return meaning(observation, "RTROIIdentificationCodeSequence") or code(observation, "RTROIInterpretedType", types)


def _contour(drawn: Any) -> Contour:
    flat = numbers(drawn, "ContourData") or ()
    if len(flat) < 9 or len(flat) % 3:
        raise BadValueError("ContourData")
    return tuple((flat[n], flat[n + 1], flat[n + 2]) for n in range(0, len(flat), 3))


def _drawn_on(drawn: Any) -> str | None:
    image = item(drawn, "ContourImageSequence")
    return None if image is None else uid(image, "ReferencedSOPInstanceUID")


# --- SR -------------------------------------------------------------------------------------------------------------


def read_sr(ds: Any, warn: Warn, limits: Limits) -> list[Mark]:
    """Its coded statements and its numbers, in order, a line each ("Volume: 33.58 milliliter"); free text stays out."""
    said = _statements(ds, warn, limits.sequence_depth)
    return [Mark(kind="text", source="SR", label=name, text=text) for name, text in islice(said, _MAX_MARKS)]


def _statements(node: Any, warn: Warn, levels: int) -> Iterator[tuple[str, str]]:
    if levels < 0:
        warn("A structured report is nested too deeply; the rest of it is left out.")
        return
    for content in items(node, "ContentSequence"):
        kind = code(content, "ValueType", ("CODE", "NUM", "TEXT", "CONTAINER"))
        name = meaning(content, "ConceptNameCodeSequence")
        said = _said(content, kind)
        if name and said:
            yield name, said
        elif kind == "TEXT":
            warn("Free text of a structured report is left out: it may name the patient.")
        yield from _statements(content, warn, levels - 1)


def _said(content: Any, kind: str) -> str:
    if kind == "CODE":
        return meaning(content, "ConceptCodeSequence")
    measured = item(content, "MeasuredValueSequence") if kind == "NUM" else None
    if measured is None:
        return ""
    value, unit = numbers(measured, "NumericValue", 1), _unit(measured)
    qualifiers = [meaning(q, "ConceptCodeSequence") for q in items(content, "ContentSequence")]
    detail = ", ".join(q for q in qualifiers if q)
    return f"{value[0]:g} {unit}{f' ({detail})' if detail else ''}" if value and unit else ""


def _unit(measured: Any) -> str:
    """The UCUM code of a unit that is known here: a number without one says nothing."""
    coded = item(measured, "MeasurementUnitsCodeSequence")
    value = "" if coded is None else str(coded.get("CodeValue", ""))
    return value if value in knowledge("dicom_terms")["units"] else ""
