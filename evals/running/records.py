"""The experiment record: one MLflow run an evaluation, in a local SQLite store; closed also after a kill.

A run that was killed stays "RUNNING" in the store. It is taken up again when the same command is run again; any other
evaluation that starts closes it as "KILLED" once no process holds its folder.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medloupe.errors import BackendMissing, RunBusy, UserError
from medloupe.evals.running.run import Run
from medloupe.evals.running.store import RunStore
from medloupe.evals.scorers.summary import Summary

__all__ = ["Record"]

_EXPERIMENT = "medloupe"
_FOLDER = "medloupe.folder"
_TABLE = "scores-table.json"
_COLUMNS = ("id", "epoch", "status", "value", "answer", "expected", "confidence", "looks", "calls", "tokens", "fault")


class Record:
    """One evaluation's MLflow run."""

    def __init__(self, run: Run, store: Path) -> None:
        """store: the SQLite file; artifacts lie beside it. Nothing is sent anywhere."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("DO_NOT_TRACK", "true")
        try:
            from mlflow import MlflowClient
        except ImportError:
            raise BackendMissing("MLflow", "pip install 'medloupe[evals]'") from None
        self._run = run
        store.parent.mkdir(parents=True, exist_ok=True)
        with _quiet():
            self._client: Any = MlflowClient(tracking_uri=f"sqlite:///{store.resolve()}")
            self._experiment = self._the_experiment(store.resolve().with_name("mlflow-artifacts"))

    def _the_experiment(self, artifacts: Path) -> str:
        found = self._client.get_experiment_by_name(_EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        return str(self._client.create_experiment(_EXPERIMENT, artifact_location=artifacts.as_uri()))

    async def begin(self) -> None:
        """Close what kills left open, and start this run, or take it up again."""
        folder = str(self._run.spec.out.resolve())
        for stale in self._client.search_runs([self._experiment], filter_string="attributes.status = 'RUNNING'"):
            if stale.data.tags.get(_FOLDER) != folder and not _held(Path(stale.data.tags.get(_FOLDER, ""))):
                self._client.set_terminated(stale.info.run_id, "KILLED")
        known = self._run.store.note("mlflow_run")
        if known is not None and self._still_there(known):
            self._client.update_run(known, status="RUNNING")
            return
        spec = self._run.spec
        made = self._client.create_run(
            self._experiment, run_name=f"{spec.benchmark}-{spec.solver}",
            tags={_FOLDER: folder, "git": _revision(), "mlflow.user": ""},
        )  # fmt: skip
        await self._run.store.keep_note("mlflow_run", made.info.run_id)

    def _still_there(self, identity: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            self._client.get_run(identity)
        except MlflowException:
            return False
        return True

    def end(self, summary: Summary | None) -> None:
        """Parameters, figures and files; without a summary the run failed."""
        identity = self._run.store.note("mlflow_run")
        if identity is None:
            return
        if summary is not None:
            self._keep(identity, summary)
        self._client.set_terminated(identity, "FINISHED" if summary is not None else "FAILED")

    def _keep(self, identity: str, summary: Summary) -> None:
        run = self._run
        for name, value in {**run.parameters, **{f"prompt.{n}": h for n, h in run.prompts.items()}}.items():
            self._client.log_param(identity, name, str(value)[:500])
        for name, value in run.bench.resources.models().items():
            self._client.set_tag(identity, f"model.{name}", value)
        for name, digest in run.read.hashes.items():
            self._client.set_tag(identity, f"table.{_plain(name)}"[:250], digest)
        for name, number in _metrics(summary).items():
            if not math.isnan(number):
                self._client.log_metric(identity, _plain(name), number)
        for file in ("scores.jsonl", "summary.json", "run.json", "report.html"):
            if (run.spec.out / file).is_file():
                self._client.log_artifact(identity, str(run.spec.out / file))
        self._table(identity)
        if run.traces is not None and run.traces.path.is_dir():
            self._client.log_artifacts(identity, str(run.traces.path), "traces")

    def _table(self, identity: str) -> None:
        """The scores as the table that MLflow's own page shows and compares; written over on a later run."""
        rows = [row.model_dump(mode="json", include=set(_COLUMNS)) for row in self._run.ordered]
        data = [[row[column] for column in _COLUMNS] for row in rows]
        self._client.log_dict(identity, {"columns": list(_COLUMNS), "data": data}, _TABLE)
        self._client.set_tag(identity, "mlflow.loggedArtifacts", json.dumps([{"path": _TABLE, "type": "table"}]))


def _metrics(summary: Summary) -> dict[str, float]:
    found = {"score": summary.score.value, "score low": summary.score.low, "score high": summary.score.high}
    if summary.scored_only:
        found["scored only"] = summary.scored_only.value
    found |= {f"n {word}": float(count) for word, count in summary.counts.items()}
    found |= {f"figure {name}": figure.value for name, figure in summary.figures.items()}
    found |= {f"verification {name}": float(count) for name, count in summary.verification.items()}
    found |= {f"verifier {name}": share for name, share in summary.verifier.items()}
    return found | summary.calibration | summary.cost


def _plain(name: str) -> str:
    """A name that MLflow takes."""
    return "".join(c if c.isalnum() or c in "_-./ " else "_" for c in name)


def _held(folder: Path) -> bool:
    """Whether a process is working on a run's folder."""
    if not (folder / "run.sqlite").is_file():
        return False
    try:
        RunStore(folder).close()
    except RunBusy:
        return True
    except UserError:
        return False
    return False


def _revision() -> str:
    """The git revision that this code was checked out from; "" where it was not."""
    here = Path(__file__).parent
    found = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=False  # noqa: S607
    )  # fmt: skip
    return found.stdout.strip() if found.returncode == 0 else ""


@contextmanager
def _quiet() -> Iterator[None]:
    """MLflow tells of every table that it makes."""
    import logging

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
