"""Proposals: what stands out is found, and nothing is found in nothing."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
from scipy import ndimage

from medloupe.tools.look import Loupe
from medloupe.tools.look.saliency import _filled, body_mask, salient
from medloupe.types import BoundingBox

KIDNEYS = (BoundingBox(x0=119, y0=230, x1=187, y1=335), BoundingBox(x0=289, y0=198, x1=347, y1=252))


def noise(kind: str) -> np.ndarray:
    rng = np.random.default_rng(3)
    field = {
        "gaussian": lambda: rng.normal(128, 40, (512, 512)),
        "strong gaussian": lambda: rng.normal(128, 90, (512, 512)),
        "uniform": lambda: rng.uniform(0, 255, (512, 512)),
        "rayleigh": lambda: rng.rayleigh(50, (512, 512)),
        "salt and pepper": lambda: (rng.uniform(size=(512, 512)) > 0.9) * 255,
        "poisson": lambda: rng.poisson(5, (300, 200)) * 10,
        "smoothed": lambda: 128 + 400 * cv2.GaussianBlur(rng.normal(0, 1, (512, 512)), (0, 0), 3),
    }[kind]()
    return np.clip(field, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "picture",
    [
        pytest.param(np.zeros((512, 512), np.uint8), id="black"),
        pytest.param(np.full((512, 512), 255, np.uint8), id="white"),
        pytest.param(np.full((300, 500), 117, np.uint8), id="constant"),
        pytest.param(np.tile(np.linspace(0, 255, 512).astype(np.uint8), (512, 1)), id="ramp"),
        pytest.param(np.full((4, 4), 9, np.uint8), id="tiny"),
        *(
            pytest.param(noise(kind), id=kind)
            for kind in (
                "gaussian", "strong gaussian", "uniform", "rayleigh", "salt and pepper", "poisson", "smoothed",
            )
        ),
    ],
)  # fmt: skip
def test_nothing_is_proposed_where_there_is_nothing(picture):
    assert salient(picture, 6) == []


def test_a_bright_and_a_dark_disc_are_found_whatever_their_size(loupe_on, disc):
    small, bright = disc(row=120, column=380, radius=9, step=100)
    _, dark = disc(row=340, column=150, radius=55)
    picture = np.where(dark, small - 45, small).astype(np.uint8)
    loupe = loupe_on(picture)
    found = loupe.segment(loupe.overview(), first_id=1)
    assert [region.id for region in found] == ["R1", "R2"]
    assert {region.source for region in found} == {"proposal"}
    for truth in (bright, dark):
        assert max(region.box.iou(BoundingBox.of_mask(truth)) for region in found) > 0.7


def test_a_zoomed_view_is_searched_at_its_own_scale(loupe_on, disc):
    picture, truth = disc(2000, row=700, column=1500, radius=7, step=110)
    loupe = loupe_on(picture)
    view = loupe.zoom(loupe.overview(), BoundingBox(x0=1400, y0=600, x1=1600, y1=800), index=1)
    (found,) = loupe.segment(view, first_id=1)
    assert found.view == 1 and found.box.iou(BoundingBox.of_mask(truth)) > 0.6


def test_the_border_the_letterbox_and_lettering_are_not_proposed(disc):
    picture, truth = disc(row=256, column=256, radius=30)
    framed = cv2.copyMakeBorder(picture, 0, 0, 120, 120, cv2.BORDER_CONSTANT, value=0)
    cv2.putText(framed, "R 12 cm", (8, 60), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 255, 1)
    cv2.circle(framed, (376, 0), 40, 250, -1)  # runs out of the picture
    (found,) = salient(framed, 6)
    assert found.box.iou(BoundingBox.of_mask(np.pad(truth, ((0, 0), (120, 120))))) > 0.7


def test_air_and_letterbox_are_not_body_but_a_slide_full_of_cells_is():
    body = np.full((300, 400), 110, np.uint8)
    framed = cv2.copyMakeBorder(body, 40, 40, 60, 60, cv2.BORDER_CONSTANT, value=0)
    assert body_mask(framed).sum() == pytest.approx(body.size, rel=0.03), "to within the reach of the flatness test"
    slide = np.full((300, 400), 220, np.uint8)
    for x in range(40, 400, 80):
        cv2.circle(slide, (x, 150), 15, 90, -1)
    assert body_mask(slide).all()
    assert len(salient(slide, 9)) == 5


def test_holes_are_filled_as_scipy_fills_them():
    chance = np.random.default_rng(5)
    for _ in range(40):
        region = np.pad(cv2.blur(chance.random((40, 50)), (3, 3)) > 0.5, 1)
        assert np.array_equal(_filled(region), ndimage.binary_fill_holes(region))


@pytest.mark.parametrize("network", [False, True], ids=["no segmenter", "litemedsam"])
def test_both_kidneys_are_among_the_proposals_of_a_real_study(abdomen, request, network):
    loupe = Loupe(abdomen.study, abdomen.store, request.getfixturevalue("litemedsam") if network else None)
    found = loupe.segment(loupe.overview(), first_id=1)
    assert len(found) == 6
    assert max(region.box.iou(KIDNEYS[1]) for region in found) > 0.7
    assert found == loupe.segment(loupe.overview(), first_id=1), "the same view has the same proposals"
    assert len(loupe.segment(loupe.overview(), first_id=1, limit=2)) == 2


def test_proposals_take_less_than_half_a_second_of_one_core(abdomen):
    image = abdomen.image(0)
    grey = cv2.resize(abdomen._outliner.shown(image, image.window, abdomen.overview().box).picture, (512, 512))
    salient(grey, 12)
    begun = time.thread_time()
    assert salient(grey, 12)
    assert time.thread_time() - begun < 0.5


def test_lesions_of_real_ultrasound_are_found_more_often_than_not(shared_data):
    folder = shared_data / "us_breast_lesions_usg"
    hits = []
    for file in sorted((folder / "images").glob("*.png")):
        lesion = cv2.imread(str(folder / "masks" / file.name), cv2.IMREAD_COLOR).max(axis=2) > 127
        found = salient(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE), 6)
        hits.append(any(place.box.iou(BoundingBox.of_mask(lesion)) > 0.3 for place in found))
    assert sum(hits) > len(hits) / 2
