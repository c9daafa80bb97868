"""Counts of objects, on pictures of known content and on real ones."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn import disc

from medloupe.tools.measure import count_objects, count_white_cells
from medloupe.types import BoundingBox

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("number", [1, 5, 12])
def test_discs_on_an_even_ground_are_counted(number: int) -> None:
    grey = np.full((200, 260), 20.0)
    for n in range(number):
        grey[disc(grey.shape, (35 + 60 * (n % 4), 35 + 60 * (n // 4)), 14)] = 180
    grey += RNG.normal(0, 8, grey.shape)
    assert count_objects(grey) == (number, number)
    assert count_objects(255 - grey) == (number, number)


def test_discs_that_touch_are_counted_apart() -> None:
    grey = np.where(disc((120, 160), (55, 60), 22) | disc((120, 160), (97, 60), 22), 200.0, 20.0)
    assert count_objects(grey) == (2, 2)


def test_only_the_box_is_counted() -> None:
    grey = np.where(disc((100, 200), (50, 50), 15) | disc((100, 200), (150, 50), 15), 200.0, 20.0)
    assert count_objects(grey, BoundingBox(x0=0, y0=0, x1=100, y1=100)) == (1, 1)


@pytest.mark.parametrize("grey", [np.full((80, 80), 7.0), RNG.normal(100, 20, (80, 80))], ids=["constant", "noise"])
def test_no_objects_are_counted_where_there_are_none(grey: np.ndarray) -> None:
    assert count_objects(grey) is None


def test_fluorescent_nuclei_are_counted_to_within_a_fifth(shared_data: Path) -> None:
    """Real images with one mask a nucleus; what cannot be counted must say so, not guess."""
    folder = shared_data / "histo_nuclei_dsb2018"
    items = json.loads((folder / "MANIFEST.json").read_text())["items"]
    pairs = [
        (it["label"]["nuclei"], count_objects(cv2.imread(str(folder / it["file"]), cv2.IMREAD_GRAYSCALE)))
        for it in items
        if it["label"]["image_kind"] == "fluorescence"
    ]
    counted = [(truth, found) for truth, found in pairs if found is not None]
    assert len(counted) >= len(pairs) / 2
    inside = [f.least - max(1, t / 5) <= t <= f.most + max(1, t / 5) for t, f in counted]
    assert sum(inside) >= 0.9 * len(counted)


def test_an_uneven_ground_is_followed_and_ways_that_disagree_count_nothing() -> None:
    ramp = np.tile(np.linspace(0, 60, 300), (200, 1))
    grey = ramp + RNG.normal(0, 4, ramp.shape)
    for n in range(8):
        grey[disc(ramp.shape, (40 + 70 * (n % 4), 50 + 90 * (n // 4)), 16)] += 140
    assert count_objects(grey) == (8, 8)
    assert count_objects(np.where(RNG.random((200, 200)) > 0.8, 200.0, 20.0) + ramp[:, :200]) is None


GLASS, RED, NUCLEUS, CYTOPLASM = (225, 230, 225), (200, 150, 145), (95, 60, 160), (215, 185, 215)


def _smear(cells: int, *, lobes: int = 1, platelets: int = 0, radius: int = 36) -> np.ndarray:
    """Red cells, and white cells of as many lobes, each lobe apart from the next by a tenth of a red cell."""
    picture = np.full((480, 640, 3), GLASS, np.uint8)
    for n in range(12):
        picture[disc(picture.shape[:2], (60 + 100 * (n % 6), 60 + 360 * (n // 6)), radius)] = RED
    for n in range(cells):
        x, y = 120 + 170 * n, 240
        picture[disc(picture.shape[:2], (x, y), int(1.9 * radius))] = CYTOPLASM
        size = int(radius * (1 if lobes == 1 else 0.55))
        for lobe in range(lobes):
            off = (lobe - (lobes - 1) / 2) * (2 * size + 0.1 * radius)
            picture[disc(picture.shape[:2], (x + off, y), size)] = NUCLEUS
    for n in range(platelets):
        picture[disc(picture.shape[:2], (30 + 60 * n, 160), int(0.35 * radius))] = NUCLEUS
    return np.clip(picture + RNG.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("lobes", [1, 3])
@pytest.mark.parametrize(("cells", "platelets"), [(0, 0), (0, 3), (1, 2), (3, 0)])
def test_white_cells_are_counted_by_their_nuclei_and_platelets_are_not(cells: int, platelets: int, lobes: int) -> None:
    assert count_white_cells(_smear(cells, lobes=lobes, platelets=platelets)) == (cells, cells)


def test_white_cells_are_counted_at_any_magnification() -> None:
    small = cv2.resize(_smear(2), (320, 240), interpolation=cv2.INTER_AREA)
    assert count_white_cells(small) == (2, 2)


def test_without_red_cells_there_is_no_scale() -> None:
    assert count_white_cells(np.full((200, 200, 3), GLASS, np.uint8)) is None


def test_white_cells_of_real_smears(shared_data: Path) -> None:
    folder = shared_data / "blood_cells_bccd"
    items = json.loads((folder / "MANIFEST.json").read_text())["items"][:6]
    found = [count_white_cells(cv2.imread(str(folder / it["file"]))[..., ::-1]) for it in items]
    right = [f == (it["label"]["counts"]["WBC"],) * 2 for it, f in zip(items, found, strict=True)]
    assert sum(right) >= 5
