"""Train loupe-tiny from nothing on phantoms, or go on where a killed run stopped.

    make train-tiny ARGS="--out out/tiny --minutes 85"

The data of step n depend on n alone, so that a run that was stopped and resumed has the same loss curve as one that was
not. The same command runs on a CPU and on a GPU, in bf16 where the device has instructions for it. Losses are logged to
MLflow in a local SQLite file.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import click

from medloupe.errors import UsageError
from medloupe.evals.tiny.ahead import drawn_ahead, packer
from medloupe.evals.tiny.batches import Batch, batch_of
from medloupe.evals.tiny.plan import Plan
from medloupe.evals.tiny.record import RunRecord, Session, device_words, drawn_with
from medloupe.models.tiny.build import TinyConfig, build_model, build_processor, build_tokenizer, equalise, save
from medloupe.models.tiny.language import GRID, STEP

__all__ = ["Plan", "Trainer", "main"]

MODEL = "loupe-tiny"
"""Folder of the finished model, in the run's folder: its profile is found by this name."""
_FIRST = 10
"""Steps of which the pictures set how loud the patches' first weights are."""
_LOGGED_EVERY = 10
SAVED_EVERY_S = 120.0
"""Between checkpoints: what a killed run has to do again."""


class Trainer:
    """One run in a folder: checkpoint.pt, losses.csv, mlflow.db, plan.json, record.json, and the model in a folder."""

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        *,
        device: str = "auto",
        threads: int = 0,
        workers: int = 0,
        compiled: bool = False,
        save_every_s: float = SAVED_EVERY_S,
    ) -> None:
        """Begin a run, or take up the folder's. UsageError for a folder that holds a run of another plan.

        threads: of torch, 0 for the cores that no worker has; workers: processes that draw phantoms; compiled: see
        learning.Learner.
        """
        from medloupe.models.torchvision_shim import prepare_torch

        prepare_torch()
        import torch

        from medloupe.evals.tiny.learning import Learner

        self._torch, self.folder, self.plan, self._workers = torch, folder, plan, workers
        self._save_every_s = save_every_s
        torch.set_num_threads(threads or max((os.cpu_count() or 1) - workers, 1))
        self.device = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        self.config = TinyConfig()
        self.tokenizer = build_tokenizer()
        self.processor = build_processor(self.config, self.tokenizer)
        model = build_model(self.config, self.tokenizer, plan.seed)
        patches = self.config.view_px // self.config.patch_px
        if not (folder / "checkpoint.pt").is_file():
            equalise(model, self._batch_pictures())
        numbers = {self.tokenizer.convert_tokens_to_ids(str(n)): n for n in range(0, GRID + 1, STEP)}
        self.learner = Learner(model, patches=patches, numbers=numbers, device=self.device, compiled=compiled)
        self.step = 0
        self.losses: list[dict[str, float]] = []
        self._stop = False
        self._sessions: tuple[Session, ...] = ()
        self._resume()

    def _resume(self) -> None:
        """Take up the folder's run, or write down this one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        written = self.folder / "plan.json"
        if written.is_file() and not self.plan.goes_on_from(Plan(**json.loads(written.read_text()))):
            raise UsageError(f"{self.folder} holds a run of another plan; give another folder")
        written.write_text(json.dumps(asdict(self.plan)))
        kept = self.folder / "checkpoint.pt"
        if kept.is_file():
            state = self._torch.load(kept, map_location=self.device, weights_only=True)
            self.learner.model.load_state_dict(state["model"])
            self.learner.heads.load_state_dict(state["heads"])
            for optimiser, kept_state in zip(self.learner.optimisers, state["optimisers"], strict=True):
                optimiser.load_state_dict(kept_state)
            self.step, self.losses = state["step"], state["losses"]
            self._sessions = tuple(Session.model_validate(s) for s in state.get("sessions", ()))
        self._first, self._begun = self.step, time.monotonic()

    def run(self, until: int | None = None) -> None:
        """Train to the plan's end, or to a step, and write the model as it is then. Ctrl-C keeps the checkpoint."""
        last, saved = min(until or self.plan.total, self.plan.total), time.monotonic()
        before = signal.signal(signal.SIGTERM, self._asked_to_stop)
        try:
            with _Log(self.folder, self.plan) as log:
                for batch in self._batches(last):
                    losses = self.learner.step(batch, self.plan.rate(self.step))
                    self.step += 1
                    self.losses.append(losses)
                    if self.step % _LOGGED_EVERY == 0 or self.step == last:
                        log(self.step, self.losses[-_LOGGED_EVERY:])
                        self._say((self.step - self._first) / (time.monotonic() - self._begun))
                    if time.monotonic() - saved > self._save_every_s:
                        self.save_checkpoint()
                        saved = time.monotonic()
                    if self._stop:
                        break
        finally:
            signal.signal(signal.SIGTERM, before)
            self.save_checkpoint()
        save(self.learner.model, self.processor, self.folder / MODEL)
        self._record(model_step=self.step)

    def _asked_to_stop(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._stop = True

    def _batches(self, last: int) -> Iterator[Batch]:
        """Batches in order, drawn ahead of time where there are workers."""
        if not self._workers:
            return (self._batch(step) for step in range(self.step, last))
        wanted = [(step, self.plan.scenes, self.plan.every(step)) for step in range(self.step, last)]
        return drawn_ahead(wanted, self._workers)

    def _batch_pictures(self) -> Any:
        """Of the first steps, for the first weights."""
        return self._torch.cat([self._batch(step).to("cpu").pixels for step in range(_FIRST)])

    def _batch(self, step: int) -> Batch:
        return batch_of(step, self.plan.scenes, packer(), every=self.plan.every(step))

    def _say(self, steps_a_second: float) -> None:
        left = (self.plan.total - self.step) / max(steps_a_second, 1e-9) / 60
        named = ", ".join(f"{name} {value:.3f}" for name, value in self.losses[-1].items())
        pace = f"{steps_a_second:.2f} steps/s  {left:.0f} min left"
        click.echo(f"step {self.step}/{self.plan.total}  {named}  {pace}", err=True)

    def save_checkpoint(self) -> None:
        """Everything that the next step depends on; written beside and moved, so that a kill leaves a whole file."""
        learner, kept = self.learner, self.folder / "checkpoint.pt"
        state = {
            "model": learner.model.state_dict(), "heads": learner.heads.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in learner.optimisers],
            "step": self.step, "losses": self.losses, "sessions": [s.model_dump() for s in self._all_sessions()],
        }  # fmt: skip
        beside = kept.with_suffix(".new")
        self._torch.save(state, beside)
        beside.replace(kept)
        with (self.folder / "losses.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["step", *(self.losses[0] if self.losses else [])])
            writer.writerows([n, *row.values()] for n, row in enumerate(self.losses, start=1))
        self._record()

    def _all_sessions(self) -> tuple[Session, ...]:
        """Those before this one, and this one as far as it is."""
        torch = self._torch
        own = Session(
            device=device_words(self.device), cores=os.cpu_count() or 1, threads=torch.get_num_threads(),
            first=self._first, last=self.step, minutes=round((time.monotonic() - self._begun) / 60, 2),
            load=round(os.getloadavg()[0], 1), torch=torch.__version__, dtype="bf16" if self.learner.half else "fp32",
            compiled=self.learner.compiled,
        )  # fmt: skip
        return (*self._sessions, own) if own.last > own.first else self._sessions

    def _record(self, model_step: int | None = None) -> None:
        kept = RunRecord.of(self.folder)
        step = model_step if model_step is not None else kept.model_step if kept else 0
        RunRecord(plan=self.plan, sessions=self._all_sessions(), model_step=step, drawn=drawn_with()).write(self.folder)


class _Log:
    """The losses in MLflow, in a SQLite file of the run's folder; one MLflow run however often it was resumed."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self._folder, self._plan = folder, plan

    def __enter__(self) -> _Log:
        import mlflow

        self._client = mlflow.MlflowClient(f"sqlite:///{(self._folder / 'mlflow.db').resolve()}")
        known = self._folder / "mlflow-run.txt"
        if known.is_file():
            self._run = known.read_text()
        else:
            name = "loupe-tiny"
            found = self._client.get_experiment_by_name(name)
            experiment = found.experiment_id if found else self._client.create_experiment(name)
            self._run = self._client.create_run(experiment).info.run_id
            known.write_text(self._run)
            for key, value in asdict(self._plan).items():
                self._client.log_param(self._run, key, value)
        return self

    def __call__(self, step: int, losses: list[dict[str, float]]) -> None:
        for name in losses[0]:
            mean = sum(row[name] for row in losses) / len(losses)
            self._client.log_metric(self._run, name, mean, step=step)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._client.set_terminated(self._run, "FINISHED" if kind is None else "FAILED")


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--out", type=click.Path(path_type=Path), default=Path("out/tiny"), show_default=True)
@click.option("--steps", type=int, default=3400, show_default=True, help="Of the first stage.")
@click.option("--speaking", type=int, default=0, show_default=True, help="Steps of the second stage.")
@click.option("--scenes", type=int, default=4, show_default=True, help="Phantoms a step, eight views each.")
@click.option("--peak", type=float, default=1.5e-3, show_default=True, help="Highest learning rate.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the first weights.")
@click.option("--until", type=int, help="Stop after that step; the run can be gone on with.")
@click.option("--device", default="auto", show_default=True)
@click.option("--threads", type=int, default=0, help="Of torch; 0: the cores that no worker has.")
@click.option("--workers", type=int, default=1, show_default=True, help="Processes that draw phantoms.")
@click.option(
    "--compiled/--eager", default=None, help="By torch.compile; the default is to, where there is a C++ compiler."
)
@click.option("--save-every", type=float, default=SAVED_EVERY_S, show_default=True, help="Seconds between checkpoints.")
def main(
    out: Path,
    until: int | None,
    device: str,
    threads: int,
    workers: int,
    compiled: bool | None,
    save_every: float,
    steps: int,
    speaking: int,
    scenes: int,
    peak: float,
    seed: int,
) -> None:
    """Train, or go on; see the module."""
    try:
        plan = Plan(steps=steps, speaking=speaking, scenes=scenes, peak=peak, seed=seed)
        trainer = Trainer(
            out, plan, device=device, threads=threads, workers=workers, save_every_s=save_every,
            compiled=shutil.which("g++") is not None if compiled is None else compiled,
        )  # fmt: skip
    except UsageError as error:
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)
    trainer.run(until)
    click.echo(f"{trainer.step} of {plan.total} steps done; the model as it is now: {out / MODEL}")


if __name__ == "__main__":
    main()
