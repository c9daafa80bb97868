"""The suite that every verifier passes, a plug-in's too; and verifiers of other packages, found by entry point."""

from __future__ import annotations

import sys
import tomllib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from drawn import LESION, Say

from medloupe.errors import EndpointFault, EndpointUnreachable, ModelError, ReplyCutOff, ReplyRefused
from medloupe.models.vlm import Picture, ScriptedVLM, VLMRequest
from medloupe.tools.look import Loupe
from medloupe.tools.verify import (
    AgreementVerifier,
    MeasuredVerifier,
    ProbeVerifier,
    RulesVerifier,
    Scene,
    Verifier,
    installed,
    load_plugins,
    verify_claim,
)
from medloupe.types import Observation

Scenes = Callable[..., Scene]
Observed = Callable[..., Observation]

OURS: tuple[Verifier, ...] = (MeasuredVerifier(), RulesVerifier(), ProbeVerifier(), AgreementVerifier())
CLAIMS: list[tuple[str, bool | float | str, str]] = [
    ("presence", True, ""), ("presence", False, ""), ("long_axis", 40.0, "mm"), ("long_axis", "<1", "cm"),
    ("area", 300.0, "mm2"), ("count", 3.0, ""), ("count", ">1", ""), ("site", "image left", ""),
    ("site", "upper lobe", ""),
    ("side", "left", ""), ("intensity", "hypointense", ""), ("density", "not calcified", ""), ("density", -50.0, "HU"),
    ("shape", "round", ""), ("margin", "spiculated", ""), ("homogeneity", "homogeneous", ""), ("colour", "red", ""),
    ("surface", "warty", ""), ("lidc_margin", "sharp", ""), ("wibble", "x", ""),
]  # fmt: skip
FAULTS = [EndpointUnreachable("gone"), EndpointFault(500, "boom"), ReplyCutOff("cut"), ReplyRefused("no")]
each_verifier = pytest.mark.parametrize("verifier", OURS, ids=lambda v: v.name)


@each_verifier
@pytest.mark.parametrize(("attribute", "value", "unit"), CLAIMS)
async def test_a_verdict_is_about_the_claim_and_says_why(
    ct: Loupe, say: Say, scene: Scenes, observed: Observed, verifier: Verifier,
    attribute: str, value: bool | float | str, unit: str,
) -> None:  # fmt: skip
    claim = say(attribute, value, unit, id="C7", finding="nodule")
    here = scene(ct, ScriptedVLM(lambda r: "yes"), observations=(observed("R1", "No nodule. A round mass."),))
    before = here.views, here.regions, here.observations
    verdict = await verifier(claim, here)
    assert (here.views, here.regions, here.observations) == before
    if verdict is None:
        return
    assert (verdict.claim, verdict.method) == ("C7", verifier.name)
    assert verdict.reason
    assert not (verdict.verdict == "undetermined" and verdict.independent)
    assert await verifier(claim, here) == verdict


@each_verifier
@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: type(f).__name__)
async def test_a_faulting_model_and_a_faulted_description_decide_nothing(
    ct: Loupe, say: Say, scene: Scenes, observed: Observed, verifier: Verifier, fault: ModelError
) -> None:
    vlm = ScriptedVLM(lambda r: fault)
    here = scene(ct, vlm, observations=(observed("R1", "", fault=str(fault)),))
    for attribute, value in (("presence", True), ("presence", False), ("margin", "spiculated"), ("wibble", "x")):
        verdict = await verifier(say(attribute, value, finding="mass"), here)
        assert verdict is None or verdict.verdict == "undetermined"


@each_verifier
@pytest.mark.parametrize("reply", ["", "maybe", "I see a huge tumour", "yes no first second", "0"])
async def test_an_unreadable_reply_decides_nothing(
    ct: Loupe, say: Say, scene: Scenes, verifier: Verifier, reply: str
) -> None:
    for value in (True, False):
        verdict = await verifier(say("presence", value, finding="mass"), scene(ct, ScriptedVLM(lambda r: reply)))
        assert verdict is None or verdict.verdict == "undetermined"


