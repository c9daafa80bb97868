"""Outlines and counts from grey levels alone."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn import disc, ellipse

from medloupe.tools.measure import count_objects, threshold_mask
from medloupe.types import BoundingBox

RNG = np.random.default_rng(3)


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.mark.parametrize("inside", [160, 40], ids=["bright", "dark"])
@pytest.mark.parametrize("grown", [0.0, 0.1, 0.25])
def test_what_stands_out_in_a_loose_box_is_outlined(inside: int, grown: float) -> None:
    truth = ellipse((200, 200), (90, 110), (40, 25), 0.5)
    grey = np.where(truth, inside, 100) + RNG.normal(0, 15, truth.shape)
    found = threshold_mask(grey, BoundingBox.of_mask(truth).grow(grown / 2, 1))
    assert found is not None
    assert _dice(found, truth) > 0.95


def test_a_neighbour_in_the_corner_of_the_box_is_left_out() -> None:
    truth = disc((200, 200), (100, 100), 30)
    grey = np.where(truth | disc((200, 200), (138, 138), 14), 200.0, 50.0)
    found = threshold_mask(grey, BoundingBox(x0=65, y0=65, x1=135, y1=135))
    assert found is not None
    assert _dice(found, truth) > 0.95


def test_holes_are_filled() -> None:
    truth = disc((200, 200), (100, 100), 40)
    grey = np.where(truth & ~disc((200, 200), (115, 100), 8), 200.0, 50.0)
    found = threshold_mask(grey, BoundingBox.of_mask(truth).grow(0.1, 1))
    assert found is not None
    assert _dice(found, truth) > 0.97


@pytest.mark.parametrize("grey", [np.full((100, 100), 7.0), RNG.normal(100, 20, (100, 100))], ids=["constant", "noise"])
def test_nothing_stands_out_of_nothing(grey: np.ndarray) -> None:
    assert threshold_mask(grey, BoundingBox(x0=30, y0=30, x1=70, y1=70)) is None


def test_a_box_outside_the_image_holds_nothing() -> None:
    assert threshold_mask(np.zeros((50, 50)), BoundingBox(x0=200, y0=200, x1=220, y1=220)) is None


@pytest.mark.parametrize("number", [1, 5, 12])
def test_discs_on_an_even_ground_are_counted(number: int) -> None:
    grey = np.full((200, 260), 20.0)
    for n in range(number):
        grey[disc(grey.shape, (35 + 60 * (n % 4), 35 + 60 * (n // 4)), 14)] = 180
    grey += RNG.normal(0, 8, grey.shape)
    assert count_objects(grey) == number
    assert count_objects(255 - grey) == number


def test_discs_that_touch_are_counted_apart() -> None:
    grey = np.where(disc((120, 160), (55, 60), 22) | disc((120, 160), (97, 60), 22), 200.0, 20.0)
    assert count_objects(grey) == 2


def test_only_the_box_is_counted() -> None:
    grey = np.where(disc((100, 200), (50, 50), 15) | disc((100, 200), (150, 50), 15), 200.0, 20.0)
    assert count_objects(grey, BoundingBox(x0=0, y0=0, x1=100, y1=100)) == 1


@pytest.mark.parametrize("grey", [np.full((80, 80), 7.0), RNG.normal(100, 20, (80, 80))], ids=["constant", "noise"])
def test_no_objects_are_counted_where_there_are_none(grey: np.ndarray) -> None:
    assert count_objects(grey) is None


def test_fluorescent_nuclei_are_counted_to_within_a_fifth(shared_data: Path) -> None:
    """Real images with one mask a nucleus; what cannot be counted must say so, not guess."""
    import json

    folder = shared_data / "histo_nuclei_dsb2018"
    items = json.loads((folder / "MANIFEST.json").read_text())["items"]
    pairs = [
        (it["label"]["nuclei"], count_objects(cv2.imread(str(folder / it["file"]), cv2.IMREAD_GRAYSCALE)))
        for it in items
        if it["label"]["image_kind"] == "fluorescence"
    ]
    counted = [(truth, found) for truth, found in pairs if found is not None]
    assert len(counted) >= len(pairs) / 2
    assert sum(abs(truth - found) <= max(1, truth / 5) for truth, found in counted) >= 0.9 * len(counted)
