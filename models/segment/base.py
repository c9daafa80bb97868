"""What a segmenter is to medloupe: encode a picture once, ask for many masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from medloupe.types import BoolArray, BoundingBox

RGBArray = npt.NDArray[np.uint8]
"""(rows, columns, 3), 0 to 255."""


@dataclass(frozen=True)
class Embedding:
    """An encoded picture: what `predict` needs, and nothing that changes. Kept by the caller for further prompts."""

    width: int
    height: int
    data: Any
    """The backend's own tensors."""


@dataclass(frozen=True)
class Segmentation:
    """One mask of the picture that was encoded."""

    mask: BoolArray
    """(rows, columns) of the picture."""
    predicted_iou: float
    """The model's own estimate, clipped to 0..1."""


@runtime_checkable
class Segmenter(Protocol):
    """A promptable segmenter. Coordinates are continuous pixels of the picture given to `set_image`."""

    name: str
    """Id as recorded in regions and answers, with the weights' short hash: "litemedsam-79d8c9dc"."""
    prompts: frozenset[Literal["box", "points", "text"]]
    """What it can be asked with."""

    def set_image(self, picture: RGBArray) -> Embedding:
        """Encode a picture (slow)."""
        ...

    def predict(
        self,
        embedding: Embedding,
        *,
        box: BoundingBox | None = None,
        points: tuple[tuple[float, float], ...] = (),
    ) -> Segmentation:
        """One mask (fast) for a box, or for foreground points (column, row)."""
        ...
