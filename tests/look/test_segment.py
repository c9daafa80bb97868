"""Zoom first, segment second."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from medloupe.models.segment import Embedding, Segmentation, Segmenter
from medloupe.tools.look import Loupe
from medloupe.tools.look.segment import keep_component
from medloupe.types import BoundingBox

KIDNEY = BoundingBox(x0=285, y0=195, x1=350, y1=255)
"""Round the brighter pole of the kidney on the right of examples_overlay.dcm."""


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_a_disc_is_outlined_where_it_is(loupe_on, litemedsam, disc):
    picture, truth = disc(row=300, column=180, radius=40)
    mask, name, predicted = loupe_on(picture, litemedsam).outline(0, BoundingBox.of_mask(truth))
    assert iou(mask.to_array(), truth) > 0.9
    assert name == litemedsam.name and 0.8 < predicted <= 1


def test_zooming_first_beats_the_whole_image_on_something_small(loupe_on, litemedsam, disc):
    picture, truth = disc(1024, row=700, column=310, radius=9)
    loupe, box = loupe_on(picture, litemedsam), BoundingBox.of_mask(truth)
    image = loupe.image(0)
    everything = BoundingBox(x0=0, y0=0, x1=1024, y1=1024)
    whole = loupe._outliner.outline_in(image, image.window, everything, box=box)
    mask, _, _ = loupe.outline(0, box)
    assert iou(mask.to_array(), truth) > 0.85
    assert iou(mask.to_array(), truth) > (iou(whole.mask.to_array(), truth) if whole else 0.0) + 0.1


def test_a_real_kidney_is_outlined_and_measured(abdomen, litemedsam):
    loupe = Loupe(abdomen.study, abdomen.store, litemedsam)
    (kidney,) = loupe.segment(loupe.overview(), box=KIDNEY, first_id=7)
    assert (kidney.id, kidney.source, kidney.view) == ("R7", "planner", 0)
    assert kidney.box.iou(KIDNEY) > 0.6 and kidney.predicted_iou > 0.8
    values = loupe.store.get(loupe.image(0).digest)
    inside = kidney.mask.to_array()
    assert values[inside].mean() > 2 * np.median(values), "kidneys are what is bright there"
    measured = loupe.measure(kidney)
    assert measured.segmenter == litemedsam.name
    assert measured.quality == kidney.predicted_iou
    assert 30 < measured.get("long_axis").value < 60 and measured.get("long_axis").unit == "mm"


def test_without_a_segmenter_the_outline_is_by_grey_level(abdomen):
    (kidney,) = abdomen.segment(abdomen.overview(), box=KIDNEY, first_id=1)
    assert kidney.predicted_iou is None and kidney.box.iou(KIDNEY) > 0.6
    assert abdomen.measure(kidney).segmenter == "threshold"
    assert abdomen.measure(kidney.model_copy(update={"mask": None})).segmenter == "threshold"
    assert abdomen.measure(kidney.model_copy(update={"source": "person"})).segmenter == "given"


@pytest.mark.parametrize("network", [True, False], ids=["box-only segmenter", "no segmenter"])
def test_a_point_on_a_thing_outlines_the_thing(loupe_on, litemedsam, disc, network):
    picture, truth = disc(row=200, column=330, radius=35, step=-60)
    loupe = loupe_on(picture, litemedsam if network else None)
    (found,) = loupe.segment(loupe.overview(), points=[(340.0, 190.0)], first_id=1)
    assert iou(found.mask.to_array(), truth) > 0.85


def test_a_box_with_nothing_in_it_is_a_region_without_an_outline(loupe_on):
    loupe = loupe_on(np.full((200, 200), 80, np.uint8))
    asked = BoundingBox(x0=20, y0=30, x1=90, y1=80)
    (region,) = loupe.segment(loupe.overview(), box=asked, first_id=1)
    assert region.mask is None and region.box == asked


def test_of_several_pieces_the_one_in_the_box_is_kept():
    mask = np.zeros((40, 40), bool)
    mask[2:20, 2:20] = True  # larger, but only its corner is in the box
    mask[24:34, 24:34] = True
    kept = keep_component(mask, BoundingBox(x0=18, y0=18, x1=36, y1=36))
    assert kept.sum() == 100 and kept[24:34, 24:34].all()
    assert keep_component(mask, None, [(3.0, 4.0)]).sum() == 18 * 18
    assert not keep_component(mask, BoundingBox(x0=36, y0=0, x1=40, y1=20)).any()


class Counting:
    """A real Protocol implementation that outlines the box it is given and counts its encodings."""

    name = "box-filler"
    prompts = frozenset({"box"})

    def __init__(self) -> None:
        self.encoded = 0
        self.lock = threading.Lock()

    def set_image(self, picture: np.ndarray) -> Embedding:
        with self.lock:
            self.encoded += 1
        return Embedding(width=picture.shape[1], height=picture.shape[0], data=None)

    def predict(self, embedding: Embedding, *, box: BoundingBox | None = None, points=()) -> Segmentation:
        mask = np.zeros((embedding.height, embedding.width), bool)
        mask[int(box.y0) : int(box.y1), int(box.x0) : int(box.x1)] = True
        return Segmentation(mask, 0.9)


def test_a_crop_is_encoded_once_whoever_asks(abdomen):
    counting = Counting()
    assert isinstance(counting, Segmenter)
    loupe = Loupe(abdomen.study, abdomen.store, counting)
    with ThreadPoolExecutor(8) as pool:
        masks = list(pool.map(lambda _: loupe.outline(0, KIDNEY)[0], range(16)))
    assert counting.encoded == 1 and all(masks[0] == mask for mask in masks)
    assert masks[0].box() == KIDNEY, "pasted where it was cut from"
    loupe.outline(0, BoundingBox(x0=120, y0=230, x1=187, y1=335))
    assert counting.encoded == 2


def test_proposals_of_a_view_take_one_encoding(abdomen):
    counting = Counting()
    loupe = Loupe(abdomen.study, abdomen.store, counting)
    assert len(loupe.segment(loupe.overview(), first_id=1)) == 6
    assert counting.encoded == 1


def test_a_segmenter_that_fails_is_asked_again_next_time(abdomen):
    class Failing(Counting):
        def set_image(self, picture: np.ndarray) -> Embedding:
            if self.encoded == 0:
                self.encoded += 1
                raise RuntimeError("out of memory")
            return super().set_image(picture)

    loupe = Loupe(abdomen.study, abdomen.store, Failing())
    with pytest.raises(RuntimeError, match="out of memory"):
        loupe.outline(0, KIDNEY)
    assert loupe.outline(0, KIDNEY) is not None
