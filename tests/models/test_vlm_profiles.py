"""Boxes of every model convention, to and from pixels of the picture."""

from __future__ import annotations

import pytest

from medloupe.errors import ActionRejected, UsageError
from medloupe.models.vlm.profiles import ModelProfile, profile_for, smart_resize
from medloupe.types import BoundingBox

CONVENTIONS = {
    "absolute": ModelProfile(name="a", convention="absolute"),
    "sent": ModelProfile(name="s", convention="sent"),
    "thousand": ModelProfile(name="t"),
    "thousand, y first": ModelProfile(name="ty", order="yxyx"),
    "1024 bins": ModelProfile(name="p", order="yxyx", grid=1024),
    "unit": ModelProfile(name="u", convention="unit"),
    "unit of a padded square": ModelProfile(name="us", convention="unit", square=True),
}


@pytest.mark.parametrize(
    ("model", "said", "expected"),
    [
        # a picture 512 wide and 300 high; the lower right quarter
        pytest.param("Qwen/Qwen3-VL-8B-Instruct", [500, 500, 1000, 1000], (256, 150, 512, 300), id="qwen3: 0-1000"),
        pytest.param("Qwen/Qwen2-VL-7B-Instruct", [500, 500, 1000, 1000], (256, 150, 512, 300), id="qwen2: 0-1000"),
        # its processor makes 504 x 308 of it (multiples of 28)
        pytest.param("Qwen/Qwen2.5-VL-7B-Instruct", [252, 154, 504, 308], (256, 150, 512, 300), id="qwen2.5: resized"),
        pytest.param("lingshu-medical-mllm/Lingshu-7B", [252, 154, 504, 308], (256, 150, 512, 300), id="lingshu"),
        pytest.param("gemini-3-flash", [500, 500, 1000, 1000], (256, 150, 512, 300), id="gemini"),
        pytest.param("gemini-3-flash", [0, 500, 500, 1000], (256, 0, 512, 150), id="gemini: y first"),
        pytest.param("google/medgemma-1.5-4b-it", [0, 500, 500, 1000], (256, 0, 512, 150), id="medgemma: y first"),
        pytest.param("google/paligemma2-3b-mix-448", [0, 512, 512, 1024], (256, 0, 512, 150), id="paligemma: 1024"),
        pytest.param("OpenGVLab/InternVL3-8B", [500, 0, 1000, 500], (256, 0, 512, 150), id="internvl"),
        # padded to 512 x 512, with 106 pixels above: y 0.5 is the middle
        pytest.param("llava-hf/llava-1.5-7b-hf", [0.5, 0.5, 1, 1], (256, 150, 512, 300), id="llava-1.5: padded square"),
        pytest.param("llava-hf/llava-onevision-7b", [0.5, 0.5, 1, 1], (256, 150, 512, 300), id="llava: unit"),
        pytest.param("gpt-5.4", [500, 500, 1000, 1000], (256, 150, 512, 300), id="gpt"),
        pytest.param("loupe-tiny", [500, 500, 1000, 1000], (256, 150, 512, 300), id="loupe-tiny"),
        pytest.param("some-model-nobody-knows", [500, 500, 1000, 1000], (256, 150, 512, 300), id="default"),
    ],
)
def test_a_box_of_each_family_lands_where_it_was_meant(model, said, expected) -> None:
    box = profile_for(model).to_view_box(said, 512, 300)
    assert box.as_tuple() == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("profile", CONVENTIONS.values(), ids=CONVENTIONS.keys())
@pytest.mark.parametrize("size", [(512, 512), (512, 300), (131, 977), (40, 33)], ids=str)
def test_boxes_round_trip(profile: ModelProfile, size: tuple[int, int]) -> None:
    width, height = size
    box = BoundingBox(x0=0.21 * width, y0=0.4 * height, x1=0.77 * width, y1=0.93 * height)
    said = profile.from_view_box(box, width, height)
    assert profile.to_view_box(said, width, height).as_tuple() == pytest.approx(box.as_tuple(), abs=1e-6)


@pytest.mark.parametrize("profile", CONVENTIONS.values(), ids=CONVENTIONS.keys())
def test_a_written_box_is_read_back_to_within_a_pixel(profile: ModelProfile) -> None:
    box = BoundingBox(x0=33.3, y0=61.7, x1=401.2, y1=255.5)
    digits = 3 if profile.convention == "unit" else 0
    said = [round(n, digits) for n in profile.from_view_box(box, 512, 300)]
    assert profile.to_view_box(said, 512, 300).as_tuple() == pytest.approx(box.as_tuple(), abs=0.55)


def test_swapped_corners_are_sorted_and_overhang_is_clipped() -> None:
    profile = profile_for("qwen3-vl")
    assert profile.to_view_box([900, 800, 100, 200], 100, 100).as_tuple() == pytest.approx((10, 20, 90, 80))
    assert profile.to_view_box([-50, 500, 500, 1200], 100, 100).as_tuple() == pytest.approx((0, 50, 50, 100))


@pytest.mark.parametrize(
    "said",
    [
        pytest.param([float("nan"), 0, 10, 10], id="NaN"),
        pytest.param([0, 0, float("inf"), 10], id="infinite"),
        pytest.param([100, 100, 100, 400], id="no width"),
        pytest.param([1100, 1100, 1300, 1300], id="outside"),
        pytest.param([-300, -300, -100, -100], id="outside, above"),
        pytest.param([0.1, 0.2, 0.5, 0.6], id="another convention: fractions"),
        pytest.param([1, 2, 3], id="three numbers"),
        pytest.param([True, 0, 500, 500], id="a truth value"),
        pytest.param(["100", 0, 500, 500], id="a word"),
    ],
)
def test_nonsense_is_returned_to_the_planner_with_the_convention(said) -> None:
    with pytest.raises(ActionRejected, match=r"Boxes are \[x0, y0, x1, y1\].*0 to 1000"):
        profile_for("qwen3-vl").to_view_box(said, 512, 300)


def test_points_follow_the_same_convention() -> None:
    assert profile_for("gemini").to_view_point([250, 500], 512, 300) == pytest.approx((256, 75))
    with pytest.raises(ActionRejected, match="outside"):
        profile_for("gemini").to_view_point([1250, 500], 512, 300)


def test_a_person_can_set_the_convention() -> None:
    profile = profile_for("my-fine-tune", convention="sent", order="yxyx")
    assert profile.to_view_box([10, 20, 30, 60], 512, 300).as_tuple() == (20, 10, 60, 30)
    with pytest.raises(UsageError, match="inches"):
        profile_for("my-fine-tune", convention="inches")


def test_the_box_is_found_under_the_name_the_model_gives_it() -> None:
    assert profile_for("gemini").box_in({"label": "a", "box_2d": [1, 2, 3, 4]}) == [1, 2, 3, 4]
    assert profile_for("gemini").box_in({"bounding_box": [1, 2, 3, 4]}) == [1, 2, 3, 4]
    assert profile_for("gemini").box_in({"label": "a"}) is None


@pytest.mark.parametrize("size", [(512, 300), (1, 1), (4000, 3000), (28, 2800), (55, 1000), (5000, 5000)], ids=str)
def test_smart_resize_is_the_one_of_transformers(size: tuple[int, int]) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    from medloupe.models.torchvision_shim import prepare_torch

    prepare_torch()
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize as theirs

    width, height = size
    assert smart_resize(width, height)[::-1] == theirs(height, width, 28, 3136, 12845056)
