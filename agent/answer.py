"""Putting the answer together: what is said, what was left out, or why there is none; and how sure it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from medloupe.agent.asked import answers, of_what_was_asked
from medloupe.agent.confidence import Calibration
from medloupe.agent.messages import PROMPTS
from medloupe.prompts import prompt
from medloupe.types import CheckedClaim, Claim, Image, Statement, Study, Verdict

__all__ = ["check_claims", "confidence", "prompt_hashes", "study_summary", "unchecked_answer", "write_answer"]

_MOST_NAMED = 6
"""Claims without a verdict that are named; of more, the first."""


def write_answer(
    question: str, statements: Sequence[Statement], claims: Sequence[Claim], verdicts: Mapping[str, Verdict],
    image: Image, refusal: str = "",
) -> tuple[str, bool]:  # fmt: skip
    """The answer's text and whether it abstains.

    It says supported and corrected statements. Of the rest it names the kind and never the content ("presence of
    fracture", "density"), so that nothing unconfirmed reads as evidence. It abstains where nothing is left to say, or
    nothing of what the question asks for; what was confirmed of the same thing is said all the same.
    """
    left_out = _left_out(statements, claims, verdicts)
    said = [s for s in statements if s.status in ("supported", "corrected")]
    if not statements:
        return f"No answer: {refusal or 'there was nothing to say'}.", True
    if not said:
        return f"No answer: nothing that was drafted could be supported. {left_out}".rstrip(), True
    if not answers(question, said, claims, image):
        stand = of_what_was_asked(question, said, claims, image)
        confirmed = f"Confirmed beside it: {' '.join(s.text for s in stand)} " if stand else ""
        return f"No answer: nothing that answers the question could be supported. {confirmed}{left_out}".rstrip(), True
    return " ".join([*(s.text for s in said), *([left_out] if left_out else [])]), False


def unchecked_answer(statements: Sequence[Statement], refusal: str) -> tuple[str, bool]:
    """The same where verification was switched off: everything is said as it was drafted."""
    if not statements:
        return f"No answer: {refusal or 'there was nothing to say'}.", True
    return " ".join(s.text for s in statements), False


def _left_out(statements: Sequence[Statement], claims: Sequence[Claim], verdicts: Mapping[str, Verdict]) -> str:
    """What is not said, by kind: "Not confirmed and left out: presence of fracture, density."; "" if none."""
    silent = {c for s in statements for c in s.claims} - {c for s in statements for c in s.said}
    open_ = [c for c in claims if c.id in silent and verdicts[c.id].verdict == "undetermined"]
    names = list(dict.fromkeys(_kind(claim) for claim in open_))
    rest = ", ..." if len(names) > _MOST_NAMED else ""
    refuted = sum(verdicts[c.id].verdict == "refuted" for c in claims if c.id in silent)
    unchecked = sum(s.status == "unchecked" for s in statements)
    parts = [f"Not confirmed and left out: {', '.join(names[:_MOST_NAMED])}{rest}."] if names else []
    parts += [f"Refuted and left out: {_number(refuted, 'claim')}."] if refuted else []
    parts += [f"Left out, with nothing in it to check: {_number(unchecked, 'sentence')}."] if unchecked else []
    return " ".join(parts)


def _kind(claim: Claim) -> str:
    if claim.attribute == "presence":
        return f"presence of {claim.finding or 'a finding'}"
    return claim.attribute.replace("_", " ")


def _number(count: int, word: str) -> str:
    return f"{count} {word}{'s' if count > 1 else ''}"


def confidence(
    statements: Sequence[Statement],
    claims: Sequence[Claim],
    verdicts: Mapping[str, Verdict],
    calibration: Calibration | None = None,
) -> tuple[float | None, str]:
    """How sure the answer is, and what that rests on.

    The mean probability that a claim of the answer is right, a corrected value counting as a supported one of the same
    outline. None, with the reason, where one of them is of a kind that the calibration does not cover: probes are never
    calibrated, since how often they are right differs from model to model.
    """
    named = {claim.id: claim.attribute for claim in claims}
    said = [verdicts[c] for c in dict.fromkeys(c for s in statements for c in s.said)]
    if not said:
        return None, "nothing was claimed"
    alone = not any(v.independent for v in said)
    again = "; each was checked by measuring again, by nothing independent of the describer" if alone else ""
    right = [calibration.right(named[v.claim], _as_said(v)) if calibration else None for v in said]
    sure = [p for p in right if p is not None]
    if calibration and len(sure) == len(said):
        basis = f"calibrated on {calibration.statements} statements about {calibration.images} labelled images"
        return round(sum(sure) / len(sure), 3), basis + again
    return None, "not calibrated: " + _how_checked(said)


def _how_checked(said: Sequence[Verdict]) -> str:
    """How many claims were checked in which way, and what of that proves little."""
    of: Counter[str] = Counter(v.method for v in said)
    ways = {"measured": "measured", "probe": "probed", "agreement": "drawn again and again", "none": "otherwise"}
    counted = ", ".join(f"{of[method]} {words}" for method, words in ways.items() if of[method])
    own = any(v.method in ("probe", "agreement") and not v.independent for v in said)
    who = "; the model that was asked is the one that described them, so its steady errors stay" if own else ""
    return f"of {_number(len(said), 'claim')} {counted}{who}"


def _as_said(verdict: Verdict) -> Verdict:
    """A refuted claim is said with the measured value in its place: then it agrees with the measurement exactly."""
    if verdict.verdict != "refuted":
        return verdict
    exact = {"ratio": 1.0} if "ratio" in verdict.numbers else {}
    return verdict.model_copy(update={"verdict": "supported", "numbers": {**verdict.numbers, **exact}})


def check_claims(claims: Sequence[Claim], verdicts: Mapping[str, Verdict]) -> tuple[CheckedClaim, ...]:
    """Each claim with its verdict, as answer.json shows them."""
    checked = []
    for claim in claims:
        verdict = verdicts[claim.id]
        checked.append(
            CheckedClaim(
                **claim.model_dump(include={"id", "source_text", "attribute", "value", "view"}),
                claim=claim.sentence(),
                stated_unit=claim.unit,
                region=claim.region,
                **verdict.model_dump(
                    include={"verdict", "reason", "measured", "unit", "method", "independent", "numbers"}
                ),
            )
        )
    return tuple(checked)


def prompt_hashes() -> dict[str, str]:
    """Every prompt template's sha-256."""
    return {name: prompt(name).sha256 for name in PROMPTS}


def study_summary(study: Study, image: int) -> dict[str, object]:
    """What was looked at, without identifiers: counts, and the image that the overview shows."""
    shown = study.images[image]
    spacing = shown.spacing
    return {
        "images": len(study.images),
        "series": len(study.series),
        "image": image,
        "modality": shown.modality,
        "body_part": shown.body_part,
        "width": shown.width,
        "height": shown.height,
        "values": shown.values,
        "spacing_mm": [spacing.row_mm, spacing.column_mm] if spacing else None,
        "spacing_source": spacing.source if spacing else None,
        "transfer_syntax": shown.transfer_syntax,
        "digest": shown.digest,
    }