# --- agreement -------------------------------------------------------------------------------------------------------


def _judges(*draws: tuple[bool, bool]) -> ScriptedVLM:
    """Draw n says draws[n - 1] of (the presence, its denial), yes or no."""

    def judge(request: VLMRequest) -> str:
        statement = str(request.messages[-1].parts[-1]).split("Statement:")[1]
        return "yes" if draws[request.draw - 1]["absent" in statement] else "no"

    return ScriptedVLM(judge)


FOR, AGAINST, BOTH, NEITHER = (True, False), (False, True), (True, True), (False, False)


@pytest.mark.parametrize(
    ("most", "draws", "expected"),
    [(5, (FOR, FOR), "supported"), (5, (AGAINST, AGAINST), "refuted"), (5, (FOR, BOTH, FOR), "supported"),
     (9, (FOR, AGAINST, NEITHER, BOTH, AGAINST, AGAINST), "refuted"),
     (5, (FOR, BOTH, AGAINST, NEITHER, FOR), "undetermined"), (5, (FOR, AGAINST, FOR, AGAINST), "undetermined")],
)  # fmt: skip
async def test_draws_are_taken_until_one_side_leads_by_k_or_no_longer_can(
    ct: Loupe, say: Say, scene: Scenes, most: int, draws: tuple[tuple[bool, bool], ...], expected: str
) -> None:
    vlm = _judges(*draws)
    verdict = await AgreementVerifier(most, 2)(say("presence", True, finding="mass"), scene(ct, vlm))
    assert verdict is not None
    assert verdict.verdict == expected
    assert sorted(r.draw for r in vlm.requests) == [n for n, _ in enumerate(draws, start=1) for _ in ("claim", "twin")]
    assert len({r.key for r in vlm.requests}) == 2 * len(draws) == verdict.numbers["asked"]
    assert {r.temperature for r in vlm.requests} == {0.7}


@pytest.mark.parametrize("habit", ["yes", "no", "unsure"])
async def test_a_habit_is_no_agreement_and_is_soon_left_alone(ct: Loupe, say: Say, scene: Scenes, habit: str) -> None:
    for value in (True, False):
        vlm = ScriptedVLM(lambda r: habit)
        verdict = await AgreementVerifier()(say("presence", value, finding="mass"), scene(ct, vlm))
        assert verdict is not None
        assert verdict.verdict == "undetermined" and "none of them told the two apart" in verdict.reason
        assert len(vlm.requests) == 8


async def test_draws_of_a_region_are_shown_it_with_more_and_less_around_it(
    ct: Loupe, say: Say, scene: Scenes, observed: Observed
) -> None:
    """And the describer's own model, asked again, is no independent check, however often it agrees with itself."""
    crop = ct.crop(ct.overview(), LESION, index=1)
    vlm = _judges(*[FOR, AGAINST] * 3)
    here = scene(ct, vlm, views=(ct.overview(), crop), observations=(observed("R1", "A mass.", vlm.model),))
    claim = say("presence", True, finding="mass", view=1)
    await AgreementVerifier(7, 2)(claim, here)
    shown = {part.digest for r in vlm.requests for part in r.messages[-1].parts if isinstance(part, Picture)}
    assert len(shown) == 3 and crop.digest in shown
    verdict = await AgreementVerifier()(claim, replace(here, ask=_judges(FOR, FOR)))
    assert verdict is not None and verdict.verdict == "supported" and not verdict.independent
    assert "own model" in verdict.reason
    verdict = await AgreementVerifier()(claim, replace(here, ask=_judges(FOR, FOR), verifier_model="another"))
    assert verdict is not None and verdict.independent


