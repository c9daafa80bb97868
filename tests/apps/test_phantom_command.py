"""medloupe phantom: files and truth in a new folder, and never over anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from medloupe.evals.phantoms import read_truth


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("medloupe")), "phantom", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_it_writes_a_folder_a_phantom_with_its_truth(tmp_path) -> None:
    out = tmp_path / "p"
    done = run(str(out), "--kind", "ct", "--n", "2", "--seed", "7", "--slices", "3")
    assert (done.returncode, done.stdout) == (0, f"2 phantoms in {out}, 2 truth.json\n"), done.stderr
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
