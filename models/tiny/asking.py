"""Requests in loupe-tiny's own prompts, and its lengths in the image's own units.

It is shown one picture and writes lengths in thousandths of it; both are settled here, at the boundary, as boxes are in
the profile.
"""

from __future__ import annotations

from typing import Any, Literal

from medloupe.models.tiny.language import GRID, Place, asking, number, statement
from medloupe.models.vlm.base import Message, Picture, VLMRequest
from medloupe.prompts import prompt
from medloupe.types import Claim, Image, StatedAttribute, View

__all__ = ["describe", "describe_nothing", "in_image_units", "locate", "probe"]

_DESCRIBE_TOKENS, _LOCATE_TOKENS, _PROBE_TOKENS = 96, 160, 8


def describe(view: View, image: Image, picture: Picture, schema: dict[str, Any]) -> VLMRequest:
    """What the view shows."""
    words = asking("describe", image.modality, _place(view, image))
    return _request("describe", words, picture, _DESCRIBE_TOKENS, "describe", schema)


def describe_nothing(modality: str, schema: dict[str, Any]) -> VLMRequest:
    """The question alone, without a picture: what the words let be guessed."""
    words = asking("describe", modality, Place(GRID // 2, GRID // 2, GRID))
    return _request("describe", words, None, _DESCRIBE_TOKENS, "describe", schema)


def locate(image: Image, picture: Picture, schema: dict[str, Any]) -> VLMRequest:
    """Where to look in a picture."""
    return _request("locate", asking("locate", image.modality), picture, _LOCATE_TOKENS, "plan", schema)


def probe(claim: Claim, view: View, image: Image, picture: Picture) -> VLMRequest:
    """Whether a claim is true of a view."""
    value, unit = claim.value, claim.unit
    if claim.attribute == "long_axis" and isinstance(value, float | int) and unit in ("mm", "cm", "px"):
        value, unit = number(_pixels(float(value), unit, image) / view.box.width), "px"
    said = statement(claim.finding, claim.attribute, value, unit)
    words = asking("probe", image.modality, _place(view, image), said)
    return _request("probe", words, picture, _PROBE_TOKENS, "probe", None)


def in_image_units(stated: StatedAttribute, view: View, image: Image) -> StatedAttribute:
    """A length in thousandths of the view in mm where the image has a spacing, else in its pixels; others as said."""
    if stated.unit != "px" or isinstance(stated.value, bool | str):
        return stated
    pixels = stated.value / GRID * view.box.width
    if image.spacing is None:
        return stated.model_copy(update={"value": round(pixels, 1)})
    return stated.model_copy(update={"value": round(pixels * image.spacing.column_mm, 1), "unit": "mm"})


def _pixels(value: float, unit: str, image: Image) -> float:
    if unit == "px" or image.spacing is None:
        return value
    return value * (10.0 if unit == "cm" else 1.0) / image.spacing.column_mm


def _place(view: View, image: Image) -> Place:
    return Place.of(view.box.as_tuple(), image.width, image.height)


def _request(
    task: str, words: str, picture: Picture | None, most: int, purpose: Literal["plan", "describe", "probe"],
    schema: dict[str, Any] | None,
) -> VLMRequest:  # fmt: skip
    message = Message("user", (picture, words) if picture else (words,))
    return VLMRequest(
        messages=(message,), purpose=purpose, schema=schema, max_tokens=most, prompt=prompt(f"tiny/{task}").sha256,
    )  # fmt: skip
