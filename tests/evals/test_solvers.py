"""Every benchmark's miniature through the agent and the single pass; what the controls look at; faults as data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from eval_script import answer
from miniatures import CASES, MINIATURES

from medloupe.errors import UsageError
from medloupe.evals.phantoms import Order, write_phantom
from medloupe.evals.running.run import Run, spec_of
from medloupe.evals.scorers.rows import Row
from medloupe.models.vlm.loopback import Reply, ScriptedEndpoint
from medloupe.settings import Settings, load_settings
from medloupe.types import BoundingBox

DISC = BoundingBox(x0=14, y0=24, x1=44, y1=54)


async def run_all(name: str, folder: Path, settings: Settings, **given: Any) -> list[Row]:
    """Every case of a miniature, one after the other."""
    if not folder.exists():
        MINIATURES[name](folder)
    run = Run(spec_of(name, folder, settings.out, **given), settings)
    try:
        for case in run.cases.values():
            for epoch in range(1, run.spec.epochs + 1):
                await run.solve(case, epoch)
                await run.score(case, epoch)
        return run.ordered
    finally:
        await run.release()
        run.close()


EXPECTED = {  # figures of the scripted model, which always takes the first option, says yes, and finds the disc
    "vindr_cxr": 2 / 3, "lidc_idri": 0.5, "skincon": 0.5, "probmed": 0.5, "vqa_rad": 1 / 3, "slake": 0.5,
    "pathvqa": 1 / 3, "chestagentbench": 1, "medxpertqa_mm": 1, "omnimedvqa": 0, "gmai_mmbench": 1, "medframeqa": 1,
    "medq_bench": 1, "ms_cxr": 0.897, "medsg_bench": 0.997, "chestxray14": 0.965, "kvasir_seg": 1, "busi": 0.964,
    "ham10000": 1, "medmnist": 1 / 3, "medmnist_c": 0.5, "phantoms": 1,
}  # fmt: skip


@pytest.mark.parametrize("name", MINIATURES)
@pytest.mark.parametrize("solver", ["agent", "single_pass"])
async def test_every_miniature_is_solved_and_scored(name: str, solver: str, settings: Settings, tmp_path: Path) -> None:
    rows = await run_all(name, tmp_path / name, settings, solver=solver)
    assert len(rows) == CASES[name]
    assert all(row.calls > 0 and row.tokens > 0 and not row.fault for row in rows)
    if (name, solver) == ("skincon", "agent"):  # "on the left" is checked, refuted, and so not said
        assert {row.status for row in rows} == {"abstained"}
        return
    assert sum(row.value for row in rows) / len(rows) == pytest.approx(EXPECTED[name], abs=0.01)
    looked = max(row.looks for row in rows)
    assert looked == (0 if solver == "single_pass" else looked) and (solver == "single_pass" or looked > 0)


@pytest.mark.parametrize("solver", ["agent", "single_pass"])
async def test_a_phantom_among_real_images_stops_the_run(solver: str, settings: Settings, tmp_path: Path) -> None:
    MINIATURES["busi"](tmp_path / "busi")
    write_phantom(tmp_path / "drawn", Order(kind="us"), 1_100_000)
    phantom = next((tmp_path / "drawn").glob("phantom*.png"))
    for image in (tmp_path / "busi").rglob("*(1).png"):
        image.write_bytes(phantom.read_bytes())
    with pytest.raises(UsageError, match="phantom: it is no evidence in a benchmark of real images"):
        await run_all("busi", tmp_path / "busi", settings, solver=solver)


def test_a_run_of_real_images_with_loupe_tiny_warns_of_its_scores(settings: Settings, tmp_path: Path) -> None:
    tiny = settings.model_copy(update={"vlm_model": "loupe-tiny"})
    for name, warned in (("busi", True), ("phantoms", False)):
        MINIATURES[name](tmp_path / name)
        run = Run(spec_of(name, tmp_path / name, tiny.out), tiny)
        assert any("loupe-tiny was trained on drawn phantoms only" in w for w in run.read.warnings) is warned


# --- controls -------------------------------------------------------------------------------------------------------


def shown(body: dict[str, Any]) -> int:
    """Pictures in a request."""
    return json.dumps(body["messages"]).count('"image_url": {')


CONTROLS = {
    # solver: (pictures in the last request, looks); the oracle's graph looks once more at a claim that it left open
    "single_pass": (1, 0), "random_crop": (5, 4), "full_image": (5, 4), "uniform_tiles": (5, 4), "oracle_crop": (3, 2),
    "majority_vote": (1, 0), "blank_image": (1, 0), "question_only": (0, 0), "agent": (2, 1),
}  # fmt: skip


@pytest.mark.parametrize("solver", CONTROLS)
async def test_what_each_solver_shows_the_model(solver: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with ScriptedEndpoint(answer) as endpoint:
        settings = load_settings(segmenter="none", vlm=endpoint.url, vlm_model="scripted", out=tmp_path / "out")
        row = (await run_all("phantoms", tmp_path / "data", settings, solver=solver, limit=1))[0]
        last = endpoint.requests[-1]
    pictures, looks = CONTROLS[solver]
    assert (shown(last), row.looks, row.status) == (pictures, looks, "scored")
    assert row.values.get("inspected", 0) == pytest.approx({"oracle_crop": 1, "full_image": 1, "uniform_tiles": 1}.get(
        solver, row.values.get("inspected", 0)
    ), abs=0.01)  # fmt: skip


async def test_random_places_are_the_same_in_every_run(settings: Settings, tmp_path: Path) -> None:
    first, again, other = [
        await run_all("phantoms", tmp_path / "data", settings, solver="random_crop", seed=seed, out=tmp_path / str(n))
        for n, seed in enumerate((7, 7, 8))
    ]
    inspected = [[row.values["inspected"] for row in rows] for rows in (first, again, other)]
    assert inspected[0] == inspected[1] != inspected[2]


async def test_the_majority_of_draws_is_taken_until_the_tokens_are_spent(tmp_path: Path) -> None:
    said = iter(["B", "A", "B", "A", "B"])
    script = lambda body: json.dumps({"answer": next(said)})  # noqa: E731
    with ScriptedEndpoint(script) as endpoint:
        settings = load_settings(segmenter="none", vlm=endpoint.url, vlm_model="scripted", out=tmp_path / "out")
        row = (await run_all("phantoms", tmp_path / "d", settings, solver="majority_vote", limit=1, tokens=61))[0]
        assert {body["seed"] for body in endpoint.requests} == {0, 1, 2, 3, 4}
    assert (row.answer, row.confidence, row.calls) == ("right", 0.6, 5)  # 15 tokens a call


async def test_a_solver_that_cannot_do_it_says_so(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="use single_pass or blank_image"):
        await run_all("kvasir_seg", tmp_path / "a", settings, solver="question_only")
    with pytest.raises(UsageError, match="there is no solver 'guess'"):
        await run_all("phantoms", tmp_path / "b", settings, solver="guess")
    measuring = settings.model_copy(update={"vlm": None, "vlm_model": None})
    with pytest.raises(UsageError, match="needs a vision-language model"):
        await run_all("phantoms", tmp_path / "c", measuring, solver="single_pass")


async def test_without_a_model_the_agent_measures_and_what_cannot_be_measured_is_abstained_from(
    settings: Settings, tmp_path: Path
) -> None:
    measuring = settings.model_copy(update={"vlm": None, "vlm_model": None})
    rows = await run_all("kvasir_seg", tmp_path / "a", measuring)
    assert all(row.calls == 0 and 0 <= row.value <= 1 for row in rows)


# --- faults ---------------------------------------------------------------------------------------------------------


def failing(reply: Reply | str) -> Any:
    """The scripted model, whose last request gets this."""

    def script(body: dict[str, Any]) -> Reply | str:
        schema = body.get("response_format", {}).get("json_schema", {}).get("name", "")
        return reply if schema in ("answer", "regions") else answer(body)

    return script


FAULTS = {
    "refused": Reply(refusal="I cannot help with medical images."),
    "failed": Reply(status=400, error="no such thing"),
    "unparsed": json.dumps({"answer": "It might be either of them."}),
    "abstained": json.dumps({"answer": "Cannot tell"}),
}


@pytest.mark.parametrize("status", FAULTS)
async def test_what_was_not_answered_is_told_apart_and_counts_as_wrong(status: str, tmp_path: Path) -> None:
    with ScriptedEndpoint(failing(FAULTS[status])) as endpoint:
        settings = load_settings(segmenter="none", vlm=endpoint.url, vlm_model="scripted", out=tmp_path / "out")
        rows = await run_all("phantoms", tmp_path / "data", settings)
    assert {row.status for row in rows} == {status}
    assert {row.value for row in rows} == {0.0}
    assert {row.right for row in rows} == {False}


async def test_an_episode_without_a_mask_scores_nothing(tmp_path: Path) -> None:
    with ScriptedEndpoint(failing(json.dumps({"regions": []}))) as endpoint:
        settings = load_settings(segmenter="none", vlm=endpoint.url, vlm_model="scripted", out=tmp_path / "out")
        rows = await run_all("kvasir_seg", tmp_path / "data", settings)
    assert [(row.value, row.values["IoU"]) for row in rows] == [(0.0, 0.0)] * 2


async def test_an_image_that_cannot_be_read_fails_its_case_alone(settings: Settings, tmp_path: Path) -> None:
    MINIATURES["phantoms"](tmp_path / "data")
    (tmp_path / "data" / "images" / "1.png").write_bytes(b"no picture")
    rows = await run_all("phantoms", tmp_path / "data", settings)
    assert [row.status for row in rows] == ["scored", "failed", "scored"]
    assert "[" in rows[1].fault


@pytest.mark.parametrize("solver", ["agent", "single_pass"])
async def test_nothing_is_carried_from_one_question_of_a_case_to_the_next(
    solver: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer's figure on ChestAgentBench fell when its memory across a case's questions was taken away."""
    monkeypatch.chdir(tmp_path)
    MINIATURES["chestagentbench"](tmp_path / "data")
    table = tmp_path / "data" / "metadata.jsonl"
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    rows[1]["question"] = rows[1]["question"].replace("What stands out?", "Which is the likeliest?")

    async def asked(*kept: dict[str, Any]) -> list[str]:
        table.write_text("".join(json.dumps(row) + "\n" for row in kept))
        with ScriptedEndpoint(answer) as endpoint:
            settings = load_settings(segmenter="none", vlm=endpoint.url, vlm_model="m", out=tmp_path / str(len(kept)))
            await run_all("chestagentbench", tmp_path / "data", settings, solver=solver)
            return sorted(json.dumps(body) for body in endpoint.requests)

    both, second = await asked(*rows), await asked(rows[1])
    assert [body for body in both if "Which is the likeliest?" in body and "What stands out?" in body] == []
    assert set(second) <= set(both)  # the second question is asked as if it were the only one
    assert not any(rows[0]["explanation"] in body for body in both)  # nor is the release's reasoning shown


