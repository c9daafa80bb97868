"""The attribute vocabulary of prompts/knowledge/attributes.yaml, with names looked up by any of their spellings."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from medloupe.prompts import knowledge

__all__ = ["attribute", "attributes", "canonical_attribute", "canonical_value", "findings", "normalise", "threshold"]


def normalise(words: str) -> str:
    """Lower case, "-" and "_" as spaces, one space between words: how every spelling is compared."""
    return re.sub(r"[\s_\-‐‑]+", " ", words.casefold().replace("’", "'")).strip()


def attributes() -> dict[str, dict[str, Any]]:
    """Every attribute by its canonical name."""
    table: dict[str, dict[str, Any]] = knowledge("attributes")["attributes"]
    return table


def attribute(name: str) -> dict[str, Any] | None:
    """The entry of a canonical attribute name; None when there is no such attribute."""
    return attributes().get(name)


def findings() -> dict[str, dict[str, Any]]:
    """Every finding noun by its canonical name."""
    table: dict[str, dict[str, Any]] = knowledge("attributes")["findings"]
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
    names = {normalise(s): value for value, entry in values.items() for s in entry.get("synonyms", ())}
    return names | {normalise(value): value for value in values}


def canonical_value(name: str, spelling: str) -> str | None:
    """The value of a word attribute that a spelling stands for ("hypoechoic" is hypointense); None when unknown."""
    return _value_names(name).get(normalise(spelling))
