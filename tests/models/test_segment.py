"""The segmenters by name, and LiteMedSAM on discs whose outline is known."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from medloupe.errors import BackendMissing, UsageError
from medloupe.models.segment import Segmenter, available_segmenters, load_segmenter
from medloupe.types import BoundingBox


def skip_without(name: str) -> None:
    """Skip where a backend is not installed."""
    status = next(s for s in available_segmenters() if s.name == name)
    if not status.available:
        pytest.skip(status.detail)


@pytest.fixture(scope="module")
def litemedsam() -> Segmenter:
    skip_without("litemedsam")
    segmenter = load_segmenter("litemedsam", device="cpu")
    assert segmenter is not None
    return segmenter


def disc(rows: int, columns: int, row: float, column: float, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """(RGB picture with a bright disc on noise, its mask)."""
    r, c = np.mgrid[:rows, :columns] + 0.5
    mask = (r - row) ** 2 + (c - column) ** 2 < radius**2
    grey = np.random.default_rng(0).normal(60, 5, mask.shape) + 100 * mask
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2), mask


def test_it_outlines_a_disc_in_a_picture_that_is_not_square(litemedsam):
    picture, truth = disc(300, 500, 120, 390, 50)
    found = litemedsam.predict(litemedsam.set_image(picture), box=BoundingBox.of_mask(truth))
    assert found.mask.shape == truth.shape and found.mask.dtype == np.bool_
    assert (found.mask & truth).sum() / (found.mask | truth).sum() > 0.9
    assert 0.8 < found.predicted_iou <= 1


def test_the_input_is_as_litemedsam_was_trained_on():
    from medloupe.models.segment.litemedsam import preprocess

    given = preprocess(np.linspace(10, 90, 100 * 400 * 3).reshape(100, 400, 3).astype(np.uint8))
    assert given.shape == (256, 256, 3)
    assert given[:64].min() == 0 and given[:64].max() == 1
    assert not given[64:].any(), "padded below, never stretched"
    assert np.isfinite(preprocess(np.full((8, 8, 3), 7, np.uint8))).all(), "a constant picture has no range"


def test_one_network_serves_many_threads_with_the_same_answers(litemedsam):
    picture, _ = disc(256, 256, 128, 128, 40)
    embedding = litemedsam.set_image(picture)
    boxes = [BoundingBox.from_sides(80 + i, 80, 90, 90) for i in range(6)]
    alone = [litemedsam.predict(embedding, box=box).mask for box in boxes]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda box: litemedsam.predict(embedding, box=box).mask, boxes))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_it_is_named_by_its_weights_and_takes_boxes_only(litemedsam):
    assert isinstance(litemedsam, Segmenter)
    assert litemedsam.name == "litemedsam-79d8c9dc"
    with pytest.raises(ValueError, match="takes a box"):
        litemedsam.predict(litemedsam.set_image(disc(64, 64, 32, 32, 9)[0]), points=((32.0, 32.0),))


def test_none_is_no_segmenter_and_a_wrong_name_says_what_there_is():
    assert load_segmenter("none") is None
    with pytest.raises(UsageError, match="litemedsam"):
        load_segmenter("segmentron")


def test_an_absent_device_is_a_usage_error():
    skip_without("litemedsam")
    with pytest.raises(UsageError, match="device"):
        load_segmenter("litemedsam", device="cuda:17")


def test_without_torch_the_error_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(BackendMissing, match=r"pip install 'medloupe\[local\]'"):
        load_segmenter("litemedsam")
    status = {s.name: s for s in available_segmenters()}
    assert not status["litemedsam"].available and "torch" in status["litemedsam"].detail
    assert status["none"].available


def test_other_weights_than_the_known_are_refused(monkeypatch):
    skip_without("litemedsam")
    monkeypatch.setattr("medloupe.models.segment.litemedsam.SHA256", "0" * 64)
    with pytest.raises(BackendMissing, match="known weights"):
        load_segmenter("litemedsam")


def test_asking_what_there_is_imports_no_torch():
    code = (
        "import sys; from medloupe.models.segment import available_segmenters as a; a(); print('torch' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
