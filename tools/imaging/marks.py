"""SEG, RTSTRUCT and SR read as regions and text. Words come from the standards' code tables, never from the file.

Labels and free text of such objects are typed by people and may name the patient: only coded concepts (DCM, SNOMED CT,
UCUM, ... as pydicom ships them), code strings and numbers pass.
"""

from __future__ import annotations

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
from medloupe.tools.imaging.tags import BadValueError, code, functional, item, items, numbers, uid, whole
from medloupe.types import Frozen, Mask

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
        warn("A segmentation of a tiled slide is not placed on its image and is left out.")
        return []
    marks: list[Mark] = []
    for n, array in enumerate(decoded(ds)):
        identified = functional(ds, n, "SegmentIdentificationSequence")
        number = None if identified is None else whole(identified, "ReferencedSegmentNumber")
        found = (
            [(int(v), array == v) for v in np.unique(array) if v]
            if labelmap
            else [(number, array > 0 if half <= 1 else array >= half)]
        )
        for segment, inside in found[: len(labels) + 1]:
            if inside.any():
                marks.append(_region(ds, n, frames, labels.get(segment) or f"segment {segment}", inside, warn))
    return marks[:_MAX_MARKS]


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
