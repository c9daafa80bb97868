"""A segmenter whose encodings are kept on disk: a bench that asks of the same crops again, or goes on where it was
stopped, encodes none of them twice."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Literal

import numpy as np

from medloupe.models.segment import Embedding, RGBArray, Segmentation, Segmenter
from medloupe.types import BoundingBox

__all__ = ["KeptSegmenter"]


class KeptSegmenter:
    """Segmenter Protocol over one whose `Embedding.data` is one torch tensor (LiteMedSAM); same masks, bit for bit."""

    def __init__(self, segmenter: Segmenter, folder: Path) -> None:
        """folder: made where it is not there; files are named by the segmenter and the sha-256 of what was encoded."""
        self._segmenter, self._folder = segmenter, folder
        self.name = segmenter.name
        self.prompts: frozenset[Literal["box", "points", "text"]] = segmenter.prompts
        folder.mkdir(parents=True, exist_ok=True)

    def set_image(self, picture: RGBArray) -> Embedding:
        """Encoded before, or encoded now and kept. Written whole or not at all."""
        import torch

        digest = hashlib.sha256(f"{self.name} {picture.shape}".encode() + picture.tobytes()).hexdigest()
        file = self._folder / f"{digest}.npy"
        if file.is_file():
            data = torch.from_numpy(np.load(file, allow_pickle=False))
            return Embedding(width=picture.shape[1], height=picture.shape[0], data=data)
        embedding = self._segmenter.set_image(picture)
        unfinished = file.with_suffix(f".{os.getpid()}")
        with unfinished.open("wb") as stream:
            np.save(stream, embedding.data.cpu().numpy(), allow_pickle=False)
        unfinished.replace(file)
        return embedding

    def predict(
        self, embedding: Embedding, *, box: BoundingBox | None = None, points: tuple[tuple[float, float], ...] = ()
    ) -> Segmentation:
        """As the segmenter's own."""
        return self._segmenter.predict(embedding, box=box, points=points)
