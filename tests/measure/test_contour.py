"""The edge of an outline, against drawings whose answer is known."""

import math

import numpy as np
import pytest
from drawn import disc, ellipse
from scipy.special import erf

from medloupe.tools.measure import border_gradient, perimeter, radial_profile, radial_spectrum
from medloupe.types import BoolArray, Spacing


def star(depth: float, arms: int, radius: float = 70.0) -> BoolArray:
    """r = R (1 + d cos(k a)) about the middle of 200 x 200 pixels."""
    rows, columns = np.mgrid[:200, :200] - 99.5
    edge = radius * (1 + depth * np.cos(arms * np.arctan2(rows, columns)))
    return np.asarray(np.hypot(rows, columns) <= edge)


@pytest.mark.parametrize("radius", [20, 60])
def test_the_perimeter_of_a_disc_is_two_pi_r(radius: int) -> None:
    mask = disc((140, 140), (70, 70), radius)
    assert perimeter(mask) == pytest.approx(2 * math.pi * radius, rel=0.02)
    half = Spacing(row_mm=0.5, column_mm=0.5, source="PixelSpacing")
    assert perimeter(mask, half) == pytest.approx(math.pi * radius, rel=0.02)


def test_the_perimeter_of_a_circle_drawn_in_oblong_pixels_is_in_millimetres() -> None:
    mask = ellipse((100, 200), (100, 50), (80, 20))
    assert perimeter(mask, Spacing(row_mm=2.0, column_mm=0.5, source="PixelSpacing")) == pytest.approx(
        2 * math.pi * 40, rel=0.03
    )


def test_a_large_outline_is_as_long_as_a_small_one_scaled() -> None:
    assert perimeter(disc((2200, 2200), (1100, 1100), 1000)) == pytest.approx(2 * math.pi * 1000, rel=0.02)


def test_the_profile_of_a_disc_is_its_radius() -> None:
    profile = radial_profile(disc((120, 120), (60, 60), 40))
    assert profile.shape == (256,)
    assert profile == pytest.approx(np.full(256, 40.0), abs=1.0)


@pytest.mark.parametrize(("arms", "depth"), [(3, 0.2), (5, 0.1), (5, 0.25), (8, 0.15)])
def test_a_star_is_lobulated_by_the_depth_of_its_arms(arms: int, depth: float) -> None:
    found = radial_spectrum(star(depth, arms))
    assert found.lobes == arms
    assert found.lobulation == pytest.approx(depth, rel=0.05)
    assert found.spiculation is not None
    assert found.spiculation < 0.2 * depth


@pytest.mark.parametrize(("arms", "depth"), [(12, 0.1), (20, 0.15)])
def test_many_fine_arms_are_spicules_and_no_lobes(arms: int, depth: float) -> None:
    found = radial_spectrum(star(depth, arms))
    assert found.spiculation == pytest.approx(depth, rel=0.1)
    assert found.lobulation < 0.2 * depth


@pytest.mark.parametrize("turned", [0.0, 0.7])
def test_neither_a_disc_nor_an_ellipse_has_lobes_or_spicules(turned: float) -> None:
    round_one = radial_spectrum(disc((120, 120), (60, 60), 40))
    long_one = radial_spectrum(ellipse((200, 200), (100, 100), (80, 60), turned))
    for found in (round_one, long_one):
        assert found.lobulation < 0.03
        assert (found.spiculation or 0) < 0.03


def test_a_small_outline_has_no_spicules_to_see() -> None:
    assert radial_spectrum(disc((40, 40), (20, 20), 4)).spiculation is None
    assert radial_spectrum(np.ones((1, 1), bool)).lobulation < 1


def test_lobes_are_the_same_in_oblong_pixels() -> None:
    tall = np.repeat(star(0.2, 5), 2, axis=0)
    found = radial_spectrum(tall, Spacing(row_mm=0.5, column_mm=1.0, source="PixelSpacing"))
    assert (found.lobes, found.lobulation) == (5, pytest.approx(0.2, rel=0.05))


@pytest.mark.parametrize(("height", "sigma"), [(100.0, 4.0), (-40.0, 6.0)])
def test_a_gaussian_border_rises_as_its_formula_says(height: float, sigma: float) -> None:
    rows, columns = np.mgrid[:200, :200] + 0.5
    inwards = 50 - np.hypot(rows - 100, columns - 100)
    values = height * 0.5 * (1 + erf(inwards / (sigma * math.sqrt(2))))
    mask = inwards >= 0
    expected = height / (sigma * math.sqrt(2 * math.pi))
    assert border_gradient(values, mask) == pytest.approx(expected, rel=0.03)
    half = Spacing(row_mm=0.5, column_mm=0.5, source="PixelSpacing")
    assert border_gradient(values, mask, half) == pytest.approx(2 * expected, rel=0.03)


@pytest.mark.parametrize("measure", [perimeter, radial_profile, radial_spectrum])
def test_nothing_has_no_edge(measure: object) -> None:
    with pytest.raises(ValueError, match="empty mask"):
        measure(np.zeros((5, 5), bool))  # type: ignore[operator]
    with pytest.raises(ValueError, match="no outline"):
        border_gradient(np.zeros((5, 5)), np.ones((5, 5), bool))
