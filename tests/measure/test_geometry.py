"""Lengths, place and shape, against drawings whose answer is known."""

import math

import numpy as np
import pytest
from drawn import disc, ellipse, image_of
from skimage.measure import regionprops

from medloupe.tools.measure import centroid, feret, form, shape_word, side_word, site_word, volume
from medloupe.types import BoolArray, Spacing

HALF = Spacing(row_mm=0.5, column_mm=0.5, source="PixelSpacing")


def test_a_row_of_ten_pixels_is_ten_long_and_one_wide() -> None:
    row = np.zeros((9, 30), bool)
    row[4, 5:15] = True
    assert feret(row) == pytest.approx((10.0, 1.0))


@pytest.mark.parametrize("turned", [0.0, 0.4, 1.2])
@pytest.mark.parametrize("half", [(5, 5), (10, 6), (50, 50), (90, 30)])
def test_an_ellipse_is_as_long_and_wide_as_drawn(half: tuple[float, float], turned: float) -> None:
    mask = ellipse((240, 240), (120, 120), half, turned)
    assert feret(mask) == pytest.approx((2 * half[0], 2 * half[1]), abs=1.0)


@pytest.mark.parametrize("half", [(5, 5), (10, 6), (50, 20)])
def test_the_longest_diameter_is_scikit_images(half: tuple[float, float]) -> None:
    """Which draws the hull as pixels first, and so comes out up to half a pixel longer."""
    mask = ellipse((120, 120), (60, 60), half, 0.3)
    assert feret(mask).longest == pytest.approx(regionprops(mask.astype(np.uint8))[0].feret_diameter_max, abs=0.6)


def test_spacing_scales_each_axis_by_its_own_millimetres() -> None:
    """A disc in the patient is an ellipse in pixels of 0.5 x 2 mm."""
    spacing = Spacing(row_mm=2.0, column_mm=0.5, source="PixelSpacing")
    mask = ellipse((100, 200), (100, 50), (80, 20))
    assert feret(mask, spacing) == pytest.approx((80.0, 80.0), abs=2.5)
    assert form(mask, spacing).aspect == pytest.approx(1.0, abs=0.04)
    assert form(mask).aspect == pytest.approx(0.25, abs=0.02)


def test_a_disc_is_round_by_every_number() -> None:
    found = form(disc((120, 120), (60, 60), 40))
    assert found.circularity == pytest.approx(1.0, abs=0.03)
    assert found.solidity == pytest.approx(1.0, abs=0.02)
    assert found.eccentricity == pytest.approx(0.0, abs=0.05)
    assert found.aspect == pytest.approx(1.0, abs=0.03)


def test_eccentricity_is_the_drawn_ellipses() -> None:
    assert form(ellipse((200, 200), (100, 100), (80, 48))).eccentricity == pytest.approx(0.8, abs=0.01)


def _flower(depth: float, leaves: int = 5) -> BoolArray:
    rows, columns = np.mgrid[:200, :200] - 99.5
    return np.asarray(np.hypot(rows, columns) <= 70 * (1 + depth * np.cos(leaves * np.arctan2(rows, columns))))


@pytest.mark.parametrize(
    ("mask", "word"),
    [
        (disc((200, 200), (100, 100), 60), "round"),
        (ellipse((200, 200), (100, 100), (80, 48)), "oval"),
        (_flower(0.2), "lobulated"),
        (_flower(0.4), "irregular"),
    ],
    ids=["disc", "ellipse", "five shallow lobes", "five deep lobes"],
)
def test_the_shape_has_its_word(mask: BoolArray, word: str) -> None:
    found = form(mask)
    assert shape_word(found.aspect, found.solidity) == word


def test_only_the_largest_part_has_a_shape() -> None:
    mask = disc((100, 100), (40, 50), 20)
    mask[5:8, 90:93] = True
    assert form(mask).solidity > 0.95


@pytest.mark.parametrize("measure", [feret, form, centroid])
def test_nothing_has_no_size(measure: object) -> None:
    with pytest.raises(ValueError, match="empty mask"):
        measure(np.zeros((5, 5), bool))  # type: ignore[operator]


