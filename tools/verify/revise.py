"""The corrected words of a statement whose claim a measurement refuted."""

from __future__ import annotations

import re

from medloupe.tools.measure.vocabulary import DENIED, attribute
from medloupe.tools.verify._numbers import numbers
from medloupe.tools.verify._phrases import pattern, plain
from medloupe.types import Claim, Verdict

__all__ = ["correct", "measured_instead"]

_MARK = "(measured)"


def correct(claim: Claim, verdict: Verdict, text: str | None = None) -> str | None:
    """The text with the refuted value replaced by the measured one ("12 mm" becomes "23 mm (measured)").

    text: the statement, by default the words the claim was taken from. None when the verdict is not a measured
    refutation, gives no value, or the value's words are not found in the text exactly once.
    """
    sentence = plain(claim.source_text if text is None else text)
    found = measured_instead(claim, verdict)
    if found is None:
        return None
    if isinstance(verdict.measured, str):
        return _word(claim, str(claim.value), found, sentence)
    return _number(claim, found, sentence)


def measured_instead(claim: Claim, verdict: Verdict) -> str | None:
    """What a measured refutation puts in the place of the stated value: a word, or a number in the claim's unit.

    None when the verdict is none, gives no value, or is about a count (the regions that were found are not all there
    are) or a denial.
    """
    found = verdict.measured
    if verdict.verdict != "refuted" or verdict.method != "measured" or found is None or isinstance(found, bool):
        return None
    if isinstance(claim.value, bool) or str(claim.value).startswith(DENIED) or claim.attribute == "count":
        return None
    if isinstance(found, str):
        return None if isinstance(claim.value, float) else found
    return rounded(found)


def _number(claim: Claim, value: str, sentence: str) -> str | None:
    """The stated number (or range) with its unit, replaced; of two axes only the one that is wrong."""
    places = [
        n for n in numbers(sentence) if (n.attribute, n.value, n.unit) == (claim.attribute, claim.value, claim.unit)
    ]
    if len(places) != 1:
        return None
    place = places[0]
    stated = sentence[place.start : place.end]
    both = [n for n in numbers(sentence) if (n.start, n.end) == (place.start, place.end)]
    if len(both) == 1:
        return f"{sentence[: place.start]}{value} {claim.unit} {_MARK}{sentence[place.end :]}"
    one = re.search(rf"(?<![\d.,]){re.escape(format(claim.value, 'g'))}(?![\d]|[.,]\d)", stated)
    if one is None:
        return None
    return (
        f"{sentence[: place.start]}{stated[: one.start()]}{value} {_MARK}{stated[one.end() :]}{sentence[place.end :]}"
    )


def rounded(value: float) -> str:
    """As precise as a pixel's edge is known: whole from ten on, else one decimal."""
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.1f}"


def _word(claim: Claim, stated: str, found: str, sentence: str) -> str | None:
    entry = (attribute(claim.attribute) or {})["values"]
    if stated not in entry:
        return None
    spellings = pattern([stated, *entry[stated].get("synonyms", ())])
    places = list(re.finditer(rf"(?:\b(?P<article>an?)\s+)?(?P<word>{spellings})", sentence, re.IGNORECASE))
    if len(places) != 1:
        return None
    place = places[0]
    article = ("an " if found[0] in "aeiou" else "a ") if place["article"] else ""
    if place["article"] and place["article"][0].isupper():
        article = article.capitalize()
    return f"{sentence[: place.start()]}{article}{found} {_MARK}{sentence[place.end() :]}"
