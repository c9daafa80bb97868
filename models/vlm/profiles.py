"""What a family of models does its own way: how it writes boxes, how large a picture it takes, what it can do.

A box from a model is in that model's own convention; mapping it is the peers' most reported bug, so it happens here and
nowhere else. All boxes here are in pixels of the picture that was sent; `View.box_to_image` takes them to the image.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

from medloupe.errors import ActionRejected, UsageError
from medloupe.types import BoundingBox

__all__ = ["BoxConvention", "BoxOrder", "ModelProfile", "profile_for", "smart_resize"]

BoxConvention = Literal["absolute", "sent", "thousand", "unit"]
"""absolute: pixels of the picture as the model's processor resized it; sent: pixels of the picture as sent;
thousand: 0 to `grid` along each side; unit: 0 to 1 along each side."""

BoxOrder = Literal["xyxy", "yxyx"]

_LEAST_SIDE = 1.0
"""Pixels of the picture: a box thinner than this shows nothing, and mostly means numbers in another convention."""


class _Scale(NamedTuple):
    """Model coordinate = picture coordinate * factor + shift, for each axis."""

    x: float
    y: float
    shift_x: float = 0.0
    shift_y: float = 0.0


def smart_resize(width: int, height: int, factor: int = 28, least: int = 3136, most: int = 12845056) -> tuple[int, int]:
    """(width, height) to which Qwen's processors resize a picture: multiples of `factor`, area within [least, most].

    The same arithmetic as `smart_resize` of transformers' image_processing_qwen2_vl (there in (height, width) order).
    """
    new_h, new_w = round(height / factor) * factor, round(width / factor) * factor
    if new_h * new_w > most:
        beta = math.sqrt(height * width / most)
        new_h = max(factor, math.floor(height / beta / factor) * factor)
        new_w = max(factor, math.floor(width / beta / factor) * factor)
    elif new_h * new_w < least:
        beta = math.sqrt(least / (height * width))
        new_h = math.ceil(height * beta / factor) * factor
        new_w = math.ceil(width * beta / factor) * factor
    return new_w, new_h


@dataclass(frozen=True, kw_only=True)
class ModelProfile:
    """How one family of models is spoken to."""

    name: str
    """The family: "qwen2.5-vl", ..."""
    convention: BoxConvention = "thousand"
    """What the numbers of a box mean."""
    order: BoxOrder = "xyxy"
    """x0 y0 x1 y1, or y0 x0 y1 x1."""
    grid: int = 1000
    """Numbers along a side, for "thousand"."""
    square: bool = False
    """The model saw the picture padded to a centred square, and its boxes are relative to that square."""
    box_keys: tuple[str, ...] = ("bbox_2d", "box_2d", "box", "bbox")
    """Names under which it gives a box in JSON; the first is the one to ask for."""
    longest: int = 1024
    """Longest side of a picture worth sending, pixels."""
    tool_calls: bool = False
    """It can call tools."""
    json_schema: bool = True
    """Servers of it take response_format json_schema (they may ignore it; replies are validated all the same)."""
    prompts: Literal["", "tiny"] = ""
    """Its own set of prompts, a folder of prompts/; "" for those that any model reads."""
    finds: float = 0.0
    """Least share of a picture's side that it finds; where it is set, images are searched tile by tile."""
    phantoms_only: bool = False
    """It was trained on drawn phantoms: what it says of any other image means nothing."""
    resize_factor: int = 28
    """Sides of the resized picture are multiples of this; for "absolute"."""
    resize_least: int = 3136
    """Fewest pixels of the resized picture; for "absolute"."""
    resize_most: int = 12845056
    """Most pixels of the resized picture; for "absolute"."""

    def with_convention(self, convention: str, order: str | None = None) -> ModelProfile:
        """The same profile with the box convention that a person set; UsageError for an unknown one."""
        if convention not in get_args(BoxConvention) or order not in (None, *get_args(BoxOrder)):
            known = ", ".join(get_args(BoxConvention))
            raise UsageError(f"box convention {convention!r} {order or ''} is not one of {known} with xyxy or yxyx")
        return replace(self, convention=convention, order=order or self.order)  # type: ignore[arg-type] # checked above

    def to_view_box(self, numbers: Sequence[float], width: int, height: int) -> BoundingBox:
        """The model's four numbers as a box in pixels of the picture of that size, clipped to it.

        Corners may be swapped. ActionRejected, worded for the model, when they are no box inside the picture.
        """
        said = f"box {_short(numbers)}"
        if len(numbers) != 4:
            raise ActionRejected(f"{said} needs four numbers. {self.describe_convention()}")
        first = self._point(numbers[:2], width, height, said)
        second = self._point(numbers[2:], width, height, said)
        (x0, x1), (y0, y1) = sorted((first[0], second[0])), sorted((first[1], second[1]))
        if x1 - x0 < _LEAST_SIDE or y1 - y0 < _LEAST_SIDE:
            raise ActionRejected(f"{said} is less than a pixel wide or high. {self.describe_convention()}")
        try:
            return BoundingBox(x0=x0, y0=y0, x1=x1, y1=y1).clip(width, height)
        except ValueError:
            raise ActionRejected(f"{said} lies outside the picture. {self.describe_convention()}") from None

    def to_view_point(self, numbers: Sequence[float], width: int, height: int) -> tuple[float, float]:
        """The model's two numbers as a point (x, y) in pixels of the picture; ActionRejected when outside of it."""
        said = f"point {_short(numbers)}"
        if len(numbers) != 2:
            raise ActionRejected(f"{said} needs two numbers. {self.describe_convention()}")
        x, y = self._point(numbers, width, height, said)
        if not (0 <= x <= width and 0 <= y <= height):
            raise ActionRejected(f"{said} lies outside the picture. {self.describe_convention()}")
        return x, y

    def from_view_box(self, box: BoundingBox, width: int, height: int) -> tuple[float, float, float, float]:
        """A box in pixels of the picture as the model's four numbers, unrounded: the inverse of `to_view_box`."""
        scale = self._scale(width, height)
        x0, x1 = (x * scale.x + scale.shift_x for x in (box.x0, box.x1))
        y0, y1 = (y * scale.y + scale.shift_y for y in (box.y0, box.y1))
        return (x0, y0, x1, y1) if self.order == "xyxy" else (y0, x0, y1, x1)

    def box_in(self, item: Mapping[str, object]) -> object | None:
        """What stands under the family's box key in a JSON object, or under another family's; None when nothing."""
        return next((item[key] for key in (*self.box_keys, *_ANY_BOX_KEY) if key in item), None)

    def describe_convention(self) -> str:
        """The convention in one sentence for a prompt."""
        corners = "[x0, y0, x1, y1]" if self.order == "xyxy" else "[y0, x0, y1, x1]"
        meaning = {
            "absolute": "in pixels of the picture",
            "sent": "in pixels of the picture",
            "thousand": f"in whole numbers from 0 to {self.grid} along each side of the picture",
            "unit": "as fractions from 0 to 1 of the picture's width and height",
        }[self.convention]
        return f"Boxes are {corners}, upper left then lower right corner, {meaning}; x grows to the right, y downwards."

    def _scale(self, width: int, height: int) -> _Scale:
        """How picture pixels become the model's numbers."""
        if self.convention == "sent":
            return _Scale(1.0, 1.0)
        if self.convention == "absolute":
            new_w, new_h = smart_resize(width, height, self.resize_factor, self.resize_least, self.resize_most)
            return _Scale(new_w / width, new_h / height)
        whole = float(self.grid) if self.convention == "thousand" else 1.0
        if not self.square:
            return _Scale(whole / width, whole / height)
        side = max(width, height)
        step = whole / side
        return _Scale(step, step, step * (side - width) / 2, step * (side - height) / 2)

    def _point(self, pair: Sequence[float], width: int, height: int, said: str) -> tuple[float, float]:
        """(x, y) in picture pixels of two of the model's numbers, in its order."""
        if not all(isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n) for n in pair):
            raise ActionRejected(f"{said} holds something that is not a number. {self.describe_convention()}")
        x, y = pair if self.order == "xyxy" else reversed(pair)
        scale = self._scale(width, height)
        return (x - scale.shift_x) / scale.x, (y - scale.shift_y) / scale.y


