"""Outlines from grey levels alone."""

import numpy as np
import pytest
from drawn import disc, ellipse

from medloupe.tools.measure import threshold_mask
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
