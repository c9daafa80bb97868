"""Where the vocabulary's words stand in a sentence. Every word comes from prompts/knowledge; there is none here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, NamedTuple

from medloupe.prompts import knowledge
from medloupe.tools.measure.vocabulary import DENIED, attribute, findings, normalise, spoken
from medloupe.types import Image

Kind = Literal["value", "finding", "absence"]
"""A word of an attribute; a noun; a phrase that denies a noun without naming it ("heart size is normal")."""
Span = tuple[int, int]

_PLAIN = str.maketrans({"’": "'", "‘": "'", "‐": "-", "‑": "-", "–": "-", "−": "-", "—": ",", "\u00a0": " "})
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[\"'(A-Z0-9])|[\n;]+")
_BULLET = re.compile(r"^\s*(?:[-*•]\s+|\d+[.)]\s+)")
_LONG = 600
_PIECE = re.compile(r"\s*(.{1,600}(?:\s|$)|.{600})", re.DOTALL)
"""A sentence longer than anyone writes is read piece by piece, so that nonsense costs no more than its length."""
_WORD = re.compile(r"[^\W\d_][\w']*|\d+(?:[.,]\d+)?")


@dataclass(frozen=True)
class Phrase:
    """One phrase of the vocabulary in a sentence."""

    start: int
    end: int
    kind: Kind
    name: str
    """Attribute of a value; canonical noun of a finding or of an absence."""
    value: str = ""


class Convention(NamedTuple):
    """What words mean in a kind of picture."""

    coloured: bool = False
    """Colour words are colours; in a grey picture "white" is none."""
    picture: bool = False
    """ "On the left" is the picture's left; where patients lie in a known way it is the patient's."""

    @classmethod
    def of(cls, image: Image) -> Convention:
        """The convention of an image's modality."""
        coloured = image.values == "RGB"
        return cls(coloured, coloured and image.modality not in (attribute("side") or {})["modalities"])


def language(section: str) -> Any:
    """A section of prompts/knowledge/language.yaml."""
    return knowledge("language")[section]


def plain(text: str) -> str:
    """The text with typographic quotes and dashes made plain, letter for letter, so that places stay the same."""
    return text.translate(_PLAIN)


def sentences(text: str) -> Iterator[str]:
    """The sentences of a text, list markers removed."""
    for part in _SENTENCE.split(plain(text)):
        sentence = _BULLET.sub("", part).strip()
        pieces = [sentence] if len(sentence) <= _LONG else _PIECE.findall(sentence)
        yield from (piece.strip() for piece in pieces if piece.strip())


def pattern(spellings: Iterable[str], *, before: str = r"(?<!\w)") -> str:
    """An alternation of whole phrases, longest first; blanks and hyphens between words are the same.

    before: what may not stand before a phrase that begins with a letter.
    """
    parts = []
    for spelling in sorted(set(map(normalise, spellings)), key=lambda s: (-len(s), s)):
        words = r"[\s\-]+".join(re.escape(w) for w in spelling.split())
        parts.append((before if spelling[0].isalnum() else "") + words + (r"(?!\w)" if spelling[-1].isalnum() else ""))
    return "(?:" + "|".join(parts) + ")"


@cache
def cue(section: str) -> re.Pattern[str]:
    """The cues of a section of the language file, as one pattern."""
    return re.compile(pattern(language(section)), re.IGNORECASE)


def cues(section: str, sentence: str) -> list[Span]:
    """Where the cues of a section stand."""
    return [m.span() for m in cue(section).finditer(sentence)]


@cache
def _spellings(convention: Convention) -> Mapping[str, tuple[Kind, str, str]]:
    table: dict[str, tuple[Kind, str, str]] = {}
    in_picture: dict[str, tuple[Kind, str, str]] = {}
    for name, entry in spoken().items():
        for value, about in entry.get("values", {}).items():
            if not about.get("grey_only" if convention.coloured else "colour_only"):
                table |= {normalise(s): ("value", name, value) for s in (value, *about.get("synonyms", ()))}
                table |= {normalise(s): ("value", name, DENIED + value) for s in about.get("negations", ())}
                in_picture |= {normalise(s): ("value", name, value) for s in about.get("in_picture", ())}
    for noun, about in findings().items():
        if convention.coloured or not about.get("colour_only"):
            table |= {normalise(s): ("finding", noun, "") for s in (noun, *about.get("synonyms", ()))}
            table |= {normalise(s): ("absence", noun, "") for s in about.get("negations", ())}
    return table | in_picture if convention.picture else table


