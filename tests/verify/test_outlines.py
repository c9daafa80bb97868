"""One outline out of several, and what their disagreement does to a verdict."""

import numpy as np
import pytest
from drawn import disc

from medloupe.models.segment import Embedding, RGBArray, Segmentation
from medloupe.tools.look import Loupe, Outline, Outliner
from medloupe.tools.verify._checks import check_shape, check_size
from medloupe.tools.verify._outlines import Spread, consensus
from medloupe.types import BoolArray, BoundingBox, Mask, Measurement, Quantity

CENTRE = (100, 100)


def _outline(mask: BoolArray, quality: float = 0.9) -> Outline:
    return Outline(Mask.from_array(mask), "drawn", quality, BoundingBox.of_mask(mask))


def _discs(*radii: int) -> list[Outline]:
    return [_outline(disc((200, 200), CENTRE, radius)) for radius in radii]


def test_of_nested_outlines_the_middle_one_is_taken_and_the_middle_half_is_the_interval() -> None:
    found = consensus(_discs(20, 24, 26, 28, 40))
    assert found is not None
    assert found.mask.area == disc((200, 200), CENTRE, 26).sum()
    assert found.spread.long_axis == pytest.approx((24 / 26, 28 / 26), abs=0.01)
    assert found.spread.area == pytest.approx((24 / 26, 28 / 26), abs=0.01)
    shared = [(20 / 26) ** 2, (24 / 26) ** 2, 1, (26 / 28) ** 2, (26 / 40) ** 2]
    assert found.agreement == pytest.approx(np.mean(shared), abs=0.01)


def test_outlines_of_different_things_have_nothing_in_common() -> None:
    apart = [_outline(disc((200, 200), (x, 100), 15)) for x in (30, 100, 170)]
    assert consensus(apart) is None
    assert consensus([]) is None


class _Filling:
    """A network that fills the box it is given: an ellipse from side to side."""

    name = "filling"
    prompts = frozenset({"box"})

    def set_image(self, picture: RGBArray) -> Embedding:
        return Embedding(width=picture.shape[1], height=picture.shape[0], data=None)

    def predict(
        self, embedding: Embedding, *, box: BoundingBox | None = None, points: tuple[tuple[float, float], ...] = ()
    ) -> Segmentation:
        assert box is not None
        rows, columns = np.mgrid[: embedding.height, : embedding.width] + 0.5
        (x, y) = box.centre
        inside = ((columns - x) / box.width) ** 2 + ((rows - y) / box.height) ** 2 <= 0.25
        return Segmentation(inside, 0.9)


def test_a_network_that_fills_a_loose_box_is_asked_with_tighter_ones(png: Loupe) -> None:
    box = BoundingBox(x0=60, y0=60, x1=140, y1=140)
    outlines = Outliner(png.store, _Filling()).outlines(png.study.images[0], None, box)
    assert sorted(round(o.box.width) for o in outlines) == [66, 66, 72, 72, 80, 80]
    assert all(o.box.centre == pytest.approx((100, 100), abs=0.6) for o in outlines)
    found = consensus(outlines)
    assert found is not None
    assert 2 * (found.mask.area / np.pi) ** 0.5 == pytest.approx(80 / 1.1, abs=1)


@pytest.mark.parametrize(
    ("stated", "spread", "verdict"),
    [
        (13.5, (1.0, 1.0), "refuted"),
        (13.5, (0.9, 1.2), "undetermined"),
        (7.0, (1.0, 1.2), "refuted"),
        (7.0, (0.8, 1.0), "undetermined"),
        (11.0, (0.8, 1.2), "supported"),
    ],
)
def test_a_size_is_refuted_only_by_every_outline(stated: float, spread: tuple[float, float], verdict: str) -> None:
    assert check_size("long_axis", stated, "mm", 10.0, 0.1, spread, weak=False).verdict == verdict


@pytest.mark.parametrize(
    ("aspect", "spread", "verdict"), [(0.6, Spread(), "refuted"), (0.6, Spread(aspect=(0.58, 0.84)), "undetermined")]
)
def test_a_shape_is_refuted_only_by_every_outline(aspect: float, spread: Spread, verdict: str) -> None:
    numbers = (Quantity(name="aspect", value=aspect, unit="1/1", method="drawn"),
               Quantity(name="solidity", value=0.98, unit="1/1", method="drawn"),
               Quantity(name="shape", value="oval", method="drawn"))  # fmt: skip
    measured = Measurement(region="R1", quantities=numbers, segmenter="drawn")
    assert check_shape("round", measured, 60.0, spread, weak=False).verdict == verdict
    assert check_shape("oval", measured, 60.0, spread, weak=False).verdict != "refuted"


@pytest.mark.parametrize(("across", "verdict"), [(60.0, "refuted"), (12.0, "undetermined")])
def test_a_pixel_decides_less_about_a_small_shape(across: float, verdict: str) -> None:
    numbers = (Quantity(name="aspect", value=0.73, unit="1/1", method="drawn"),
               Quantity(name="solidity", value=0.98, unit="1/1", method="drawn"),
               Quantity(name="shape", value="oval", method="drawn"))  # fmt: skip
    measured = Measurement(region="R1", quantities=numbers, segmenter="drawn")
    assert check_shape("round", measured, across, weak=False).verdict == verdict
