"""A training that is killed (-9) and resumed has the losses of one that was not."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("mlflow", reason="mlflow is not installed")

from medloupe.evals.bench_resume import killed, steps_kept
from medloupe.evals.tiny.plan import Plan
from medloupe.evals.tiny.record import RunRecord
from medloupe.evals.tiny.train import Trainer


@pytest.mark.slow
@pytest.mark.timeout(400)  # a training has to start
@pytest.mark.filterwarnings("ignore:The ``noload`` loader")  # MLflow's own use of SQLAlchemy
def test_a_killed_run_that_is_resumed_has_the_same_losses_byte_for_byte(tmp_path: Path) -> None:
    plan = Plan(steps=4, scenes=1)
    kept = killed(tmp_path / "broken", plan, at=2)
    assert kept == steps_kept(tmp_path / "broken") and 2 <= kept <= 4
    for name in ("whole", "broken"):
        Trainer(tmp_path / name, plan, device="cpu", threads=1).run()
    whole, broken = ((tmp_path / name / "losses.csv").read_bytes() for name in ("whole", "broken"))
    assert whole == broken and whole.count(b"\n") == 5
    weights = [(tmp_path / name / "loupe-tiny" / "model.safetensors").read_bytes() for name in ("whole", "broken")]
    assert weights[0] == weights[1]
    record = RunRecord.of(tmp_path / "broken")
    assert record is not None and record.model_step == 4 and record.minutes is not None
    assert [s.first for s in record.sessions][:1] == [0] and record.sessions[-1].last == 4
    assert record.sessions[0].device.startswith("cpu: ")
