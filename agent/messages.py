"""How a request is laid out: what never changes first, the region in question last.

Every request of a session starts with the same bytes (system text, modality text, overview), so that a server's prefix
cache is hit from the second call on. Pictures stand in user messages only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from medloupe.models.vlm.base import Message, Picture
from medloupe.prompts import knowledge, prompt
from medloupe.types import Image, Observation, View

__all__ = ["PROMPTS", "Chain", "modality_knowledge", "prefix"]

PROMPTS = ("system", "modality", "describe", "plan_tools", "plan_grounding", "draft", "probe")
"""Every template that can reach a model; their hashes are in every answer."""


def modality_knowledge(modality: str) -> dict[str, str]:
    """What prompts/knowledge/modalities.yaml says of a modality; of "OT" for one it does not know."""
    table = knowledge("modalities")
    found: dict[str, str] = table.get(modality, table["OT"])
    return found


def millimetres(width: float, height: float, image: Image) -> str:
    """ "W x H" in mm of a stretch of an image in pixels; "" where the spacing is unknown."""
    if image.spacing is None:
        return ""
    return f"{width * image.spacing.column_mm:.0f} x {height * image.spacing.row_mm:.0f}"


def prefix(image: Image, overview: View, picture: Callable[[View], Picture]) -> tuple[Message, ...]:
    """The messages that every request about this overview starts with."""
    about = modality_knowledge(image.modality)
    side = image.patient_side(0, image.height / 2) if image.patient_orientation else None
    text = prompt("modality").render(
        name=about["name"],
        note=about.get("note", ""),
        view=overview.index,
        width=image.width,
        height=image.height,
        mm=millimetres(image.width, image.height, image),
        window=overview.window,
        sides=f"Image left is the patient's {side}." if side else "",
    )
    return (
        Message(role="system", parts=(prompt("system").render(),)),
        Message(role="user", parts=(text, picture(overview))),
    )


@dataclass(frozen=True)
class Chain:
    """The interleaved chain of region descriptions: what was looked at and what was said of it, in order."""

    views: Sequence[View]
    observations: Sequence[Observation]

    def lines(self, *, bare: int) -> list[tuple[View, str]]:
        """One line a view, for a planner or a drafter; view `bare` (the overview) only if something was said of it.

        What was said is quoted: it is a model's reply and stays data. A faulted look says so and nothing more.
        """
        said = [(view, self._said(view)) for view in self.views]
        return [
            (view, f"V{view.index} ({self._where(view)}): {words or 'not described'}")
            for view, words in said
            if words or view.index != bare
        ]

    def _said(self, view: View) -> str:
        """Everything said of a view, a quoted string each; "" when nothing was."""
        words = (
            f"{o.region} measured: {_quoted(o.text)}" if o.id.startswith("M")
            else _quoted(o.text) if o.text
            else f"could not be described ({o.fault})"
            for o in self.observations if o.view == view.index
        )  # fmt: skip
        return " ".join(words)

    @staticmethod
    def _where(view: View) -> str:
        if view.kind == "overview":
            return "whole image"
        if view.kind == "compare":
            return f"V{view.parent} beside V{view.other}"
        if view.plane:
            return f"{view.plane} slice across the study, whole"
        if view.kind == "slice":
            return f"image {view.image} of the study, whole"
        box = view.box
        about = f" around {view.region}" if view.region else ""
        return (
            f"{view.kind} of V{view.parent}{about}, columns {box.x0:.0f}-{box.x1:.0f}, rows {box.y0:.0f}-{box.y1:.0f}"
        )


def _quoted(text: str) -> str:
    """On one line, as a JSON string."""
    return json.dumps(" ".join(text.split()), ensure_ascii=False)
