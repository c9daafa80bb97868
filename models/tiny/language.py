"""What loupe-tiny can say and read: its replies, word for word, and the pieces that its tokenizer cuts them into.

A reply to "Describe." is the JSON that the agent asks for; numbers are thousandths of the view's side, in tens. Whole
stretches of JSON are single tokens, so that a reply is some thirty tokens long.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from medloupe.prompts import knowledge, prompt

__all__ = ["GRID", "LOOK_CLOSER", "STEP", "Place", "asking", "description", "location", "pieces", "statement", "words"]

GRID = 1000
"""Along each side of a view."""
STEP = 10
"""Between the numbers that it writes."""
LOOK_CLOSER = 0.25
"""Share of the view's side: a lesion whose long axis is less is not described but asked to be looked at closer."""

_ORDER = ("homogeneity", "margin", "shape", "intensity", "density", "colour")
"""How adjectives stand before the finding."""

Box = tuple[float, float, float, float]


class Place(NamedTuple):
    """What a view shows of its image: its middle and its width, in thousandths of the image's side."""

    x: int
    y: int
    wide: int

    @classmethod
    def of(cls, box: Box, width: float, height: float) -> Place:
        """Of a box in an image of that size, pixels."""
        x0, y0, x1, y1 = box
        shares = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width)
        return cls(*(number(share) for share in shares))


def number(share: float) -> int:
    """A share of a side as it is written: 0 to 1000 in tens."""
    return min(max(round(share * GRID / STEP) * STEP, 0), GRID)


def asking(task: str, modality: str, place: Place | None = None, said: str = "") -> str:
    """The prompt of a task ("describe", "locate", "probe")."""
    values: dict[str, object] = {"modality": modality}
    if place is not None:
        values |= place._asdict()
    if said:
        values["statement"] = said
    return prompt(f"tiny/{task}").render(**values)


def description(
    finding: str, attributes: Mapping[str, str] | None, *, size: float = 0.0, site: str = "", closer: bool = False
) -> str:
    """The reply about a lesion; about none when attributes is None. size: long axis over the view's side."""
    if attributes is None:
        return _json(f"No {finding} is seen.", [{"attribute": "presence", "value": False, "finding": finding}])
    stated: list[dict[str, object]] = [{"attribute": "presence", "value": True, "finding": finding}]
    if closer:
        text = f"A {finding}, too small in this view to describe. Look closer."
    else:
        named = [attributes[name] for name in _ORDER if name in attributes]
        text = f"{', '.join(named)} {finding}.".capitalize()
        stated += [{"attribute": name, "value": attributes[name]} for name in reversed(_ORDER) if name in attributes]
        stated.append({"attribute": "long_axis", "value": number(size), "unit": "px"})
    stated.append({"attribute": "site", "value": site})
    return _json(text, stated)


def _json(text: str, attributes: Sequence[Mapping[str, object]]) -> str:
    return json.dumps({"text": text, "attributes": list(attributes)})


def location(boxes: Sequence[Box], finding: str) -> str:
    """The reply to "Where to look?": boxes in shares of the view's sides."""
    return json.dumps({"regions": [{"bbox_2d": [number(v) for v in box], "label": finding} for box in boxes]})


def statement(finding: str, attribute: str, value: object, unit: str = "") -> str:
    """A statement as claims are worded (Claim.sentence)."""
    if attribute == "presence":
        return f"{finding} is {'present' if value else 'absent'}"
    return f"{finding or 'the region'}: {attribute.replace('_', ' ')} {value} {unit}".rstrip()


# --- the tokenizer's vocabulary -------------------------------------------------------------------------------------


def pieces() -> list[str]:
    """Stretches of text that are one token each, longest first."""
    tables = knowledge("attributes")["attributes"]
    values = {str(v) for name in (*_ORDER, "site") for v in tables[name]["values"]}
    stretches = {
        '{"text": "', '.", "attributes": [', '{"attribute": "presence", "value": true, "finding": "', '"}, ', '"}]}',
        '{"attribute": "presence", "value": false, "finding": "', '{"attribute": "long_axis", "value": ',
        ', "unit": "px"}, ', '{"regions": [', '{"bbox_2d": [', '], "label": "', ", ", "]}",
        *(f'{{"attribute": "{name}", "value": "' for name in (*_ORDER, "site")),
    }  # fmt: skip
    phrases = {v for v in values if not re.fullmatch(r"[A-Za-z]+", v)}
    spellings = phrases | {p.capitalize() for p in phrases} | {f" {p}" for p in phrases}
    return sorted(stretches | spellings, key=lambda p: (-len(p), p))


_PLAIN = (
    "yes no unsure view at wide Describe Where to look Look closer is present absent the region A No too small in this "
    "describe seen px mm OT"
)


def words() -> list[str]:
    """Every word that is one token: those of the prompts, the replies and the vocabulary, bare and after a space."""
    kinds = knowledge("phantoms")["kinds"]
    tables = knowledge("attributes")["attributes"]
    plain = set(_PLAIN.split()) | set(knowledge("findings")["findings"])
    plain |= {kind[name] for kind in kinds.values() for name in ("modality", "finding")}
    plain |= set(tables) | {part for name in tables for part in name.split("_")}
    for name in (*_ORDER, "site"):
        plain |= {str(v) for v in tables[name]["values"]} | {str(v).capitalize() for v in tables[name]["values"]}
    single = sorted({w for w in plain if re.fullmatch(r"[A-Za-z]+", w)})
    numbers = [str(n) for n in sorted({*range(0, GRID + 1, STEP), *range(10)})]
    return [*single, *(f" {w}" for w in single), *numbers, *'.,:?"[]{} ']
