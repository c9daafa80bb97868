"""A point keeps its place: picture pixels to full-image pixels to patient millimetres, through four nested zooms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom.dataset import Dataset

from medloupe.tools.imaging import MemoryStore, cut_view, load_study
from medloupe.types import BoundingBox, Image, View

HALF_A_PIXEL = 0.5
"""Of the full image."""
# An oblique plane: two perpendicular unit vectors off every axis.
ALONG, DOWN = np.array([0.8, 0.6, 0.0]), np.array([-0.36, 0.48, 0.8])
POSITION, ROW_MM, COLUMN_MM = np.array([-120.0, 35.5, 412.25]), 0.7, 0.45


@pytest.fixture
def oblique(ct: Callable[..., Dataset], save: Callable[..., Path]) -> Callable[[np.ndarray], Path]:
    def write(pixels: np.ndarray) -> Path:
        return save(
            ct(
                pixels,
                PixelSpacing=[ROW_MM, COLUMN_MM],
                ImagePositionPatient=POSITION.tolist(),
                ImageOrientationPatient=[*ALONG, *DOWN],
                WindowCenter=500,
                WindowWidth=1001,
                RescaleIntercept=0,
            )
        )

    return write


def zoom_four_times(store: MemoryStore, image: Image, truth: BoundingBox, rng: np.random.Generator) -> list[View]:
    """An overview and four zooms, each asked for in the pixels of the picture before it, as a model does."""
    whole = BoundingBox(x0=0, y0=0, x1=image.width, y1=image.height)
    views = [cut_view(store, image, whole, index=0, kind="overview")]
    for depth in range(1, 5):
        seen = views[-1].box_from_image(truth)
        # Leave a random part of the way to the picture's edges on each side.
        left, top, right, bottom = rng.uniform(0.3, 0.8, 4)
        asked = BoundingBox(
            x0=seen.x0 * left,
            y0=seen.y0 * top,
            x1=views[-1].width - (views[-1].width - seen.x1) * right,
            y1=views[-1].height - (views[-1].height - seen.y1) * bottom,
        )
        box = views[-1].box_to_image(asked)
        views.append(cut_view(store, image, box, index=depth, kind="zoom", parent=views[-1]))
    return views


@pytest.mark.parametrize("seed", range(20))
def test_boxes_come_back_through_four_nested_zooms(oblique: Callable[..., Path], store: MemoryStore, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = (int(n) for n in rng.integers(600, 1100, 2))
    image = load_study(oblique(np.zeros((rows, columns), np.uint16)), store).images[0]
    x, y = rng.uniform(0.2, 0.7, 2) * (columns, rows)
    truth = BoundingBox(x0=x, y0=y, x1=x + rng.uniform(3, 80), y1=y + rng.uniform(3, 80))

    views = zoom_four_times(store, image, truth, rng)

    assert [v.depth for v in views] == [0, 1, 2, 3, 4]
    for view in views:
        assert view.box_to_image(view.box_from_image(truth)).as_tuple() == pytest.approx(truth.as_tuple(), abs=1e-6)
    # A model answers in whole pixels of the last picture.
    answered = BoundingBox(**{k: round(v) for k, v in views[-1].box_from_image(truth)})
    found = views[-1].box_to_image(answered)
    assert np.abs(np.subtract(found.as_tuple(), truth.as_tuple())).max() <= HALF_A_PIXEL
    for corner in ((answered.x0, answered.y0), (answered.x1, answered.y1)):
        column, row = views[-1].to_image(*corner)
        # PS3.3 C.7.6.2.1.1, whose indices count from the centre of the first pixel.
        expected = POSITION + ALONG * COLUMN_MM * (column - 0.5) + DOWN * ROW_MM * (row - 0.5)
        assert views[-1].to_patient(*corner) == pytest.approx(tuple(expected), abs=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_a_bright_dot_is_drawn_where_the_affine_says(
    oblique: Callable[..., Path], store: MemoryStore, seed: int
) -> None:
    rng = np.random.default_rng(100 + seed)
    pixels = np.zeros((int(rng.integers(600, 1100)), int(rng.integers(600, 1100))), np.uint16)
    row, column = (int(n * rng.uniform(0.2, 0.8)) for n in pixels.shape)
    pixels[row, column] = 1000
    image = load_study(oblique(pixels), store).images[0]
    dot = BoundingBox(x0=column - 3, y0=row - 3, x1=column + 4, y1=row + 4)

    for view in zoom_four_times(store, image, dot, rng)[1:]:
        picture = cv2.imdecode(np.frombuffer(store.get_png(view.digest), np.uint8), cv2.IMREAD_UNCHANGED)
        assert picture.shape == (view.height, view.width)
        x, y = centre_of_mass(picture)
        found = view.to_image(x, y)
        assert np.abs(np.subtract(found, (column + 0.5, row + 0.5))).max() <= HALF_A_PIXEL
        millimetres = POSITION + ALONG * COLUMN_MM * column + DOWN * ROW_MM * row  # the centre of that pixel
        assert np.linalg.norm(np.subtract(view.to_patient(x, y), millimetres)) <= HALF_A_PIXEL * ROW_MM


def centre_of_mass(picture: np.ndarray) -> tuple[float, float]:
    """(x, y) of what is bright, in continuous pixels of the picture."""
    weight = np.where(picture > picture.max() / 3, picture, 0).astype(float)
    rows, columns = np.indices(picture.shape)
    return ((columns + 0.5) * weight).sum() / weight.sum(), ((rows + 0.5) * weight).sum() / weight.sum()


def test_without_geometry_there_are_no_millimetres(
    ct: Callable[..., Dataset], save: Callable[..., Path], store: MemoryStore
) -> None:
    image = load_study(save(ct(PixelSpacing=None)), store).images[0]
    view = cut_view(store, image, BoundingBox(x0=0, y0=0, x1=8, y1=6), index=0, kind="overview")
    assert view.to_patient(1, 1) is None
