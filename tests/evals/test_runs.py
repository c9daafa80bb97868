"""Whole evaluations through Inspect AI and the command: killed, resumed, recorded, reported and compared."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from miniatures import MINIATURES

from medloupe.agent.trace import read_trace
from medloupe.errors import RunBusy, UsageError
from medloupe.evals.bench_cases import CALLS, command, draw_cases, script
from medloupe.evals.bench_kill import AT_ONCE, Command, killed_run
from medloupe.evals.running.compare import compare_runs
from medloupe.evals.running.estimate import estimate
from medloupe.evals.running.evaluate import evaluate
from medloupe.evals.running.progress import Progress
from medloupe.evals.running.run import Run, spec_of
from medloupe.models.vlm.loopback import ScriptedEndpoint
from medloupe.settings import Settings

pytestmark = [  # Inspect AI leaves its own streams for the collector
    pytest.mark.filterwarnings("ignore:Unclosed <MemoryObjectReceiveStream:ResourceWarning"),
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <function MemoryObjectReceiveStream:pytest.PytestUnraisableExceptionWarning"
    ),
]


def whole(name: str, folder: Path, settings: Settings, **given: Any) -> Run:
    """A finished run."""
    if not folder.exists():
        MINIATURES[name](folder)
    run = Run(spec_of(name, folder, settings.out, **given), settings)
    evaluate(run)
    return run


def cli(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "medloupe", "eval", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)


def test_a_run_leaves_its_scores_summary_report_and_inspects_log(settings: Settings, tmp_path: Path) -> None:
    from inspect_ai.log import list_eval_logs, read_eval_log

    run = whole("phantoms", tmp_path / "data", settings)
    out = run.spec.out
    summary = json.loads((out / "summary.json").read_text())
    assert summary["score"]["value"] == 1.0
    assert summary["counts"] == {"total": 3, "scored": 3, "unparsed": 0, "abstained": 0, "failed": 0, "refused": 0}
    assert summary["calibration"]["Brier"] == pytest.approx(0.04)
    about = json.loads((out / "run.json").read_text())
    assert about["ids"] == ["p0", "p1", "p2"]
    assert len(about["dataset"]["sha256"]) == 64 and list(about["tables"]) == ["cases_test.jsonl"]
    assert {"choose", "describe", "probe"} <= set(about["prompts"])
    report = (out / "report.html").read_text()
    assert "accuracy: 1.000 [0.292, 1.000]" in report and "Research use only" in report
    assert not re.search(r'(src|href)="(?!data:)', report)  # nothing is loaded from anywhere
    (found,) = list_eval_logs(str(out / "logs"))
    log = read_eval_log(found)
    assert log.status == "success" and log.eval.task == "phantoms" and len(log.samples or []) == 3
    assert log.results and log.results.scores[0].metrics["value"].value == 1.0


def test_a_finished_run_makes_no_call_again_and_writes_the_same_scores(
    settings: Settings, endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    first = whole("phantoms", tmp_path / "data", settings)
    scores, before = (first.spec.out / "scores.jsonl").read_bytes(), len(endpoint.bodies)
    again = whole("phantoms", tmp_path / "data", settings)
    assert len(endpoint.bodies) == before
    assert again.replayed == 3
    assert (again.spec.out / "scores.jsonl").read_bytes() == scores


def test_another_model_prompt_or_case_is_solved_anew(settings: Settings, tmp_path: Path) -> None:
    MINIATURES["phantoms"](tmp_path / "data")
    spec = spec_of("phantoms", tmp_path / "data", settings.out)
    run, other = Run(spec, settings), Run(spec, settings.model_copy(update={"vlm_model": "another"}))
    case, second = list(run.cases.values())[:2]
    assert len({run.key(case, 1), run.key(case, 2), run.key(second, 1), other.key(case, 1)}) == 4
    limited = Run(spec.model_copy(update={"limit": 1}), settings)
    assert limited.key(case, 1) == run.key(case, 1)  # the first cases are the same ones


def test_kill_9_anywhere_and_the_scores_are_those_of_an_unbroken_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small version of `make bench-kill`."""
    draw_cases(tmp_path / "data", 8)
    monkeypatch.setenv("MEDLOUPE_VIEW_PX", "128")
    with ScriptedEndpoint(script, latency_s=0.05) as endpoint:
        unbroken, killed = (command(tmp_path / "data", tmp_path / n, endpoint.url) for n in ("unbroken", "killed"))
        assert Command(unbroken).wait()[0] == 0
        alone = endpoint.stats()
        endpoint.forget()
        kills = killed_run(killed, endpoint, Command, kills=2, seed=1, most=30)
        stats = endpoint.stats()
    in_flight = json.loads((tmp_path / "killed" / "run.json").read_text())["calls"]["in_flight"]
    assert kills == 2
    assert (tmp_path / "killed" / "scores.jsonl").read_bytes() == (tmp_path / "unbroken" / "scores.jsonl").read_bytes()
    assert (alone["calls"], stats["distinct"]) == (8 * CALLS, 8 * CALLS)
    assert stats["calls"] - stats["distinct"] <= in_flight <= kills * AT_ONCE * CALLS


