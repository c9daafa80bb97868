"""Numbers with units in a sentence, and the bounds that a claim's value stands for."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from medloupe.tools.measure.vocabulary import normalise
from medloupe.tools.verify._phrases import Span, language, overlaps, pattern

_DIGITS = r"(?<![\w.,])-?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+(?:[.,]\d+)?)"
_TO_MM = {"mm": 1.0, "cm": 10.0, "mm2": 1.0, "cm2": 100.0}
_REAL = r"-?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?"
_BOUNDS = re.compile(rf"^(?:(?P<sign><=|>=|<|>)(?P<one>{_REAL})|(?P<low>{_REAL})\.\.(?P<high>{_REAL}))$")


@dataclass(frozen=True)
class Number:
    """One stated number, as a claim would hold it."""

    start: int
    end: int
    attribute: str
    value: float | str
    """A number, or bounds: "<10", "<=10", ">3", ">=3", "20..30"."""
    unit: str


def bounds(value: float | str, *, whole: bool = False) -> tuple[float, float] | None:
    """The least and the most that a value allows; (x, x) for a number; None for what is no number.

    whole: whole numbers only, so that ">1" begins at 2.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return (float(value), float(value)) if math.isfinite(value) else None
    match = _BOUNDS.match(value.strip())
    if match is None:
        return None
    if match["low"] is not None:
        return (float(match["low"]), float(match["high"]))
    edge, step = float(match["one"]), 1.0 if whole else 0.0
    return {
        "<": (-math.inf, edge - step),
        "<=": (-math.inf, edge),
        ">": (edge + step, math.inf),
        ">=": (edge, math.inf),
    }[match["sign"]]


def in_millimetres(value: float, unit: str) -> float | None:
    """A length in mm, or an area in mm2; None for a unit that is neither."""
    factor = _TO_MM.get(unit)
    return None if factor is None else value * factor


def number(text: str) -> float | None:
    """A number in digits ("1,200", "2.3", "2,3") or in words ("three"); None for anything else."""
    word = language("numbers").get(normalise(text))
    if word is not None:
        return float(word)
    if not re.fullmatch(_DIGITS, text.strip()):
        return None
    text = text.strip()
    return float(text.replace(",", "") if re.fullmatch(r"-?\d{1,3}(?:,\d{3})+", text) else text.replace(",", "."))


def unit_of(text: str) -> str | None:
    """The unit that a spelling stands for: mm, cm, px, their squares, HU; None when unknown."""
    return next((u for u, names in language("units").items() if normalise(text) in map(normalise, names)), None)


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    units = {name: pattern(spellings, before=r"(?<![^\W\d])") for name, spellings in language("units").items()}
    length = "(?:" + "|".join(units[u] for u in ("mm", "cm", "px")) + ")"
    every = "(?:" + "|".join(units[u] for u in ("mm2", "cm2", "px2", "mm", "cm", "px", "HU")) + ")"
    one, gap = f"(?:{_DIGITS}|{pattern(language('numbers'))})", r"[\s\-]*"
    signs = "|".join(f"(?P<{_GROUPS[sign]}>{pattern(spelled)})" for sign, spelled in language("comparisons").items())
    return {
        "axes": re.compile(
            rf"(?P<a>{_DIGITS}){gap}(?P<ua>{length})?\s*(?:x|×|by|\*)\s*(?P<b>\d+(?:[.,]\d+)?){gap}(?P<ub>{length})?"
            rf"(?:\s*(?:x|×|by|\*)\s*(?P<c>\d+(?:[.,]\d+)?){gap}(?P<uc>{length})?)?",
            re.IGNORECASE,
        ),
        "range": re.compile(
            rf"(?P<a>{_DIGITS})\s*(?P<ua>{every})?\s*(?:-|to|and)\s*(?P<b>-?\d+(?:[.,]\d+)?){gap}(?P<u>{every})",
            re.IGNORECASE,
        ),
        "one": re.compile(rf"(?:(?:{signs})\s*)?(?P<a>{one}){gap}(?P<u>{every})", re.IGNORECASE),
        "named": re.compile(rf"{units['HU']}\s*(?:of|is|:|=)?\s*(?P<a>{_DIGITS})(?!\s*{every})", re.IGNORECASE),
        "below": re.compile(pattern(language("below_one")), re.IGNORECASE),
    }


