"""What the tests of looking share: a real study, pictures whose truth is known, and the real segmenter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom.data import get_testdata_file

from medloupe.models.segment import Segmenter, available_segmenters, load_segmenter
from medloupe.tools.imaging import MemoryStore, load_study
from medloupe.tools.look import Loupe

MakeLoupe = Callable[..., Loupe]


@pytest.fixture(scope="session")
def litemedsam() -> Segmenter:
    status = next(s for s in available_segmenters() if s.name == "litemedsam")
    if not status.available:
        pytest.skip(status.detail)
    segmenter = load_segmenter("litemedsam", device="cpu")
    assert segmenter is not None
    return segmenter


@pytest.fixture
def abdomen() -> Loupe:
    """A real MR of the abdomen, 484 x 300, both kidneys bright; no segmenter."""
    store = MemoryStore()
    return Loupe(load_study(get_testdata_file("examples_overlay.dcm", download=False), store), store)


@pytest.fixture
def loupe_on(tmp_path: Path) -> MakeLoupe:
    """Makes a loupe on a picture given as an array."""

    def make(picture: np.ndarray, segmenter: Segmenter | None = None, *, longest: int = 512) -> Loupe:
        file = tmp_path / "picture.png"
        cv2.imwrite(str(file), picture)
        store = MemoryStore()
        return Loupe(load_study(file, store), store, segmenter, longest=longest)

    return make


@pytest.fixture
def disc() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Makes (grey picture, mask) of a disc in noise."""

    def make(
        size: int = 512, *, row: float, column: float, radius: float, step: float = 90.0, noise: float = 6.0
    ) -> tuple[np.ndarray, np.ndarray]:
        r, c = np.mgrid[:size, :size] + 0.5
        mask = (r - row) ** 2 + (c - column) ** 2 < radius**2
        grey = np.random.default_rng(1).normal(90, noise, mask.shape) + step * mask
        return np.clip(grey, 0, 255).astype(np.uint8), mask

    return make
