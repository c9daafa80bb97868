"""From verdicts to an answer: what is refuted is corrected or dropped, what nothing supports is marked, or abstain."""

from __future__ import annotations

from collections.abc import Sequence

from medloupe.agent.confidence import Calibration
from medloupe.agent.messages import PROMPTS
from medloupe.prompts import prompt
from medloupe.tools.verify import correct
from medloupe.types import CheckedClaim, Claim, Statement, Study, Verdict

__all__ = ["check_claims", "confidence", "prompt_hashes", "revise_statement", "study_summary", "write_answer"]

NOT_CONFIRMED = "not confirmed"


def revise_statement(statement: Statement, claims: Sequence[Claim], verdicts: dict[str, Verdict]) -> Statement:
    """A statement after its checks. A measured refutation that gives the value corrects it; any other drops it.

    What no check settled, and words that no claim was made of, are marked in what is said.
    """
    if not claims:
        return _changed(statement, "unchecked", "it holds nothing that can be checked")
    found = [(claim, verdicts[claim.id]) for claim in claims]
    refuted = [(claim, verdict) for claim, verdict in found if verdict.verdict == "refuted"]
    doubtful = [(claim, verdict) for claim, verdict in found if verdict.verdict == "undetermined"]
    mark = _mark([claim for claim, _ in doubtful], statement.unparsed)
    reason = "; ".join(f"{verdict.claim}: {verdict.reason}" for _, verdict in (refuted or doubtful))
    if refuted:
        if not any(verdict.independent for _, verdict in refuted):
            # Two measurements of one thing disagree: neither corrects the other.
            return _changed(statement, "refuted", reason)
        text = _corrected(statement.text, refuted)
        if text is None:
            return _changed(statement, "refuted", reason)
        return _changed(statement, "corrected", reason, text=_marked(text, mark), original=statement.text)
    if len(doubtful) == len(found):
        return _changed(statement, "undetermined", reason)
    return _changed(statement, "supported", reason, text=_marked(statement.text, mark))


_MOST_WORDS = 6
"""Unchecked words that are named; of more, the first."""


def _mark(doubtful: Sequence[Claim], unparsed: Sequence[str]) -> str:
    """What of a statement is not backed by a check, in words; "" when all of it is."""
    names = list(dict.fromkeys(claim.attribute.replace("_", " ") for claim in doubtful))
    parts = [f"{NOT_CONFIRMED}: {', '.join(names)}"] if names else []
    if unparsed:
        rest = ", ..." if len(unparsed) > _MOST_WORDS else ""
        parts.append(f"not checked: {', '.join(unparsed[:_MOST_WORDS])}{rest}")
    return "; ".join(parts)


def _marked(text: str, mark: str) -> str:
    """The mark in brackets, before the sentence's full stop so that it is read with it."""
    if not mark:
        return text
    body = text.removesuffix(".")
    return f"{body} ({mark}){'.' if body != text else ''}"


def _changed(statement: Statement, status: str, reason: str, **changes: str) -> Statement:
    return statement.model_copy(update={"status": status, "reason": reason, **changes})


def _corrected(text: str, refuted: Sequence[tuple[Claim, Verdict]]) -> str | None:
    """The sentence with every refuted value replaced by the measured one; None when one of them cannot be."""
    for claim, verdict in refuted:
        changed = correct(claim, verdict, text)
        if changed is None:
            return None
        text = changed
    return text


def write_answer(statements: Sequence[Statement], refusal: str, *, checked: bool = True) -> tuple[str, bool]:
    """The answer's text and whether it abstains: supported and corrected statements, then unconfirmed ones, marked.

    checked: False where verification was switched off; then every statement is said as it stands.
    """
    sound = [s.text for s in statements if s.status in ("supported", "corrected") or not checked]
    if not sound:
        why = refusal or _why_nothing(statements)
        return f"No answer: {why}.", True
    doubtful = [_marked(s.text, NOT_CONFIRMED) for s in statements if s.status == "undetermined"]
    return " ".join([*sound, *doubtful]), False


def _why_nothing(statements: Sequence[Statement]) -> str:
    if not statements:
        return "there was nothing to say"
    reasons = list(dict.fromkeys(s.reason for s in statements if s.reason))
    refuted = sum(s.status == "refuted" for s in statements)
    return f"nothing that was drafted could be supported ({refuted} of {len(statements)} refuted; {'; '.join(reasons)})"


def confidence(
    statements: Sequence[Statement],
    claims: Sequence[Claim],
    verdicts: dict[str, Verdict],
    calibration: Calibration | None = None,
) -> tuple[float | None, str]:
    """How sure the answer is, and what that rests on; None where nothing was claimed.

    With a calibration that covers every claim of what is said: the mean probability that one is right, a corrected
    value counting as a supported one of the same outline. Else the share of claims that were supported, or corrected by
    a measurement, and the words "not calibrated".
    """
    shown = [s for s in statements if s.status in ("supported", "corrected", "undetermined")]
    said = [(s, verdicts[c]) for s in shown for c in s.claims]
    if not said or not any(s.status in ("supported", "corrected") for s in shown):
        return None, "nothing was claimed"
    alone = not any(v.independent for _, v in said)
    again = "; each was checked by measuring again, by nothing independent of the describer" if alone else ""
    named = {claim.id: claim.attribute for claim in claims}
    right = [calibration.right(named[v.claim], _as_said(v)) if calibration else None for _, v in said]
    sure = [p for p in right if p is not None]
    if calibration and len(sure) == len(right):
        basis = f"calibrated on {calibration.statements} statements about {calibration.images} labelled images"
        return round(sum(sure) / len(sure), 3), basis + again
    good = sum(v.verdict == "supported" or (v.verdict == "refuted" and s.status == "corrected") for s, v in said)
    basis = f"{good} of {len(said)} claims supported; not calibrated"
    return round(good / len(said), 3), basis + again


def _as_said(verdict: Verdict) -> Verdict:
    """A refuted claim is said with the measured value in its place: then it agrees with the measurement exactly."""
    if verdict.verdict != "refuted":
        return verdict
    exact = {"ratio": 1.0} if "ratio" in verdict.numbers else {}
    return verdict.model_copy(update={"verdict": "supported", "numbers": {**verdict.numbers, **exact}})


def check_claims(claims: Sequence[Claim], verdicts: dict[str, Verdict]) -> tuple[CheckedClaim, ...]:
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
