"""Run an evaluation from beginning to end: Inspect AI runs the cases, the record and the report are written."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from medloupe.errors import BackendMissing, MedloupeError
from medloupe.evals.running.ray_cluster import cluster
from medloupe.evals.running.records import Record
from medloupe.evals.running.report import render
from medloupe.evals.running.run import Run, write_whole
from medloupe.evals.scorers.rows import Row
from medloupe.evals.scorers.summary import Summary

__all__ = ["evaluate"]


def evaluate(
    run: Run,
    *,
    parallel: int = 4,
    mlflow: Path | None = None,
    on_row: Callable[[Row], None] | None = None,
    ray: str | None = None,
) -> Summary:
    """Solve and score every case that is not recorded yet, `parallel` at once; write the files; close the run.

    mlflow: the SQLite store to record it in; None: no record. ray: address of the Ray cluster that solves; None: this
    process does. Raises what stopped it; KeyboardInterrupt when it was
    interrupted. What was solved until then is kept.
    """
    run.kept_open, run.on_row = True, on_row
    try:
        record = Record(run, mlflow) if mlflow else None
        run.store  # noqa: B018 - opened first: RunBusy before anything is recorded
        if record:
            asyncio.run(record.begin())
        summary: Summary | None = None
        try:
            with cluster(run, ray, parallel) if ray else contextlib.nullcontext():
                _run_cases(run, parallel)
            summary = run.write()
            write_whole(run.spec.out / "report.html", render(run, summary))
        finally:
            if record:
                record.end(summary)
    finally:
        run.close()
    return summary


def _run_cases(run: Run, parallel: int) -> None:
    try:
        from inspect_ai import eval as inspect_eval
    except ImportError:
        raise BackendMissing("Inspect AI", "pip install 'medloupe[evals]'") from None
    from medloupe.evals.inspect_tasks import task_of

    with _quiet():
        (log,) = inspect_eval(
            task_of(run), display="none", log_dir=str(run.spec.out / "logs"), max_samples=parallel,
            log_images=False, log_model_api=False, log_realtime=False, ctl_server=False, acp_server=False,
            fail_on_error=True, score_display=False,
        )  # fmt: skip
    if log.status == "success":
        return
    if run.stopped is not None:
        raise run.stopped
    if log.status == "cancelled" or log.error is None:
        raise KeyboardInterrupt
    raise MedloupeError(f"a case could not be solved: {log.error.message.splitlines()[-1]}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Inspect's words to a developer are no output of ours; its log has them."""
    os.environ.setdefault("INSPECT_LOG_LEVEL", "error")
    before = logging.root.level
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.root.setLevel(before)
