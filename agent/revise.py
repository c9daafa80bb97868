"""From verdicts to statements: corrected, cut down to what was confirmed, or left out.

What no check confirmed is never repeated: of a sentence that is half confirmed, the confirmed half is said anew in our
own words, and the drafted sentence stays in the record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medloupe.agent.describe import measured_sentence
from medloupe.tools.verify import correct, measured_instead
from medloupe.types import Claim, StatedAttribute, Statement, Verdict

__all__ = ["revise", "revise_statement"]

_SIZES = ("long_axis", "short_axis", "area")
_MOST_WORDS = 6
"""Unchecked words that are named; of more, the first."""


def revise(
    statements: Sequence[Statement], claims: Sequence[Claim], verdicts: Mapping[str, Verdict]
) -> list[Statement]:
    """Every statement after its checks; see `revise_statement`."""
    known = {claim.id: claim for claim in claims}
    apart = _described_apart(claims, verdicts)
    return [revise_statement(s, [known[i] for i in s.claims], verdicts, apart=apart) for s in statements]


def revise_statement(
    statement: Statement,
    claims: Sequence[Claim],
    verdicts: Mapping[str, Verdict],
    *,
    apart: frozenset[str] = frozenset(),
) -> Statement:
    """A statement after its checks. `said` of it names the claims that its text still makes.

    All supported: as drafted, with the words marked that no claim was made of. A measured refutation that is
    independent of the describer puts the measured value in place of the stated one, save in a region of `apart`. Where
    that leaves some claims refuted or undetermined, only the others are said, anew; where it leaves none, nothing is.
    """
    if not claims:
        return _changed(statement, "unchecked", "it holds nothing that can be checked")
    found = [(claim, verdicts[claim.id]) for claim in claims]
    wrong = [pair for pair in found if pair[1].verdict == "refuted"]
    open_ = [pair for pair in found if pair[1].verdict == "undetermined"]
    mended = [pair for pair in wrong if _can_mend(*pair, apart)]
    kept = [pair for pair in found if pair[1].verdict == "supported" or pair in mended]
    reason = "; ".join(f"{verdict.claim}: {verdict.reason}" for _, verdict in [*wrong, *open_])
    if any(_place(claim) in apart for claim, _ in wrong):
        reason += "; what is described differs from what was outlined in more than one way: it may be something else"
    if not any(_stands_in(claim, statement) for claim, _ in kept):
        return _changed(statement, "refuted" if wrong else "undetermined", reason)
    said = tuple(claim.id for claim, _ in kept)
    if len(kept) == len(found):
        text = _corrected(statement.text, mended)
        if text is not None:
            text = _marked(text, statement.unparsed)
            if not mended:
                return _changed(statement, "supported", reason, text=text, said=said)
            return _changed(statement, "corrected", reason, text=text, original=statement.text, said=said)
    text = _restated(kept)
    return _changed(statement, "corrected", reason, text=text, original=statement.text, said=said)


def _stands_in(claim: Claim, statement: Statement) -> bool:
    """Whether a statement says it itself: that there is a nodule is not what "the nodule measures 9 mm" tells."""
    return claim.attribute != "presence" or (claim.source != "implied" and claim.source_text in statement.text)


def _described_apart(claims: Sequence[Claim], verdicts: Mapping[str, Verdict]) -> frozenset[str]:
    """Places where what is said and what was measured differ in two or more ways.

    One wrong number is a wrong number; where size and brightness and site are all off, the model most likely spoke of
    something else than was outlined, and a number measured there would be put to the wrong thing.
    """
    off: dict[str, set[str]] = {}
    for claim in claims:
        verdict = verdicts[claim.id]
        if verdict.verdict == "refuted" and verdict.method == "measured" and verdict.independent:
            kind = "size" if claim.attribute in _SIZES else claim.attribute
            off.setdefault(_place(claim), set()).add(kind)
    return frozenset(place for place, kinds in off.items() if len(kinds) > 1)


def _place(claim: Claim) -> str:
    return claim.region.id if claim.region else f"V{claim.view}"


def _can_mend(claim: Claim, verdict: Verdict, apart: frozenset[str]) -> bool:
    """Two measurements of one thing that disagree do not correct each other: only an independent one does."""
    return verdict.independent and _place(claim) not in apart and measured_instead(claim, verdict) is not None


def _corrected(text: str, mended: Sequence[tuple[Claim, Verdict]]) -> str | None:
    """The sentence with every refuted value replaced by the measured one; None when one of them is not found in it."""
    for claim, verdict in mended:
        changed = correct(claim, verdict, text)
        if changed is None:
            return None
        text = changed
    return text


def _marked(text: str, unparsed: Sequence[str]) -> str:
    """The words that nothing checked in brackets, before the sentence's full stop so that they are read with it."""
    if not unparsed:
        return text
    rest = ", ..." if len(unparsed) > _MOST_WORDS else ""
    body = text.removesuffix(".")
    return f"{body} (not checked: {', '.join(unparsed[:_MOST_WORDS])}{rest}){'.' if body != text else ''}"


def _restated(kept: Sequence[tuple[Claim, Verdict]]) -> str:
    """What holds of a sentence, in our own words. A finding is named only where its presence itself was confirmed."""
    present = [claim for claim, _ in kept if claim.attribute == "presence"]
    named = {claim.finding for claim in present if claim.value is True}
    sentences = [f"{claim.finding or 'it'} is {'present' if claim.value else 'absent'}." for claim in present]
    about: dict[str, list[StatedAttribute]] = {}
    for claim, verdict in kept:
        if claim.attribute != "presence":
            subject = claim.finding if claim.finding in named else claim.region.id if claim.region else "the region"
            about.setdefault(subject, []).append(_stated(claim, verdict))
    sentences += [measured_sentence(subject, stated) for subject, stated in about.items()]
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences if sentence)


def _stated(claim: Claim, verdict: Verdict) -> StatedAttribute:
    """As it is said: a refuted value by the measured one."""
    value = claim.value if verdict.verdict == "supported" else measured_instead(claim, verdict)
    words = f"{value:g}" if isinstance(value, float) else str(value)
    return StatedAttribute(attribute=claim.attribute, value=words, unit=claim.unit)


def _changed(statement: Statement, status: str, reason: str, **changes: object) -> Statement:
    return statement.model_copy(update={"status": status, "reason": reason, **changes})
