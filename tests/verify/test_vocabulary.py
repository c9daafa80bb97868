"""The vocabulary holds together, and its page is the one generated from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import image_of

from medloupe.prompts import knowledge
from medloupe.tools.measure.vocabulary import (
    DENIED,
    attributes,
    canonical_attribute,
    canonical_value,
    findings,
    normalise,
    rating,
    spoken,
)
from medloupe.tools.verify import claims_from_attributes, claims_from_text
from medloupe.tools.verify.attributes_doc import render
from medloupe.types import StatedAttribute

WORDS = [(name, value) for name, entry in attributes().items() for value in entry.get("values", {})]


def test_every_attribute_of_the_contract_is_there() -> None:
    expected = {"long_axis", "short_axis", "area", "site", "side", "count", "intensity", "density", "shape", "margin",
                "homogeneity", "colour", "presence"}  # fmt: skip
    assert expected <= set(attributes())


@pytest.mark.parametrize(("name", "value"), WORDS)
def test_a_word_has_a_twin_of_its_own_kind_and_no_spelling_means_two_things(name: str, value: str) -> None:
    entry = attributes()[name]["values"][value]
    assert entry["twin"] in attributes()[name]["values"]
    assert entry["twin"] != value
    for spelling in (value, *entry.get("synonyms", ())):
        assert canonical_value(name, spelling) == value, spelling
    for spelling in entry.get("negations", ()):
        assert canonical_value(name, spelling) == DENIED + value, spelling


def test_no_spelling_of_a_value_belongs_to_two_attributes() -> None:
    owners: dict[str, set[str]] = {}
    for name, value in WORDS:
        entry = spoken().get(name, {"values": {value: {}}})["values"][value]
        for spelling in (value, *entry["synonyms"], *entry.get("negations", ())) if entry else ():
            owners.setdefault(normalise(spelling), set()).add(name)
    assert {s: o for s, o in owners.items() if len(o) > 1} == {}


def test_no_spelling_of_a_finding_is_shared() -> None:
    spellings = [
        normalise(s)
        for noun, entry in findings().items()
        for s in (noun, *entry["synonyms"], *entry.get("negations", ()))
    ]
    assert len(spellings) == len(set(spellings))


def test_every_name_of_an_attribute_leads_back_to_it() -> None:
    for name, entry in attributes().items():
        assert canonical_attribute(name) == name
        for spelling in entry["synonyms"]:
            assert canonical_attribute(spelling) == name, spelling


def _thresholds(node: Any) -> list[dict[str, Any]]:
    if not isinstance(node, dict):
        return []
    here = [node] if set(node) == {"value", "why"} else []
    return here + [t for child in node.values() for t in _thresholds(child)]


def test_every_threshold_says_why() -> None:
    found = _thresholds(knowledge("attributes"))
    assert len(found) > 20
    assert all(isinstance(t["value"], int | float) and len(t["why"]) > 20 for t in found)


# --- the public data sets' words -------------------------------------------------------------------------------------

COLOUR = image_of(np.zeros((9, 9, 3), np.uint8))
GREY = image_of(np.zeros((9, 9)))
CONCEPTS: dict[str, dict[str, Any]] = knowledge("skincon")["concepts"]
LABELS: dict[str, dict[str, Any]] = knowledge("vindr_cxr")["local"] | knowledge("vindr_cxr")["global"]
CHARACTERISTICS: dict[str, dict[str, Any]] = knowledge("lidc")["characteristics"]


def test_the_data_sets_are_whole() -> None:
    assert len(CONCEPTS) == 48
    assert (len(knowledge("vindr_cxr")["local"]), len(knowledge("vindr_cxr")["global"])) == (22, 6)
    sizes = {entry["tag"]: len(entry["values"]) for entry in CHARACTERISTICS.values()}
    assert sizes == {
        "subtlety": 5, "internalStructure": 4, "calcification": 6, "sphericity": 5, "margin": 5, "lobulation": 5,
        "spiculation": 5, "texture": 5, "malignancy": 5,
    }  # fmt: skip


@pytest.mark.parametrize("concept", CONCEPTS)
def test_a_skincon_concept_is_read_where_it_is_said_and_where_it_is_denied(concept: str) -> None:
    stated = CONCEPTS[concept]
    word = stated["finding"] if "finding" in stated else stated["value"][1]
    for said, expected in ((f"There is a {word} lesion.", True), (f"There is no {word}.", False)):
        if "finding" in stated:
            said = said.replace(" lesion", "")
        claims, _ = claims_from_text(said, first_id=1, image=COLOUR, region=None, view=None)
        if "finding" in stated:
            assert [(c.attribute, c.value, c.finding) for c in claims] == [("presence", expected, word)]
        else:
            name, value = stated["value"]
            assert (name, value if expected else DENIED + value) in [(c.attribute, c.value) for c in claims]


@pytest.mark.parametrize("label", [name for name, entry in LABELS.items() if entry["findings"]])
def test_a_vindr_label_is_read_by_every_spelling_and_negation(label: str) -> None:
    for noun in LABELS[label]["findings"]:
        entry = findings()[noun]
        for spelling in (noun, *entry["synonyms"]):
            claims, _ = claims_from_text(f"{spelling}.", first_id=1, image=GREY, region=None, view=None)
            assert [(c.attribute, c.value, c.finding) for c in claims] == [("presence", True, noun)], spelling
        for denial in (f"no {noun}", f"without {noun}", *entry.get("negations", ())):
            claims, _ = claims_from_text(f"{denial}.", first_id=1, image=GREY, region=None, view=None)
            assert [(c.attribute, c.value, c.finding) for c in claims] == [("presence", False, noun)], denial


@pytest.mark.parametrize("name", CHARACTERISTICS)
def test_a_lidc_score_becomes_its_word_and_states_what_the_vocabulary_knows(name: str) -> None:
    entry = CHARACTERISTICS[name]
    assert sorted(v["score"] for v in entry["values"].values()) == list(range(1, len(entry["values"]) + 1))
    for word, about in entry["values"].items():
        assert rating(name, about["score"]) == word
        for value in (float(about["score"]), str(about["score"]), word):
            stated = StatedAttribute(attribute=f"LIDC {entry['tag']}", value=value)
            (claim,) = claims_from_attributes([stated], first_id=1, region=None, view=None, source_text="")
            assert (claim.attribute, claim.value) == (name, word)
        if "means" in about:
            attribute, value = about["means"]
            assert value.removeprefix(DENIED) in attributes()[attribute]["values"]
    assert rating(name, 0) is None


def test_a_lidc_word_means_nothing_special_in_a_sentence() -> None:
    claims, _ = claims_from_text("An obvious solid nodule.", first_id=1, image=GREY, region=None, view=None)
    assert [(c.attribute, c.value) for c in claims] == [("density", "solid")]


def test_the_page_of_the_vocabulary_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "docs" / "attributes.md"
    assert page.read_text("utf-8") == render(), "run `make docs`"
