"""A NIfTI or NRRD of labels that lies on the grid of a DICOM series is its regions, and no image."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medloupe.tools.imaging.frame import Draft, Frame
from medloupe.tools.imaging.marks import Mark
from medloupe.types import Mask

__all__ = ["label_marks"]

_MAX_LABELS = 255
_DECIMALS = 1


def label_marks(volume: list[Frame], series: list[Frame]) -> list[Mark] | None:
    """The regions of `volume` on the DICOM frames it lies on; None when it is no label map of theirs."""
    if any(f.values.ndim != 2 or f.values.dtype != np.int16 or f.draft.position is None for f in volume):
        return None
    places = {_place(f.draft): f.draft for f in series if f.draft.position is not None}
    pairs = [(f, places.get(_place(f.draft))) for f in volume]
    if any(under is None for _, under in pairs):
        return None
    labels = set().union(*(np.unique(f.values).tolist() for f in volume)) - {0}
    if not labels or len(labels) > _MAX_LABELS or min(labels) < 0:
        return None
    return [mark for f, under in pairs if under is not None for mark in _marks(f, under)]


def _place(draft: Draft) -> tuple[object, ...]:
    """Where a slice lies and how large it is, to a tenth of a millimetre."""
    assert draft.position is not None
    turned = tuple(round(v, _DECIMALS) + 0.0 for v in draft.orientation or ())
    spacing = draft.spacing and (round(draft.spacing.row_mm, 3), round(draft.spacing.column_mm, 3))
    return (draft.width, draft.height, tuple(round(v, _DECIMALS) + 0.0 for v in draft.position), turned, spacing)


def _marks(frame: Frame, under: Draft) -> Iterator[Mark]:
    for value in np.unique(frame.values):
        if value:
            yield Mark(
                kind="region",
                source="label map",
                label=f"label {value}",
                sop_instance_uid=under.sop_instance_uid,
                frame=under.frame,
                position=under.position,
                orientation=under.orientation,
                spacing=under.spacing and (under.spacing.row_mm, under.spacing.column_mm),
                mask=Mask.from_array(frame.values == value),
            )
