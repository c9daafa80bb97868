"""One verdict from several verifiers."""

from __future__ import annotations

from collections.abc import Sequence

from medloupe.tools.measure.vocabulary import DENIED, attribute, canonical_value
from medloupe.tools.verify._numbers import bounds
from medloupe.tools.verify.scene import Scene, Verifier
from medloupe.types import Claim, Verdict

__all__ = ["unknown", "verify_claim"]


async def verify_claim(claim: Claim, scene: Scene, verifiers: Sequence[Verifier]) -> Verdict:
    """Ask the verifiers in turn, measured ones first, until one decides.

    A measurement is never overruled by a model's yes or no; a model is asked only where no measurement decides. When
    none does, the verdict is undetermined with every reason given. Never raises for what a claim says.
    """
    why = unknown(claim)
    if why:
        return Verdict(claim=claim.id, verdict="undetermined", reason=why, method="none")
    undecided: list[Verdict] = []
    for verifier in sorted(verifiers, key=lambda v: v.name != "measured"):
        verdict = await verifier(claim, scene)
        if verdict is None:
            continue
        if verdict.verdict != "undetermined":
            return verdict
        undecided.append(verdict)
    if not undecided:
        return Verdict(claim=claim.id, verdict="undetermined", reason="nothing here can check it", method="none")
    first = undecided[0]
    return first.model_copy(
        update={
            "reason": "; ".join(v.reason for v in undecided),
            "numbers": {k: n for v in reversed(undecided) for k, n in v.numbers.items()},
            "evidence": tuple(e for v in undecided for e in v.evidence),
        }
    )


def unknown(claim: Claim) -> str:
    """Why the vocabulary cannot place a claim: an unknown attribute, value or unit; "" when it can."""
    entry, value = attribute(claim.attribute), claim.value
    if entry is None:
        return f'"{claim.attribute}" is not an attribute that can be checked'
    kind = entry["kind"]
    if kind == "truth":
        return "" if isinstance(value, bool) else f'"{value}" is neither present nor absent'
    if isinstance(value, bool):
        return f"{claim.attribute} is not a yes or no"
    if kind in ("number", "count") or claim.unit == "HU":
        return "" if bounds(value) is not None else f'"{value}" is not a number'
    word = str(value).removeprefix(DENIED)
    known = canonical_value(claim.attribute, word) == word
    return "" if known else f'"{value}" is not a value of {claim.attribute} that can be checked'
