"""Masks: run lengths of the full image, read and written part by part."""

from __future__ import annotations

import numpy as np
import pytest

from medloupe.types import BoundingBox, Mask


def box_of(x0: float, y0: float, x1: float, y1: float) -> BoundingBox:
    return BoundingBox(x0=x0, y0=y0, x1=x1, y1=y1)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95, 1.0])
def test_any_part_is_that_of_the_whole_array(share: float) -> None:
    rng = np.random.default_rng(1)
    for _ in range(40):
        height, width = (int(n) for n in rng.integers(1, 50, 2))
        whole = rng.random((height, width)) < share
        y0, x0 = int(rng.integers(height)), int(rng.integers(width))
        y1, x1 = int(rng.integers(y0 + 1, height + 1)), int(rng.integers(x0 + 1, width + 1))
        box, mask = box_of(x0, y0, x1, y1), Mask.from_array(whole)
        assert np.array_equal(mask.within(box), whole[y0:y1, x0:x1])
        only = np.zeros_like(whole)
        only[y0:y1, x0:x1] = whole[y0:y1, x0:x1]
        assert Mask.placed(whole[y0:y1, x0:x1], box, width=width, height=height) == Mask.from_array(only)
        assert mask.area == whole.sum()
        if whole.any():
            assert mask.box() == BoundingBox.of_mask(whole)


def test_a_reduced_mask_covers_the_same_pixels_to_the_images_edge() -> None:
    low = np.random.default_rng(2).random((17, 26)) < 0.5
    mask = Mask.placed(low, box_of(0, 0, 26 * 4, 17 * 4), width=101, height=67)  # the last cells are cut
    full = low.repeat(4, axis=0).repeat(4, axis=1)[:67, :101]
    assert (mask.step, mask.cells) == (4, (17, 26))
    assert np.array_equal(mask.to_array(), full)
    assert np.array_equal(mask.within(box_of(13, 5, 101, 67)), full[5:67, 13:101])
    assert mask.area == full.sum()
    assert mask.iou(Mask.from_array(full)) == 1.0


def test_masks_of_a_slide_take_the_memory_of_their_part() -> None:
    disc = np.hypot(*np.mgrid[-50:50, -50:50]) < 40
    mask = Mask.placed(disc, box_of(60_000, 40_000, 62_000, 42_000), width=100_000, height=80_000)
    assert mask.step == 20
    assert mask.area == pytest.approx(np.pi * 800**2, rel=0.01)
    assert mask.box() == box_of(60_220, 40_220, 61_800, 61_800 - 20_000)
    assert np.array_equal(mask.within(box_of(60_000, 40_000, 62_000, 42_000), (100, 100)), disc)
    part, around = mask.patch(50)
    assert max(part.shape) == 50 and around == mask.box()
    assert len(mask.counts) < 250


def test_overlap_is_that_of_the_arrays() -> None:
    a, b = (np.random.default_rng(n).random((40, 30)) < 0.5 for n in (3, 4))
    assert Mask.from_array(a).iou(Mask.from_array(b)) == pytest.approx((a & b).sum() / (a | b).sum())
    assert Mask.from_array(a).iou(Mask.from_array(np.zeros_like(a))) == 0.0


def test_an_empty_mask_has_no_box() -> None:
    with pytest.raises(ValueError, match="empty"):
        Mask.from_array(np.zeros((3, 3), bool)).box()
