"""Everything measured in one region, on images whose numbers were put there."""

import numpy as np
import pytest
from drawn import disc, ellipse, image_of

from medloupe.tools.measure import (
    contrast,
    density_word,
    intensity_word,
    luminance,
    measure_region,
    ring,
    solid_word,
    statistics,
)
from medloupe.tools.measure.intensity import Statistics
from medloupe.types import Measurement, Spacing


def _value(measurement: Measurement, name: str) -> float | str:
    found = measurement.get(name)
    assert found is not None, name
    return found.value


@pytest.fixture
def ct() -> Measurement:
    """A disc of 60 HU, 40 px across, in fat of -100 HU; pixels of 0.5 mm; at column 80, row 128 of 256."""
    mask = disc((256, 256), (80, 128), 20)
    noise = np.random.default_rng(1).normal(0, 5, mask.shape)
    values = np.round(np.where(mask, 60, -100) + noise).astype(np.int16)
    spacing = Spacing(row_mm=0.5, column_mm=0.5, source="PixelSpacing")
    image = image_of(values, values="HU", modality="CT", spacing=spacing, patient_orientation=("L", "P"))
    return measure_region(values, image, mask, region_id="R1", segmenter="given", quality=0.9)


def test_lengths_are_millimetres_where_the_file_says_so(ct: Measurement) -> None:
    assert _value(ct, "long_axis") == pytest.approx(20, abs=0.6)
    assert _value(ct, "short_axis") == pytest.approx(20, abs=0.6)
    assert _value(ct, "area") == pytest.approx(np.pi * 10**2, rel=0.01)
    units = {name: q.unit for name in ("long_axis", "area") if (q := ct.get(name))}
    assert units == {"long_axis": "mm", "area": "mm2"}


def test_lengths_are_pixels_where_it_does_not() -> None:
    mask = disc((100, 100), (50, 50), 20)
    found = measure_region(np.zeros((100, 100), np.int16), image_of(mask), mask, region_id="R1", segmenter="x")
    assert _value(found, "long_axis") == pytest.approx(40, abs=1)
    axis = found.get("long_axis")
    assert axis is not None
    assert axis.unit == "px"
    assert "no pixel size" in axis.method


def test_density_and_brightness_are_what_was_put_there(ct: Measurement) -> None:
    assert _value(ct, "mean") == pytest.approx(60, abs=1)
    assert _value(ct, "ring_mean") == pytest.approx(-100, abs=1)
    assert _value(ct, "std") == pytest.approx(5, abs=0.5)
    assert _value(ct, "contrast") == pytest.approx(160 / 5, rel=0.1)
    assert (_value(ct, "intensity"), _value(ct, "density")) == ("hyperintense", "soft-tissue")
    assert _value(ct, "solid_share") == 1.0


def test_place_side_and_shape_are_said(ct: Measurement) -> None:
    assert (_value(ct, "site"), _value(ct, "side"), _value(ct, "shape")) == ("image left", "right", "round")
    assert _value(ct, "site_x") == pytest.approx(80 / 256, abs=0.002)
    assert (ct.region, ct.segmenter, ct.quality) == ("R1", "given", 0.9)


def test_a_file_without_orientation_gives_no_side_and_stored_values_no_density() -> None:
    mask = disc((100, 100), (50, 50), 20)
    found = measure_region(np.where(mask, 9, 3), image_of(mask), mask, region_id="R1", segmenter="x")
    assert found.get("side") is None
    assert found.get("density") is None
    mean = found.get("mean")
    assert mean is not None
    assert (mean.value, mean.unit) == (9.0, "stored")


def test_brightness_is_as_shown_when_low_values_are_shown_white() -> None:
    mask = disc((100, 100), (50, 50), 20)
    values = np.where(mask, 10, 200)
    shown = measure_region(values, image_of(values, inverted=True), mask, region_id="R1", segmenter="x")
    assert _value(shown, "intensity") == "hyperintense"
    assert _value(shown, "mean") == 10.0


def test_colour_is_measured_on_its_luminance() -> None:
    mask = disc((100, 100), (50, 50), 20)
    values = np.zeros((100, 100, 3), np.uint8)
    values[mask] = (255, 0, 0)
    found = measure_region(values, image_of(values), mask, region_id="R1", segmenter="x")
    mean = found.get("mean")
    assert mean is not None
    assert mean.value == pytest.approx(0.2125 * 255, abs=0.1)
    assert mean.unit == "grey"
    assert luminance(np.full((2, 2, 3), 255, np.uint8)) == pytest.approx(255)


def test_a_region_that_fills_the_image_has_no_ring_and_no_brightness_word() -> None:
    mask = np.ones((40, 40), bool)
    found = measure_region(np.zeros((40, 40)), image_of(mask), mask, region_id="R1", segmenter="x")
    assert found.get("contrast") is None
    assert found.get("intensity") is None


def test_the_ring_is_a_quarter_radius_wide_and_at_least_three_pixels() -> None:
    big, small = disc((200, 200), (100, 100), 40), disc((60, 60), (30, 30), 5)
    assert ring(big).sum() == pytest.approx(np.pi * (50**2 - 40**2), rel=0.05)
    assert ring(small).sum() == pytest.approx(np.pi * (8**2 - 5**2), rel=0.1)
    assert not (ring(big) & big).any()


def test_contrast_is_in_pooled_standard_deviations_and_finite_without_noise() -> None:
    assert contrast(Statistics(10, 2, 0, 0), Statistics(4, 4, 0, 0)) == pytest.approx(6 / np.sqrt(10))
    assert contrast(Statistics(1, 0, 1, 1), Statistics(0, 0, 0, 0)) == 99.0
    assert contrast(Statistics(1, 0, 1, 1), Statistics(1, 0, 1, 1)) == 0.0


@pytest.mark.parametrize(("of", "word"), [(0.19, "isointense"), (0.21, "hyperintense"), (-0.21, "hypointense")])
def test_brightness_words(of: float, word: str) -> None:
    assert intensity_word(of) == word


@pytest.mark.parametrize(
    ("hu", "word"),
    [
        (-1000, "air"),
        (-600, "ground-glass"),
        (-90, "fat"),
        (5, "fluid"),
        (50, "soft-tissue"),
        (400, "calcified"),
        (-200, None),
    ],
)
def test_density_words(hu: float, word: str | None) -> None:
    assert density_word(hu) == word


def test_how_much_is_solid() -> None:
    assert [solid_word(s) for s in (0.1, 0.5, 0.9)] == ["glass", "part", "solid"]


def test_a_mask_of_another_image_is_refused() -> None:
    mask = ellipse((10, 20), (5, 5), (3, 3))
    with pytest.raises(ValueError, match="rows, columns"):
        measure_region(np.zeros((20, 10)), image_of(np.zeros((20, 10))), mask, region_id="R1", segmenter="x")
    with pytest.raises(ValueError, match="empty mask"):
        measure_region(
            np.zeros((9, 9)), image_of(np.zeros((9, 9))), np.zeros((9, 9), bool), region_id="R1", segmenter="x"
        )
    with pytest.raises(ValueError, match="no pixel"):
        statistics(np.zeros((9, 9)), np.zeros((9, 9), bool))
