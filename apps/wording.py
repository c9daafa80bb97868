"""How answers are put into words and marks, the same in the terminal and in the report."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from medloupe.types import Answer, CheckedClaim, Claim, Measurement, Quantity, View

__all__ = [
    "MARKS", "Mark", "amount", "budget_words", "claim_words", "clean", "confidence_words", "headline", "one_line",
    "quantities", "study_words", "view_size", "view_words",
]  # fmt: skip

Tone = Literal["good", "bad", "open", "changed", "plain"]


class Mark(NamedTuple):
    """A status for the eye: never by colour alone."""

    symbol: str
    ascii: str
    word: str
    tone: Tone


MARKS: Mapping[str, Mark] = {
    "supported": Mark("✓", "+", "supported", "good"),
    "refuted": Mark("✗", "x", "refuted", "bad"),
    "undetermined": Mark("?", "?", "undetermined", "open"),
    "corrected": Mark("≠", "~", "corrected", "changed"),
    "unchecked": Mark("·", "-", "not checked", "plain"),
}

_UNITS = {"mm2": "mm²", "px2": "px²", "1/1": "", "stored": "(stored)", "grey": "(8-bit grey)"}
_FIRST = ("long_axis", "short_axis", "area", "side", "site", "shape", "density", "intensity", "mean")
"""What is shown first of a region, in this order."""


def clean(text: str) -> str:
    """Text from outside, without control and formatting characters: they could drive a terminal or turn text around."""
    kept = (ch if ch == "\n" or unicodedata.category(ch) not in ("Cc", "Cf", "Cs", "Co", "Cn") else " " for ch in text)
    return "".join(kept)


def one_line(text: str) -> str:
    """The same on one line."""
    return " ".join(clean(text).split())


def amount(value: object, unit: str = "") -> str:
    """A value with its unit: "31.2 mm", "20 to 26 mm", "yes", "left"."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{_number(float(value))} {_UNITS.get(unit, unit)}".strip()
    return f"{clean(str(value).replace('..', ' to '))} {_UNITS.get(unit, unit)}".strip()


def _number(value: float) -> str:
    """Three significant digits, but never fewer than the whole number has."""
    if not math.isfinite(value):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 or value.is_integer() else f"{value:.3g}"


def view_size(view: View) -> str:
    """What a view covers: pixels, and millimetres where the view knows them."""
    pixels = f"{view.box.width:.0f} × {view.box.height:.0f} px"
    if view.image_to_patient is None:
        return pixels
    across, down = (sum(row[axis] ** 2 for row in view.image_to_patient) ** 0.5 for axis in (0, 1))
    return f"{pixels} ({view.box.width * across:.0f} × {view.box.height * down:.0f} mm)"


def view_words(view: View) -> str:
    """Which view it is: "V3, crop of R2 on V0"."""
    words = f"V{view.index}, {view.kind}"
    if view.region:
        words += f" of {view.region}"
    if view.kind == "compare" and view.parent is not None and view.other is not None:
        return f"{words} of V{view.parent} and V{view.other}"
    return words if view.parent is None else f"{words} on V{view.parent}"


def claim_words(claim: CheckedClaim | Claim) -> str:
    """What was stated: "R1: long axis 31 mm"."""
    if isinstance(claim, CheckedClaim):
        sentence, unit = one_line(claim.claim), claim.stated_unit
    else:
        sentence, unit = one_line(claim.sentence()), claim.unit
    if claim.region:
        sentence = sentence.replace("the region", claim.region.id, 1)
    subject, colon, _ = sentence.partition(": ")
    if colon and isinstance(claim.value, float):
        return f"{subject}: {claim.attribute.replace('_', ' ')} {amount(claim.value, unit)}"
    return sentence


def quantities(measurement: Measurement) -> tuple[list[tuple[str, str, str]], list[tuple[str, str, str]]]:
    """Name, amount and method of what was measured: what a reader looks for first, and the rest."""
    first = sorted((q for q in measurement.quantities if q.name in _FIRST), key=lambda q: _FIRST.index(q.name))
    rest = (q for q in measurement.quantities if q.name not in _FIRST)
    return _depicted(first), _depicted(rest)


def _depicted(found: Iterable[Quantity]) -> list[tuple[str, str, str]]:
    return [(q.name.replace("_", " "), amount(q.value, q.unit), q.method) for q in found]


def headline(answer: Answer) -> str:
    """The outcome in a few words."""
    if answer.abstained:
        return "Abstained"
    counts: Counter[str] = Counter(statement.status for statement in answer.statements)
    words = {
        "corrected": "corrected", "undetermined": "not confirmed and left out", "refuted": "refuted and left out",
    }  # fmt: skip
    return ", ".join(["Answered", *(f"{counts[status]} {said}" for status, said in words.items() if counts[status])])


def confidence_words(answer: Answer) -> str:
    """Confidence and what it rests on; "" when nothing was claimed."""
    if answer.confidence is None:
        return ""
    basis = f" ({clean(answer.confidence_basis)})" if answer.confidence_basis else ""
    return f"confidence {answer.confidence:.2f}{basis}"


def study_words(study: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The facts of a study, as (name, value); what is unknown is left out."""
    facts = {name: value for name, value in study.items() if value not in (None, "", [], {})}
    words = []
    if "width" in facts and "height" in facts:
        words.append(("size", f"{facts.pop('width')} × {facts.pop('height')} px"))
    spacing = facts.pop("spacing_mm", None)
    source = facts.pop("spacing_source", "")
    if spacing:
        row, column = spacing
        words.append(("pixel", f"{row:.4g} × {column:.4g} mm ({clean(str(source))})"))
    elif "size" in dict(words):
        words.append(("pixel", "size unknown, so no millimetres"))
    if "image" in facts and "images" in facts:
        words.append(("image", f"{facts.pop('image') + 1} of {facts.pop('images')}"))
    facts.pop("digest", None)
    first = [(name, _plain(facts.pop(name))) for name in ("modality", "body_part") if name in facts]
    return [
        (name.replace("_", " "), value) for name, value in (*first, *words, *((n, _plain(v)) for n, v in facts.items()))
    ]


def budget_words(budget: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was spent of each cap, as (name, "3 of 8")."""
    caps, spent = _mapping(budget.get("caps")), _mapping(budget.get("spent"))
    return [
        (name, f"{_plain(used)} of {_plain(caps[name])}" if name in caps else _plain(used))
        for name, used in spent.items()
    ]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{clean(str(key)).replace('_', ' ')} {_plain(item)}" for key, item in value.items())
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ", ".join(_plain(item) for item in value)
    return amount(value)
