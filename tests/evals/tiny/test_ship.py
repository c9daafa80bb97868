"""A finished run's model becomes the package's: its files, a card of its records, its sums; what is refused."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from tiny_model import save_speaking_model

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("tokenizers", reason="transformers is not installed")

from medloupe.errors import ModelError, UsageError
from medloupe.evals.bench_tiny import main as bench_tiny
from medloupe.evals.tiny.plan import Plan
from medloupe.evals.tiny.record import RunRecord, ScoreSheet, Session, drawn_with, sha256
from medloupe.evals.tiny.ship import MOST_BYTES, ship
from medloupe.models.tiny import packaged

SESSION = Session(
    device="cpu: a processor",
    cores=2,
    threads=1,
    first=0,
    last=60,
    minutes=40.0,
    load=1.1,
    torch="2.13.0",
    dtype="fp32",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_speaking_model(tmp_path_factory.mktemp("model") / "loupe-tiny")


@pytest.fixture
def run(model: Path, tmp_path: Path) -> Path:
    """A finished run of two stretches."""
    folder = tmp_path / "run"
    shutil.copytree(model, folder / "loupe-tiny")
    later = SESSION.model_copy(update={"first": 60, "last": 100, "minutes": 41.5})
    RunRecord(plan=Plan(steps=100), sessions=(SESSION, later), model_step=100, drawn=drawn_with()).write(folder)
    return folder


def scored(run: Path) -> None:
    """What `make bench-tiny` leaves in the run's folder."""
    ScoreSheet(
        weights=sha256(run / "loupe-tiny" / "model.safetensors"), phantoms=60, bars={"shape": 0.9, "pairs": 0.85},
        standard={"shape": (0.912, 300), "pairs": (0.71, 900)}, shifted={"shape": (0.82, 290), "pairs": (0.66, 880)},
        missed=("pairs",),
    ).write(run)  # fmt: skip


def test_the_card_says_data_steps_device_minutes_scores_and_limits(run: Path, tmp_path: Path) -> None:
    scored(run)
    folder = ship(run, tmp_path / "shipped" / "loupe-tiny")
    card = (folder / "README.md").read_text()
    assert (
        "seeds | 0 to 399, of the split `train` (0 to 999999)" in card
        and f"sha-256 `{drawn_with().sha256[:16]}`" in card
    )
    assert "100 of 100 steps, 82 minutes of wall clock; cpu: a processor, fp32, 1 of 2 cores" in card
    assert "| 60 to 100 | 41.5 | cpu: a processor | fp32 | 1 of 2 | 1.1 | 2.13.0 |" in card
    assert "| shape | 0.90 | 0.912 (300) | 0.820 (290) |" in card
    assert "Missed on unseen seeds: pairs." in card
    assert "license: apache-2.0" in card and "not for diagnosis" in card and "## Limits" in card


def test_what_is_shipped_is_small_whole_and_checked(run: Path, tmp_path: Path) -> None:
    scored(run)
    folder = ship(run, tmp_path / "loupe-tiny")
    assert packaged(folder) == folder
    assert sum(p.stat().st_size for p in folder.iterdir()) < MOST_BYTES
    assert {p.name for p in folder.iterdir()} >= {"SHA256SUMS", "README.md", "model.safetensors", "chat_template.jinja"}
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=True)  # noqa: S607 - as a user would
    (folder / "config.json").write_text((folder / "config.json").read_text().replace("144", "145"))
    with pytest.raises(ModelError, match=r"config\.json is not the file that was shipped"):
        packaged(folder)
    assert packaged(ship(run, folder)) == folder  # and over what was there


def test_only_a_finished_and_scored_run_of_a_small_model_is_shipped(run: Path, tmp_path: Path) -> None:
    to = tmp_path / "loupe-tiny"
    with pytest.raises(UsageError, match="no training run"):
        ship(tmp_path, to)
    with pytest.raises(UsageError, match="not scored"):
        ship(run, to)
    scored(run)
    weights = run / "loupe-tiny" / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + bytes(MOST_BYTES))
    with pytest.raises(UsageError, match="not scored"):  # by other weights
        ship(run, to)
    scored(run)
    with pytest.raises(UsageError, match="at most 25 MB"):
        ship(run, to)
    record = RunRecord.of(run)
    assert record is not None
    record.model_copy(update={"model_step": 60}).write(run)
    with pytest.raises(UsageError, match="60 of 100 steps"):
        ship(run, to)
    (run / "record.json").write_text("{}")
    with pytest.raises(UsageError, match=r"record\.json cannot be read: plan: Field required"):
        ship(run, to)
    assert not to.exists() and not list(tmp_path.glob(".loupe*"))


def test_minutes_that_were_not_all_recorded_are_not_added_up(run: Path) -> None:
    record = RunRecord.of(run)
    assert record is not None and record.minutes == 81.5
    late = record.model_copy(update={"sessions": record.sessions[1:]})
    assert late.minutes is None and "minutes not recorded" in late.words()


def test_scoring_a_run_prints_its_minutes_and_leaves_its_scores(run: Path) -> None:
    done = CliRunner().invoke(bench_tiny, ["--model", str(run / "loupe-tiny"), "--phantoms", "1"])
    assert done.exit_code == 1, done.output  # random weights meet no bar
    assert "trained: 100 of 100 steps, 82 minutes of wall clock; cpu: a processor" in done.output
    sheet = ScoreSheet.of(run)
    assert sheet is not None and sheet.phantoms == 1 and "valid JSON" in sheet.missed
    assert re.search(r"bars missed on unseen seeds: .*valid JSON", done.output)
    ship(run, run.parent / "loupe-tiny")
