"""medloupe phantom: files and truth in a new folder, and never over anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from medloupe.apps.phantom import run_phantom
from medloupe.evals.phantoms import read_truth
from medloupe.evals.running.run import Run, spec_of
from medloupe.settings import load_settings


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("medloupe")), "phantom", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_it_writes_a_folder_a_phantom_with_its_truth(tmp_path) -> None:
    out = tmp_path / "p"
    done = run(str(out), "--kind", "ct", "--n", "2", "--seed", "7", "--slices", "3")
    told = f"2 phantoms in {out}, 2 truth.json\nTo evaluate on them: medloupe eval phantoms {out} --split train\n"
    assert (done.returncode, done.stdout) == (0, told), done.stderr
    assert sorted(p.name for p in out.iterdir()) == ["cases_train.jsonl", "ct-0000007", "ct-0000008"]
    truth = read_truth(out / "ct-0000008" / "truth.json")
    assert (truth.seed, truth.split, truth.profile) == (8, "train", "standard")
    assert [image.file for image in truth.images] == [f"phantom-{n:03d}.dcm" for n in range(3)]
    again = run(str(out))
    assert again.returncode == 2
    assert "not empty; nothing was written" in again.stderr


def test_pairs_and_faults_and_shifted_parameters_can_be_had(tmp_path) -> None:
    out = tmp_path / "p"
    done = run(str(out), "--kind", "us", "--seed", "1100000", "--pairs", "--shifted", "--fault", "text")
    assert done.returncode == 0, done.stderr
    truths = [read_truth(out / "us-1100000" / time / "truth.json") for time in ("prior", "current")]
    assert [t.time for t in truths] == ["prior", "current"]
    assert {(t.split, t.profile, t.faults) for t in truths} == {("test", "shifted", ("text",))}


def test_what_cannot_be_drawn_is_one_line(tmp_path) -> None:
    for arguments, words in (
        (("--fault", "dust"), "there is no fault 'dust'"),
        (("--kind", "us", "--slices", "3"), "only ct has slices"),
        (("--seed", "99999999"), "belongs to no split"),
    ):
        done = run(str(tmp_path / "p"), *arguments)
        assert done.returncode == 2
        assert words in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "p").exists()


def test_cases_that_a_control_cannot_answer_are_left_out_before_anything_is_spent(tmp_path: Path) -> None:
    run_phantom(tmp_path / "drawn", "us", count=4, seed=7, shifted=False, slices=1, pairs=False, faults=())
    settings = load_settings(vlm="http://127.0.0.1:9/v1", vlm_model="m", segmenter="none", out=tmp_path / "out")
    whole, without = (
        Run(spec_of("phantoms", tmp_path / "drawn", tmp_path, split="train", solver=solver), settings)
        for solver in ("single_pass", "question_only")
    )
    left = [case for case in whole.cases.values() if case.kind == "boxes"]
    assert left and set(without.cases) == set(whole.cases) - {case.id for case in left}
    assert any(w.startswith(f"{len(left)} of {len(whole.cases)} cases ask for a place") for w in without.read.warnings)
