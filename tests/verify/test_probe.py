"""A claim and its twin, asked of a scripted model; and what the policy makes of measured and probed verdicts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from drawn import Say

from medloupe.errors import EndpointUnreachable, ModelError, ReplyCutOff
from medloupe.models.vlm import Picture, ScriptedVLM, VLMRequest
from medloupe.tools.look import Loupe
from medloupe.tools.verify import MeasuredVerifier, ProbeVerifier, Scene, read_answer, twin, verify_claim
from medloupe.types import Observation

Scenes = Callable[..., Scene]


def _question(request: VLMRequest) -> str:
    said = request.messages[-1].parts[-1]
    assert isinstance(said, str)
    return said


def _answers(**by_word: str | ModelError) -> ScriptedVLM:
    """Answers by a word of the statement that is asked about; "otherwise" to the rest."""
    return ScriptedVLM(lambda r: next((a for w, a in by_word.items() if w in _statement(r)), by_word["otherwise"]))


def _statement(request: VLMRequest) -> str:
    return _question(request).split('\nStatement: "')[-1]


PAIRS = [
    ("yes", "no", "supported"), ("no", "yes", "refuted"), ("yes", "yes", "undetermined"),
    ("no", "no", "undetermined"), ("unsure", "no", "undetermined"), ("Normal.", "yes", "undetermined"),
]  # fmt: skip


@pytest.mark.parametrize(("of_claim", "of_twin", "expected"), PAIRS)
async def test_only_a_pair_that_comes_out_right_decides(
    ct: Loupe, say: Say, scene: Scenes, of_claim: str, of_twin: str, expected: str
) -> None:
    vlm = _answers(absent=of_twin, otherwise=of_claim)
    verdict = await ProbeVerifier()(say("presence", True, finding="nodule"), scene(ct, vlm))
    assert verdict is not None
    assert (verdict.verdict, verdict.method) == (expected, "probe")
    asked = 2 if expected == "undetermined" else 4  # where the first order decides nothing, the second cannot
    assert len({request.key for request in vlm.requests}) == len(verdict.evidence) == asked
    once = _answers(absent=of_twin, otherwise=of_claim)
    cold = await ProbeVerifier(orders=1)(say("presence", True, finding="nodule"), scene(ct, once))
    assert cold is not None
    assert (cold.verdict, len(once.requests)) == (expected, 2)


@pytest.mark.parametrize("suggested", ["absent", "present"])
async def test_an_answer_that_follows_what_was_just_suggested_does_not_count(
    ct: Loupe, say: Say, scene: Scenes, suggested: str
) -> None:
    """Right when asked cold, and swayed by one of the two when it is named before."""

    def swayed(request: VLMRequest) -> str:
        before, _, statement = _question(request).rpartition("Statement: ")
        right = "yes" if "present" in statement else "no"
        return {"yes": "no", "no": "yes"}[right] if suggested in before else right

    vlm = ScriptedVLM(swayed)
    verdict = await ProbeVerifier()(say("presence", True, finding="nodule"), scene(ct, vlm))
    assert verdict is not None
    assert verdict.verdict == "undetermined"
    assert "order" in verdict.reason
    cold = await ProbeVerifier(orders=1)(say("presence", True, finding="nodule"), scene(ct, vlm))
    assert cold is not None
    assert cold.verdict == "supported"


async def test_claim_and_twin_are_sent_alike_but_for_the_last_part(ct: Loupe, say: Say, scene: Scenes) -> None:
    vlm = _answers(well="no", otherwise="yes")
    await ProbeVerifier()(say("margin", "spiculated", finding="mass"), scene(ct, vlm))
    one, *others = vlm.requests
    for other in others:
        assert one.messages[:-1] == other.messages[:-1]
        assert one.messages[-1].parts[:-1] == other.messages[-1].parts[:-1]
    assert len({_question(r) for r in vlm.requests}) == 4
    assert isinstance(one.messages[-1].parts[0], Picture)
    assert [m.role for m in one.messages] == ["system", "user"]
    assert (one.purpose, one.temperature) == ("probe", 0.0)
    assert one.prompt


async def test_the_order_varies_with_the_claim_and_never_with_the_run(ct: Loupe, say: Say, scene: Scenes) -> None:
    async def claim_first(finding: str) -> bool:
        vlm = _answers(otherwise="yes")
        await ProbeVerifier()(say("presence", True, finding=finding), scene(ct, vlm))
        return "present" in _question(vlm.requests[0])

    findings = ("nodule", "mass", "cyst", "polyp", "ulcer", "effusion", "fracture", "abscess")
    orders = [await claim_first(f) for f in findings]
    assert set(orders) == {True, False}
    assert orders == [await claim_first(f) for f in findings]


@pytest.mark.parametrize("error", [EndpointUnreachable("no connection"), ReplyCutOff("cut off")])
async def test_a_fault_is_neither_a_finding_nor_its_absence(
    ct: Loupe, say: Say, scene: Scenes, error: ModelError
) -> None:
    verdict = await ProbeVerifier()(say("presence", False, finding="mass"), scene(ct, _answers(otherwise=error)))
    assert verdict is not None
    assert verdict.verdict == "undetermined"
    assert str(error) in verdict.reason
    assert verdict.numbers["faults"] == 2.0


@pytest.mark.parametrize(
    ("text", "answer"),
    [("yes", True), ("No.", False), ("Yes, it is.", True), ("NO", False), ("Normal", None), ("", None),
     ("unsure", None), ("yes and no", None), ("I know nothing", None), ("No, there is no nodule", False),
     ("Eyes", None)],
)  # fmt: skip
def test_answers_are_whole_words(text: str, answer: bool | None) -> None:
    assert read_answer(text) is answer


@pytest.mark.parametrize(
    ("attribute", "value", "unit", "expected"),
    [
        ("presence", True, "", False),
        ("long_axis", 12.0, "mm", 24.0),
        ("long_axis", "20..30", "mm", ">60"),
        ("long_axis", ">3", "cm", "<3"),
        ("count", 1.0, "", 2.0),
        ("count", 6.0, "", 9.0),
        ("count", ">1", "", "<2"),
        ("side", "left", "", "right"),
        ("margin", "spiculated", "", "well-defined"),
        ("margin", "not spiculated", "", "spiculated"),
        ("density", 40.0, "HU", 340.0),
    ],
)
def test_the_twin_is_what_a_hallucination_would_say(
    say: Say, attribute: str, value: bool | float | str, unit: str, expected: bool | float | str
) -> None:
    other = twin(say(attribute, value, unit))
    assert other is not None
    assert other.value == expected


async def test_a_model_is_not_asked_what_no_picture_shows(png: Loupe, say: Say, scene: Scenes) -> None:
    vlm = _answers(otherwise="yes")
    for claim in (say("long_axis", 12.0, "mm"), say("side", "left"), say("density", 40.0, "HU"), say("wibble", "x")):
        assert await ProbeVerifier()(claim, scene(png, vlm)) is None
    assert vlm.requests == []


async def test_the_verdict_says_whether_another_model_was_asked(ct: Loupe, say: Say, scene: Scenes) -> None:
    def described_by(model: str) -> Observation:
        return Observation(id="O1", view=0, region="R1", text="x", describer=model)

    for describer, independent in (("scripted", False), ("another", True)):
        here = scene(ct, _answers(absent="no", otherwise="yes"), observations=(described_by(describer),))
        verdict = await ProbeVerifier()(say("presence", True, finding="mass"), here)
        assert verdict is not None
        assert verdict.independent is independent


# --- the policy -----------------------------------------------------------------------------------------------------

BOTH = (ProbeVerifier(), MeasuredVerifier())


async def test_a_measurement_is_not_overruled_and_no_model_is_asked(ct: Loupe, say: Say, scene: Scenes) -> None:
    vlm = _answers(otherwise="yes")
    refuted = await verify_claim(say("long_axis", 40.0, "mm"), scene(ct, vlm), BOTH)
    supported = await verify_claim(say("long_axis", 20.0, "mm"), scene(ct, vlm), BOTH)
    assert [(v.verdict, v.method) for v in (refuted, supported)] == [("refuted", "measured"), ("supported", "measured")]
    assert vlm.requests == []


async def test_the_probe_decides_what_is_not_measured(ct: Loupe, say: Say, scene: Scenes) -> None:
    verdict = await verify_claim(say("margin", "spiculated"), scene(ct, _answers(well="no", otherwise="yes")), BOTH)
    assert (verdict.verdict, verdict.method) == ("supported", "probe")


async def test_when_none_decides_every_reason_is_given(ct: Loupe, say: Say, scene: Scenes) -> None:
    vlm = _answers(otherwise="yes")
    verdict = await verify_claim(say("long_axis", 24.6, "mm"), scene(ct, vlm), BOTH)
    assert verdict.verdict == "undetermined"
    assert "too near to tell" in verdict.reason
    assert "both the claim and its twin" in verdict.reason
    assert len(vlm.requests) == 2


async def test_without_a_model_a_presence_cannot_be_checked(ct: Loupe, say: Say, scene: Scenes) -> None:
    verdict = await verify_claim(say("presence", True, finding="mass"), scene(ct), BOTH)
    assert (verdict.verdict, verdict.method) == ("undetermined", "none")


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("wibble", "x"),
        ("shape", "blobby"),
        ("shape", True),
        ("long_axis", "big"),
        ("presence", "maybe"),
        ("count", "some"),
    ],
)
async def test_what_the_vocabulary_does_not_know_is_undetermined_and_no_error(
    ct: Loupe, say: Say, scene: Scenes, attribute: str, value: bool | str
) -> None:
    vlm = _answers(otherwise="yes")
    verdict = await verify_claim(say(attribute, value, "mm"), scene(ct, vlm), BOTH)
    assert (verdict.verdict, verdict.method) == ("undetermined", "none")
    assert verdict.reason
    assert vlm.requests == []
