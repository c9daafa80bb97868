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
    """A statement after its checks. A measured refutation that gives the value corrects it; any other drops it."""
    if not claims:
        return _changed(statement, "unchecked", "it holds nothing that can be checked")
    found = [(claim, verdicts[claim.id]) for claim in claims]
    refuted = [(claim, verdict) for claim, verdict in found if verdict.verdict == "refuted"]
    if refuted:
        reason = "; ".join(f"{verdict.claim}: {verdict.reason}" for _, verdict in refuted)
        text = _corrected(statement.text, refuted)
        if text is None:
            return _changed(statement, "refuted", reason)
        return _changed(statement, "corrected", reason).model_copy(update={"text": text, "original": statement.text})
    doubtful = [(claim, verdict) for claim, verdict in found if verdict.verdict == "undetermined"]
    reason = "; ".join(f"{verdict.claim}: {verdict.reason}" for _, verdict in doubtful)
    if len(doubtful) == len(found):
        return _changed(statement, "undetermined", reason)
    names = ", ".join(dict.fromkeys(claim.attribute.replace("_", " ") for claim, _ in doubtful))
    mark = f" ({NOT_CONFIRMED}: {names})" if names else ""
    return _changed(statement, "supported", reason).model_copy(update={"text": statement.text + mark})


def _changed(statement: Statement, status: str, reason: str) -> Statement:
    return statement.model_copy(update={"status": status, "reason": reason})


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
    doubtful = [f"({NOT_CONFIRMED}) {s.text}" for s in statements if s.status == "undetermined"]
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
    named = {claim.id: claim.attribute for claim in claims}
    right = [calibration.right(named[v.claim], _as_said(v)) if calibration else None for _, v in said]
    sure = [p for p in right if p is not None]
    if calibration and len(sure) == len(right):
        basis = f"calibrated on {calibration.statements} statements about {calibration.images} labelled images"
        return round(sum(sure) / len(sure), 3), basis
    good = sum(v.verdict == "supported" or (v.verdict == "refuted" and s.status == "corrected") for s, v in said)
    return round(good / len(said), 3), f"{good} of {len(said)} claims supported; not calibrated"


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
