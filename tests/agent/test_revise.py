"""What becomes of a sentence after its checks."""

from __future__ import annotations

from medloupe.agent.revise import revise
from medloupe.types import BoundingBox, Claim, Region, Statement, Verdict

R1 = Region(id="R1", image=0, box=BoundingBox(x0=0, y0=0, x1=9, y1=9))


def claim(number: int, attribute: str, value: bool | float | str, text: str, **fields: object) -> Claim:
    given = {"id": f"C{number}", "attribute": attribute, "value": value, "source": "parsed", "source_text": text}
    return Claim.model_validate({**given, "region": R1, "finding": "nodule", **fields})


def verdict(number: int, word: str, measured: float | str | None = None) -> Verdict:
    return Verdict(
        claim=f"C{number}", verdict=word, reason="as found", measured=measured, method="measured", independent=True
    )  # type: ignore[arg-type]


def revised(text: str, claims: list[Claim], *verdicts: Verdict) -> Statement:
    statement = Statement(id="S1", text=text, claims=tuple(c.id for c in claims))
    return revise([statement], claims, {v.claim: v for v in verdicts})[0]


SIZE = "The nodule measures 45 mm."


def test_the_confirmed_half_is_said_anew_and_the_finding_is_not_named() -> None:
    text = "A calcified nodule of 45 mm."
    claims = [claim(1, "density", "calcified", text), claim(2, "long_axis", 45.0, text, unit="mm")]
    found = revised(text, claims, verdict(1, "undetermined"), verdict(2, "supported"))
    assert (found.status, found.text, found.said) == ("corrected", "R1: long axis 45 mm.", ("C2",))
    assert found.original == text


def test_one_wrong_number_is_corrected_and_two_wrong_ways_are_not() -> None:
    size, site = claim(1, "long_axis", 45.0, SIZE, unit="mm"), claim(2, "site", "image left", SIZE)
    alone = revised(SIZE, [size], verdict(1, "refuted", 20.0))
    assert (alone.status, alone.text) == ("corrected", "The nodule measures 20 mm (measured).")
    apart = revised(SIZE, [size, site], verdict(1, "refuted", 20.0), verdict(2, "refuted", "image right"))
    assert (apart.status, apart.said) == ("refuted", ())
    assert "may be something else" in apart.reason


def test_an_implied_presence_alone_says_nothing() -> None:
    size = claim(1, "long_axis", 45.0, SIZE, unit="mm")
    there = claim(2, "presence", True, SIZE, source="implied")
    found = revised(SIZE, [size, there], verdict(1, "undetermined"), verdict(2, "supported"))
    assert found.status == "undetermined"
