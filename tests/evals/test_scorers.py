"""Every metric on cases small enough to work out by hand, and the faults of known harnesses, which are not ours."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from medloupe.errors import ReplyUnreadable
from medloupe.evals.scorers.attributes import (
    AttributeOption,
    AttributeQuestion,
    RegionScore,
    VLMCaptionJudge,
    WordJudge,
    against_readers,
    ask_judge,
    attribute_scores,
    region_score,
)
from medloupe.evals.scorers.calibration import calibration
from medloupe.evals.scorers.overlap import covered, dice, mask_iou, match_boxes, union_iou
from medloupe.evals.scorers.probmed import ProbMedAnswer, probmed_units
from medloupe.evals.scorers.radfact import (
    Entailment,
    Phrase,
    VLMEntailmentJudge,
    WordEntailmentJudge,
    box_entailment,
    radfact,
    sentences,
)
from medloupe.evals.scorers.readers import adjusted_accuracy, plausible_hits
from medloupe.evals.scorers.references import reference_scores
from medloupe.evals.scorers.subgroups import by_subgroup, worst
from medloupe.evals.scorers.text import exact_match, read_option, read_yes_no, token_f1, token_recall
from medloupe.evals.scorers.verification import changed, verdict_quality
from medloupe.models.vlm import ScriptedVLM
from medloupe.types import BoundingBox

# --- options --------------------------------------------------------------------------------------------------------

FINDINGS = ("Pneumonia", "Pleural effusion", "Effusion", "No finding")
OPTIONS = {
    "B": 1,
    "(b)": 1,
    "**C**": 2,
    "B. Pleural effusion": 1,
    "A) because of the consolidation": 0,
    "The answer is B.": 1,
    "Option A is wrong, as is C. The answer is (d)": 3,
    "Answer: A\nNo wait.\nAnswer: B": 1,
    "<think>the answer is A.</think> B": 1,
    "The film shows pneumonia": 0,
    "Most likely a pleural effusion.": 1,  # "Effusion" stands within the longer option
    "There is no pneumonia; it is a pleural effusion": 1,
    "no finding": 3,
    # What is not read:
    "There is a lesion in the lung": None,  # the article is no option A
    "The answer is a benign lesion": None,
    "I see a pneumonia and a pleural effusion": None,
    "There is no pneumonia": None,
    "E": None,  # there is no option E
    "": None,
    "Cannot tell.": None,
}


@pytest.mark.parametrize("reply", OPTIONS)
def test_an_option_is_read_by_letter_or_by_whole_words(reply: str) -> None:
    assert read_option(reply, FINDINGS) == OPTIONS[reply]


def test_an_option_that_is_part_of_a_word_is_not_read() -> None:
    assert read_option("It is abnormal", ("Normal", "Diseased")) is None
    assert read_option("The CTR is raised", ("CT", "MR")) is None


YES_NO = {
    "Yes": True,
    "no.": False,
    "Yes, the nodule is there; no effusion.": True,
    "The answer is: no": False,
    "Normal": None,  # `"No" in reply` would accept it
    "A nodule is seen": None,
    "There is no nodule": None,  # nobody knows what was asked
    "yes and no": True,
    "Perhaps yes, perhaps no.": None,
    "": None,
}


@pytest.mark.parametrize("reply", YES_NO)
def test_yes_and_no_are_whole_words(reply: str) -> None:
    assert read_yes_no(reply) is YES_NO[reply]


def test_free_answers_by_hand() -> None:
    assert exact_match("The left lung.", "left lung")
    assert not exact_match("right lung", "left lung")
    assert token_recall("in the left upper lobe", "left lower lobe") == pytest.approx(2 / 3)
    assert token_f1("left upper lobe", "left lobe") == pytest.approx(4 / 5)
    assert token_recall("left", "") == token_f1("", "left") == 0


def test_texts_against_references_by_hand() -> None:
    # Words 4/5, pairs 3/4, triples 2/3, fours 1/2, not too short: BLEU-4 = (1/5)^(1/4). LCS 4 of 5 and 4.
    found = reference_scores(["the heart is large today"], ["The heart is large."], ["a"])
    # sacrebleu's "13a" takes the full stop for a word: 4 of 5, 3 of 4, 2 of 3, 1 of 2, as before
    assert found.bleu_1.value == pytest.approx(4 / 5)
    assert found.bleu_4.value == pytest.approx((1 / 5) ** (1 / 4))
    assert found.rouge_l.value == pytest.approx(8 / 9)
    # Too short: three of three words, brevity exp(1 - 4/3); no pair of one word, so no BLEU-4.
    short = reference_scores(["small round nodule", ""], ["a small round nodule", "left"], ["a", "b"])
    assert short.bleu_1.value == pytest.approx(math.exp(1 - 5 / 3))
    assert short.rouge_l.value == pytest.approx((6 / 7) / 2)


def test_cider_by_hand() -> None:
    # Two references without a common word: every n-gram weighs log 2. The first text is its reference: 1 for words,
    # 1 for pairs, nothing for triples and fours: 10 * 2/4. The second shares nothing.
    found = reference_scores(["nodule left"] * 2, ["nodule left", "effusion right"], ["a", "b"])
    assert found.cider.value == pytest.approx((5 + 0) / 2)
    # One word of two: cosine 1/sqrt(2), and one pair too few: exp(-1 / (2 * 6^2)).
    found = reference_scores(["nodule", ""], ["nodule left", "effusion right"], ["a", "b"])
    assert found.cider.value == pytest.approx(10 / 4 * math.exp(-1 / 72) / math.sqrt(2) / 2)


def test_corpus_bleu_is_of_sums_and_its_interval_draws_clusters() -> None:
    texts, references = ["a nodule", "no"] * 30, ["a nodule", "yes indeed"] * 30
    found = reference_scores(texts, references, [str(n // 2) for n in range(60)])
    assert found.bleu_1 == pytest.approx((2 / 3 * math.exp(1 - 4 / 3),) * 3)  # every cluster is the same
    alone = reference_scores(texts, references, [str(n) for n in range(60)])
    assert alone.bleu_1.low < found.bleu_1.value < alone.bleu_1.high


# --- boxes and masks ------------------------------------------------------------------------------------------------


def box(x0: float, y0: float, x1: float, y1: float) -> BoundingBox:
    return BoundingBox(x0=x0, y0=y0, x1=x1, y1=y1)


def test_boxes_are_paired_once_each() -> None:
    true = [box(0, 0, 10, 10), box(20, 0, 30, 10)]
    found = match_boxes([box(0, 0, 10, 8), box(0, 0, 10, 10), box(50, 50, 60, 60)], true)
    assert found.pairs == ((1, 0, 1.0),)
    assert (found.precision(), found.recall()) == (pytest.approx(1 / 3), 0.5)


def test_no_box_where_there_is_one_scores_nothing_and_no_box_where_there_is_none_scores_all() -> None:
    nothing, one = match_boxes([], [box(0, 0, 1, 1)]), match_boxes([], [])
    assert (nothing.precision(), nothing.recall()) == (0, 0)
    assert (one.precision(), one.recall()) == (1, 1)
    assert (union_iou([], [box(0, 0, 1, 1)]), union_iou([], [])) == (0, 1)


def test_unions_by_hand() -> None:
    # Two 10 x 10 boxes that share a 5 x 10 strip: 150; the other covers 5 x 10 of it, and 5 x 10 beside it.
    union = [box(0, 0, 10, 10), box(5, 0, 15, 10)]
    other = [box(10, 0, 20, 10)]
    assert union_iou(union, other) == pytest.approx(50 / 200)
    assert covered(union, other) == pytest.approx(50 / 150)
    assert covered(other, union) == pytest.approx(0.5)
    assert covered([box(0, 0, 1, 1)], []) == 0
    assert math.isnan(covered([], other))


def test_masks_by_hand_and_an_episode_without_a_mask_scores_nothing() -> None:
    true = np.zeros((4, 4), dtype=bool)
    true[:2] = True
    half = np.zeros_like(true)
    half[0] = True
    assert (dice(half, true), mask_iou(half, true)) == (pytest.approx(2 / 3), 0.5)
    assert (dice(None, true), mask_iou(None, true)) == (0, 0)  # never the truth against itself
    assert dice(None, np.zeros_like(true)) == 0


# --- attribute verification -----------------------------------------------------------------------------------------


def options(**scores: int) -> tuple[AttributeOption, ...]:
    return tuple(
        AttributeOption(text=name, score=score, words=() if name == "unsaid" else (name,))  # type: ignore[arg-type]
        for name, score in scores.items()
    )


WHAT = AttributeQuestion(
    id="what", kind="recognition", question="What is it said to be?", options=options(nodule=1, mass=-1, unsaid=0)
)
SIDE = AttributeQuestion(
    id="side", kind="positive", question="On which side?", options=options(left=1, right=-1, unsaid=0)
)
SIZE = AttributeQuestion(
    id="size", kind="positive", question="How large?", options=options(small=1, large=-1, unsaid=0)
)
ABSENT = AttributeQuestion(
    id="absent", kind="negative", question="Is calcification stated?",
    options=(AttributeOption(text="yes", score=-1, words=("calcified",)), AttributeOption(text="no", score=1)),
)  # fmt: skip
QUESTIONS = (WHAT, SIDE, SIZE, ABSENT)
CAPTIONS = {
    # caption: positive, negative, recognised
    "A small nodule on the left": (1.0, 1.0, True),
    "A nodule on the right": (-0.5, 1.0, True),  # -1 for the side, 0 for the size not said
    "A calcified nodule": (0.0, -1.0, True),
    "A small mass on the left": (0.0, 0.0, False),  # not recognised: min(0, 1) everywhere
    "A mass on the right, calcified": (-0.5, -1.0, False),
}


@pytest.mark.parametrize("caption", CAPTIONS)
async def test_attribute_verification_by_hand(caption: str) -> None:
    positive, negative, recognised = CAPTIONS[caption]
    assert region_score(QUESTIONS, await ask_judge(caption, QUESTIONS, WordJudge())) == (
        positive,
        negative,
        recognised,
        0,
    )


def test_an_unreadable_judgement_is_zero_and_counted() -> None:
    right = WHAT.options[0]
    assert region_score(QUESTIONS, [right, None, SIZE.options[0], None]) == (0.5, 0.0, True, 2)
    assert region_score(QUESTIONS, [None, SIDE.options[0], None, ABSENT.options[1]]) == (0.0, 0.0, False, 2)


def test_corpus_means_are_means_of_region_means() -> None:
    found = attribute_scores([RegionScore(1.0, math.nan, True, 0), RegionScore(0.0, 0.5, False, 1)])
    assert found == (0.5, 0.5, 0.5, 0.5, 1)


async def test_a_vlm_judge_sees_the_caption_and_no_picture_and_reads_the_shuffled_letter() -> None:
    shown: list[str] = []

    def say(request: object) -> str:
        text = request.messages[0].parts[0]  # type: ignore[attr-defined]
        shown.append(text)
        return next(line[0] for line in text.splitlines() if line.endswith(". left"))

    (chosen,) = await ask_judge("A nodule on the left.", [SIDE], VLMCaptionJudge(ScriptedVLM(say)))
    assert chosen == SIDE.options[0]
    assert '"A nodule on the left."' in shown[0]


# --- ProbMed --------------------------------------------------------------------------------------------------------


def test_probmed_pairs_by_hand() -> None:
    said = [
        ("1", "modality_gt", "", True), ("1", "modality_hallu", "", True),
        ("1", "body_part_gt", "", True), ("1", "body_part_hallu", "", False),
        ("1", "condition_gt", "0", True), ("1", "condition_hallu", "0", True),
        ("1", "condition_gt", "1", True), ("1", "condition_hallu", "1", False),
        ("2", "condition_gt", "0", True), ("2", "condition_hallu", "0", True),
        ("2", "modality_gt", "", True),
    ]  # fmt: skip
    assert [tuple(unit) for unit in probmed_units(ProbMedAnswer(*s) for s in said)] == [
        ("1", "modality", True),
        ("1", "body_part", False),
        ("1", "condition", False),  # one wrong of four costs the image
        ("2", "condition", True),
        ("2", "modality", False),  # its twin is missing
    ]


# --- RadFact --------------------------------------------------------------------------------------------------------

WRITTEN = (
    Phrase("A nodule.", (box(0, 0, 10, 10),)),
    Phrase("An effusion.", (box(0, 0, 10, 10),)),
    Phrase("A fracture.", (box(0, 0, 10, 10),)),
    Phrase("The heart is normal."),
)
REFERENCE = (
    Phrase("A nodule.", (box(0, 0, 10, 6),)),  # 60% of what was written lies in it
    Phrase("An effusion.", (box(0, 0, 10, 5),)),  # exactly half is not more than half
    Phrase("The heart is normal."),
)


async def test_radfact_by_hand() -> None:
    found = await radfact(WRITTEN, REFERENCE, WordEntailmentJudge())
    assert found == (3 / 4, 1.0, 1 / 2, 1.0, 1 / 3, 1.0, 0)
    assert found.logical_f1 == pytest.approx(2 * 0.75 / 1.75)


async def test_entailment_by_words_goes_one_way_and_knows_no_from_yes() -> None:
    judge = WordEntailmentJudge()
    assert await judge("There is a nodule.", ["A small nodule on the left.", "No effusion"]) == (True, (0,))
    assert await judge("A small nodule on the left.", ["There is a nodule."]) == (False, ())
    assert await judge("There is an effusion.", ["No effusion is seen."]) == (False, ())
    assert await judge("No effusion.", ["There is no pleural effusion."]) == (True, (0,))
    assert await judge("There is nodule/mass.", ["A mass.", "A fracture."]) == (True, (0,))
    assert await judge("There is something.", []) == (False, ())


def test_the_place_of_a_given_phrase_by_hand() -> None:
    true = [box(0, 0, 10, 10), box(20, 0, 30, 10)]
    # One predicted box lies 60% in the first, the other 50% in the second; 60% and 50% of the true ones are covered.
    assert box_entailment([box(0, 4, 10, 14), box(25, 0, 35, 10)], true) == (0.5, 0.5)
    assert box_entailment([box(0, 0, 10, 6)], true) == (1.0, 0.5)
    nothing = box_entailment([], true)
    assert math.isnan(nothing[0]) and nothing[1] == 0


def test_a_text_is_cut_into_sentences() -> None:
    text = "A 2.5 mm nodule, e.g. here. The heart is normal!\nNo effusion"
    assert sentences(text) == ["A 2.5 mm nodule, e.g. here.", "The heart is normal!", "No effusion"]


async def test_a_failing_judge_is_counted_and_no_key_is_dropped() -> None:
    class Failing:
        name = "failing"

        async def __call__(self, hypothesis: str, premises: Sequence[str]) -> Entailment:
            raise ReplyUnreadable("no JSON")

    found = await radfact(WRITTEN, REFERENCE, Failing())
    assert found[:2] == (0.0, 0.0)
    assert found.judge_failures == 7
    assert len(found) == 7
    assert all(math.isnan(v) for v in (found.grounding_precision, found.grounding_recall))


async def test_an_empty_report_entails_nothing_and_is_entailed_by_nothing() -> None:
    found = await radfact([], REFERENCE, WordEntailmentJudge())
    assert math.isnan(found.logical_precision)
    assert found.logical_recall == 0


async def test_a_vlm_judge_names_its_evidence_from_one() -> None:
    judge = VLMEntailmentJudge(ScriptedVLM(['{"entailed": true, "evidence": [2, 9]}']))
    assert await judge("A nodule.", ["The heart is normal.", "There is a nodule."]) == (True, (1,))


# --- confidence, readers, verification, subgroups -------------------------------------------------------------------


def test_calibration_by_hand() -> None:
    # Bins: 0.9 holds two (one right), 0.6 one (right), 0.2 one (wrong).
    found = calibration([0.95, 0.9, 0.6, 0.2], [True, False, True, False])
    assert found.ece == pytest.approx((abs(1 - 1.85) + abs(1 - 0.6) + abs(0 - 0.2)) / 4)
    assert found.brier == pytest.approx((0.05**2 + 0.9**2 + 0.4**2 + 0.2**2) / 4)
    assert found.curve == ((0.25, 0.0), (0.5, 0.5), (0.75, pytest.approx(1 / 3)), (1.0, 0.5))
    assert found.bins == ((0.2, 0.0, 1), (0.6, 1.0, 1), (pytest.approx(0.925), 0.5, 2))
    assert found.aurc == pytest.approx((0 + 0.5 + 1 / 3 + 0.5) / 4)
    assert math.isnan(calibration([], []).ece)
    with pytest.raises(ValueError, match="between 0 and 1"):
        calibration([1.2], [True])


def test_equal_confidences_are_taken_together() -> None:
    assert calibration([0.5, 0.5], [True, False]).curve == ((1.0, 0.5),)


def test_readers_who_disagree() -> None:
    assert plausible_hits("a", {"a": 3}) == 1
    assert plausible_hits("b", {"a": 3}) == 0
    assert plausible_hits(None, {"a": 3}) == 0
    # One vote each: Dirichlet(1, 1), so half. Two against one: Beta(2, 1) exceeds 1/2 with probability 3/4.
    assert plausible_hits("a", {"a": 1, "b": 1}) == pytest.approx(0.5, abs=0.05)
    assert plausible_hits("a", {"a": 2, "b": 1}) == pytest.approx(0.75, abs=0.05)
    found = adjusted_accuracy(["a", "a"], [{"a": 3}, {"b": 2}])
    assert found == (0.5, 1.0)  # readers agree with each other everywhere
    lone = adjusted_accuracy(["a"], [{"a": 1}])
    assert math.isnan(lone.ceiling)


def test_a_described_value_against_what_each_reader_said() -> None:
    # Texture: two readers said solid, one part-solid (not among the options). Beta(2, 1) exceeds 1/2 in 3 of 4.
    texture = SIDE.model_copy(update={"votes": {"left": 2, "middle": 1}})
    unread = SIZE.model_copy(update={"votes": {"small": 3}})
    left, right = SIDE.options[:2]
    found = against_readers([WHAT, texture, unread], [None, left, None])
    assert found is not None
    assert found.accuracy == pytest.approx((0.75 + 0) / 2, abs=0.03)
    # Of three readers of the first: "left" judged by one left and one middle is right in half, twice; "middle" never.
    # Of the second, all three are right.
    assert found.ceiling == pytest.approx((0.5 + 0.5 + 0 + 3) / 6, abs=0.03)
    wrong = against_readers([texture], [right])
    assert wrong is not None and wrong.accuracy == 0
    assert against_readers([WHAT], [None]) is None


def test_what_verification_changed() -> None:
    before = [False, True, False, True, True]
    assert changed(before, [True, False, None, None, True]) == (1, 1, 1, 1, 1)
    found = verdict_quality(["refuted", "refuted", "supported", "undetermined"], [False, True, False, True])
    assert found == (0.5, 0.5, 1)


def test_the_worst_subgroup_is_one_that_is_large_enough() -> None:
    values = [1.0, 0.0] * 10 + [1.0] * 12 + [0.0]
    groups = ["CT"] * 20 + ["MR"] * 12 + ["US"]
    found = by_subgroup(values, [str(n) for n in range(33)], groups)
    assert [(g.name, g.interval.value, g.samples) for g in found] == [("CT", 0.5, 20), ("MR", 1.0, 12), ("US", 0.0, 1)]
    lowest = worst(found)
    assert lowest is not None and lowest.name == "CT"
