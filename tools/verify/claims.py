"""Claims from structured replies and from free text. Deterministic: the same words are always the same claims.

A value is a number, a word of the vocabulary, or True/False for presence. A stated range is the string "20..30", a
bound "<10" or ">=3", and a denied word "not calcified".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache

from medloupe.tools.measure.vocabulary import (
    DENIED,
    attribute,
    canonical_attribute,
    canonical_value,
    findings,
    normalise,
    rating,
    spoken,
)
from medloupe.tools.verify._numbers import Number, bounds, number, numbers, unit_of
from medloupe.tools.verify._phrases import (
    Convention,
    Phrase,
    Span,
    clauses,
    cue,
    cues,
    function_words,
    language,
    overlaps,
    pattern,
    phrases,
    placed,
    sentences,
    words,
)
from medloupe.types import Claim, Image, Region, StatedAttribute

__all__ = ["claims_from_attributes", "claims_from_text"]

_KEPT = 128
"""Sentences whose reading is kept: those of the questions under way, and no archive of what was said."""
_NEAR = 4
"""Words that may stand between an adjective and the noun it is said of."""


@dataclass(frozen=True)
class _Found:
    """A claim in the making, at its place in the sentence."""

    start: int
    end: int
    attribute: str
    value: bool | float | str
    unit: str = ""
    finding: str | None = None
    hedged: bool = False


def claims_from_text(
    text: str, *, first_id: int, image: Image, region: Region | None, view: int | None, finding: str = ""
) -> tuple[list[Claim], list[str]]:
    """The claims of a text, numbered from C{first_id}, and the content words that no claim was made of.

    image tells whether colour words are colours; finding is what is spoken of where the text does not say.
    """
    claims: list[Claim] = []
    left_over: dict[str, None] = {}
    subject = finding
    for sentence in sentences(text):
        found, unplaced, subject = _read(sentence, subject, Convention.of(image))
        left_over |= dict.fromkeys(unplaced)
        for f in found:
            number_ = first_id + len(claims)
            claims.append(
                Claim(
                    id=f"C{number_}", attribute=f.attribute, value=f.value, unit=f.unit, finding=f.finding or "",
                    region=region, view=view, source="parsed", source_text=sentence, hedged=f.hedged,
                )
            )  # fmt: skip
    return claims, list(left_over)


@lru_cache(maxsize=_KEPT)
def _read(sentence: str, subject: str, convention: Convention) -> tuple[tuple[_Found, ...], tuple[str, ...], str]:
    """The claims and the unplaced words of one sentence, and what the next one's "it" refers to.

    A sentence of the chain is read as it is said, as it is drafted and as it is answered.
    """
    scopes = _Scopes.of(sentence)
    stated_numbers = list(numbers(sentence))
    measured = [_Found(n.start, n.end, n.attribute, n.value, n.unit) for n in stated_numbers]
    taken: list[Span] = [(f.start, f.end) for f in measured]
    said = placed(sentence, phrases(sentence, convention, taken=[*taken, *cues("side_names", sentence)]))
    nouns = [p for p in said if p.kind == "finding"]
    counted = _counts(sentence, nouns, taken)
    stated = [_Found(p.start, p.end, p.name, p.value) for p in said if p.kind == "value"]
    stated += [*_both_sides(sentence, said), *_brightness(sentence)]
    denied_nouns, swallowed = _denied(sentence, nouns, scopes, stated_numbers)
    real = [n for n in nouns if not overlaps((n.start, n.end), swallowed)]
    kept: list[_Found] = []
    for f in (*measured, *counted, *stated):
        if overlaps((f.start, f.end), swallowed):
            continue
        reach = sentence[: scopes.clause(f.start)[1]]
        kept += scopes.judge(f, noun=f.finding if f.finding is not None else _said_of(f, real, reach, subject))
    kept += denied_nouns
    for p in (p for p in said if p.kind == "absence"):
        kept.append(_Found(p.start, p.end, "presence", value=False, finding=p.name, hedged=scopes.hedged(p.start)))
    spoken_for = {f.finding for f in kept}
    kept += _present(nouns, scopes, swallowed, spoken_for, sentence)
    covered = [
        *taken,
        *scopes.spans,
        *swallowed,
        *((p.start, p.end) for p in said),
        *((f.start, f.end) for f in kept),
    ]
    concrete = [n.name for n in real if not findings()[n.name].get("generic")]
    unplaced = words(sentence, covered)
    if unplaced and not nouns and _begins_anew(sentence):
        kept, subject = [replace(f, finding="") if f.finding == subject else f for f in kept], ""
    in_order = sorted(kept, key=lambda f: (f.start, f.attribute))
    return tuple(in_order), tuple(unplaced), concrete[-1] if concrete else subject


@cache
def _first_words() -> re.Pattern[str]:
    return re.compile(rf"\s*(?:there (?:is|are)\s+)?{pattern(language('indefinite'))}\s", re.IGNORECASE)


def _begins_anew(sentence: str) -> bool:
    """ "A calcified granuloma is seen": a thing of its own, whatever was spoken of before and whatever it is."""
    return _first_words().match(sentence) is not None


def _both_sides(sentence: str, said: list[Phrase]) -> list[_Found]:
    """ "Both upper lobes" names a zone and both sides, and so does "bibasal"."""
    zones = [p for p in said if p.kind == "value" and (attribute(p.name) or {})["values"].get(p.value, {}).get("zone")]
    in_one_word = [p for p in zones if re.match(r"bi(?:basal|apical)", sentence[p.start : p.end], re.IGNORECASE)]
    return [_Found(p.start, p.end, "side", "bilateral") for p in in_one_word] + [
        _Found(start, end, "side", "bilateral")
        for start, end in cues("both", sentence)
        for zone in zones
        if not sentence[end : zone.start].strip()
    ]


@cache
def _brightness_pattern() -> re.Pattern[str]:
    names, levels = pattern(language("brightness_names")), pattern(language("brightness_levels"))
    of, verb = r"(?:\s+of\s+(?:\w+\s+){1,3}?)?", r"(?:\s*(?:is|are|was|were|:|appears?)\s*)"
    return re.compile(rf"{names}{of}{verb}(?P<level>{levels})", re.IGNORECASE)


def _brightness(sentence: str) -> list[_Found]:
    """ "Signal intensity is low", "the echogenicity of the mass is increased"."""
    levels = {normalise(k): v for k, v in language("brightness_levels").items()}
    return [
        _Found(*m.span("level"), "intensity", levels[normalise(m["level"])])
        for m in _brightness_pattern().finditer(sentence)
    ]


@dataclass(frozen=True)
class _Scopes:
    """What is denied, doubted or asserted where in a sentence."""

    clauses: list[Span]
    denials: list[Span]
    denials_after: list[Span]
    doubts: list[Span]
    doubts_after: list[Span]
    asserts: list[Span]
    asserts_after: list[Span]
    breaks: list[Span]
    prefixes: list[Span]

    @classmethod
    def of(cls, sentence: str) -> _Scopes:
        none = cues("not_negations", sentence)
        after = [s for s in cues("negations_after", sentence) if not overlaps(s, [n for n in none if n[1] > s[1]])]
        doubts_after = cues("hedges_after", sentence)
        no_denial = [*after, *doubts_after, *none, *cues("hedges", sentence)]
        denials = [
            s for s in cues("negations", sentence)
            if not overlaps(s, [o for o in no_denial if o[1] - o[0] >= s[1] - s[0]])
        ]  # fmt: skip
        return cls(
            clauses(sentence), denials, after,
            cues("hedges", sentence), doubts_after, cues("existence", sentence), cues("existence_after", sentence),
            [*cues("breaks", sentence), *none], cues("negating_prefixes", sentence),
        )  # fmt: skip

    @property
    def spans(self) -> list[Span]:
        """Every cue."""
        return [
            *self.denials, *self.denials_after, *self.doubts, *self.doubts_after, *self.asserts, *self.asserts_after,
            *self.breaks, *self.prefixes,
        ]  # fmt: skip

    def clause(self, place: int) -> Span:
        """The clause that a place lies in."""
        return next(c for c in self.clauses if c[0] <= place < c[1] or c is self.clauses[-1])

    def denial_before(self, place: int) -> Span | None:
        """The cue whose denial reaches this place."""
        start = self.clause(place)[0]
        prefix = next((p for p in self.prefixes if p[1] in (place, place - 1)), None)
        return prefix or next((d for d in reversed(self.denials) if start <= d[0] and d[1] <= place), None)

    def follows(self, cues_after: list[Span], place: int) -> bool:
        """Whether one of these cues stands later in the same clause."""
        return any(place < start and start < self.clause(place)[1] for start, _ in cues_after)

    def hedged(self, place: int) -> bool:
        """Whether what stands here is stated with doubt."""
        start = self.clause(place)[0]
        return any(start <= s and e <= place for s, e in self.doubts) or self.follows(self.doubts_after, place)

    def judge(self, found: _Found, noun: str) -> list[_Found]:
        """The claim as it is stated: with its noun, its doubt, or denied; a denied number states nothing."""
        denied = self.denial_before(found.start) is not None
        if self.follows(self.denials_after, found.start):
            return []  # where or how large something is that is no longer there
        if denied and not isinstance(found.value, str):
            return []
        value = _opposite(str(found.value)) if denied else found.value
        return [_Found(found.start, found.end, found.attribute, value, found.unit, noun, self.hedged(found.start))]


def _opposite(word: str) -> str:
    """The denial of a word; denied twice, the word itself."""
    return word.removeprefix(DENIED) if word.startswith(DENIED) else DENIED + word


def _said_of(found: _Found, nouns: list[Phrase], sentence: str, subject: str) -> str:
    """The noun that something is said of: the one it stands before, else the last one named, else the first to come.

    sentence: up to the end of the clause that `found` stands in; an adjective does not reach beyond it.
    """
    little = function_words()
    for noun in (n for n in nouns if found.end <= n.start < len(sentence)):
        if findings()[noun.name].get("generic") and any(n.end <= found.start for n in nouns):
            break  # "a mass in the left parietal region": of the mass
        between = re.findall(r"[\w']+", sentence[found.end : noun.start])
        if len(between) <= _NEAR and not any(normalise(w) in little for w in between):
            return _named(noun.name, subject)
        break
    before = [n.name for n in nouns if n.end <= found.start]
    if before:
        return _named(before[-1], subject)
    return subject or (_named(nouns[0].name, subject) if nouns else "")


def _named(noun: str, subject: str) -> str:
    """A generic noun ("region") refers to the subject."""
    return subject if findings()[noun].get("generic") else noun


@cache
def _count_pattern() -> re.Pattern[str]:
    many = pattern([*language("numbers"), *language("vague_numbers"), *language("both")])
    some = rf"(?:\d+|{pattern(language('numbers'))})"
    signs = "|".join(pattern(spelled) for spelled in language("comparisons").values())
    return re.compile(
        rf"(?:(?P<low>{some})\s*(?:-|to|or|(?<=\d)\s+and)\s*)?"
        rf"(?:(?P<sign>{signs})\s*)?(?:\ba\s+)?(?P<n>(?<![\w.,])\d+(?![.,]?\d)|{many})\s+$",
        re.IGNORECASE,
    )


_NUMBER_OF = re.compile(r"\W*(?:is|are|was|were|:|=|count(?:ed)?)?\W*(?P<n>\d+)(?!\w|[.,]\d)", re.IGNORECASE)


@cache
def _after_noun() -> re.Pattern[str]:
    """ "Nuclei: 12", "nuclei, about 12 in number", "spots, three in number"."""
    many = rf"\d+|{pattern(language('numbers'))}"
    return re.compile(rf"\s*[:=]\s*(?P<n>\d+)\s*[.,;]?$|\W+(?:\w+\s+)?(?P<m>{many})\s+in\s+number\b", re.IGNORECASE)


def _counts(sentence: str, nouns: list[Phrase], taken: list[Span]) -> list[_Found]:
    """ "Three small nodules", "multiple cysts", "number of nuclei: 12"."""
    found = []
    little = function_words() - set(language("numbers"))
    for noun in nouns:
        before = sentence[: noun.start]
        for back in range(_NEAR):
            match = _count_pattern().search(before)
            if match and back and normalise(match["n"]) in language("both"):
                break
            if match and not overlaps(match.span(), taken):
                value = _count_value(match["n"], match["sign"], match["low"])
                found.append(_Found(match.start(), match.end("n"), "count", value, finding=noun.name))
                break
            step = re.search(r"[\w'-]+\s+$", before)
            if step is None or back == _NEAR - 1 or normalise(step[0]) in little:
                break
            before = before[: step.start()]
        if (match := _after_noun().match(sentence, noun.end)) and not overlaps(match.span(), taken):
            many = number(match["n"] or match["m"]) or 0.0
            found.append(_Found(noun.end, match.end(), "count", many, finding=noun.name))
            continue
        number_of = re.search(r"\b(?:number|count) of\s+(?:\w+\s+){0,2}$", sentence[: noun.start], re.IGNORECASE)
        match = _NUMBER_OF.match(sentence, noun.end) if number_of else None
        if match and not overlaps(match.span("n"), taken):
            found.append(_Found(match.start("n"), match.end("n"), "count", float(match["n"]), finding=noun.name))
    return found


def _count_value(text: str, sign: str | None, low: str | None) -> float | str:
    vague = language("vague_numbers").get(normalise(text))
    if vague is not None:
        return str(vague)
    if normalise(text) in language("both"):
        return 2.0
    value, least = number(text) or 0.0, number(low) if low else None
    if least is not None and least < value:
        return f"{least:g}..{value:g}"
    if not sign:
        return value
    spelled = next(s for s, names in language("comparisons").items() if normalise(sign) in map(normalise, names))
    return f"{spelled}{value:g}"


def _denied(
    sentence: str, nouns: list[Phrase], scopes: _Scopes, sizes: list[Number]
) -> tuple[list[_Found], list[Span]]:
    """Nouns that are said to be absent, with what narrows them ("calcified nodule", "nodule larger than 4 mm")."""
    found, swallowed = [], []
    little = function_words()
    for noun in nouns:
        cue_ = scopes.denial_before(noun.start)
        if cue_ is None and not scopes.follows(scopes.denials_after, noun.start):
            continue
        start = noun.start
        before = sentence[cue_[1] : noun.start] if cue_ else ""
        if cue_ and not any(cue_[1] <= n.start < noun.start for n in nouns):
            narrowing = re.findall(r"[\w'-]+", before)
            if narrowing and not any(normalise(w) in little for w in narrowing):
                start = noun.start - len(before.lstrip())
        size = next((n for n in sizes if n.start >= noun.end and not sentence[noun.end : n.start].strip()), None)
        end = size.end if size else noun.end
        name = re.sub(r"\s+", " ", sentence[start : noun.start]).lower() + noun.name + sentence[noun.end : end]
        swallowed.append((start, end))
        found.append(_Found(start, end, "presence", value=False, finding=name, hedged=scopes.hedged(noun.start)))
    return found, swallowed


def _present(
    nouns: list[Phrase], scopes: _Scopes, denied: list[Span], spoken_for: set[str | None], sentence: str
) -> list[_Found]:
    """Nouns that are said to be there, and nouns that nothing else was claimed of: naming one asserts it.

    "The mass" beside other claims is what they are about, and asserts nothing by itself.
    """
    found: dict[str, _Found] = {}
    for noun in nouns:
        if overlaps((noun.start, noun.end), denied) or findings()[noun.name].get("generic") or noun.name in found:
            continue
        clause = scopes.clause(noun.start)
        asserted = any(clause[0] <= s and e <= noun.start for s, e in scopes.asserts)
        known = re.search(pattern(language("definite")) + r"\W+$", sentence[: noun.start], re.IGNORECASE)
        about = noun.name in spoken_for or (known and (spoken_for or len(nouns) > 1))
        if asserted or scopes.follows(scopes.asserts_after, noun.start) or not about:
            hedged = scopes.hedged(noun.start)
            found[noun.name] = _Found(noun.start, noun.end, "presence", value=True, finding=noun.name, hedged=hedged)
    return list(found.values())


# --- structured replies ---------------------------------------------------------------------------------------------


def claims_from_attributes(
    attributes: Sequence[StatedAttribute], *, first_id: int, region: Region | None, view: int | None, source_text: str
) -> list[Claim]:
    """Claims from stated attributes, names and values brought to the vocabulary's.

    What the vocabulary does not know stays a claim under its own name, and is undetermined when it is checked.
    """
    found = [(stated, *f) for stated in attributes for f in _normalised(stated)]
    return [
        Claim(
            id=f"C{first_id + i}", attribute=name, value=value, unit=unit, finding=_noun(finding), region=region,
            view=view, source="structured",
            source_text=source_text or f"{stated.attribute}: {stated.value} {stated.unit}".strip(),
        )
        for i, (stated, name, value, unit, finding) in enumerate(found)
    ]  # fmt: skip


_Normal = tuple[str, bool | float | str, str, str]
"""Attribute, value, unit, finding."""


def _noun(spelling: str) -> str:
    """The canonical noun, or the spelling as it is."""
    return _finding_names().get(normalise(spelling), spelling)


@cache
def _finding_names() -> dict[str, str]:
    return {normalise(s): noun for noun, entry in findings().items() for s in (noun, *entry["synonyms"])}


_SQUARED = {"px": "px2", "mm": "mm2", "cm": "cm2"}
"""An area that is given in a length's unit is meant in its square."""


