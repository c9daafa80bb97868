"""The ablation and the location bench with a scripted model that sees: it points at blue spots on skin."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

from medloupe import ScriptedVLM
from medloupe.evals.ablation.cases import make_cases, truth_of
from medloupe.evals.ablation.conditions import AGENT, CONDITIONS, SINGLE, UNVERIFIED
from medloupe.evals.ablation.report import draw, line_of, lines, missed, paired
from medloupe.evals.ablation.scoring import Judged, judge
from medloupe.evals.bench_ablation import ablate, model_id
from medloupe.evals.bench_locate import CALLS, locate
from medloupe.evals.bench_locate import judge as judge_boxes
from medloupe.evals.bench_locate import main as locate_main
from medloupe.evals.phantoms import LesionTruth, Order, make_scene, read_truth, split_of, write_phantom
from medloupe.evals.running.store import RunStore
from medloupe.evals.solvers.outcome import Found, Outcome, Spending
from medloupe.evals.tasks.case import Case
from medloupe.models.tiny.language import description, location
from medloupe.models.vlm.base import Picture, VLMRequest
from medloupe.types import BoundingBox, StatedAttribute

SEES = 4
"""Pixels of the picture that a thing needs to be seen."""


def seen(request: VLMRequest) -> tuple[float, float, float, float] | None:
    """The box, in shares of the picture, of the largest thing that is bluer than it is red."""
    pictures = [part for part in request.messages[0].parts if isinstance(part, Picture)]
    if not pictures:
        return None
    shown = np.asarray(PIL.Image.open(io.BytesIO(pictures[0].png)).convert("RGB")).astype(float)
    blue = (shown[..., 2] > shown[..., 0] + 10).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(blue)
    things = [(area, *box) for *box, area in stats[1:].tolist()]
    if not things or max(things)[0] < SEES**2:
        return None
    _, x, y, width, height = max(things)
    rows, columns = blue.shape
    return (x / columns, y / rows, (x + width) / columns, (y + height) / rows)


def seeing(lesion: LesionTruth | None) -> ScriptedVLM:
    """Points at what it sees; describes it in the truth's words where it is large enough, and says yes to those."""

    def say(request: VLMRequest) -> str:
        words = str(request.messages[0].parts[-1])
        box = seen(request)
        if "Where to look" in words:
            return location([box] if box else [], "lesion")
        if "Describe" not in words:
            true = lesion is not None and any(word in words for word in (*lesion.attributes.values(), lesion.site))
            return "yes" if box and (true or "present" in words) else "no"
        if box is None or lesion is None:
            return description("lesion", None)
        size = max(box[2] - box[0], box[3] - box[1])
        return description("lesion", lesion.attributes, size=size, site=lesion.site, closer=size < 0.14)

    return ScriptedVLM(say, model="loupe-tiny")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("ablation") / "phantoms"


@pytest.fixture(scope="module")
def cases(folder) -> list[Case]:
    return make_cases(folder, 5)


def ablated(case: Case, folder: Path, out: Path, conditions=()) -> dict[str, Judged]:
    truth = truth_of(folder, case.id)
    vlm, store = seeing(truth.lesions[0] if truth.lesions else None), RunStore(out)
    try:
        found = asyncio.run(
            ablate(vlm, [case], folder, store, endpoint="scripted", segmenter=None, conditions=conditions, quiet=True)
        )
        assert store.ledger.sent == len(vlm.requests)
    finally:
        store.close()
    return {name: rows[0] for name, rows in found.items()} | {"sent": len(vlm.requests)}


# --- cases ----------------------------------------------------------------------------------------------------------


def test_phantoms_are_of_the_test_seeds_with_one_lesion_or_none(cases, folder) -> None:
    assert [len(case.boxes) for case in cases] == [1, 1, 0, 1, 1]
    assert all(split_of(int(case.id.rsplit("-", 1)[1])) == "test" for case in cases)
    assert {case.groups["kind"] for case in cases} == {"derm", "cxr"}
    before = (folder / cases[0].id / "truth.json").stat().st_mtime_ns
    assert make_cases(folder, 5) == cases
    assert (folder / cases[0].id / "truth.json").stat().st_mtime_ns == before