@cache
def _phrase_pattern(convention: Convention) -> re.Pattern[str]:
    return re.compile(f"(?=({pattern(_spellings(convention))}))", re.IGNORECASE)


def phrases(sentence: str, convention: Convention, *, taken: Iterable[Span] = ()) -> list[Phrase]:
    """The phrases of a sentence in order; where two overlap the longer one is meant."""
    table, busy, found = _spellings(convention), list(taken), []
    candidates = [(m.start(), m.start() + len(m[1]), m[1]) for m in _phrase_pattern(convention).finditer(sentence)]
    for start, end, words in sorted(candidates, key=lambda c: (c[0] - c[1], c[0])):
        if not overlaps((start, end), busy):
            kind, name, value = table[normalise(words)]
            found.append(Phrase(start, end, kind, name, value))
            busy.append((start, end))
    return sorted(found, key=lambda p: p.start)


def placed(sentence: str, said: list[Phrase]) -> list[Phrase]:
    """The phrases, less those that only qualify a neighbour.

    "Foci of calcification" are calcification; "dark" before a colour is its shade; "the lower pole" places a pole,
    which is not known here; "the left upper part of the image" means the image's left.
    """
    kept = []
    little = function_words()
    for n, phrase in enumerate(said):
        following = said[n + 1] if n + 1 < len(said) else None
        gap = sentence[phrase.end : following.start if following else len(sentence)]
        part_of = phrase.kind == "finding" and phrase.name in ("spot", "region") and re.fullmatch(r"\s+of\s+", gap)
        if following and part_of and following.kind == "finding":
            continue
        next_to = following if following and not gap.strip() else None
        if next_to and phrase.name == "intensity" and next_to.name == "colour":
            continue
        word = normalise(sentence[phrase.start : phrase.end])
        beside = re.match(r"\s+([^\W\d_]+)", gap)
        if word in language("placing") and beside and normalise(beside[1]) not in little:
            continue
        if next_to and (phrase.name, next_to.value) in (("side", "image upper"), ("side", "image lower")):
            phrase = replace(phrase, name="site", value=f"image {phrase.value}")
        kept.append(phrase)
    return kept


def overlaps(span: Span, others: Iterable[Span]) -> bool:
    """Whether a span shares a letter with any other."""
    return any(span[0] < end and start < span[1] for start, end in others)


def clauses(sentence: str) -> list[Span]:
    """Spans within which a denial or a doubt holds: up to a comma that starts anew, or a word like "but"."""
    ends = {len(sentence)}
    ends |= {start for start, _ in cues("breaks", sentence) if start > 0}
    ends |= {m.start() for m in cue("new_starts").finditer(sentence) if _after_a_stop(sentence, m.start())}
    starts = [0, *sorted(ends - {len(sentence)})]
    return list(zip(starts, [*starts[1:], len(sentence)], strict=True))


def _after_a_stop(sentence: str, place: int) -> bool:
    before = sentence[:place].rstrip()
    return before.endswith((",", ":")) or bool(re.search(r"(?:,|\w)\s+and$", before, re.IGNORECASE))


@cache
def function_words() -> frozenset[str]:
    """Words that say nothing by themselves."""
    return frozenset(normalise(w) for w in language("function_words"))


def words(sentence: str, taken: Iterable[Span] = ()) -> list[str]:
    """The words outside the taken spans that are not function words: what a sentence says beyond its claims."""
    busy, plain_words = list(taken), function_words()
    return [
        m[0]
        for m in _WORD.finditer(sentence)
        if not overlaps(m.span(), busy) and not set(normalise(m[0]).split()) <= plain_words
    ]