def test_the_centre_of_a_pixel_is_at_its_half() -> None:
    mask = np.zeros((10, 20), bool)
    mask[3, 7] = True
    assert centroid(mask) == (7.5, 3.5)


@pytest.mark.parametrize(
    ("x", "y", "word"),
    [
        (0.5, 0.5, "central"),
        (0.1, 0.4, "image left"),
        (0.9, 0.4, "image right"),
        (0.45, 0.05, "image upper"),
        (0.3, 0.95, "image lower"),
    ],
)
def test_the_site_is_the_half_it_is_deepest_in(x: float, y: float, word: str) -> None:
    assert site_word(x, y) == word


def test_the_patients_left_is_on_the_images_right_where_columns_run_to_the_left() -> None:
    image = image_of(np.zeros((100, 100)), patient_orientation=("L", "P"))
    assert side_word(image, 80, 50) == "left"
    assert side_word(image, 20, 50) == "right"
    assert side_word(image, 51, 50) == "midline"


def test_without_orientation_there_is_no_side_and_laterality_is_the_whole_image() -> None:
    assert side_word(image_of(np.zeros((100, 100))), 80, 50) is None
    assert side_word(image_of(np.zeros((100, 100)), patient_orientation=("A", "F")), 80, 50) is None
    assert side_word(image_of(np.zeros((100, 100)), laterality="R"), 80, 50) == "right"


def test_circularity_of_a_square() -> None:
    square = np.zeros((100, 100), bool)
    square[20:80, 20:80] = True
    assert form(square).circularity == pytest.approx(math.pi / 4, rel=0.15)
    assert form(square).solidity == pytest.approx(1.0, abs=0.01)


def test_a_ball_has_the_volume_of_a_ball_whatever_its_voxels() -> None:
    slices, rows, columns = np.mgrid[:31, :61, :121] - np.array([15, 30, 60]).reshape(3, 1, 1, 1)
    spacing = Spacing(row_mm=1.0, column_mm=0.5, source="PixelSpacing")
    ball = (2 * slices) ** 2 + rows**2 + (0.5 * columns) ** 2 <= 25**2
    assert volume(ball, spacing, 2.0) == pytest.approx(4 / 3 * math.pi * 25**3, rel=0.01)
    for bad in ((ball[0], 2.0), (ball & False, 2.0), (ball, 0.0), (ball, math.nan)):
        with pytest.raises(ValueError, match="a volume needs"):
            volume(bad[0], spacing, bad[1])


def test_a_large_outline_keeps_its_shape_and_its_exact_length() -> None:
    mask = ellipse((2400, 2400), (1200, 1200), (1100, 660))
    assert feret(mask) == pytest.approx((2200, 1320), abs=1.5)
    found = form(mask)
    assert found.aspect == pytest.approx(0.6, abs=0.003)
    assert found.eccentricity == pytest.approx(0.8, abs=0.002)
    assert found.solidity > 0.99


def test_a_long_thin_line_does_not_vanish() -> None:
    line = np.zeros((9, 3000), bool)
    line[4] = True
    assert form(line).aspect < 0.001


@pytest.mark.parametrize("seed", range(5))
def test_diameters_are_those_of_the_outline_that_scikit_image_draws(seed: int) -> None:
    from scipy.ndimage import gaussian_filter
    from skimage.measure import find_contours

    mask = gaussian_filter(np.random.default_rng(seed).normal(size=(90, 120)), 6) > 0.02
    points = np.vstack(find_contours(np.pad(mask, 1).astype(float), 0.5, fully_connected="high"))
    angles = np.linspace(0, np.pi, 20_000)
    widths = np.ptp(points @ np.stack([np.cos(angles), np.sin(angles)]), axis=0)
    found = feret(mask)
    assert found.longest == pytest.approx(widths.max(), rel=1e-6)
    assert found.shortest == pytest.approx(widths.min(), rel=1e-3)