# --- conditions -----------------------------------------------------------------------------------------------------


def blue_phantom(sizes: tuple[float, ...]) -> int:
    """The seed of a picture of skin, all of whose lesions are blue."""
    for seed in range(1_150_000, 1_150_999):
        lesions = make_scene("derm", seed, "standard", list(sizes)).lesions
        if len(lesions) == len(sizes) and all(lesion.attributes["colour"] == "blue" for lesion in lesions):
            return seed
    raise AssertionError("no phantom with blue lesions")


@pytest.fixture(scope="module")
def small(folder) -> Case:
    """A picture of skin with a lesion of 26 pixels, of which the overview shows three."""
    seed = blue_phantom((26.0,))
    write_phantom(folder / "small", Order(kind="derm", sizes=(26.0,)), seed)
    lesion = truth_of(folder, "small").lesions[0]
    return Case(
        id="small", kind="caption", images=("small/phantom-000.png",), cluster="small", modality="DMS",
        question="Is there a lesion? Describe it.", boxes=(BoundingBox.from_tuple(lesion.box),),
    )  # fmt: skip


@pytest.fixture(scope="module")
def found(small, folder, tmp_path_factory) -> dict[str, Judged]:
    return ablated(small, folder, tmp_path_factory.mktemp("run"))


def test_the_agent_describes_what_the_single_pass_cannot_see_well_enough(found) -> None:
    assert set(found) - {"sent"} == {condition.name for condition in CONDITIONS}
    agent, single = found[UNVERIFIED], found[SINGLE]
    assert agent.hit and sum(agent.right.values()) > sum(single.right.values())
    assert sum(found["oracle crop"].right.values()) >= sum(agent.right.values())
    assert not found["blank image"].hit and not found["question only"].hit


def test_controls_have_the_agents_looks_and_tokens(found) -> None:
    looks = found["agent: zoom"].calls
    assert found["uniform tiles"].calls == looks
    assert found["random crops"].calls == looks
    assert found[SINGLE].calls == found["blank image"].calls == found["question only"].calls == 1
    assert found[AGENT].calls > found[UNVERIFIED].calls  # probes


def test_a_run_that_is_run_again_sends_nothing(small, folder, tmp_path) -> None:
    first = ablated(small, folder, tmp_path, (SINGLE, "agent: zoom"))
    again = ablated(small, folder, tmp_path, (SINGLE, "agent: zoom"))
    more = ablated(small, folder, tmp_path, (SINGLE, "agent: zoom", "oracle crop"))
    assert first["sent"] > 10 and again["sent"] == 0 and more["sent"] == 1
    assert {k: v for k, v in first.items() if k != "sent"} == {k: v for k, v in again.items() if k != "sent"}


def test_a_model_is_known_by_its_weights(tmp_path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"one")
    before = model_id(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"two")
    assert model_id(str(tmp_path)) != before
    assert model_id("http://127.0.0.1:1/v1") == "http://127.0.0.1:1/v1"


# --- scoring --------------------------------------------------------------------------------------------------------


def stated(lesion: LesionTruth, **changed: object) -> tuple[StatedAttribute, ...]:
    values = {**lesion.attributes, "site": lesion.site, "long_axis": lesion.long_axis_px, **changed}
    return tuple(StatedAttribute(attribute=name, value=value) for name, value in values.items())