async def test_a_model_that_errs_in_three_of_ten_answers_is_mostly_right_when_drawn(
    ct: Loupe, say: Say, scene: Scenes
) -> None:
    """Each answer by itself: wrong 1 time in 30, in five draws on average."""
    coin = np.random.default_rng(7)

    def err(request: VLMRequest) -> str:
        statement = str(request.messages[-1].parts[-1]).split("Statement:")[1]
        return "yes" if ("absent" in statement) == (coin.random() < 0.3) else "no"

    verdicts = [
        await AgreementVerifier()(say("presence", True, finding="mass"), scene(ct, ScriptedVLM(err)))
        for _ in range(300)
    ]
    found = Counter(v.verdict for v in verdicts if v)
    assert found["refuted"] <= 0.06 * 300 and found["supported"] >= 0.92 * 300
    assert sum(v.numbers["asked"] for v in verdicts if v) / 300 < 11


def test_a_lead_that_no_draws_can_bring_is_no_setting() -> None:
    for samples, needed in ((3, 4), (0, 0), (5, 0)):
        with pytest.raises(ValueError, match="never bring"):
            AgreementVerifier(samples, needed)


# --- plug-ins --------------------------------------------------------------------------------------------------------


def _install(folder: Path, entry: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution as pip would leave it."""
    info = folder / "spinecheck-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: spinecheck\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[medloupe.verifiers]\n{entry}\n")
    (folder / "spinecheck.py").write_text(code)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "spinecheck", raising=False)


SPINE = """
from medloupe.types import Verdict

class Spine:
    name = "spine"
    async def __call__(self, claim, scene):
        {body}
"""


def _spine(body: str) -> str:
    return SPINE.format(body=body)


async def test_another_packages_verifier_is_found_and_asked_last(
    ct: Loupe, say: Say, scene: Scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = 'return Verdict(claim=claim.id, verdict="supported", reason="it is so", method="none")'
    _install(tmp_path / "site", "spine = spinecheck:Spine", _spine(body), monkeypatch)
    assert [point.name for point in installed()] == ["spine"]
    assert "spinecheck" not in sys.modules
    found = load_plugins()
    assert ([v.name for v in found.verifiers], found.warnings) == (["spine"], ())
    here = scene(ct, ScriptedVLM(lambda r: "no"))
    assert (await verify_claim(say("margin", "spiculated"), here, (*found.verifiers, *OURS))).reason == "it is so"
    size = await verify_claim(say("long_axis", 40.0, "mm"), here, (*found.verifiers, *OURS))
    assert (size.verdict, size.method) == ("refuted", "measured")


@pytest.mark.parametrize(
    "body",
    ["raise RuntimeError('boom')", 'return Verdict(claim="C99", verdict="supported", reason="x", method="none")'],
)
async def test_a_plugins_fault_is_neither_a_finding_nor_its_absence(
    ct: Loupe, say: Say, scene: Scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    _install(tmp_path / "site", "spine = spinecheck:Spine", _spine(body), monkeypatch)
    verdict = await verify_claim(say("presence", False, finding="mass"), scene(ct), load_plugins().verifiers)
    assert verdict.verdict == "undetermined"
    assert '"spine"' in verdict.reason


@pytest.mark.parametrize(
    ("entry", "code"),
    [("spine = spinecheck:Nowhere", ""), ("spine = spinecheck:Spine", "raise SystemError('no')"),
     ("spine = spinecheck:thing", "def thing(): return 3")],
)  # fmt: skip
def test_one_that_cannot_be_loaded_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str, code: str
) -> None:
    _install(tmp_path / "site", entry, code, monkeypatch)
    found = load_plugins()
    assert found.verifiers == ()
    assert '"spine"' in found.warnings[0]


def test_our_four_are_registered_as_any_other() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    entries = project["entry-points"]["medloupe.verifiers"]
    made = {name: EntryPoint(name, at, "medloupe.verifiers").load()() for name, at in entries.items()}
    assert set(made) == {"measured", "rules", "probe", "agreement"}
    assert {name: verifier.name for name, verifier in made.items()} == {name: name for name in made}
