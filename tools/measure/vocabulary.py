"""The vocabulary of prompts/knowledge (attributes, findings, lidc), with names looked up by any of their spellings."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import Any

from medloupe.prompts import knowledge

__all__ = [
    "DENIED", "attribute", "attributes", "canonical_attribute", "canonical_value", "findings", "normalise", "rating",
    "spoken", "threshold",
]  # fmt: skip

DENIED = "not "
"""Begins a value that denies a word."""


@lru_cache(maxsize=16384)
def normalise(words: str) -> str:
    """Lower case, "-" and "_" as spaces, one space between words: how every spelling is compared."""
    return re.sub(r"[\s_\-‐‑]+", " ", words.casefold().replace("’", "'")).strip()


def attributes() -> dict[str, dict[str, Any]]:
    """Every attribute by its canonical name: those of attributes.yaml, then LIDC's characteristics."""
    return _all_attributes()


@cache
def _all_attributes() -> dict[str, dict[str, Any]]:
    table: dict[str, dict[str, Any]] = dict(knowledge("attributes")["attributes"])
    lidc = knowledge("lidc")
    shared = {"kind": "word", "measured": False, "units": [""], "modalities": lidc["modalities"], "spoken": False}
    for name, entry in lidc["characteristics"].items():
        table[name] = shared | entry | {"synonyms": [f"lidc {entry['tag']}"]}
    return table


def spoken() -> dict[str, dict[str, Any]]:
    """The attributes whose words mean the same in any sentence; LIDC's scales are read in structured replies only."""
    return {name: entry for name, entry in attributes().items() if entry.get("spoken", True)}


def attribute(name: str) -> dict[str, Any] | None:
    """The entry of a canonical attribute name; None when there is no such attribute."""
    return attributes().get(name)


def findings() -> dict[str, dict[str, Any]]:
    """Every finding noun by its canonical name."""
    table: dict[str, dict[str, Any]] = knowledge("findings")["findings"]
    return table


def threshold(of: str, name: str) -> float:
    """A threshold of an attribute, or of "outline"; KeyError when the vocabulary has none of that name."""
    vocabulary = knowledge("attributes")
    table = vocabulary["outline"] if of == "outline" else vocabulary["attributes"][of]["thresholds"]
    return float(table[name]["value"])


@cache
def _attribute_names() -> dict[str, str]:
    """Spelling to canonical name; an attribute's own name wins over another's synonym."""
    names = {normalise(s): name for name, entry in attributes().items() for s in entry.get("synonyms", ())}
    return names | {normalise(name): name for name in attributes()}


def canonical_attribute(spelling: str) -> str | None:
    """The attribute that a spelling stands for ("diameter" is long_axis); None when it is unknown."""
    return _attribute_names().get(normalise(spelling))


@cache
def _value_names(name: str) -> dict[str, str]:
    values = (attribute(name) or {}).get("values", {})
    names = {normalise(s): DENIED + value for value, entry in values.items() for s in entry.get("negations", ())}
    names |= {normalise(s): value for value, entry in values.items() for s in entry.get("synonyms", ())}
    return names | {normalise(value): value for value in values}


def canonical_value(name: str, spelling: str) -> str | None:
    """The value of a word attribute that a spelling stands for ("hypoechoic" is hypointense); None when unknown.

    A spelling of a denial gives the denied value: "noncalcified" is "not calcified".
    """
    return _value_names(name).get(normalise(spelling))


def rating(name: str, score: float) -> str | None:
    """The word of a score on a rating scale (4 of lidc_margin is "near sharp"); None where there is no such score."""
    values = (attribute(name) or {}).get("values", {})
    return next((value for value, entry in values.items() if entry.get("score") == score), None)