def test_of_two_runs_on_one_folder_one_says_so(settings: Settings, tmp_path: Path) -> None:
    MINIATURES["phantoms"](tmp_path / "data")
    spec = spec_of("phantoms", tmp_path / "data", settings.out)
    first = Run(spec, settings)
    assert first.store.ledger.sent == 0
    with pytest.raises(RunBusy, match=f"another process \\({os.getpid()}\\) is working on this run"):
        evaluate(Run(spec, settings))
    first.close()


def test_a_wrong_setting_stops_the_run_with_its_own_words(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="which question_only cannot give; use single_pass or blank_image"):
        whole("kvasir_seg", tmp_path / "data", settings, solver="question_only")


def test_a_dry_run_sends_nothing_and_expects_what_recorded_cases_took(
    settings: Settings, endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    MINIATURES["phantoms"](tmp_path / "data")
    spec = spec_of("phantoms", tmp_path / "data", settings.out)
    before = len(endpoint.bodies)
    run = Run(spec, settings)
    unpriced = estimate(run)
    run.close()
    assert unpriced.most_dollars is None and "cost unknown: give --price-in and --price-out" in unpriced.text()
    settings = settings.model_copy(update={"price_in": 1.0, "price_out": 2.0})
    run = Run(spec, settings)
    found = estimate(run)
    run.close()
    assert (found.cases, found.recorded, found.expected_calls) == (3, 0, None)
    assert "600000 tokens, 1.20 USD" in found.text()
    assert (found.most_calls, found.most_tokens, found.most_dollars) == (3 * 43, 600_000, 1.2)
    assert len(endpoint.bodies) == before
    limited = whole("phantoms", tmp_path / "data", settings, limit=1)
    calls = limited.rows["p0", 1].calls
    run = Run(spec, settings)
    found = estimate(run)
    run.close()
    assert (found.recorded, found.expected_calls) == (1, 2 * calls)
    assert found.expected_dollars == pytest.approx(2 * calls * (10 * 1.0 + 5 * 2.0) / 1e6)


def test_progress_tells_rate_cost_and_time_left_of_what_was_not_recorded(settings: Settings, tmp_path: Path) -> None:
    limited = whole("phantoms", tmp_path / "data", settings, limit=1)
    row = limited.rows["p0", 1]
    priced = settings.model_copy(update={"price_in": 100.0, "price_out": 1000.0})
    run, said, clock = Run(spec_of("phantoms", tmp_path / "data", settings.out), priced), [], iter(range(0, 900, 10))
    progress = Progress(run, said.append, clock=lambda: next(clock))
    run.replayed, run.rows = 1, {("p0", 1): row}
    progress(row)
    cost = (row.calls * 10 * 100 + row.calls * 5 * 1000) / 1e6
    assert said == [
        f"1/3 cases, 0.0/s; 0 calls sent, 0 from the record; {row.tokens} tokens, {cost:.2f} USD"
    ]  # nothing solved yet, so no rate
    run.rows = {("p0", 1): row, ("p1", 1): row}
    progress(row)
    assert said[1].startswith("2/3 cases, 0.0/s, 60 s left;")
    assert Progress(Run(limited.spec, settings), said.append).line().endswith("0 tokens, cost unknown")


# --- effort, traces --------------------------------------------------------------------------------------------------


def test_a_control_is_given_as_many_looks_or_tokens_as_another_run_case_by_case(
    settings: Settings, tmp_path: Path
) -> None:
    agent = whole("phantoms", tmp_path / "data", settings)
    spent = {"p0": (0, 1), "p1": (3, 61), "p2": (5, 16)}
    scores = agent.spec.out / "scores.jsonl"
    rows = [json.loads(line) for line in scores.read_text().splitlines()]
    for row in rows:  # as if the agent had found its cases harder or easier
        row["looks"], row["tokens"] = spent[row["id"]]
    scores.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tiles = whole("phantoms", tmp_path / "data", settings, solver="uniform_tiles", like=agent.spec.out)
    assert {row.id: row.looks for row in tiles.ordered} == {"p0": 0, "p1": 3, "p2": 5}
    vote = whole("phantoms", tmp_path / "data", settings, solver="majority_vote", like=agent.spec.out)
    assert {row.id: row.calls for row in vote.ordered} == {"p0": 1, "p1": 5, "p2": 2}  # 15 tokens a call
    about = json.loads((tiles.spec.out / "run.json").read_text())["parameters"]
    assert about["like"] == json.loads((agent.spec.out / "run.json").read_text())["scores"]
    assert "spent a case, A and B: looks 2.7 and 2.7" in compare_runs(agent.spec.out, tiles.spec.out).text()


def test_effort_is_matched_to_a_run_over_the_same_cases_only(settings: Settings, tmp_path: Path) -> None:
    agent = whole("phantoms", tmp_path / "data", settings, limit=2)
    like: dict[str, Any] = {"solver": "uniform_tiles", "like": agent.spec.out}
    with pytest.raises(UsageError, match=r"needs a run over the same cases; .* differs in its cases"):
        Run(spec_of("phantoms", tmp_path / "data", settings.out, **like), settings)
    with pytest.raises(UsageError, match=r"differs in epochs \(1, not 2\)"):
        Run(spec_of("phantoms", tmp_path / "data", settings.out, limit=2, epochs=2, **like), settings)
    with pytest.raises(UsageError, match="the effort of single_pass cannot be chosen"):
        Run(spec_of("phantoms", tmp_path / "data", settings.out, solver="single_pass", like=agent.spec.out), settings)
    with pytest.raises(UsageError, match="holds no finished run"):
        Run(spec_of("phantoms", tmp_path / "data", settings.out, solver="uniform_tiles", like=tmp_path), settings)


def test_traces_are_kept_by_choice_and_pictures_by_another(
    settings: Settings, endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    plain = whole("phantoms", tmp_path / "data", settings, limit=1)
    assert not (plain.spec.out / "traces").exists()
    scores, before = (plain.spec.out / "scores.jsonl").read_bytes(), len(endpoint.bodies)
    traced = whole("phantoms", tmp_path / "data", settings, limit=1, traces=True)
    assert len(endpoint.bodies) == before  # the replies were recorded
    (file,) = (traced.spec.out / "traces").iterdir()
    events = read_trace(file)
    assert [e.event for e in events][:2] == ["open", "look"] and events[-1].data["purpose"] == "choose"
    assert {"plan", "describe", "claims", "verdict", "answer"} <= {e.event for e in events}
    shown = whole("phantoms", tmp_path / "data", settings, limit=1, traces=True, trace_images=True)
    pictures = {p.stem for p in (shown.spec.out / "traces" / "images").iterdir()}
    assert pictures == {e.data["view"]["digest"] for e in events if e.event == "look"}
    assert (shown.spec.out / "scores.jsonl").read_bytes() == scores and len(endpoint.bodies) == before
    assert (shown.spec.out / "traces").stat().st_mode & 0o077 == 0
    single = whole("phantoms", tmp_path / "data", settings, limit=1, solver="single_pass", traces=True)
    (file,) = (single.spec.out / "traces").iterdir()
    assert [e.event for e in read_trace(file)] == ["look", "call"]


# --- MLflow ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def mlflow_store(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "mlflow.sqlite"


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_a_run_is_recorded_and_one_that_was_killed_is_closed(
    settings: Settings, tmp_path: Path, mlflow_store: Path
) -> None:
    import asyncio

    from mlflow import MlflowClient

    from medloupe.evals.running.records import Record

    MINIATURES["phantoms"](tmp_path / "data")
    killed = Run(spec_of("phantoms", tmp_path / "data", settings.out, out=tmp_path / "killed"), settings)
    record = Record(killed, mlflow_store)
    asyncio.run(record.begin())
    killed.close()  # as the kernel does: the lock goes, the record stays open
    run = Run(spec_of("phantoms", tmp_path / "data", settings.out), settings)
    evaluate(run, mlflow=mlflow_store)
    client = MlflowClient(tracking_uri=f"sqlite:///{mlflow_store}")
    experiment = client.get_experiment_by_name("medloupe")
    assert experiment is not None
    found = {r.data.tags["medloupe.folder"]: r for r in client.search_runs([experiment.experiment_id])}
    assert found[str(tmp_path / "killed")].info.status == "KILLED"
    mine = found[str(run.spec.out.resolve())]
    assert mine.info.status == "FINISHED"
    assert mine.data.metrics["score"] == 1.0 and mine.data.metrics["n total"] == 3
    assert mine.data.params["solver"] == "agent" and len(mine.data.params["prompt.choose"]) == 64
    assert mine.data.tags["model.describer"] == "scripted" and "table.cases_test.jsonl" in mine.data.tags
    assert {f.path for f in client.list_artifacts(mine.info.run_id)} >= {"scores.jsonl", "report.html"}
    assert json.loads(mine.data.tags["mlflow.loggedArtifacts"]) == [{"path": "scores-table.json", "type": "table"}]
    table = json.loads(Path(client.download_artifacts(mine.info.run_id, "scores-table.json")).read_text())
    assert [row[table["columns"].index("id")] for row in table["data"]] == ["p0", "p1", "p2"]


# --- comparison and command -----------------------------------------------------------------------------------------


def test_two_runs_are_compared_case_by_case(settings: Settings, tmp_path: Path) -> None:
    agent = whole("vqa_rad", tmp_path / "data", settings)
    single = whole("vqa_rad", tmp_path / "data", settings, solver="single_pass")
    found = compare_runs(agent.spec.out, single.spec.out)
    assert (found.samples, found.clusters, found.score.difference) == (3, 2, 0.0)
    assert (found.score.only_a, found.score.only_b, found.score.p) == (0, 0, 1.0)
    assert "McNemar's exact p = 1.0000" in found.text()
    other = whole("probmed", tmp_path / "other", settings, solver="single_pass")
    with pytest.raises(UsageError, match="no case in common"):
        compare_runs(agent.spec.out, other.spec.out)
    with pytest.raises(UsageError, match="holds no finished run"):
        compare_runs(agent.spec.out, tmp_path)


def test_the_command_from_beginning_to_end(endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    MINIATURES["slake"](tmp_path / "data")
    model = ("--vlm", endpoint.url, "--vlm-model", "scripted", "--segmenter", "none", "--no-mlflow")
    ended = cli("slake", tmp_path / "data", *model, "--out", tmp_path / "agent")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("accuracy or exact match 0.500 [0.500, 0.500] on 2 cases\nscored 2, unparsed 0")
    assert "2/2 cases" in ended.stderr
    assert "only 1 clusters" in ended.stderr and "Traceback" not in ended.stderr
    compared = cli("compare", tmp_path / "agent", tmp_path / "agent", "--json")
    assert json.loads(compared.stdout)["samples"] == 2


def test_the_command_lists_benchmarks_and_what_a_folder_is(tmp_path: Path) -> None:
    listed = cli("list").stdout.splitlines()
    assert [line.split()[0] for line in listed] == list(MINIATURES)
    MINIATURES["slake"](tmp_path / "data")
    assert cli("list", tmp_path / "data").stdout.split()[:2] == ["slake", "test"]
    nothing = cli("list", tmp_path)
    assert nothing.returncode == 2
    assert nothing.stderr == "medloupe: the folder is none of the benchmarks' releases [unknown-release]\n"


def test_the_command_names_what_is_wrong_before_it_begins(tmp_path: Path) -> None:
    MINIATURES["slake"](tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "imgs")
    ended = cli("slake", tmp_path / "data", "--out", tmp_path / "out")
    assert ended.returncode == 2
    assert ended.stderr.startswith("medloupe: 1 images are missing, such as imgs/xmlab1/source.jpg")
    assert not (tmp_path / "out").exists()
    assert "there is no benchmark 'slak'" in cli("slak", tmp_path).stderr


def test_the_command_exports_nothing_of_a_test_split(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"parameters": {"benchmark": "vqa_rad", "split": "test"}}))
    ended = cli("export", tmp_path, tmp_path / "out")
    assert ended.returncode == 2
    assert ended.stderr == (
        "medloupe: test is a test split of VQA-RAD: nothing is trained on it; export a run over train\n"
    )
    assert not (tmp_path / "out").exists()


def test_inspect_knows_every_task_by_its_name(tmp_path: Path) -> None:
    """By what `inspect eval medloupe/NAME` looks up; in a folder of its own, since Inspect asks where the code lies."""
    code = """
import sys
from inspect_ai._util.registry import registry_lookup
print(*(name for name in sys.argv[1:] if registry_lookup("task", f"medloupe/{name}") is not None))
"""
    command = [sys.executable, "-c", code, "nothing", *MINIATURES]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert ended.stdout.split() == list(MINIATURES)
    assert len(MINIATURES) == 22


def test_inspect_finds_the_tasks(tmp_path: Path) -> None:
    MINIATURES["phantoms"](tmp_path / "data")
    command = [
        sys.executable, "-m", "inspect_ai", "eval", "medloupe/phantoms", "-T", f"folder={tmp_path / 'data'}", "-T",
        "segmenter=none", "-T", f"out={tmp_path / 'out'}", "--display", "plain", "--log-dir", str(tmp_path / "logs"),
    ]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert (tmp_path / "out" / "scores.jsonl").read_text().count("\n") == 3
