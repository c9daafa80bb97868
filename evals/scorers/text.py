"""Reading a choice out of a reply, by whole words, and comparing free answers.

A reply that cannot be read is None, and is counted as unparsed: nothing is guessed. Faults of known harnesses that are
not repeated here: a letter found without regard to case takes the article "a" for option A; `"No" in reply` accepts
"Normal"; the first of several options mentioned is taken.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

__all__ = ["exact_match", "letters", "normalised", "read_option", "read_yes_no", "token_f1", "token_recall", "words_of"]

_ALONE = re.compile(r"[\s(\[\"'*]*([A-Za-z])[\s)\].:\"'*]*")
_STATED = re.compile(
    r"\b(?:answer|option|choice|choose|select)\b(?:\s+(?:is|would\s+be|:))?[\s:*]*"
    r"(?:[(\[]([A-Za-z])[)\]]|([A-Z])(?=\s*(?:[.):,;*\n]|$)))",
    re.IGNORECASE,
)
_LEADING = re.compile(r"\s*\**(?:[(\[]([A-Za-z])[)\]]|([A-Z])\s*[.):](?!\w))")
_BRACKETED = re.compile(r"[(\[]([A-Z])[)\]]")
_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)
_WORD = re.compile(r"[^\W_]+(?:\.\d+)?")
_DENIED = frozenset({"no", "not", "without", "neither", "nor", "never", "isn", "excludes", "excluded"})
_ARTICLES = frozenset({"a", "an", "the"})


def letters(count: int) -> str:
    """The letters of that many options."""
    return string.ascii_uppercase[:count]


def normalised(text: str) -> str:
    """Lower case, without punctuation and articles, single spaces (SQuAD's normalisation, Rajpurkar 2016)."""
    return " ".join(word for word in words_of(text) if word not in _ARTICLES)


def read_option(reply: str, options: Sequence[str]) -> int | None:
    """Which option a reply chooses, by its letter or its text; None when it does not say, or says several.

    In this order: a letter alone; "the answer is B" (the last one said); a letter that opens the reply ("B. ...");
    the one option whose text stands there in whole words and is not denied; the one letter in brackets. A letter in
    running text counts in upper case or brackets only.
    """
    reply = _THOUGHT.sub("", reply).strip()
    if (alone := _ALONE.fullmatch(reply)) is not None:
        return _place(alone[1], options)
    if stated := _STATED.findall(reply):
        bracketed, bare = stated[-1]
        letter = bracketed or (bare if bare.isupper() else "")
        if letter and (place := _place(letter, options)) is not None:
            return place
    if (leading := _LEADING.match(reply)) is not None:
        return _place(leading[1] or leading[2], options)
    if (by_text := _by_text(reply, options)) is not None:
        return by_text
    mentioned = {_place(letter, options) for letter in _BRACKETED.findall(reply)} - {None}
    return mentioned.pop() if len(mentioned) == 1 else None


def _place(letter: str, options: Sequence[str]) -> int | None:
    place = ord(letter.upper()) - ord("A")
    return place if 0 <= place < len(options) else None


def _by_text(reply: str, options: Sequence[str]) -> int | None:
    """The one option whose words stand in the reply; an option within a longer one that stands there does not count."""
    said, spans = words_of(reply), {}
    for place, option in enumerate(options):
        if words := words_of(option):
            spans[place] = [(at, at + len(words)) for at in _found(words, said) if not _denied(said, at)]
    kept = {place for place, found in spans.items() if any(not _inside_longer(span, place, spans) for span in found)}
    return kept.pop() if len(kept) == 1 else None


def _inside_longer(span: tuple[int, int], place: int, spans: dict[int, list[tuple[int, int]]]) -> bool:
    return any(
        other != place and start <= span[0] and span[1] <= end and (start, end) != span
        for other, found in spans.items()
        for start, end in found
    )


def _found(words: Sequence[str], said: Sequence[str]) -> list[int]:
    """Where a run of words begins in another."""
    return [at for at in range(len(said) - len(words) + 1) if list(said[at : at + len(words)]) == list(words)]


def _denied(said: Sequence[str], at: int) -> bool:
    """Whether one of the two words before says no."""
    return any(word in _DENIED for word in said[max(0, at - 2) : at])


def read_yes_no(reply: str) -> bool | None:
    """Yes or no, as whole words; None when it does not say, or says both.

    The first word decides; else "the answer is ..."; else the one that is said, where "no" before a noun ("no nodule")
    says nothing of the question.
    """
    reply = _THOUGHT.sub("", reply)
    words = words_of(reply)
    if words and words[0] in ("yes", "no"):
        return words[0] == "yes"
    stated = re.findall(r"\banswer\b[\s\w]{0,12}?[\s:*]+\b(yes|no)\b", reply, re.IGNORECASE)
    if stated:
        return bool(stated[-1].lower() == "yes")
    said = {word.lower() for word in re.findall(r"\b(yes|no)\b(?=\s*(?:[.,;:!)\"'*]|$))", reply, re.IGNORECASE)}
    return said == {"yes"} if len(said) == 1 else None


def exact_match(reply: str, target: str) -> bool:
    """Whether two free answers are the same after `normalised`."""
    return normalised(reply) == normalised(target)


def token_recall(reply: str, target: str) -> float:
    """Share of the target's words that the reply says (the open-question score of LLaVA-Med); 0 for an empty target."""
    said, asked = Counter(normalised(reply).split()), Counter(normalised(target).split())
    return sum((said & asked).values()) / sum(asked.values()) if asked else 0.0


def token_f1(reply: str, target: str) -> float:
    """Harmonic mean of word precision and recall (SQuAD)."""
    said, asked = Counter(normalised(reply).split()), Counter(normalised(target).split())
    common = sum((said & asked).values())
    return 2 * common / (sum(said.values()) + sum(asked.values())) if common else 0.0


def words_of(text: str) -> list[str]:
    """Lower-case words and numbers, without punctuation."""
    return [word.lower() for word in _WORD.findall(text)]
