"""Views, and what is refused with words that a planner can act on."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom.data import get_testdata_file

from medloupe.errors import ActionRejected
from medloupe.tools.imaging import MemoryStore, load_study
from medloupe.tools.imaging.volume import Volume
from medloupe.tools.look import Loupe
from medloupe.types import BoundingBox, Mask, Region, Window

BOX = BoundingBox(x0=280, y0=190, x1=360, y1=260)


def picture_of(loupe: Loupe, view) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(loupe.store.get_png(view.digest), np.uint8), cv2.IMREAD_UNCHANGED)


def test_the_overview_is_the_whole_image(abdomen):
    view = abdomen.overview()
    assert (view.index, view.kind, view.depth) == (0, "overview", 0)
    assert view.box.as_tuple() == (0, 0, 484, 300) and view.width == 512
    assert picture_of(abdomen, view).shape[:2] == (view.height, view.width)


def test_a_zoom_keeps_the_window_and_counts_its_depth(abdomen):
    wide = abdomen.window(abdomen.overview(), window=Window(centre=300, width=900, source="set"), index=1)
    zoom = abdomen.zoom(wide, BOX, index=2)
    deeper = abdomen.zoom(zoom, BoundingBox(x0=300, y0=200, x1=320, y1=220), index=3, region="R4")
    assert zoom.window == wide.window and zoom.parent == 1 and zoom.box == BOX
    assert (deeper.depth, deeper.region, deeper.parent) == (2, "R4", 2)


def test_a_focal_crop_shows_the_surroundings_and_the_outline(abdomen):
    mask = np.zeros((300, 484), bool)
    mask[200:250, 290:345] = True
    region = Region(id="R1", image=0, box=BoundingBox.of_mask(mask), mask=Mask.from_array(mask))
    view = abdomen.crop(abdomen.overview(), region, index=1)
    assert view.box.as_tuple() == (235, 150, 400, 300), "a box-size more on each side, clipped below"
    assert (view.overlay, view.region) == ("contour", "R1")
    assert picture_of(abdomen, view).ndim == 3
    small = region.model_copy(update={"box": BoundingBox(x0=100, y0=100, x1=104, y1=104), "mask": None})
    view = abdomen.crop(abdomen.overview(), small, index=2)
    assert view.box.as_tuple() == (78, 78, 126, 126) and view.overlay == "none"


def test_a_window_shows_the_same_place_differently(abdomen):
    zoom = abdomen.zoom(abdomen.overview(), BOX, index=1)
    narrow = abdomen.window(zoom, window=Window(centre=200, width=100, source="set"), index=2)
    assert narrow.box == zoom.box and narrow.digest != zoom.digest
    preset = abdomen.window(zoom, preset="default", index=3)
    assert preset.window == abdomen.image(0).window


def test_two_views_stand_side_by_side(abdomen):
    left, right = abdomen.overview(), abdomen.zoom(abdomen.overview(), BOX, index=1)
    pair = abdomen.compare(left, right, index=2)
    assert (pair.overlay, pair.parent, pair.other) == ("pair", 0, 1)
    assert picture_of(abdomen, pair).shape[1] >= left.width + right.width


def test_a_slice_of_a_stack():
    store = MemoryStore()
    study = load_study(get_testdata_file("SC_rgb_rle_2frame.dcm", download=False), store)
    loupe = Loupe(study, store)
    view = loupe.slice(0, 1, index=4)
    assert (view.kind, view.image, view.index) == ("slice", study.series[0].images[1], 4)
    assert view.digest != loupe.overview(0).digest
    with pytest.raises(ActionRejected, match="slices 0 to 1; there is no slice 2"):
        loupe.slice(0, 2, index=5)
    with pytest.raises(ActionRejected, match="no series 1"):
        loupe.slice(1, 0, index=5)


def test_a_colour_picture_has_no_window(loupe_on):
    loupe = loupe_on(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    with pytest.raises(ActionRejected, match="in colour"):
        loupe.window(loupe.overview(), preset="default", index=1)


OUTSIDE = BoundingBox(x0=600, y0=10, x1=700, y1=60)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        pytest.param(lambda l, v: l.zoom(v, OUTSIDE, index=1), "outside image 0, which is 484 x 300", id="zoom"),
        pytest.param(lambda l, v: l.segment(v, box=OUTSIDE, first_id=1), "outside image 0", id="segment"),
        pytest.param(lambda l, v: l.outline(0, OUTSIDE), "outside image 0", id="outline"),
        pytest.param(lambda l, v: l.segment(v, points=[(9.0, 300.0)], first_id=1), r"point \(9, 300\)", id="point"),
        pytest.param(lambda l, v: l.outline(3, BOX), "no image 3", id="image"),
        pytest.param(lambda l, v: l.window(v, preset="neon", index=1), "no window preset 'neon'", id="preset"),
        pytest.param(lambda l, v: l.window(v, index=1), "either a preset or", id="no window"),
        pytest.param(lambda l, v: l.compare(v, v, index=1), "same picture", id="same twice"),
        pytest.param(
            lambda l, v: l.zoom(l.compare(v, l.zoom(v, BOX, index=1), index=2), BOX, index=3),
            "V2 is two views side by side .* name V0 or V1",
            id="pair",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_in_words_for_the_planner(abdomen, ask, words):
    with pytest.raises(ActionRejected, match=words):
        ask(abdomen, abdomen.overview())


def test_a_region_in_which_nothing_stands_out_is_not_measured(loupe_on):
    loupe = loupe_on(np.full((100, 100), 50, np.uint8))
    region = Region(id="R2", image=0, box=BoundingBox(x0=10, y0=10, x1=40, y1=40))
    with pytest.raises(ActionRejected, match="Nothing in region R2 stands out"):
        loupe.measure(region)


def test_points_on_nothing_are_refused(loupe_on):
    loupe = loupe_on(np.full((100, 100), 50, np.uint8))
    with pytest.raises(ActionRejected, match="Nothing under those points"):
        loupe.segment(loupe.overview(), points=[(50.0, 50.0)], first_id=1)


@pytest.fixture
def stack(shared_data: Path) -> Loupe:
    """A real MR of the head, 24 oblique axial slices."""
    store = MemoryStore()
    return Loupe(load_study(shared_data / "mri_t1_dicom_studyforrest" / "stack_0150", store), store)


def test_a_slice_across_a_volume_can_be_looked_at_like_any_other(stack):
    planes = stack.planes(0)
    assert set(planes) == {"coronal", "sagittal"}
    view = stack.slice(0, planes["coronal"] // 2, plane="coronal", index=1)
    assert (view.kind, view.plane) == ("slice", "coronal")
    image = stack.image(view.image)
    assert (image.patient_orientation, image.spacing.source) == (("L", "F"), "reformat")
    values, again = Volume.of(stack.study, 0, stack.store).reformat("coronal", planes["coronal"] // 2)
    assert np.array_equal(stack.store.get(image.digest), values)
    assert image.position == again.position
    zoomed = stack.zoom(view, BoundingBox(x0=100, y0=5, x1=140, y1=20), index=2)
    assert zoomed.image == view.image
    assert zoomed.to_patient(0, 0) == pytest.approx(tuple(np.array(image.image_to_patient()) @ [100, 5, 1]))
    assert stack.measure(
        Region(id="R1", image=view.image, box=zoomed.box, mask=Mask.from_array(np.ones(values.shape, bool)))
    ).get("area").unit == "mm2"  # fmt: skip


def test_the_plane_it_was_acquired_in_is_the_series_own(stack):
    assert stack.slice(0, 5, plane="axial", index=1) == stack.slice(0, 5, index=1)


def test_an_index_means_the_same_slice_in_another_process(stack):
    view = stack.slice(0, 80, plane="sagittal", index=1)
    later = Loupe(stack.study, stack.store)
    assert later.image(view.image) == stack.image(view.image)
    assert later.slice(0, 80, plane="sagittal", index=1) == view


def test_what_has_no_such_plane_says_why(stack, abdomen):
    with pytest.raises(ActionRejected, match=r"coronal plane of series 0 has slices 0 to \d+; there is no slice 9999"):
        stack.slice(0, 9999, plane="coronal", index=1)
    with pytest.raises(ActionRejected, match="Series 0 is no volume"):
        abdomen.slice(0, 0, plane="coronal", index=1)
    assert abdomen.planes(0) == {}
    with pytest.raises(ActionRejected, match="There is no image 99999"):
        stack.image(99999)
