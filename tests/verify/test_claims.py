"""What is claimed: from sentences, by a table, and from structured replies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from drawn import image_of

from medloupe.tools.verify import claims_from_attributes, claims_from_text
from medloupe.types import Claim, Image, StatedAttribute

TABLE: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "sentences.yaml").read_text("utf-8"))
GREY = image_of(np.zeros((10, 10)))
COLOUR = image_of(np.zeros((10, 10, 3), np.uint8))


def _plain(claim: Claim) -> list[Any]:
    stated = [("?" if claim.hedged else "") + claim.attribute, claim.value]
    return [*stated, claim.unit] if claim.unit else stated


@pytest.mark.parametrize("case", TABLE, ids=[case["text"] or "nothing" for case in TABLE])
def test_the_claims_of_a_sentence(case: dict[str, Any]) -> None:
    image: Image = COLOUR if case.get("in") == "colour" else GREY
    claims, left = claims_from_text(case["text"], first_id=1, image=image, region=None, view=0)
    assert [_plain(c) for c in claims] == case["claims"]
    of = case.get("of", "")
    assert [c.finding for c in claims] == (of if isinstance(of, list) else [of] * len(claims))
    assert left == case.get("left", [])


def test_a_claim_says_where_it_comes_from() -> None:
    text = "No effusion. A 12 mm nodule."
    claims, _ = claims_from_text(text, first_id=7, image=GREY, region=None, view=3)
    assert [(c.id, c.view, c.source, c.source_text) for c in claims] == [
        ("C7", 3, "parsed", "No effusion."),
        ("C8", 3, "parsed", "A 12 mm nodule."),
    ]


def test_what_is_spoken_of_may_come_from_outside() -> None:
    claims, _ = claims_from_text("It measures 12 mm.", first_id=1, image=GREY, region=None, view=0, finding="nodule")
    assert claims[0].finding == "nodule"


def test_a_hundred_kilobytes_of_nonsense_are_read_in_time() -> None:
    text = "no " * 5_000 + "12 x " * 5_000 + "a" * 50_000
    claims, _ = claims_from_text(text, first_id=1, image=GREY, region=None, view=0)
    assert claims == []


STRUCTURED: list[tuple[StatedAttribute, list[list[Any]]]] = [
    (StatedAttribute(attribute="diameter", value=12, unit="mm"), [["long_axis", 12.0, "mm"]]),
    (StatedAttribute(attribute="size", value="12 x 8 mm"), [["long_axis", 12.0, "mm"], ["short_axis", 8.0, "mm"]]),
    (StatedAttribute(attribute="size", value="12", unit="millimetres"), [["long_axis", 12.0, "mm"]]),
    (StatedAttribute(attribute="short axis", value="2-3 cm"), [["short_axis", "2..3", "cm"]]),
    (StatedAttribute(attribute="location", value="upper left"), [["site", "image upper"], ["site", "image left"]]),
    (StatedAttribute(attribute="location", value="right upper lobe"), [["side", "right"], ["site", "upper lobe"]]),
    (StatedAttribute(attribute="laterality", value="Left-sided"), [["side", "left"]]),
    (StatedAttribute(attribute="density", value="hypodense"), [["intensity", "hypointense"]]),
    (StatedAttribute(attribute="attenuation", value=-50, unit="HU"), [["density", -50.0, "HU"]]),
    (StatedAttribute(attribute="echogenicity", value="Hypoechoic"), [["intensity", "hypointense"]]),
    (StatedAttribute(attribute="number", value="three"), [["count", 3.0]]),
    (StatedAttribute(attribute="count", value="multiple"), [["count", ">1"]]),
    (StatedAttribute(attribute="margins", value="not spiculated"), [["margin", "not spiculated"]]),
    (StatedAttribute(attribute="spiculated", value=True), [["margin", "spiculated"]]),
    (StatedAttribute(attribute="calcified", value=False), [["density", "not calcified"]]),
    (StatedAttribute(attribute="presence", value="yes", finding="mass"), [["presence", True]]),
    (StatedAttribute(attribute="wibble", value="x"), [["wibble", "x"]]),
    (StatedAttribute(attribute="shape", value="blobby"), [["shape", "blobby"]]),
    (StatedAttribute(attribute="long_axis", value="big"), [["long_axis", "big"]]),
    (StatedAttribute(attribute="area", value=400, unit="px"), [["area", 400.0, "px2"]]),
    (StatedAttribute(attribute="area", value=3, unit="cm"), [["area", 3.0, "cm2"]]),
    (StatedAttribute(attribute="area", value=90, unit="mm²"), [["area", 90.0, "mm2"]]),
]


@pytest.mark.parametrize(("stated", "expected"), STRUCTURED, ids=[f"{s.attribute}={s.value}" for s, _ in STRUCTURED])
def test_structured_replies_are_brought_to_the_vocabulary(stated: StatedAttribute, expected: list[list[Any]]) -> None:
    claims = claims_from_attributes([stated], first_id=1, region=None, view=0, source_text="as said")
    assert [_plain(c) for c in claims] == expected
    assert {c.source_text for c in claims} == {"as said"}


def test_a_finding_named_as_an_attribute_is_a_presence() -> None:
    stated = [
        StatedAttribute(attribute="pleural effusion", value="absent"),
        StatedAttribute(attribute="Nodule", value=True),
    ]
    claims = claims_from_attributes(stated, first_id=4, region=None, view=None, source_text="")
    assert [(c.id, c.attribute, c.value, c.finding) for c in claims] == [
        ("C4", "presence", False, "effusion"),
        ("C5", "presence", True, "nodule"),
    ]
