"""What a long bench keeps on disk, so that it can be stopped and go on: encodings of the segmenter, and outcomes."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medloupe.models.segment import Embedding, RGBArray, Segmentation, Segmenter
from medloupe.types import BoundingBox

__all__ = ["Journal", "KeptSegmenter"]


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


class Journal:
    """What was found so far, a line of JSON each: a run that was stopped goes on where it was.

    It knows nothing of the code that found it: after a change of that, give another folder.
    """

    def __init__(self, file: Path | None) -> None:
        """file: read where it is there; None: nothing is kept."""
        self._file = file
        self._found: dict[str, Any] = {}
        if file is not None and file.is_file():
            text = file.read_text("utf-8")
            whole = text[: text.rfind("\n") + 1]
            if whole != text:  # a line that was cut off: found again
                file.write_text(whole, "utf-8")
            self._found = dict(json.loads(line) for line in whole.splitlines())

    def __contains__(self, key: str) -> bool:
        return key in self._found

    def __getitem__(self, key: str) -> Any:
        return self._found[key]

    def put(self, key: str, value: Any) -> None:
        """Kept at once; `value` is what JSON holds."""
        self._found[key] = value
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps([key, value]) + "\n")
