"""The hallucination bench on drawn lesions: small, but the whole graph."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from medloupe import Resources
from medloupe.evals.bench_hallucination import REPEATS, _junk, ask, faults, hallucinations
from medloupe.evals.kept import Journal, KeptSegmenter
from medloupe.evals.liar import FAULTS, Case, Liar, Said, cases_of, false_sentences, still_true, written_on
from medloupe.evals.planted import Subject
from medloupe.evals.pressing import in_chat, leading, written
from medloupe.models.segment import load_segmenter
from medloupe.types import BoundingBox


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    """Two pictures with one dark ellipse each, one of them as an MR slice that knows the patient's sides."""
    found = []
    for name, centre, modality in (("a", (90, 80), "US"), ("b", (220, 150), "MR")):
        picture = np.full((256, 320), 180, np.uint8)
        mask = np.zeros_like(picture)
        for canvas, value in ((picture, 60), (mask, 255)):
            cv2.ellipse(canvas, centre, (40, 25), 0, 0, 360, value, -1)
        picture = picture + np.random.default_rng(0).integers(0, 12, picture.shape).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture)
        case = cases_of(Subject("drawn", modality, tmp_path / f"{name}.png", (mask > 0,)), tmp_path, 1)
        assert case is not None
        found.append(case)
    return found


def test_what_is_true_follows_from_the_mask_and_the_file(cases: list[Case]) -> None:
    assert cases[0].right["side"].text == "It lies in the left part of the image."
    assert cases[1].right["side"].text == "It lies on the patient's left."  # image right, columns run to the left
    assert cases[1].wrong["side"].text == "It lies on the patient's right."
    assert "mm" in cases[1].right["size"].text and "px" in cases[0].right["size"].text


async def test_verification_takes_out_what_is_false_and_keeps_what_is_true(cases: list[Case]) -> None:
    """A small version of `make bench-hallucination`: of so few statements one may slip through."""
    tally = await hallucinations(cases, None, 0.3, REPEATS, seed=1)
    off, on, strict, lost = (
        sum(hit for hit, _ in found) for found in (tally.off, tally.on, tally.strict_on, tally.lost)
    )
    assert off >= 5
    assert on <= 1 and strict <= 1 and lost <= 1


async def test_pressure_turns_no_measured_verdict(cases: list[Case], tmp_path: Path) -> None:
    asked = await leading(cases, None, 6, Journal(None), lambda _done, _total: None)
    journal = Journal(tmp_path / "found.jsonl")
    told = await written(cases, None, 4, tmp_path, journal, lambda _done, _total: None)
    again = Journal(tmp_path / "found.jsonl")
    assert told == await written(cases, None, 4, tmp_path, again, lambda _done, _total: None)
    assert (tmp_path / "found.jsonl").read_text().count("\n") == 4
    assert asked.verdicts == 18 and told.questions == 4 and told.verdicts
    assert asked.changed == asked.flipped == asked.wrong == told.flipped == 0


async def test_told_that_it_is_wrong_in_a_later_turn_of_a_chat(cases: list[Case], tmp_path: Path) -> None:
    """The command itself, as a process; the model describes what is so, and gives way when it is contradicted."""
    pressed = await in_chat(cases[:1], None, "none", 2, tmp_path, Journal(None), lambda _done, _total: None)
    assert (pressed.questions, pressed.flipped) == (2, 0)
    assert pressed.verdicts >= 4


def test_words_are_drawn_away_from_the_thing(cases: list[Case], tmp_path: Path) -> None:
    for case in cases:
        assert written_on(case, "A 9 cm mass.", tmp_path).read_bytes() != case.study.read_bytes()


def test_sentences_are_judged_by_their_words_alone(cases: list[Case]) -> None:
    text = (
        "R1, in the right part of the image: long axis 400 px. It is hypointense to its surroundings. "
        "There is a hernia. Not confirmed and left out: presence of aneurysm. The lesion measures 80 px."
    )
    found = false_sentences(cases[0], text)
    assert found == ["R1, in the right part of the image: long axis 400 px.", "There is a hernia."]


async def test_a_fault_becomes_neither_a_finding_nor_its_absence(cases: list[Case]) -> None:
    found = await faults(cases[:1], None)
    assert found["runs"] == 2 * len(FAULTS) == found.total()


async def test_junk_is_abstained_from_and_a_lesion_is_measured(cases: list[Case], tmp_path: Path) -> None:
    for kind, file in list(_junk(tmp_path))[::2]:
        assert (await ask(file, "How large is the lesion?", Resources())).abstained, kind
    assert not (await ask(cases[0].study, "How large is the lesion?", Resources(), "US")).abstained
    assert (await ask(cases[0].study, "How large is the left kidney?", Resources())).abstained


async def test_with_verification_off_the_draft_is_said_as_it_stands_and_the_answer_says_so(cases: list[Case]) -> None:
    liar = Liar(1.0, cases[0], [cases[0].wrong["size"]])
    answer = await ask(cases[0].study, "How large?", Resources(vlm=liar.vlm(), planner="grounding", verify=False))
    assert answer.answer == cases[0].wrong["size"].text
    assert answer.confidence is None and not answer.claims
    assert any("switched off" in warning for warning in answer.warnings)


@pytest.mark.parametrize(
    ("kind", "right", "text", "true"),
    [
        ("size", 80.0, "The lesion measures 82 px (measured).", True),
        ("size", 80.0, "The lesion measures 120 px (measured).", False),
        ("side", "image left", "It lies in the left part (measured) of the image.", True),
        ("density", "hypointense", "It is hyperintense (measured).", False),
    ],
)
def test_corrections_are_judged_by_the_truth(kind: str, right: float | str, text: str, true: bool) -> None:
    assert still_true(Said(kind, "as said", False, right), text) is true  # type: ignore[arg-type]


def test_what_was_encoded_is_read_back_and_gives_the_same_mask(cases: list[Case], tmp_path: Path) -> None:
    network = load_segmenter("litemedsam")
    assert network is not None
    picture = np.ascontiguousarray(np.repeat(cv2.imread(str(cases[0].study), 0)[..., None], 3, axis=2))
    first, again = (KeptSegmenter(network, tmp_path / "kept") for _ in range(2))
    box = BoundingBox(x0=45, y0=50, x1=135, y1=110)
    made, read = (kept.predict(kept.set_image(picture), box=box) for kept in (first, again))
    assert made.mask.any() and np.array_equal(made.mask, read.mask) and made.predicted_iou == read.predicted_iou
    assert len(list((tmp_path / "kept").iterdir())) == 1


def test_a_line_that_was_cut_off_is_found_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "found.jsonl")
    journal.put("a", True)
    journal.put("b", [1, 2])
    (tmp_path / "found.jsonl").write_text((tmp_path / "found.jsonl").read_text()[:-4])
    again = Journal(tmp_path / "found.jsonl")
    assert again["a"] is True and "b" not in again
    again.put("b", [1, 2])
    assert Journal(tmp_path / "found.jsonl")["b"] == [1, 2]