def _normalised(stated: StatedAttribute) -> list[_Normal]:
    name = canonical_attribute(stated.attribute)
    unit = unit_of(stated.unit) or stated.unit
    if unit == "HU" and name in (None, "intensity"):
        name = "density"
    if name == "area":
        unit = _SQUARED.get(unit, unit)
    if name is None:
        return [_of_unknown(stated, unit)]
    kind = (attribute(name) or {})["kind"]
    if kind == "truth":
        return [(name, _truth(stated.value), "", stated.finding)]
    if isinstance(stated.value, bool):
        return [(name, stated.value, unit, stated.finding)]
    if isinstance(stated.value, int | float):
        if (word := rating(name, stated.value)) is not None:
            return [(name, word, "", stated.finding)]
        return [(name, float(stated.value), unit, stated.finding)]
    if kind in ("number", "count"):
        return _numeric(name, stated.value, unit, stated.finding)
    return _worded(name, stated.value, unit, stated.finding)


def _of_unknown(stated: StatedAttribute, unit: str) -> _Normal:
    """{"spiculated": true} and {"nodule": false} name a value or a finding instead of an attribute."""
    spelling, truth = stated.attribute, _truth(stated.value)
    if isinstance(truth, bool):
        if normalise(spelling) in _finding_names():
            return ("presence", truth, "", spelling)
        owners = [(name, value) for name in spoken() if (value := canonical_value(name, spelling))]
        if len(owners) == 1:
            name, value = owners[0]
            return (name, value if truth else _opposite(value), "", stated.finding)
    return (normalise(spelling).replace(" ", "_"), stated.value, unit, stated.finding)


