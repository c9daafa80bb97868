"""A run in figures: every metric is wired to the cases that it needs, and reaches the summary."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from miniatures import MINIATURES

from medloupe.errors import ReplyUnreadable, UsageError
from medloupe.evals.scorers.attributes import WordJudge
from medloupe.evals.scorers.judges import WORDS, Judges, load_judges
from medloupe.evals.scorers.radfact import Entailment, Phrase
from medloupe.evals.scorers.rows import Row, score_case
from medloupe.evals.scorers.summary import summarise
from medloupe.evals.solvers.outcome import Outcome, Prices, Spending
from medloupe.evals.tasks.case import Case
from medloupe.evals.tasks.catalogue import benchmark
from medloupe.evals.tasks.release import read_cases
from medloupe.models.vlm import ScriptedVLM
from medloupe.types import BoundingBox


def first_case(name: str, folder: Path, split: str) -> Case:
    MINIATURES[name](folder)
    return read_cases(benchmark(name), folder, split).cases[0]


def row(number: int, **given: Any) -> Row:
    about = {"id": str(number), "epoch": 1, "kind": "option", "cluster": str(number), "status": "scored", "value": 1.0}
    return Row.model_validate({**about, **given})


async def scored(case: Case, said: Outcome, judges: Judges = WORDS) -> Row:
    return await score_case(case, said, epoch=1, folder=Path(), judges=judges)


# --- where the metrics are asked for ---------------------------------------------------------------------------------


async def test_a_region_of_vindrs_training_set_is_held_against_its_three_readers(tmp_path: Path) -> None:
    case = first_case("vindr_cxr", tmp_path, "train")  # two readers said nodule or mass, one calcification
    right = await scored(case, Outcome(status="answered", text="A nodule."))
    assert right.values["against readers"] == pytest.approx(0.75, abs=0.03)
    # A reader of the two is judged by one of each, half; the third by two others, never.
    assert right.values["readers against each other"] == pytest.approx(1 / 3, abs=0.03)
    wrong = await scored(case, Outcome(status="answered", text="A fracture."))
    assert wrong.values["against readers"] == 0


async def test_a_region_has_logical_figures_and_a_report_spatial_ones_too(tmp_path: Path) -> None:
    region = first_case("vindr_cxr", tmp_path / "a", "test")
    found = await scored(region, Outcome(status="answered", text="There is a nodule. The heart is large."))
    assert (found.values["logical precision"], found.values["logical recall"]) == (0.5, 1.0)
    assert "spatial recall" not in found.values  # its place was given
    report = first_case("vindr_cxr", tmp_path / "b", "test_report")
    (place,) = report.reference[0].boxes
    said = (Phrase("There is a nodule.", (place,)), Phrase("The heart is large."))
    found = await scored(report, Outcome(status="answered", text="...", said=said))
    assert (found.values["spatial precision"], found.values["spatial recall"]) == (1.0, 1.0)
    nowhere = await scored(report, Outcome(status="answered", text="There is a nodule."))
    assert nowhere.values["spatial recall"] == 0 and "spatial precision" not in nowhere.values


async def test_a_phrase_of_ms_cxr_is_scored_by_radfacts_rule_for_places(tmp_path: Path) -> None:
    case = first_case("ms_cxr", tmp_path, "test")  # 30 x 30 and 10 x 10
    half = BoundingBox(x0=14, y0=24, x1=44, y1=40)
    found = await scored(case, Outcome(status="answered", boxes=(half,)))
    assert (found.values["spatial precision"], found.values["spatial recall"]) == (1.0, 0.5)


async def test_a_judge_that_fails_on_entailment_is_counted(tmp_path: Path) -> None:
    class Failing:
        name = "failing"

        async def __call__(self, hypothesis: str, premises: Any) -> Entailment:
            raise ReplyUnreadable("no JSON")

    case = first_case("vindr_cxr", tmp_path, "test")
    found = await scored(case, Outcome(status="answered", text="A nodule."), Judges(WordJudge(), Failing()))
    assert found.values["judge failures"] == 2  # one sentence, one of the reference
    assert found.values["logical recall"] == 0 and found.status == "scored"


async def test_a_description_is_scored_with_and_without_verification(tmp_path: Path) -> None:
    case = first_case("vindr_cxr", tmp_path, "test")
    found = await scored(case, Outcome(status="answered", text="A nodule.", before="A fracture."))
    assert (found.value, found.value_before) == (1.0, -0.0)  # negative questions alone: +1 twice, and min(0, score)
    abstained = await scored(case, Outcome(status="answered", text="", before="A nodule."))
    assert (abstained.status, abstained.value, abstained.value_before) == ("abstained", 0.0, 1.0)


# --- judges ----------------------------------------------------------------------------------------------------------


def test_a_judge_is_named_and_another_packages_is_found_by_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "strict_judge.py").write_text(
        "from medloupe.evals.scorers.judges import WORDS\n\ndef make(vlm):\n    return WORDS\n"
    )
    info = tmp_path / "strict_judge-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strict-judge\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[medloupe.judges]\nstrict = strict_judge:make\nbroken = nowhere:make\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_judges("strict", None) is WORDS
    with pytest.raises(UsageError, match=r"'broken' \(nowhere:make\) cannot be loaded: ModuleNotFoundError"):
        load_judges("broken", None)
    with pytest.raises(UsageError, match="there are words, vlm, broken, strict"):
        load_judges("lenient", None)
    with pytest.raises(UsageError, match="needs a vision-language model"):
        load_judges("vlm", None)
    assert load_judges("vlm", ScriptedVLM([])).entailment.name == "vlm"


# --- the summary -----------------------------------------------------------------------------------------------------


def test_what_verification_added_by_hand() -> None:
    rows = [
        row(1, right=True, right_before=False, value_before=0.0, verdicts={"refuted": 1, "supported": 2}),
        row(2, value=0.0, right=False, right_before=True, value_before=1.0, verdicts={"refuted": 1}),
        row(3, right=True, right_before=True, value_before=1.0, verdicts={"supported": 1}),
        row(4, status="abstained", value=0.0, right=False, right_before=False, value_before=0.0,
            verdicts={"undetermined": 2}),
        row(5, right=True),  # nothing was verified
    ]  # fmt: skip
    found = summarise("vqa_rad", rows)
    assert found.figures["without verification"].value == pytest.approx(2 / 4)
    assert found.figures["added by verification"].value == pytest.approx((1 - 1 + 0 + 0) / 4)
    assert found.verification == {
        "wrong_to_right": 1, "right_to_wrong": 1, "wrong_to_abstained": 1, "right_to_abstained": 0, "same": 1,
        "refuted": 2, "supported": 3, "undetermined": 2,
    }  # fmt: skip
    # Refuted on two, of which one was wrong; of two wrong answers one was refuted.
    assert found.verifier == {"precision": 0.5, "recall": 0.5}


def test_free_texts_are_held_against_their_references_and_what_failed_is_no_text() -> None:
    rows = [
        row(1, kind="open", answer="the left upper lobe", expected="left upper lobe"),
        row(2, kind="open", status="failed", value=0.0, expected="a nodule of the liver"),
    ]
    found = summarise("pathvqa", rows).figures
    assert found["ROUGE-L"].value == pytest.approx((6 / 7) / 2)
    assert found["BLEU-1"].value == pytest.approx(3 / 4 * math.exp(1 - 8 / 4))
    assert {"BLEU-4", "CIDEr"} <= set(found)
    assert "ROUGE-L" not in summarise("medmnist", [row(1)]).figures


def test_without_the_caption_libraries_a_note_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sacrebleu.metrics.bleu", None)  # as if it were not installed
    found = summarise("pathvqa", [row(n, kind="open", answer="a", expected="a") for n in range(50)])
    assert "BLEU-1" not in found.figures
    (note,) = found.warnings
    assert note.startswith("the library for BLEU, ROUGE and CIDEr is not available here; install it with: pip install")


def test_calibration_subgroups_and_cost_are_there() -> None:
    rows = [
        row(n, value=float(n % 3 > 0), right=n % 3 > 0, confidence=0.75, tokens=100, completion_tokens=10,
            groups={"modality": "CT" if n % 2 else "MR"})
        for n in range(60)
    ]  # fmt: skip
    found = summarise("vqa_rad", rows, prices=Prices(prompt=1.0, completion=10.0))
    assert found.calibration["ECE"] == pytest.approx(0.75 - 2 / 3)
    assert found.calibration["Brier"] == pytest.approx(2 / 3 * 0.25**2 + 1 / 3 * 0.75**2)
    assert found.reliability == ((0.75, pytest.approx(2 / 3), 60),)
    assert found.risk_coverage == ((1.0, pytest.approx(1 / 3)),)
    assert {group.name: group.clusters for group in found.groups} == {"CT": 30, "MR": 30}
    assert set(found.worst) == {"modality"}
    assert found.cost["USD"] == pytest.approx(60 * (90 * 1 + 10 * 10) / 1e6)
    assert "USD" not in summarise("vqa_rad", rows).cost


def test_tokens_are_priced_by_what_they_are() -> None:
    spent = Spending(prompt_tokens=10, completion_tokens=5)
    assert Prices(prompt=1, completion=2).of(spent.prompt_tokens, spent.completion_tokens) == pytest.approx(20 / 1e6)