_GROUPS = {"<": "less", "<=": "most", ">": "more", ">=": "least"}


def numbers(sentence: str) -> Iterator[Number]:
    """Every number with a unit, in the order of certainty: two axes, ranges, single ones; none overlaps another."""
    taken: list[Span] = []
    for kind, read in (("axes", _axes), ("range", _range), ("one", _one), ("named", _named), ("below", _below_one)):
        for match in _patterns()[kind].finditer(sentence):
            if not overlaps(match.span(), taken) and not _earlier().search(sentence, 0, match.start()):
                found = list(read(match, sentence))
                if found:
                    taken.append(match.span())
                yield from found


@cache
def _earlier() -> re.Pattern[str]:
    """What was measured at an earlier time: "previously 6 mm", "compared with 6 mm"."""
    return re.compile(pattern(language("earlier")) + r"\W+(?:[^\W\d]+\W+){0,2}$", re.IGNORECASE)


def _axes(match: re.Match[str], _sentence: str) -> Iterator[Number]:
    """12 x 8 (x 6) mm: the two longest are the axes; a unit stated once holds for all that have none of their own."""
    last = match["uc"] or match["ub"] or match["ua"]
    unit = unit_of(last) if last else None
    sides = [(match[k], match["u" + k]) for k in "abc" if match[k]]
    if unit is None:
        return
    lengths = [(number(text) or 0.0, (unit_of(own) if own else unit) or unit) for text, own in sides]
    if len({u == "px" for _, u in lengths}) > 1:
        return
    lengths.sort(key=lambda length: in_millimetres(*length) or length[0], reverse=True)
    for name, (value, of) in zip(("long_axis", "short_axis"), lengths, strict=False):
        yield Number(*match.span(), name, value, of)


def _range(match: re.Match[str], sentence: str) -> Iterator[Number]:
    low, high, unit = number(match["a"]), number(match["b"]), unit_of(match["u"])
    if low is None or high is None or unit is None or low >= high:
        return
    yield Number(*match.span(), _what(match.span(), unit, sentence), f"{low:g}..{high:g}", unit)


def _one(match: re.Match[str], sentence: str) -> Iterator[Number]:
    value, unit = number(match["a"]), unit_of(match["u"])
    if value is None or unit is None:
        return
    sign = next((sign for sign, group in _GROUPS.items() if match[group]), "")
    yield Number(*match.span(), _what(match.span(), unit, sentence), f"{sign}{value:g}" if sign else value, unit)


def _named(match: re.Match[str], _sentence: str) -> Iterator[Number]:
    """ "HU of 120"."""
    value = number(match["a"])
    if value is not None:
        yield Number(*match.span(), "density", value, "HU")


def _below_one(match: re.Match[str], _sentence: str) -> Iterator[Number]:
    value, unit = {normalise(k): v for k, v in language("below_one").items()}[normalise(match[0])]
    yield Number(*match.span(), "long_axis", value, unit)


def _what(span: Span, unit: str, sentence: str) -> str:
    """Which attribute a number states, by its unit and the words beside it."""
    if unit == "HU":
        return "density"
    if unit.endswith("2"):
        return "area"
    after, before = sentence[span[1] :], sentence[: span[0]]
    for name, spelled in language("lengths_after").items():
        if re.match(rf"\s*{pattern(spelled)}", after, re.IGNORECASE):
            return str(name)
    named = [
        (match.end(1), -match.start(1), str(name))
        for name, spelled in language("lengths_before").items()
        for match in re.finditer(rf"({pattern(spelled)})(?:\W+[^\W\d]+){{0,6}}\W*$", before, re.IGNORECASE)
    ]
    return max(named)[2] if named else "long_axis"
