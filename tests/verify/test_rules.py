"""What cannot be true together."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from drawn import CALCIFIED, LESION, Say

from medloupe.models.vlm import ScriptedVLM
from medloupe.tools.look import Loupe
from medloupe.tools.verify import MeasuredVerifier, ProbeVerifier, RulesVerifier, Scene, verify_claim
from medloupe.tools.verify.rules import contradiction
from medloupe.types import Claim, Observation, StatedAttribute

Scenes = Callable[..., Scene]
Observed = Callable[..., Observation]

EXCLUDE_EACH_OTHER = [
    (("side", "left"), ("side", "right")),
    (("density", "ground-glass"), ("density", "calcified")),
    (("density", "ground-glass"), ("density", "solid")),
    (("density", "calcified"), ("density", "not calcified")),
    (("margin", "spiculated"), ("margin", "well-defined")),
    (("presence", False), ("shape", "round")),
    (("presence", False), ("presence", True)),
    (("long_axis", 12.0, "mm"), ("long_axis", 2.4, "cm")),
    (("long_axis", "<1", "cm"), ("long_axis", 14.0, "mm")),
    (("count", 3.0), ("count", "<2")),
    (("density", 40.0, "HU"), ("density", -80.0, "HU")),
]
GO_TOGETHER = [
    (("side", "left"), ("side", "bilateral")),
    (("density", "solid"), ("density", "calcified")),
    (("density", "not calcified"), ("density", "not fat")),
    (("shape", "round"), ("margin", "spiculated")),
    (("presence", True), ("shape", "round")),
    (("long_axis", 12.0, "mm"), ("long_axis", 1.3, "cm")),
    (("long_axis", 12.0, "mm"), ("long_axis", 40.0, "px")),
    (("long_axis", 20.0, "mm"), ("short_axis", 8.0, "mm")),
    (("count", 3.0), ("count", ">1")),
    (("density", 40.0, "HU"), ("density", 50.0, "HU")),
]


@pytest.mark.parametrize(("one", "other"), EXCLUDE_EACH_OTHER)
def test_what_excludes_each_other_does_so_both_ways(say: Say, one: tuple, other: tuple) -> None:
    first, second = (say(*stated, finding="nodule") for stated in (one, other))
    assert contradiction(first, second)
    assert contradiction(second, first)


@pytest.mark.parametrize(("one", "other"), GO_TOGETHER)
def test_what_can_be_true_together_is_no_contradiction(say: Say, one: tuple, other: tuple) -> None:
    first, second = (say(*stated, finding="nodule") for stated in (one, other))
    assert contradiction(first, second) == ""
    assert contradiction(second, first) == ""


def test_two_things_may_differ(say: Say) -> None:
    left = say("side", "left", finding="nodule")
    assert contradiction(left, say("side", "right", finding="effusion")) == ""
    assert contradiction(left, say("side", "right", finding="nodule", region=CALCIFIED)) == ""
    none_here = say("presence", False, finding="nodule", region=CALCIFIED)
    assert contradiction(left, none_here) == ""
    assert contradiction(left, none_here.model_copy(update={"region": None}))


@pytest.mark.parametrize(
    ("describer", "expected", "who"),
    [("some-vlm", "undetermined", "O1 says"), ("measured", "refuted", "O1 measures")],
)
async def test_a_description_against_a_claim_leaves_it_open_and_a_measurement_refutes_it(
    ct: Loupe, say: Say, scene: Scenes, observed: Observed, describer: str, expected: str, who: str
) -> None:
    """The description may be the wrong one of the two."""
    here = scene(ct, observations=(observed("R1", "A nodule with spiculated margins.", describer),))
    verdict = await RulesVerifier()(say("margin", "well-defined", finding="nodule"), here)
    assert verdict is not None
    assert (verdict.verdict, verdict.method, verdict.independent) == (expected, "rules", False)
    assert who in verdict.reason
    assert verdict.evidence[0].reply == "A nodule with spiculated margins."
    agrees = await RulesVerifier()(say("margin", "spiculated", finding="nodule"), here)
    assert agrees is None


async def test_descriptions_that_disagree_leave_it_open(ct: Loupe, say: Say, scene: Scenes, observed: Observed) -> None:
    said = (
        observed("R1", "A spiculated nodule."),
        observed("R1", "", attributes=(StatedAttribute(attribute="margin", value="circumscribed"),)),
    )
    verdict = await RulesVerifier()(say("margin", "spiculated", finding="nodule"), scene(ct, observations=said))
    assert verdict is not None
    assert (verdict.verdict, verdict.numbers) == ("undetermined", {"against": 1.0, "agreeing": 1.0})


@pytest.mark.parametrize(
    "observation", [{"text": "Possibly spiculated margins."}, {"text": "Spiculated margins.", "fault": "EndpointFault"}]
)
async def test_doubt_and_faults_contradict_nothing(
    ct: Loupe, say: Say, scene: Scenes, observed: Observed, observation: dict[str, str]
) -> None:
    here = scene(ct, observations=(observed("R1", **observation),))
    assert await RulesVerifier()(say("margin", "well-defined"), here) is None


def _both(say: Say, one: tuple, other: tuple) -> tuple[Claim, Claim]:
    return say(*one, id="C1", finding="nodule"), say(*other, id="C2", finding="nodule")


async def test_a_draft_that_contradicts_itself_is_settled_by_a_measurement_only(
    ct: Loupe, say: Say, scene: Scenes
) -> None:
    """The disc is 60 HU. A model that affirms whatever its twin is not would support both margins."""
    vlm = ScriptedVLM(lambda request: "yes")
    checks = (ProbeVerifier(), RulesVerifier(), MeasuredVerifier())
    measured = _both(say, ("density", "soft-tissue"), ("density", "ground-glass"))
    found = [await verify_claim(c, scene(ct, vlm, claims=measured), checks) for c in measured]
    assert [(v.verdict, v.method) for v in found] == [("supported", "measured"), ("refuted", "measured")]
    probed = _both(say, ("margin", "spiculated"), ("margin", "well-defined"))
    found = [await verify_claim(c, scene(ct, vlm, claims=probed), checks) for c in probed]
    assert [(v.verdict, v.method) for v in found] == [("undetermined", "rules")] * 2
    assert vlm.requests == []
    assert found[0].reason.startswith("C2 says")


async def test_a_model_that_described_nothing_here_is_asked_which_is_right(
    ct: Loupe, say: Say, scene: Scenes, observed: Observed
) -> None:
    claim = say("margin", "well-defined", finding="nodule")
    checks = (MeasuredVerifier(), RulesVerifier(), ProbeVerifier())
    for describer, expected in (("scripted", ("undetermined", "rules")), ("another", ("supported", "probe"))):
        vlm = ScriptedVLM(lambda r: "yes" if "well" in str(r.messages[-1].parts[-1]).split("Statement: ")[-1] else "no")
        here = scene(ct, vlm, observations=(observed("R1", "Spiculated margins.", describer),))
        verdict = await verify_claim(claim, here, checks)
        assert (verdict.verdict, verdict.method) == expected


async def test_none_and_a_region_that_shows_it_exclude_each_other(
    ct: Loupe, say: Say, scene: Scenes, observed: Observed
) -> None:
    here = scene(ct, observations=(observed("R2", "A calcified nodule of 25 mm."),))
    none = say("presence", False, finding="nodule", region=None)
    verdict = await RulesVerifier()(none, here)
    assert verdict is not None
    assert verdict.verdict == "undetermined"
    assert await RulesVerifier()(none.model_copy(update={"region": LESION}), here) is None
