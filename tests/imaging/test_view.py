"""What a model is shown: crops from full resolution, one encoding, grey in one channel."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom.dataset import Dataset

from medloupe.errors import ActionRejected
from medloupe.tools.imaging import MemoryStore, cut_view, load_study, pair_view, render
from medloupe.types import BoundingBox, Image, Mask, View, Window


def picture_of(store: MemoryStore, view: View) -> np.ndarray:
    """RGB or grey."""
    picture = cv2.imdecode(np.frombuffer(store.get_png(view.digest), np.uint8), cv2.IMREAD_UNCHANGED)
    return picture if picture.ndim == 2 else picture[:, :, ::-1]


@pytest.fixture
def brain(real: Callable[[str], Path], store: MemoryStore) -> Image:
    return load_study(real("examples_overlay.dcm"), store).images[0]  # MR, 484 x 300


def test_an_overview_shows_everything_with_its_longer_side_at_the_asked_length(
    brain: Image, store: MemoryStore
) -> None:
    view = cut_view(store, brain, BoundingBox(x0=0, y0=0, x1=484, y1=300), index=0, kind="overview", longest=256)
    assert (view.width, view.height) == (256, round(300 * 256 / 484))
    assert (view.kind, view.depth, view.parent, view.overlay) == ("overview", 0, None, "none")
    assert picture_of(store, view).shape == (view.height, view.width), "grey has one channel"


def test_a_zoom_is_cut_from_full_resolution(brain: Image, store: MemoryStore) -> None:
    box = BoundingBox(x0=100, y0=50, x1=356, y1=250)
    view = cut_view(store, brain, box, index=1, kind="zoom", longest=256)  # one picture pixel an image pixel
    full = render(store.get(brain.digest), brain, None)
    assert np.array_equal(picture_of(store, view), full[50:250, 100:356])


def test_a_box_is_snapped_outward_and_clipped(brain: Image, store: MemoryStore) -> None:
    view = cut_view(store, brain, BoundingBox(x0=-9.5, y0=10.2, x1=20.1, y1=31.0), index=1, kind="zoom")
    assert view.box.as_tuple() == (0, 10, 21, 31)


@pytest.mark.parametrize("box", [(484, 0, 500, 20), (-30, -30, -1, -1), (0, 300, 5, 301)])
def test_a_box_outside_the_image_is_refused(brain: Image, store: MemoryStore, box: tuple[float, ...]) -> None:
    with pytest.raises(ActionRejected, match=re.escape("outside the image of 484 x 300 pixels")):
        cut_view(store, brain, BoundingBox.from_tuple(box), index=1, kind="zoom")


def test_the_digest_is_that_of_the_bytes_and_nothing_is_encoded_twice_differently(
    brain: Image, store: MemoryStore
) -> None:
    box = BoundingBox(x0=10, y0=10, x1=60, y1=60)
    first, second = (cut_view(store, brain, box, index=n, kind="zoom") for n in (1, 2))
    assert first.digest == second.digest == hashlib.sha256(store.get_png(first.digest)).hexdigest()


def test_another_window_shows_other_greys_at_the_same_depth(brain: Image, store: MemoryStore) -> None:
    zoom = cut_view(store, brain, BoundingBox(x0=10, y0=10, x1=110, y1=110), index=1, kind="zoom")
    window = Window(centre=100, width=50, source="set")
    again = cut_view(store, brain, zoom.box, index=2, kind="window", window=window, parent=zoom)
    assert (again.window, again.parent, again.depth) == (window, 1, zoom.depth)
    assert again.digest != zoom.digest


def test_a_contour_runs_outside_the_mask_and_leaves_its_inside_alone(brain: Image, store: MemoryStore) -> None:
    mask = np.zeros((300, 484), bool)
    mask[100:120, 200:230] = True
    box = BoundingBox(x0=180, y0=80, x1=250, y1=140)
    plain = picture_of(store, cut_view(store, brain, box, index=1, kind="crop"))
    view = cut_view(store, brain, box, index=2, kind="crop", contour=Mask.from_array(mask))
    drawn = picture_of(store, view)
    rows, columns = np.nonzero(np.any(drawn != plain[:, :, None], axis=2))

    x0, y0, x1, y1 = view.box_from_image(BoundingBox.of_mask(mask)).as_tuple()
    assert view.overlay == "contour"
    assert columns.min() == pytest.approx(x0 - 1, abs=1.5)
    assert columns.max() == pytest.approx(x1, abs=1.5)
    assert rows.min() == pytest.approx(y0 - 1, abs=1.5)
    assert rows.max() == pytest.approx(y1, abs=1.5)
    inside = (rows > y0 + 1) & (rows < y1 - 2) & (columns > x0 + 1) & (columns < x1 - 2)
    assert not inside.any()


def test_a_pair_holds_both_pictures_side_by_side(brain: Image, store: MemoryStore, real: Callable[[str], Path]) -> None:
    whole = BoundingBox(x0=0, y0=0, x1=484, y1=300)
    a = cut_view(store, brain, whole, index=0, kind="overview", longest=128)
    b = cut_view(store, brain, whole, index=1, kind="overview", longest=200)
    pair = pair_view(store, a, b, index=2)
    picture = picture_of(store, pair)
    assert np.array_equal(picture[: a.height, : a.width], picture_of(store, a))
    assert np.array_equal(picture[: b.height, -b.width :], picture_of(store, b))
    assert (pair.overlay, pair.other, pair.parent, pair.image_to_patient) == ("pair", 1, 0, None)

    colour = load_study(real("examples_rgb_color.dcm"), store).images[0]
    c = cut_view(store, colour, BoundingBox(x0=0, y0=0, x1=320, y1=240), index=3, kind="overview")
    mixed = picture_of(store, pair_view(store, a, c, index=4))
    assert np.array_equal(mixed[: c.height, -c.width :], picture_of(store, c)), "colours keep their order"


def test_monochrome1_is_shown_inverted_and_keeps_its_values(
    ct: Callable[..., Dataset], save: Callable[..., Path], store: MemoryStore
) -> None:
    window = {"WindowCenter": -976, "WindowWidth": 48}
    one = load_study(save(ct(PhotometricInterpretation="MONOCHROME1", **window), "one.dcm"), store).images[0]
    two = load_study(save(ct(**window), "two.dcm"), store).images[0]
    assert one.inverted
    assert one.digest == two.digest
    values = store.get(one.digest)
    assert np.array_equal(render(values, one, None), 255 - render(values, two, None))


def test_a_single_pixel_can_be_looked_at(brain: Image, store: MemoryStore) -> None:
    view = cut_view(store, brain, BoundingBox(x0=5.2, y0=5.2, x1=5.3, y1=5.3), index=1, kind="zoom", longest=64)
    assert (view.box.area, view.width, view.height) == (1, 64, 64)
    assert len(np.unique(picture_of(store, view))) == 1
