"""The vocabulary holds together."""

from __future__ import annotations

from typing import Any

import pytest

from medloupe.prompts import knowledge
from medloupe.tools.measure.vocabulary import attributes, canonical_attribute, canonical_value, findings, normalise

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
    for spelling in (value, *entry["synonyms"]):
        assert canonical_value(name, spelling) == value, spelling


def test_no_spelling_of_a_value_belongs_to_two_attributes() -> None:
    owners: dict[str, set[str]] = {}
    for name, value in WORDS:
        for spelling in (value, *attributes()[name]["values"][value]["synonyms"]):
            owners.setdefault(normalise(spelling), set()).add(name)
    assert {s: o for s, o in owners.items() if len(o) > 1} == {}


def test_no_spelling_of_a_finding_is_shared() -> None:
    spellings = [normalise(s) for noun, entry in findings().items() for s in (noun, *entry["synonyms"])]
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