def test_a_finding_counts_where_the_lesion_is_and_is_false_elsewhere(cases, folder, small) -> None:
    truth = truth_of(folder, small.id)
    lesion = truth.lesions[0]
    true = BoundingBox.from_tuple(lesion.box)
    here, there = Found(box=true, stated=stated(lesion)), Found(box=BoundingBox.from_sides(0, 0, 9, 9), stated=())
    both = judge(small, truth, Outcome(status="answered", findings=(there, here), spent=Spending(calls=3)))
    assert both.hit and all(both.right.values()) and both.said == len(both.right) and (both.false, both.calls) == (1, 3)
    wrong = Found(box=None, stated=stated(lesion, site="nowhere", long_axis=lesion.long_axis_px * 1.3))
    judged = judge(small, truth, Outcome(status="answered", findings=(wrong,)))
    assert [name for name, right in judged.right.items() if not right] == ["site", "long_axis"]
    nothing = judge(small, truth, Outcome(status="failed"))
    assert nothing.failed and not nothing.hit and not any(nothing.right.values()) and nothing.said == 0
    free = next(case for case in cases if not case.boxes)
    assert judge(free, truth_of(folder, free.id), Outcome(status="answered", findings=(there,))).false == 1


def judged(n: int, size: float | None, right: int, *, false: int = 0, hit: bool = True) -> Judged:
    of = {f"a{i}": i < right for i in range(4)} if size else {}
    return Judged(f"c{n}", size, of, 4, hit and size is not None, false, 5, 100, 0.1, failed=False)


def results(agent_small: int, agent_false: int) -> dict[str, list[Judged]]:
    sizes = [12.0, 20.0, 90.0, None] * 20
    single = [judged(n, s, 1) for n, s in enumerate(sizes)]
    agent = [
        judged(n, s, agent_small if (s or 99) < 32 else 4, false=agent_false if s is None else 0)
        for n, s in enumerate(sizes)
    ]
    return {SINGLE: single, UNVERIFIED: agent, AGENT: agent}


def test_the_table_names_what_was_found_and_the_bars_that_are_missed(tmp_path) -> None:
    good = results(3, 0)
    difference = paired(good, AGENT, SINGLE, 32).difference
    assert difference == (0.5, 0.5, 0.5)
    assert line_of(good[AGENT]).small.value == 0.75 and line_of(good[AGENT]).small_attributes == 160
    assert missed(good) == []
    text = "\n".join(lines(good))
    assert "0.750" in text and f"{AGENT} - {SINGLE}, under 32 px" in text
    bad = missed(results(1, 1))
    assert len(bad) == 2 and "0.000" in bad[0] and "1.000" in bad[1]
    draw(good, tmp_path / "ablation.png")
    with PIL.Image.open(tmp_path / "ablation.png") as picture:
        assert picture.size[0] > 800


# --- the location bench ---------------------------------------------------------------------------------------------


def test_boxes_are_held_against_lesions_by_their_centres(tmp_path) -> None:
    truth = read_truth(write_phantom(tmp_path, Order(kind="derm", sizes=(40.0, 90.0, 8.0)), 1_100_000)[0]).images[0]
    large, middle, tiny = sorted((BoundingBox.from_tuple(x.box) for x in truth.lesions), key=lambda b: -b.area)
    off = BoundingBox.from_sides(large.x0 + 0.3 * large.width, large.y0, large.width, large.height)
    found = judge_boxes([off, large, tiny, BoundingBox.from_sides(0, 0, 10, 10)], truth.lesions)
    assert found.found == (True, False)  # the one of 40 px was not pointed at
    assert found.overlapping == (True, False)
    assert found.false == 2  # the second box on the large one, and the one on nothing
    assert judge_boxes([middle], truth.lesions).found == (False, True)


async def test_a_lesion_of_few_pixels_is_found_within_the_calls(tmp_path) -> None:
    order, seed = Order(kind="derm", sizes=(20.0,)), blue_phantom((20.0,))
    lesions = read_truth(write_phantom(tmp_path / "truth", order, seed)[0]).images[0].lesions
    found = await locate(seeing(lesions[0]), None, tmp_path, order, seed)
    assert (found.found, found.false) == ((True,), 0)
    assert found.calls <= CALLS


def test_the_location_bench_prints_and_exits(tmp_path) -> None:
    result = CliRunner().invoke(locate_main, ["--model", str(tmp_path / "none"), "--segmenter", "none"])
    assert result.exit_code != 0