async def test_the_outline_on_a_crop_is_of_the_crop_and_not_of_the_whole_frame(
    settings: Settings, tmp_path: Path
) -> None:
    """A released harness hands the full frame's mask on to its crops."""
    from medloupe.tools.imaging import MemoryStore, load_study
    from medloupe.tools.look import Loupe
    from medloupe.types import Mask, Region

    MINIATURES["kvasir_seg"](tmp_path / "data")
    store = MemoryStore()
    study = load_study(tmp_path / "data" / "images" / "cju0.jpg", store, modality=None)
    image = study.images[0]
    inside = np.zeros((image.height, image.width), dtype=bool)
    inside[int(DISC.y0) : int(DISC.y1), int(DISC.x0) : int(DISC.x1)] = True
    loupe = Loupe(study, store, None, longest=settings.view_px)
    over = loupe.overview(0)
    region = Region(id="R1", image=0, box=DISC, mask=Mask.from_array(inside), view=0)
    bare = Region(id="R1", image=0, box=DISC, view=0)
    with_outline, without = (loupe.crop(over, r, index=1) for r in (region, bare))
    shown = [cv2.imdecode(np.frombuffer(store.get_png(v.digest), np.uint8), 1) for v in (with_outline, without)]
    rows, columns = np.nonzero(np.abs(shown[0].astype(int) - shown[1]).max(axis=2) > 40)
    place = with_outline.box_from_image(DISC)
    assert (columns.min(), rows.min()) == pytest.approx((place.x0, place.y0), abs=4)
    assert (columns.max(), rows.max()) == pytest.approx((place.x1, place.y1), abs=4)


