"""Without a VLM: which questions measuring answers, and which it must not."""

from __future__ import annotations

import pytest

from medloupe.agent.compose import compose, read_question
from medloupe.types import Image, Observation, StatedAttribute


def observation(number: int, intensity: str, long_axis: float) -> Observation:
    stated = (
        StatedAttribute(attribute="intensity", value=intensity),
        StatedAttribute(attribute="long_axis", value=long_axis, unit="mm"),
        StatedAttribute(attribute="site", value="image left"),
    )
    return Observation(
        id=f"O{number}", view=number, region=f"R{number}", text="...", attributes=stated, describer="measured"
    )


SEEN = [observation(1, "hyperintense", 20.0), observation(2, "hypointense", 35.0), observation(3, "hyperintense", 8.0)]


@pytest.mark.parametrize(
    ("question", "regions"),
    [
        ("Where are the brightest structures, and how large are they?", ["R1", "R3"]),
        ("How large is the darkest region?", ["R2"]),
        ("Where is the largest structure?", ["R2"]),
        ("What stands out?", ["R1", "R2", "R3"]),
    ],
)
def test_the_regions_that_the_question_means_are_stated(question: str, regions: list[str]) -> None:
    draft, _ = compose(question, SEEN)
    assert [sentence.text.split(",")[0] for sentence in draft.sentences] == regions


def test_a_count_is_stated_and_claimed() -> None:
    draft, _ = compose("How many bright spots are there?", SEEN)
    assert draft.sentences[0].stated[0].stated == StatedAttribute(attribute="count", value=2.0, finding="hyperintense")


@pytest.mark.parametrize("question", ["Is there a pneumothorax?", "How large is the left kidney?", "Welche Diagnose?"])
def test_what_measuring_cannot_name_is_not_answered(question: str) -> None:
    draft, _ = compose(question, SEEN)
    assert not draft.answerable
    assert "not understood" in draft.reason
    assert not draft.sentences


def test_a_lesion_is_only_a_region_and_the_answer_says_so() -> None:
    _, warnings = compose("How large is the lesion?", SEEN)
    assert warnings == ["measuring finds regions that stand out; it cannot tell whether one is a lesion"]


def test_nothing_seen_is_nothing_said() -> None:
    faulted = Observation(id="O1", view=1, describer="measured", fault="nothing outlined")
    draft, _ = compose("How large is it?", [faulted])
    assert not draft.answerable


def test_question_words_are_read_as_attributes() -> None:
    reading = read_question("Which side is it on, and how large?")
    assert set(reading.attributes) == {"side", "long_axis"}
    assert reading.unknown == ()


@pytest.mark.parametrize("values", ["RGB", "stored"])
def test_a_lesion_in_a_picture_of_anything_needs_a_modality(values: str) -> None:
    cat = Image(index=0, series=0, width=451, height=300, values=values, digest="0")
    draft, _ = compose("How large is the lesion?", SEEN, cat)
    assert not draft.answerable and "name its modality" in draft.reason
    assert compose("Where is the brightest structure?", SEEN, cat)[0].answerable
    assert compose("How large is the lesion?", SEEN, cat.model_copy(update={"modality": "DMS"}))[0].answerable