_ANY_BOX_KEY = ("bbox_2d", "box_2d", "bbox", "box", "bounding_box", "boundingBox")


def _short(numbers: object) -> str:
    """What the model wrote, cut to a length fit for a message."""
    text = str(list(numbers) if isinstance(numbers, tuple) else numbers)
    return text if len(text) <= 60 else text[:57] + "..."


# First match wins. Sources are each project's own words, read in 2026.
_FAMILIES: tuple[tuple[str, ModelProfile], ...] = (
    # Ours; trained to write 0-1000.
    (r"loupe-?tiny", ModelProfile(
        name="loupe-tiny", longest=144, json_schema=False, prompts="tiny", finds=0.04, phantoms_only=True)),
    # Qwen3-VL README and spatial-understanding cookbook: relative, 0-1000 ("changed from the absolute coordinates of
    # Qwen2.5-VL"); later Qwen models keep it.
    (r"qwen-?3|qwen-?vl-(max|plus)", ModelProfile(name="qwen3-vl", tool_calls=True)),
    # QwenLM in its tracker ("Qwen 2.5 VL grounding mode - coordinates scaling?"): absolute, after the processor.
    # What is built on it keeps it: Lingshu, VLM-R1.
    (r"qwen-?2[._]?5-?vl|lingshu|vlm-?r1", ModelProfile(name="qwen2.5-vl", convention="absolute", tool_calls=True)),
    # Qwen2-VL report: "normalised within [0, 1000)"; QwenLM's tracker says the same when contrasting it with 2.5.
    (r"qwen-?2-?vl", ModelProfile(name="qwen2-vl")),
    # Vertex AI, "Bounding box detection": [y_min, x_min, y_max, x_max], 0-1000 for every image.
    (r"gemini", ModelProfile(name="gemini", order="yxyx", box_keys=("box_2d",), tool_calls=True)),
    # PaliGemma's parser: four <locNNNN> tokens, y before x, 1024 bins.
    (r"paligemma", ModelProfile(
        name="paligemma", order="yxyx", grid=1024, box_keys=("box_2d",), longest=896, json_schema=False)),
    # MedGemma's localisation notebook: "box_2d": [y0, x0, y1, x1], 0-1000; its tower takes 896 x 896.
    (r"medgemma|gemma", ModelProfile(name="medgemma", order="yxyx", box_keys=("box_2d",), longest=896)),
    # InternVL's "Chat data format": x1 y1 x2 y2 scaled to 0-1000.
    (r"internvl", ModelProfile(name="internvl", box_keys=("box", "bbox_2d", "bbox"))),
    # LLaVA's tracker, "About the bounding box of the VG data": fractions of the picture padded to a square.
    (r"llava-?(v?1\.5|med)", ModelProfile(
        name="llava-1.5", convention="unit", square=True, box_keys=("bbox",), longest=336)),
    (r"llava", ModelProfile(name="llava", convention="unit", box_keys=("bbox",), longest=768)),
    # Kimi-VL's tracker: fractions. GLM-V's grounding guide: 0-1000.
    (r"kimi", ModelProfile(name="kimi-vl", convention="unit", tool_calls=True)),
    (r"glm", ModelProfile(name="glm-v", tool_calls=True)),
    # No convention of its own: it follows the one that the prompt states; relative numbers survive its resizing.
    (r"gpt|^o\d|chatgpt", ModelProfile(name="gpt", box_keys=("box",), tool_calls=True)),
)  # fmt: skip

_DEFAULT = ModelProfile(name="default", tool_calls=True)


def profile_for(model: str, *, convention: str | None = None, order: str | None = None) -> ModelProfile:
    """The profile of a model id or folder name, with the convention that a person set in place of the family's.

    An unknown id gets "thousand" boxes, which the prompt states.
    """
    name = model.lower()
    profile = next((known for pattern, known in _FAMILIES if re.search(pattern, name)), _DEFAULT)
    if convention is None and order is None:
        return profile
    return profile.with_convention(convention or profile.convention, order)
