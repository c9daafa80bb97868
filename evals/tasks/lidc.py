"""LIDC-IDRI's XML: what each reader outlined, and how they scored it."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

from medloupe.errors import InputRejected
from medloupe.types import BoundingBox

__all__ = ["Nodule", "nodules_of"]

_NS = "{http://www.nih.gov}"
_MOST_BYTES = 2**26


class Nodule(NamedTuple):
    """One reader's outline of one nodule of at least 3 mm, on the slice where it is largest."""

    id: str
    reader: int
    """Place of the reading session in the file; no reader has a name, and the order means nothing."""
    series_uid: str
    sop_instance_uid: str
    box: BoundingBox
    """The edge map lies on the first pixels outside the nodule, so the box is that of the pixels inside."""
    scores: dict[str, int]
    """By XML element: subtlety, internalStructure, ..."""
    outlines: tuple[tuple[BoundingBox, str], ...]
    """Box and SOP instance UID of every slice that it was outlined on."""

    def overlap(self, other: Nodule) -> float:
        """Largest IoU of the two boxes on a slice that both were outlined on; 0 without one."""
        shared = (a.iou(b) for a, image in self.outlines for b, theirs in other.outlines if image == theirs)
        return max(shared, default=0.0)


def nodules_of(path: Path) -> Iterator[Nodule]:
    """All readers' nodules; nothing for an XML file of another kind. InputRejected when it is damaged."""
    content = path.read_bytes()
    if b"LidcReadMessage" not in content[:4096]:
        return
    if len(content) > _MOST_BYTES or b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise InputRejected("changed-file", f"{path.name} holds what no LIDC reading does")
    try:
        root = ET.fromstring(content)  # noqa: S314 - it declares no entity: checked above
    except ET.ParseError:
        raise InputRejected("changed-file", f"{path.name} is not whole") from None
    series = _text(root, f"{_NS}ResponseHeader/{_NS}SeriesInstanceUid")
    for reader, session in enumerate(root.iter(f"{_NS}readingSession")):
        for nodule in session.iter(f"{_NS}unblindedReadNodule"):
            scores = _scores(nodule.find(f"{_NS}characteristics"))
            outlined = [o for roi in nodule.iter(f"{_NS}roi") if (o := _outline(roi)) is not None]
            if scores and outlined:
                box, image = max(outlined, key=lambda o: o[0].area)
                yield Nodule(_text(nodule, f"{_NS}noduleID"), reader, series, image, box, scores, tuple(outlined))


def _scores(characteristics: Element | None) -> dict[str, int]:
    """Empty for a nodule under 3 mm, which has none."""
    found = (
        {} if characteristics is None else {e.tag.removeprefix(_NS): (e.text or "").strip() for e in characteristics}
    )
    return {name: int(value) for name, value in found.items() if value.isdigit()}


def _outline(roi: Element) -> tuple[BoundingBox, str] | None:
    """(box, SOP instance UID) of an outline that is included; None for a hole, and for a point."""
    if _text(roi, f"{_NS}inclusion").upper() == "FALSE":
        return None
    points = [(int(_text(e, f"{_NS}xCoord")), int(_text(e, f"{_NS}yCoord"))) for e in roi.iter(f"{_NS}edgeMap")]
    columns, rows = [x for x, _ in points], [y for _, y in points]
    if len(points) < 3 or max(columns) - min(columns) < 2 or max(rows) - min(rows) < 2:
        return None
    box = BoundingBox(x0=min(columns) + 1, y0=min(rows) + 1, x1=max(columns), y1=max(rows))
    return box, _text(roi, f"{_NS}imageSOP_UID")


def _text(element: Element, path: str) -> str:
    found = element.find(path)
    return (found.text or "").strip() if found is not None else ""
