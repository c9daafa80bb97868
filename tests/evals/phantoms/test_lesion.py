"""What is drawn is what the words say: lengths, outlines and edges measured with scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import regionprops

from medloupe.evals.phantoms.drawing import draw_lesion
from medloupe.evals.phantoms.lesion import Grid, Lesion, Outline
from medloupe.tools.measure.contour import border_gradient, radial_spectrum

WHOLE = Grid(0, 0, 1, 240, 240)


def lesions(kind: str, count: int, size: float = 90, **wanted: str) -> list[Lesion]:
    """Drawn ones that have the attributes wanted."""
    found = []
    for seed in range(2000):
        lesion = draw_lesion(kind, "standard", np.random.default_rng(seed), (120.3, 118.8, size), -840)
        if all(lesion.attributes.get(name) == value for name, value in wanted.items()):
            found.append(lesion)
        if len(found) == count:
            return found
    raise AssertionError(f"only {len(found)} of {wanted}")


def props(lesion: Lesion):
    return regionprops(lesion.mask(WHOLE).astype(np.uint8))[0]


@pytest.mark.parametrize("size", [8, 20, 61.5, 150])
def test_the_long_axis_is_the_greatest_diameter_of_the_mask(size: float) -> None:
    for lesion in lesions("ct", 12, size):
        # A spicule's tip is thinner than a pixel: there the mask may end a pixel or two earlier.
        slack = 4 if lesion.attributes["margin"] == "spiculated" else 2
        assert props(lesion).feret_diameter_max == pytest.approx(size, abs=slack)


@pytest.mark.parametrize(
    ("shape", "aspect", "solidity"),
    [
        ("round", (0.86, 1.01), (0.96, 1)),
        ("oval", (0.48, 0.76), (0.95, 1)),
        ("lobulated", (0.5, 1.01), (0.81, 0.91)),
        ("irregular", (0.3, 1.01), (0.5, 0.79)),
    ],
)
def test_shapes_are_what_the_vocabulary_calls_so(shape, aspect, solidity) -> None:
    for lesion in lesions("ct", 10, shape=shape, margin="well-defined"):
        measured = props(lesion)
        assert solidity[0] <= measured.solidity <= solidity[1]
        if shape in ("round", "oval"):
            assert aspect[0] <= measured.axis_minor_length / measured.axis_major_length <= aspect[1]


def test_only_a_spiculated_outline_has_spicules() -> None:
    spiculated = [radial_spectrum(x.mask(WHOLE)).spiculation for x in lesions("ct", 10, margin="spiculated")]
    smooth = [radial_spectrum(x.mask(WHOLE)).spiculation for x in lesions("ct", 10, margin="well-defined")]
    assert min(spiculated) > 3 * max(smooth)


def test_an_ill_defined_edge_is_an_even_slope_and_a_well_defined_one_a_step() -> None:
    def steepness(lesion: Lesion) -> float:
        values = np.full((240, 240, 1), -840, np.float32)
        lesion.paint(values, WHOLE)
        rise = border_gradient(values[..., 0], lesion.mask(WHOLE))
        return rise / (lesion.level[0] + 840)

    soft = [steepness(x) for x in lesions("ct", 8, margin="ill-defined", shape="round", density="solid")]
    sharp = [steepness(x) for x in lesions("ct", 8, margin="well-defined", shape="round", density="solid")]
    assert max(soft) < 0.1 < 0.25 < min(sharp)


def test_a_heterogeneous_lesion_varies_and_a_homogeneous_one_does_not() -> None:
    def spread(lesion: Lesion) -> float:
        values = np.zeros((240, 240, 1), np.float32)
        lesion.paint(values, WHOLE)
        share = lesion.occupancy(WHOLE)
        assert share is not None
        inside = np.zeros((240, 240), bool)
        inside[share[0], share[1]] = share[2] > 0.99
        return float(values[inside].std())

    assert all(spread(x) < 1 for x in lesions("ct", 5, homogeneity="homogeneous", density="solid"))
    assert all(spread(x) > 100 for x in lesions("ct", 5, homogeneity="heterogeneous", density="solid"))


def test_a_lesion_is_the_same_on_every_grid() -> None:
    lesion = lesions("ct", 1, shape="lobulated")[0]
    fine, coarse = lesion.mask(Grid(0, 0, 0.5, 480, 480)), lesion.mask(Grid(0, 0, 2, 120, 120))
    areas = [fine.sum() * 0.25, lesion.mask(WHOLE).sum(), coarse.sum() * 4]
    assert max(areas) < 1.02 * min(areas)


def test_nothing_is_drawn_outside_the_grid() -> None:
    lesion = Lesion(finding="nodule", x=500, y=500, long_axis=20, outline=Outline("round"))
    assert lesion.occupancy(WHOLE) is None
    assert not lesion.mask(WHOLE).any()
