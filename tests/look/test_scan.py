"""The squares that an image is searched in: all of it, as fine as is needed, within the number that is allowed."""

from __future__ import annotations

import itertools

import pytest

from medloupe.tools.look.scan import close_up, scan
from medloupe.types import BoundingBox

FINDS = 0.04


def whole(box: BoundingBox, squares: list[BoundingBox]) -> list[BoundingBox]:
    """The squares that hold all of a box."""
    return [s for s in squares if s.x0 <= box.x0 and s.y0 <= box.y0 and s.x1 >= box.x1 and s.y1 >= box.y1]


@pytest.mark.parametrize(("side", "squares"), [(300, 0), (512, 4), (768, 9), (1024, 16), (2048, 9 + 64)])
def test_small_images_need_few_squares_and_large_ones_two_levels(side: int, squares: int) -> None:
    assert len(scan(side, side, finds=FINDS, most=100)) == squares


@pytest.mark.parametrize(("width", "height"), [(1024, 1024), (2048, 2048), (2048, 1200), (700, 1500)])
def test_whatever_has_twelve_pixels_lies_whole_in_a_picture_that_it_fills_enough_of(width: int, height: int) -> None:
    squares = [
        BoundingBox(x0=0, y0=0, x1=max(width, height), y1=max(width, height)),
        *scan(width, height, finds=FINDS, most=200),
    ]
    for size in (12, 20, 29, 41, 60, 82, 150):
        for x, y in itertools.product(range(0, width - size, 37), range(0, height - size, 41)):
            shown = whole(BoundingBox.from_sides(x, y, size, size), squares)
            assert any(size >= 0.99 * FINDS * square.width for square in shown)


@pytest.mark.parametrize("most", [0, 3, 4, 15, 16, 30, 200])
@pytest.mark.parametrize(("width", "height"), [(1024, 1024), (20_000, 15_000), (2048, 200), (40, 2000)])
def test_no_more_squares_than_allowed_and_none_outside(width: int, height: int, most: int) -> None:
    squares = scan(width, height, finds=FINDS, most=most)
    assert len(squares) <= most
    for square in squares:
        assert square.x0 >= 0 and square.x1 <= width + 1e-6 and square.y0 >= 0 and square.y1 <= height + 1e-6
        assert square.width == pytest.approx(square.height)


def test_a_close_up_is_a_square_round_the_box_inside_the_image() -> None:
    box = BoundingBox(x0=980, y0=500, x1=1020, y1=520)
    shown = close_up(box, 1024, 1024)
    assert shown.width == pytest.approx(shown.height) == pytest.approx(40 / 0.45)
    assert whole(box, [shown]) and shown.x1 == 1024
    assert close_up(BoundingBox.from_sides(5, 5, 2, 2), 1024, 1024).width == 14