@pytest.mark.parametrize("solver", ["agent", "single_pass", "random_crop"])
async def test_a_case_that_the_machine_had_no_time_for_is_solved_by_a_later_run(
    solver: str, settings: Settings, tmp_path: Path
) -> None:
    MINIATURES["phantoms"](tmp_path / "data")
    for number in range(3):  # large enough that no machine reads them in no time
        noise = np.random.default_rng(number).integers(0, 256, (3000, 3000), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "data" / "images" / f"{number}.png"), noise, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    hurried = settings.model_copy(update={"read_seconds": 1e-6})
    rows = await run_all("phantoms", tmp_path / "data", hurried, solver=solver)
    assert {(row.status, row.fault[-12:]) for row in rows} == {("failed", "[time-limit]")}
    rows = await run_all("phantoms", tmp_path / "data", settings, solver=solver)
    assert {row.status for row in rows} == {"scored"}


async def test_a_small_crop_is_upsampled_from_full_resolution(settings: Settings, tmp_path: Path) -> None:
    from medloupe.evals.solvers.bench import FixedPlanner

    MINIATURES["phantoms"](tmp_path / "data")
    run = Run(spec_of("phantoms", tmp_path / "data", settings.out), settings)
    case = run.cases["p0"]
    with run.bench.open(case, 1) as opened:
        graph, _ = opened.reader(FixedPlanner([DISC], focal=True))
        state = await graph.ainvoke({"study": str(await opened.study()), "question": case.question})
    crop = next(view for view in state["answer"].views if view.kind == "crop")
    assert max(crop.width, crop.height) == settings.view_px
    assert crop.box.width < 96 or crop.box == DISC.grow().clip(96, 96)
    await run.release()
    run.close()


async def test_a_graph_is_used_again_and_carries_nothing_from_case_to_case(settings: Settings, tmp_path: Path) -> None:
    MINIATURES["phantoms"](tmp_path / "data")
    run = Run(spec_of("phantoms", tmp_path / "data", settings.out), settings)
    readers, stores, spent = [], [], []
    for case in run.cases.values():
        with run.bench.open(case, 1) as opened:
            readers.append(reader := opened.reader())
            stores.append(reader.resources.store)
            state = await reader.graph.ainvoke({"study": str(await opened.study()), "question": case.question})
            spent.append(opened.spent.calls)
            assert list(reader.resources._loupes) == [state["study_id"]]
    assert len({id(reader.graph) for reader in readers}) == 1
    assert len({id(store) for store in stores}) == 3
    assert len(set(spent)) == 1 and spent[0] > 0
    with pytest.raises(RuntimeError), run.bench.open(case, 1) as opened:
        opened.reader()
        raise RuntimeError  # something may still be under way on it
    assert run.bench.idle == []
    await run.release()
    run.close()
