"""One verdict from several verifiers."""

from __future__ import annotations

from collections.abc import Sequence

from medloupe.tools.measure.vocabulary import DENIED, attribute, canonical_value
from medloupe.tools.verify._numbers import bounds
from medloupe.tools.verify.scene import Scene, Verifier
from medloupe.types import Claim, Verdict

__all__ = ["unknown", "verify_claim"]


_ORDER = ("measured", "rules", "probe", "agreement")


async def verify_claim(claim: Claim, scene: Scene, verifiers: Sequence[Verifier]) -> Verdict:
    """One verdict: the verifiers are asked in turn until one decides. The policy, in full:

    1. measured: what the pixels and the file's geometry decide stands, and no word overrules it.
    2. rules: what contradicts a measurement of the chain is refuted. A contradiction among things that were only said
       leaves the claim undetermined, and only a model that described nothing here is asked which of them is right: one
       that said both would tell which of them it prefers.
    3. probe: counts only if the claim is affirmed and its twin denied, in both orders (or the reverse, a refutation).
    4. agreement: of up to n further draws of that pair, claim or twin must lead by k.
    5. plug-ins, by name.

    Where none decides, the verdict is undetermined with every reason given. A verifier that raises, or returns what is
    no verdict on this claim, decides nothing and its fault is a reason. Never raises for what a claim says.
    """
    why = unknown(claim)
    if why:
        return Verdict(claim=claim.id, verdict="undetermined", reason=why, method="none")
    undecided: list[Verdict] = []
    for verifier in sorted(verifiers, key=_rank):
        verdict = await _ask(verifier, claim, scene)
        if verdict is None:
            continue
        if verdict.verdict != "undetermined":
            return verdict
        undecided.append(verdict)
        if verdict.method == "rules" and not _is_outsider(scene, claim):
            break
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


def _is_outsider(scene: Scene, claim: Claim) -> bool:
    """Whether the verifier's model is known to have described nothing here."""
    described = scene.describers(claim)
    return bool(described) and scene.verifier_model not in described


def _rank(verifier: Verifier) -> tuple[int, str]:
    return (_ORDER.index(verifier.name) if verifier.name in _ORDER else len(_ORDER), verifier.name)


async def _ask(verifier: Verifier, claim: Claim, scene: Scene) -> Verdict | None:
    """What one verifier says; a fault of a plug-in is no finding and no "no finding"."""
    if verifier.name in _ORDER:
        return await verifier(claim, scene)
    try:
        verdict = await verifier(claim, scene)
        if verdict is None or verdict.claim == claim.id:
            return verdict
        reason = f'the verifier "{verifier.name}" judged another claim'
    except Exception as error:  # noqa: BLE001 - somebody else's code: its fault must not take the reader down
        reason = f'the verifier "{verifier.name}" failed ({type(error).__name__})'
    return Verdict(claim=claim.id, verdict="undetermined", reason=reason, method="none")


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
