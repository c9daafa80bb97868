"""From a run with traces to training records: what is written, what it is worth, and that no test split is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from eval_script import answer
from miniatures import MINIATURES

from medloupe.errors import UsageError
from medloupe.evals.running.run import Run, spec_of
from medloupe.evals.running.traces import TraceFolder
from medloupe.evals.tasks.catalogue import BENCHMARKS
from medloupe.evals.training.export import export_run
from medloupe.evals.training.records import from_chat, from_ophiuchus, to_ophiuchus
from medloupe.models.vlm.loopback import ScriptedEndpoint
from medloupe.settings import Settings, load_settings


async def solved(name: str, folder: Path, settings: Settings, **given: Any) -> Path:
    """A run with its traces; its folder."""
    if not folder.exists():
        MINIATURES[name](folder)
    spec = spec_of(name, folder, settings.out, **{"traces": True, "trace_images": True, **given})
    run = Run(spec, settings)
    try:
        for case in run.cases.values():
            for epoch in range(1, spec.epochs + 1):
                await run.solve(case, epoch)
                await run.score(case, epoch)
        run.write()
    finally:
        await run.release()
        run.close()
    return spec.out


def phantoms_to_train_on(folder: Path) -> Path:
    MINIATURES["phantoms"](folder)
    (folder / "cases_test.jsonl").rename(folder / "cases_train.jsonl")
    return folder


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


async def test_a_run_becomes_trajectories_in_both_layouts(settings: Settings, tmp_path: Path) -> None:
    run = await solved("phantoms", phantoms_to_train_on(tmp_path / "data"), settings, split="train")
    found = export_run(run, tmp_path / "out")
    assert (found.trajectories, found.pairs, found.images, found.left_out) == (3, 0, 6, 0)
    chat, theirs = lines(tmp_path / "out/sft.jsonl"), json.loads((tmp_path / "out/ophiuchus-SFT.json").read_text())
    assert [to_ophiuchus(from_chat(record)) for record in chat] == theirs
    assert [from_ophiuchus(record) for record in theirs] == [from_chat(record) for record in chat]
    first = chat[0]
    assert (first["source"], first["split"], first["answer"], first["score"]) == ("phantoms", "train", "A", 1.0)
    assert all((tmp_path / "out" / image).read_bytes()[:4] == b"\x89PNG" for image in first["images"])
    call = json.loads(first["messages"][2]["tool_calls"][0]["function"]["arguments"])
    assert call == [{"index": 1, "bbox_2d": [102, 143, 218, 256]}]  # of the overview, 512 pixels a side
    assert "A round, bright nodule" in first["messages"][-1]["reasoning_content"]
    assert first["messages"][-1]["content"].strip() == "A"
    assert {verdict["verdict"] for verdict in first["verdicts"]} == {"undetermined"} and first["reward"] == 0
    images = sum(part["type"] == "image" for m in first["messages"] if m["role"] == "user" for part in m["content"])
    assert images == len(first["images"]) == 2


async def test_a_right_and_a_wrong_trajectory_of_one_case_are_a_pair(tmp_path: Path) -> None:
    said = iter(["A", "B"])

    def script(body: dict[str, Any]) -> Any:
        schema = body.get("response_format", {}).get("json_schema", {}).get("name", "")
        return json.dumps({"answer": next(said)}) if schema == "answer" else answer(body)

    data = phantoms_to_train_on(tmp_path / "data")
    with ScriptedEndpoint(script) as endpoint:
        settings = load_settings(segmenter="none", vlm=endpoint.url, vlm_model="scripted", out=tmp_path / "runs")
        run = await solved("phantoms", data, settings, split="train", limit=1, epochs=2)
    export_run(run, tmp_path / "out")
    (pair,) = lines(tmp_path / "out/preferences.jsonl")
    assert (pair["why"], pair["chosen_score"], pair["rejected_score"]) == ("scored higher", 1.0, 0.0)
    assert [m["role"] for m in pair["prompt"]] == ["system", "user"]
    assert [pair[side][-1]["content"].strip() for side in ("chosen", "rejected")] == ["A", "B"]
    assert len(pair["images"]) == len(pair["chosen_images"]) == len(pair["rejected_images"]) == 1


async def test_an_answer_that_verification_changed_is_a_pair(settings: Settings, tmp_path: Path) -> None:
    run = await solved("phantoms", phantoms_to_train_on(tmp_path / "data"), settings, split="train", limit=1)
    row = lines(run / "scores.jsonl")[0]
    (run / "scores.jsonl").write_text(json.dumps({**row, "value_before": 0.0}) + "\n")
    folder = TraceFolder(run, images=True)
    trace = folder.file("p0", 1)
    steps = trace.read_text().splitlines()
    again = steps[-1].replace(
        '\\"answer\\": \\"A\\"', '\\"answer\\": \\"B\\"'
    )  # what it said before its claims were checked
    assert again != steps[-1]
    trace.write_text("\n".join([*steps[:-1], again, steps[-1]]) + "\n")
    export_run(run, tmp_path / "out")
    (pair,) = lines(tmp_path / "out/preferences.jsonl")
    assert pair["why"] == "verification changed it"
    assert [pair[side][0]["content"].strip() for side in ("chosen", "rejected")] == ["A", "B"]
    assert pair["chosen_images"] == pair["rejected_images"] == [] and len(pair["images"]) == 2


@pytest.mark.parametrize("name", MINIATURES)
async def test_no_test_split_is_ever_exported(name: str, settings: Settings, tmp_path: Path) -> None:
    """Every test split of every benchmark, whatever else the run lacks."""
    run = tmp_path / "run"
    run.mkdir()
    for split in BENCHMARKS[name].test_splits:
        (run / "run.json").write_text(json.dumps({"parameters": {"benchmark": name, "split": split}}))
        with pytest.raises(UsageError, match=f"{split} is a test split of .*: nothing is trained on it"):
            export_run(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_benchmark_names_what_may_not_be_trained_on() -> None:
    for found in BENCHMARKS.values():
        assert set(found.test_splits) <= set(found.splits)
        assert all(split in found.test_splits for split in found.splits if "test" in split or split == "all")


async def test_a_run_without_traces_says_how_to_get_them(settings: Settings, tmp_path: Path) -> None:
    data = phantoms_to_train_on(tmp_path / "data")
    run = await solved("phantoms", data, settings, split="train", limit=1, trace_images=False)
    with pytest.raises(UsageError, match="give its command again with --traces --trace-images"):
        export_run(run, tmp_path / "out")
    with pytest.raises(UsageError, match="holds no finished run"):
        export_run(tmp_path, tmp_path / "out")
