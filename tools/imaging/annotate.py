"""Marks of other objects onto the images they were drawn on: by reference, else by place."""

from __future__ import annotations

from collections import Counter

import numpy as np

from medloupe.tools.imaging.geometry import Position, along_normal
from medloupe.tools.imaging.marks import Contour, Mark
from medloupe.types import Annotation, Image, Mask

__all__ = ["annotate"]

SAME_PLACE_MM = 0.01
IN_PLANE_MM = 0.5
"""How far a contour may lie from the slice it is drawn on."""


def annotate(marks: list[Mark], images: list[Image]) -> tuple[tuple[Annotation, ...], list[str]]:
    """The annotations of a study, and what is to be said of those that lie on none of its images."""
    by_reference: dict[tuple[str | None, int], Image] = {
        (i.sop_instance_uid, i.frame): i for i in images if i.sop_instance_uid
    }
    placed: list[Annotation] = []
    lost: Counter[str] = Counter()
    for mark in marks:
        image = None if mark.kind == "text" else _image(mark, images, by_reference)
        mask = None if image is None else _mask(mark, image)
        if mark.kind == "region" and (image is None or mask is None):
            lost[mark.source] += 1
            continue
        placed.append(
            Annotation(
                id=f"A{len(placed) + 1}",
                kind=mark.kind,
                source=mark.source,
                label=mark.label,
                text=mark.text,
                image=None if image is None else image.index,
                mask=mask,
            )
        )
    return tuple(placed), [
        f"{n} region(s) of a {kind} lie on no image here and are left out." for kind, n in lost.items()
    ]


def _image(mark: Mark, images: list[Image], by_reference: dict[tuple[str | None, int], Image]) -> Image | None:
    named = by_reference.get((mark.sop_instance_uid, mark.frame or 0)) if mark.sop_instance_uid else None
    if named is not None:
        return named
    if mark.contours:
        near = [
            (abs(d), i) for i in images if (d := _distance(mark.contours[0], i)) is not None and abs(d) <= IN_PLANE_MM
        ]
        return min(near, key=lambda pair: pair[0])[1] if near else None
    return next((i for i in images if _same_place(mark, i)), None)


def _same_place(mark: Mark, image: Image) -> bool:
    if mark.mask is None or None in (mark.position, mark.orientation, mark.spacing, image.position, image.orientation):
        return False
    if image.spacing is None or (mark.mask.height, mark.mask.width) != (image.height, image.width):
        return False
    if not _near(mark.position, image.position):
        return False
    turned = np.array(mark.orientation) - np.array(image.orientation)
    scaled = np.array(mark.spacing) - np.array([image.spacing.row_mm, image.spacing.column_mm])
    reach = max(image.height, image.width)
    return bool(abs(turned).max() <= 1e-3 and abs(scaled).max() * reach <= 1.0)


def _near(a: Position | None, b: Position | None) -> bool:
    return a is not None and b is not None and all(abs(x - y) <= SAME_PLACE_MM for x, y in zip(a, b, strict=True))


def _distance(contour: Contour, image: Image) -> float | None:
    """Of a contour from an image's plane, mm; None when it is not parallel to it."""
    if image.orientation is None or (own := along_normal(image)) is None:
        return None
    normal = np.cross(image.orientation[:3], image.orientation[3:])
    along = np.array(contour) @ normal
    return float(along.mean() - own) if np.ptp(along) <= IN_PLANE_MM else None


def _mask(mark: Mark, image: Image) -> Mask | None:
    if mark.mask is not None:
        return mark.mask if (mark.mask.height, mark.mask.width) == (image.height, image.width) else None
    matrix = image.image_to_patient()
    if matrix is None:
        return None
    from skimage.draw import polygon

    step, origin = np.array(matrix)[:, :2], np.array(matrix)[:, 2]
    inside = np.zeros((image.height, image.width), bool)
    for contour in mark.contours:  # an inner contour cuts a hole: each point counts how often it is enclosed
        # Centres are whole numbers there; a pixel is inside when its centre is.
        columns, rows = np.linalg.lstsq(step, (np.array(contour) - origin).T, rcond=None)[0] - 0.5
        inside[polygon(rows, columns, inside.shape)] ^= True
    return Mask.from_array(inside) if inside.any() else None
