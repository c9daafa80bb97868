"""Texture, the other side and colours, on images whose numbers were put there."""

import numpy as np
import pytest
from drawn import disc, image_of

from medloupe.prompts import knowledge
from medloupe.tools.measure import asymmetry, dominant_colours, measure_region, texture
from medloupe.tools.measure.vocabulary import attribute

WHOLE = np.ones((64, 64), bool)


def test_a_checkerboard_has_half_of_all_neighbours_as_far_apart_as_can_be() -> None:
    """Along rows and columns every neighbour is 31 levels away, along the diagonals none is; one bit either way."""
    found = texture(np.indices((64, 64)).sum(axis=0) % 2 * 700.0, WHOLE)
    assert found.contrast == pytest.approx(31**2 / 2)
    assert found.homogeneity == pytest.approx((1 + 1 / (1 + 31**2)) / 2)
    assert found.entropy == pytest.approx(1.0, abs=0.01)


def test_a_flat_region_is_even_and_noise_is_not() -> None:
    assert texture(np.full((64, 64), -70), WHOLE) == (0.0, 1.0, 0.0)
    noise = texture(np.random.default_rng(0).uniform(0, 1, (64, 64)), WHOLE)
    assert noise.contrast == pytest.approx(2 * (32**2 - 1) / 12, rel=0.1)  # of two independent uniform levels
    assert noise.entropy > 9


def test_only_pairs_within_the_region_count() -> None:
    mask = disc((64, 64), (32, 32), 20)
    values = np.where(mask, 10, np.random.default_rng(0).integers(0, 255, mask.shape))
    assert texture(values, mask) == (0.0, 1.0, 0.0)


def test_brightness_and_gain_leave_a_texture_as_it_is() -> None:
    values = np.random.default_rng(2).normal(0, 1, (64, 64))
    assert texture(values * 37 - 900, WHOLE) == pytest.approx(texture(values, WHOLE))


def test_single_pixels_have_no_texture() -> None:
    apart = np.zeros((9, 9), bool)
    apart[::4, ::4] = True
    with pytest.raises(ValueError, match="neighbouring"):
        texture(np.arange(81).reshape(9, 9), apart)


def test_a_mirrored_image_is_even_and_a_step_is_as_large_as_it_is() -> None:
    half = np.random.default_rng(1).normal(50, 5, (100, 80))
    values, mask = np.hstack([half, half[:, ::-1]]), disc((100, 160), (40, 50), 20)
    found = measure_region(values, image_of(values), mask, region_id="R1", segmenter="x").get("asymmetry")
    assert found is not None
    assert found.value == pytest.approx(0.0, abs=1e-6)
    lifted = np.where(mask, values + 20, values)
    raised = measure_region(lifted, image_of(values), mask, region_id="R1", segmenter="x")
    ring_std = raised.get("ring_std")
    step = raised.get("asymmetry")
    assert ring_std is not None
    assert step is not None
    assert step.value == pytest.approx(20 / float(ring_std.value), rel=1e-6)
    assert asymmetry(lifted, lifted[:, ::-1], mask, 5.0) == pytest.approx(4.0)


def test_across_the_midline_there_is_no_other_side() -> None:
    values = np.random.default_rng(1).normal(50, 5, (100, 160))
    found = measure_region(values, image_of(values), disc((100, 160), (75, 50), 20), region_id="R1", segmenter="x")
    assert found.get("asymmetry") is None


@pytest.mark.parametrize(
    ("name", "rgb"), [(n, tuple(a)) for n, all_ in knowledge("colours")["colours"].items() for a in all_]
)
def test_every_anchor_has_its_own_name(name: str, rgb: tuple[int, int, int]) -> None:
    flat = np.full((10, 10, 3), rgb, np.uint8)
    assert dominant_colours(flat, np.ones((10, 10), bool)) == ((name, 1.0),)


def test_flat_colours_have_the_shares_they_were_painted_in() -> None:
    values = np.zeros((100, 100, 3), np.uint8)
    values[:, :70], values[:, 70:95], values[:, 95:98] = (190, 40, 40), (110, 70, 35), (250, 250, 250)
    names = [(c.name, c.share) for c in dominant_colours(values, np.ones((100, 100), bool))]
    assert names == [
        ("red", pytest.approx(0.7, abs=0.02)),
        ("brown", pytest.approx(0.25, abs=0.02)),
    ]  # 3% of white and 2% of black are too few
    with pytest.raises(ValueError, match="no pixel"):
        dominant_colours(values, np.zeros((100, 100), bool))


def test_the_colours_are_those_of_the_vocabulary() -> None:
    assert set(knowledge("colours")["colours"]) == set((attribute("colour") or {})["values"])
