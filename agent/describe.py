"""Describers: one view in, one observation out. A fault is an observation that supports nothing, never a finding."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel, Field

from medloupe.agent.messages import millimetres, modality_knowledge
from medloupe.errors import ModelError
from medloupe.models.vlm.base import Message, Picture, VLMReply, VLMRequest
from medloupe.models.vlm.schema import json_schema, parse_json
from medloupe.prompts import knowledge, prompt
from medloupe.types import Image, Measurement, Observation, Region, StatedAttribute, View

__all__ = ["DescribeScene", "Describer", "DescriptionReply", "MeasuredDescriber", "VLMDescriber", "attribute_names"]


class WireAttribute(BaseModel):
    """One attribute as a model writes it."""

    attribute: str
    value: bool | float | str
    unit: str = ""
    finding: str = ""
    view: int | None = None
    """Of a drafted claim: the view that shows it."""

    def stated(self) -> StatedAttribute:
        """As our own type."""
        return StatedAttribute(attribute=self.attribute, value=self.value, unit=self.unit, finding=self.finding)


class DescriptionReply(BaseModel):
    """What a describing model is asked for."""

    text: str = Field(min_length=1)
    attributes: list[WireAttribute] = []


@dataclass(frozen=True, kw_only=True)
class DescribeScene:
    """What a describer may know: never the question, nor what will be checked."""

    view: View
    overview: View
    image: Image
    region: Region | None
    measurement: Measurement | None
    prefix: tuple[Message, ...]
    picture: Callable[[View], Picture]
    ask: Callable[[VLMRequest], Awaitable[VLMReply]] | None


class Describer(Protocol):
    """Says what one view shows."""

    name: str

    async def __call__(self, scene: DescribeScene) -> Observation:
        """One observation; never raises a ModelError, but records it as the observation's fault."""
        ...


def attribute_names() -> list[str]:
    """The attributes that a model may state, from prompts/knowledge/attributes.yaml."""
    return list(knowledge("attributes")["attributes"])


class VLMDescriber:
    """Asks the VLM with the prompt of the view's modality."""

    def __init__(self, model: str) -> None:
        self.name = model

    async def __call__(self, scene: DescribeScene) -> Observation:
        """One observation."""
        assert scene.ask is not None
        view = scene.view
        template = prompt("describe")
        ask = template.render(
            view=view.index,
            kind=view.kind,
            plane=view.plane,
            parent=view.parent,
            other=view.other,
            box=view.box,
            mm=millimetres(view.box.width, view.box.height, scene.image),
            overlay=view.overlay,
            look_for=modality_knowledge(scene.image.modality)["look_for"],
            attributes=attribute_names(),
        )
        request = VLMRequest(
            messages=(*scene.prefix, Message(role="user", parts=(ask, scene.picture(view)))),
            purpose="describe",
            schema=json_schema(DescriptionReply),
            schema_name="description",
            prompt=template.sha256,
        )
        about = {"id": f"O{view.index}", "view": view.index, "region": view.region, "describer": self.name}
        try:
            reply = await scene.ask(request)
            said = parse_json(reply.text, DescriptionReply)
        except ModelError as error:
            return Observation(**about, prompt=template.sha256, fault=str(error))
        return Observation(
            **about,
            text=said.text.strip(),
            attributes=tuple(a.stated() for a in said.attributes),
            prompt=template.sha256,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            latency_s=reply.latency_s,
        )


class MeasuredDescriber:
    """Says only what was measured in the region; needs no model and names no finding."""

    name = "measured"

    async def __call__(self, scene: DescribeScene) -> Observation:
        """One observation."""
        view = scene.view
        about = {"id": f"O{view.index}", "view": view.index, "region": view.region, "describer": self.name}
        if scene.measurement is None:
            return Observation(**about, fault="there is no outlined region to measure in this view")
        words = knowledge("measured_sentences")
        stated = tuple(
            StatedAttribute(attribute=name, value=_rounded(quantity.value), unit=quantity.unit)
            for name in (*words["where"], *words["what"])
            if (quantity := scene.measurement.get(name)) is not None
        )
        return Observation(**about, text=measured_sentence(words["subject"], stated), attributes=stated)


def _rounded(value: float | str) -> float | str:
    """Three significant digits: more than any of these measurements is good for."""
    return float(f"{value:.3g}") if isinstance(value, float) else value


def measured_sentence(subject: str, stated: Sequence[StatedAttribute]) -> str:
    """Attributes as one sentence, by prompts/knowledge/measured_sentences.yaml; those it does not know come last."""
    words = knowledge("measured_sentences")
    known = (*words["where"], *words["what"])
    others = dict.fromkeys(a.attribute for a in stated if a.attribute not in known)
    where, what = (
        [_phrase(words, a) for name in names for a in stated if a.attribute == name]
        for names in (words["where"], [*words["what"], *others])
    )
    return f"{', '.join([subject, *where])}{': ' if what else ''}{', '.join(what)}."


def _phrase(words: dict[str, Any], stated: StatedAttribute) -> str:
    phrases: dict[str, str] = words["phrases"].get(stated.attribute, {})
    value = f"{stated.value:g}" if isinstance(stated.value, float) else str(stated.value)
    value = value.replace("..", " to ")
    clause: str = words["clauses"].get(stated.attribute, f"{stated.attribute.replace('_', ' ')} {{value}} {{unit}}")
    return phrases.get(value, clause.format(value=value, unit=stated.unit).strip())