def _truth(value: bool | float | str) -> bool | float | str:
    """True or False for the usual spellings of them, else the value itself."""
    if isinstance(value, str):
        return {"yes": True, "true": True, "present": True, "no": False, "false": False, "absent": False}.get(
            normalise(value), value
        )
    return value


def _numeric(name: str, text: str, unit: str, finding: str) -> list[_Normal]:
    """ "12 mm", "12 x 8 mm", "2-3 cm", "three", "<10"."""
    plain = number(text)
    if plain is not None:
        return [(name, plain, unit, finding)]
    if bounds(text) is not None:
        return [(name, text.strip(), unit, finding)]
    vague = language("vague_numbers").get(normalise(text))
    if vague is not None:
        return [(name, str(vague), unit, finding)]
    read = list(numbers(text)) or list(numbers(f"{text} {unit}"))
    several = len(read) > 1
    return [(n.attribute if several else name, n.value, n.unit, finding) for n in read] or [(name, text, unit, finding)]


def _worded(name: str, text: str, unit: str, finding: str) -> list[_Normal]:
    """A word of this attribute, of another one that knows it, or the words found in a longer phrase."""
    in_reply = {
        normalise(s): value
        for value, entry in (attribute(name) or {}).get("values", {}).items()
        for s in entry.get("structured", ())
    }
    score = number(text)
    value = canonical_value(name, text) or in_reply.get(normalise(text)) or (rating(name, score) if score else None)
    if value is not None:
        return [(name, value, "", finding)]
    if name == "density":
        numeric = _numeric(name, text, unit or "HU", finding)
        if bounds(numeric[0][1]) is not None:
            return numeric
    denial = cue("negations").match(text.strip())
    rest = text.strip()[denial.end() :] if denial else text
    if denial and (value := canonical_value(name, rest)) is not None:
        return [(name, _opposite(value), "", finding)]
    found = [p for p in phrases(rest, Convention(coloured=True)) if p.kind == "value"]
    if found and not denial:
        placed = [(p.name, p.value) for p in found]
        if any(v in in_reply.values() for _, v in placed):
            placed = [(name, in_reply[v]) if v in in_reply else (n, v) for n, v in placed]
        return [(n, v, "", finding) for n, v in placed]
    return [(name, text.strip(), unit, finding)]
