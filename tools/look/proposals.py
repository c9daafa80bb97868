"""Regions worth a closer look in a view, when nobody has said where."""

from __future__ import annotations

import math
from typing import NamedTuple

from medloupe.tools.look.saliency import Salient, salient
from medloupe.tools.look.segment import Outline, Outliner, as_grey
from medloupe.types import BoundingBox, Image, View

__all__ = ["propose"]

LEAST_AGREEMENT = 0.3
"""Intersection over union of a candidate and the segmenter's outline of it."""
LEAST_IOU = 0.5
"""Predicted by the segmenter."""
SPARE = 2
"""Candidates looked at for every proposal wanted."""


class _Rated(NamedTuple):
    rating: float
    outline: Outline


def propose(outliner: Outliner, image: Image, view: View, limit: int) -> list[Outline]:
    """At most `limit` outlines inside the view, best first; none where nothing stands out.

    Candidates come from the rendered grey levels. With a segmenter each is outlined on one encoding of the view, and
    kept and ranked by the segmenter's own estimate, by how far the outline agrees with the candidate, and by contrast.
    """
    shown = outliner.shown(image, view.window, view.box)
    candidates = salient(as_grey(shown.picture), SPARE * limit)
    rated = [
        found
        for place in candidates
        if (found := _rate(outliner, image, view, place, shown.to_image(place.box))) is not None
    ]
    rated.sort(key=lambda r: (-r.rating, r.outline.box.as_tuple()))
    kept: list[Outline] = []
    for found in rated:
        if len(kept) < limit and all(found.outline.box.iou(other.box) < LEAST_AGREEMENT for other in kept):
            kept.append(found.outline)
    return kept


def _rate(outliner: Outliner, image: Image, view: View, place: Salient, box: BoundingBox) -> _Rated | None:
    """box: the candidate's, full-image pixels."""
    box = box.clip(image.width, image.height)
    if not outliner.promptable:
        outline = outliner.outline(image, view.window, box=box)
        return None if outline is None else _Rated(place.score, outline)
    outline = outliner.outline_in(image, view.window, view.box, box=box)
    if outline is None or outline.predicted_iou is None or outline.predicted_iou < LEAST_IOU:
        return None
    agreement = outline.box.iou(box)
    if agreement < LEAST_AGREEMENT:
        return None
    return _Rated(place.score * outline.predicted_iou * math.sqrt(agreement), outline)
