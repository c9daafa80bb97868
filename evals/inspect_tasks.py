"""The benchmarks as Inspect AI tasks: `inspect eval medloupe/vqa_rad -T folder=/data/VQA-RAD`.

Registered under the entry point "inspect_ai". Inspect runs the samples, keeps its log and its viewer; the model is
medloupe's own client (settings, or -T vlm=... -T vlm_model=...), so Inspect's is "none". Task arguments:

    folder      the release on your disk   solver   agent, single_pass, random_crop, ...
    split       as released                out      the run's folder (default: out/NAME-SPLIT-SOLVER)
    judge       words or vlm               looks, tokens, seed: of the controls
    and any setting of docs/configuration.md
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ModelOutput
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, metric, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver

from medloupe.errors import UsageError, UserError
from medloupe.evals.running.run import EvalSpec, Run, spec_of
from medloupe.evals.solvers.outcome import Outcome
from medloupe.evals.tasks.catalogue import BENCHMARKS
from medloupe.settings import load_settings

__all__ = ["TASKS", "task_of"]

_SPEC = frozenset(EvalSpec.model_fields) - {"benchmark", "folder"}


def task_of(run: Run) -> Task:
    """The Inspect task of a run."""
    samples = [
        Sample(
            id=case.id, input=case.question, target=case.answer, choices=list(case.options) or None,
            metadata={"cluster": case.cluster, **case.groups},
        )
        for case in run.read.cases
    ]  # fmt: skip
    name = run.spec.benchmark
    return Task(
        dataset=MemoryDataset(samples, name=name),
        solver=_solver_of(run),
        scorer=_scorer_of(run),
        model="none/none",
        epochs=run.spec.epochs,
        metadata={"medloupe_run": str(run.spec.out.resolve()), **run.parameters, "prompts": run.prompts},
        name=name,
    )


def _solver_of(run: Run) -> Solver:
    @solver(name=run.spec.solver)
    def make() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:  # noqa: ARG001 - Inspect's signature
            if state.epoch > run.spec.epochs:
                raise UsageError("a run's epochs are set as -T epochs=N: they are part of its record")
            try:
                outcome = await run.solve(run.cases[str(state.sample_id)], state.epoch)
            except UserError as error:  # a full disk, a wrong setting: the run stops, and says why
                run.stopped = run.stopped or error
                await run.release()
                raise
            state.output = ModelOutput.from_content("medloupe", _completion(outcome))
            state.metadata["outcome"] = outcome.model_dump(mode="json", exclude={"mask"}, exclude_defaults=True)
            return state

        return solve

    return make()


def _completion(outcome: Outcome) -> str:
    """What the log's reader sees."""
    places = [[round(v, 1) for v in box.as_tuple()] for box in outcome.boxes]
    return outcome.text or (f"boxes {places}" if places else outcome.fault or "no answer")


def _scorer_of(run: Run) -> Scorer:
    @metric(name="score")
    def summary() -> Metric:
        def figures(scores: list[SampleScore]) -> dict[str, float]:  # noqa: ARG001 - the rows hold more
            found = run.summary()
            counts = {word: float(n) for word, n in found.counts.items()}
            return {"value": found.score.value, "low": found.score.low, "high": found.score.high, **counts}

        return figures

    @scorer(name="protocol", metrics=[summary()])
    def make() -> Scorer:
        async def score(state: TaskState, target: Target) -> Score:  # noqa: ARG001 - the case holds more
            try:
                row = await run.score(run.cases[str(state.sample_id)], state.epoch)
            except UserError as error:
                run.stopped = run.stopped or error
                raise
            if run.complete:
                await run.release()  # here, since connections end in the event loop that made them
                if not run.kept_open:  # `inspect eval` has no other end that a task could take part in
                    run.write()
                    run.close()
            about = row.model_dump(mode="json", exclude={"value", "answer"}, exclude_defaults=True)
            return Score(value=row.value, answer=row.answer, explanation=row.fault or None, metadata=about)

        return score

    return make()


def _register(name: str) -> Callable[..., Task]:
    @task(name=name)
    def make(folder: str, **arguments: Any) -> Task:
        """A benchmark's split."""
        spec = {key: value for key, value in arguments.items() if key in _SPEC}
        settings = load_settings(**{key: value for key, value in arguments.items() if key not in _SPEC})
        return task_of(Run(spec_of(name, Path(folder), settings.out, **spec), settings))

    registered: Callable[..., Task] = make
    return registered


TASKS = {name: _register(name) for name in BENCHMARKS}
