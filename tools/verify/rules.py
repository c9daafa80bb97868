"""What cannot be true together, found across the chain: what was said, against what was said. No pixels, no model."""

from __future__ import annotations

from importlib.metadata import version

from medloupe.tools.measure.vocabulary import DENIED, attribute, threshold
from medloupe.tools.verify._numbers import bounds, in_millimetres
from medloupe.tools.verify._said import claims_said
from medloupe.tools.verify.scene import MEASURED, Scene
from medloupe.types import Claim, Evidence, Observation, Verdict

__all__ = ["RulesVerifier", "contradiction"]

_MEASURES = "measures"


class RulesVerifier:
    """Finds contradictions across the chain: left and right of one thing, none and present, ground-glass and calcified.

    What contradicts a measurement that the chain holds is refuted. Two descriptions, or a description and the draft,
    that exclude each other are both only said: one of them is wrong, and rules cannot tell which, so the claim is
    undetermined. What is stated with doubt contradicts nothing. Never independent: a verdict on pixels is for
    `measured`, which is asked first.
    """

    name = "rules"

    async def __call__(self, claim: Claim, scene: Scene) -> Verdict | None:
        """A verdict, or None where nothing in the chain speaks against the claim."""
        said = [(_who(o), c) for o in scene.observations for c in claims_said(o, scene) if not c.hedged]
        drafted = [(f"{c.id} says", c) for c in scene.claims if c.id != claim.id and not c.hedged]
        against = _against(claim, said)
        beside = _against(claim, drafted)
        if not against and not beside:
            return None
        agreeing = [who for who, other in said if _same_thing(claim, other) and _repeats(claim, other)]
        measured = [found for found in against if found[0].endswith(_MEASURES)]
        refuted = bool(measured) and not agreeing
        (who, other, why), *_ = measured or against or beside
        reason = f'{who} "{other.sentence()}": {why}'
        if agreeing:
            reason += f", while {agreeing[0]} the same as the claim"
        return Verdict(
            claim=claim.id,
            verdict="refuted" if refuted else "undetermined",
            reason=reason,
            method="rules",
            numbers={"against": float(len(against) + len(beside)), "agreeing": float(len(agreeing))},
            evidence=tuple(
                Evidence(tool="rules", version=version("medloupe"), reply=o.source_text) for _, o, _ in against + beside
            ),
        )


def _who(observation: Observation) -> str:
    return f"{observation.id} {_MEASURES if observation.describer == MEASURED else 'says'}"


def _against(claim: Claim, others: list[tuple[str, Claim]]) -> list[tuple[str, Claim, str]]:
    found = []
    for who, other in others:
        why = contradiction(claim, other)
        if why:
            found.append((who, other, why))
    return found


def contradiction(one: Claim, other: Claim) -> str:
    """Why two claims cannot both be true; "" when they can."""
    if "presence" in (one.attribute, other.attribute):
        return _presence(one, other)
    if one.attribute != other.attribute or not _same_thing(one, other):
        return ""
    if isinstance(one.value, bool) or isinstance(other.value, bool):
        return ""
    kind = (attribute(one.attribute) or {}).get("kind")
    if kind == "word" and isinstance(one.value, str) and isinstance(other.value, str):
        return _words(one.attribute, one.value, other.value)
    return _numbers(one, other)


def _presence(one: Claim, other: Claim) -> str:
    """A finding that is denied, and anything said of the same finding: "no nodule", "the nodule is round"."""
    for denial, rest in ((one, other), (other, one)):
        denied = denial.attribute == "presence" and denial.value is False
        asserts = rest.attribute != "presence" or rest.value is True
        if denied and asserts and denial.finding and denial.finding == rest.finding and _within(rest, denial):
            return f"{denial.finding} cannot be absent and be described"
    return ""


def _within(part: Claim, whole: Claim) -> bool:
    """Whether what is denied of `whole` is denied where `part` is: in its region, or in the whole image."""
    if whole.region is None:
        return True
    return part.region is not None and part.region.id == whole.region.id


def _same_thing(one: Claim, other: Claim) -> bool:
    """One finding in one region; or in one view, where neither names a region and both name the finding."""
    if one.finding and other.finding and one.finding != other.finding:
        return False
    if one.region is not None and other.region is not None:
        return one.region.id == other.region.id
    neither = one.region is None and other.region is None
    return neither and one.view == other.view and bool(one.finding) and one.finding == other.finding


def _repeats(one: Claim, other: Claim) -> bool:
    return one.attribute == other.attribute and one.value == other.value and one.unit == other.unit


def _words(name: str, one: str, other: str) -> str:
    if one == DENIED + other or other == DENIED + one:
        return f"one says {other}, the other denies it"
    pairs = (attribute(name) or {}).get("exclusive", ())
    return f"nothing is both {one} and {other}" if [one, other] in pairs or [other, one] in pairs else ""


def _numbers(one: Claim, other: Claim) -> str:
    """Sizes, counts or HU whose bounds lie further apart than the attribute's threshold for a refutation."""
    limits = [_limits(claim) for claim in (one, other)]
    if limits[0] is None or limits[1] is None or limits[0][1] != limits[1][1]:
        return ""
    ((low, high), unit), ((other_low, other_high), _) = limits[0], limits[1]
    gap_low, gap_high = (high, other_low) if high < other_low else (other_high, low)
    if gap_high <= gap_low:
        return ""
    if unit == "HU":
        apart = gap_high - gap_low > threshold("density", "number_refuted")
    elif "refuted_ratio" in (attribute(one.attribute) or {}).get("thresholds", {}):
        apart = gap_low <= 0 or gap_high / gap_low >= threshold(one.attribute, "refuted_ratio")
    else:
        return ""
    return "the two numbers exclude each other" if apart else ""


def _limits(claim: Claim) -> tuple[tuple[float, float], str] | None:
    """Bounds in mm, px, HU or plain numbers, and which of them; None for what is no number."""
    limits = None if isinstance(claim.value, bool) else bounds(claim.value, whole=claim.attribute == "count")
    if limits is None:
        return None
    scale = in_millimetres(1.0, claim.unit)
    return (limits, claim.unit) if scale is None else ((limits[0] * scale, limits[1] * scale), "mm")
