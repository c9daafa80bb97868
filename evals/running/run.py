"""One evaluation: a benchmark's split, a solver, a folder. Solved cases are never solved again, replies never asked for
again; what is written at the end depends on the cases' outcomes alone, not on how often the run was broken.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from medloupe.agent.messages import PROMPTS
from medloupe.agent.resources import resources_from
from medloupe.errors import UsageError
from medloupe.evals.running.files import write_whole
from medloupe.evals.running.like import Efforts, efforts_of
from medloupe.evals.running.store import RunStore, case_key
from medloupe.evals.running.traces import TraceFolder
from medloupe.evals.scorers.judges import WORDS, Judges, judge_names, load_judges
from medloupe.evals.scorers.rows import Row, score_case
from medloupe.evals.scorers.summary import Summary, summarise
from medloupe.evals.solvers.bench import Bench
from medloupe.evals.solvers.outcome import Outcome, Prices
from medloupe.evals.solvers.solve import SOLVERS, Options, solve
from medloupe.evals.tasks.case import Case
from medloupe.evals.tasks.catalogue import benchmark
from medloupe.evals.tasks.release import Cases, read_cases
from medloupe.models.vlm.ledger import Ledger, LedgerVLM
from medloupe.models.vlm.profiles import profile_for
from medloupe.prompts import prompt
from medloupe.settings import Settings
from medloupe.tools.imaging import MemoryStore
from medloupe.types import Frozen

__all__ = ["EvalSpec", "Run", "make_bench", "spec_of", "write_whole"]

_EVAL_PROMPTS = ("choose", "locate", "judge_caption", "judge_entailment")
_UNANSWERED = {"question_only": ("boxes", "mask"), "majority_vote": ("boxes", "mask")}
"""Kinds of cases that a control cannot answer."""
_CONFIGURES = (
    "vlm", "vlm_model", "verifier_vlm", "verifier_model", "box_convention", "planner", "segmenter", "second_segmenter",
    "probe_orders", "agreement_samples", "agreement_needed", "view_px", "max_looks", "max_calls", "max_tokens",
    "max_seconds", "modality",
)  # fmt: skip
"""Settings that an outcome depends on."""
_RECORDING = frozenset({"traces", "trace_images"})
"""What is kept of a run; no outcome depends on it."""


class EvalSpec(Frozen):
    """What is to be run."""

    benchmark: str
    folder: Path
    split: str = ""
    """"": the benchmark's first."""
    solver: str = "agent"
    out: Path
    """The run's own folder. The same command again goes on with what is there."""
    limit: int | None = None
    """First cases only."""
    epochs: int = 1
    judge: str = "words"
    """Of descriptions: "words", "vlm" for the verifier's model, or another package's (scorers/judges.py)."""
    allow_missing: bool = False
    looks: int = 4
    """Looks of the crop controls."""
    tokens: int = 0
    """Tokens a case of majority_vote; 0: five draws."""
    like: Path | None = None
    """A finished run over the same cases, whose looks and tokens each case of a control is given."""
    seed: int = 7
    traces: bool = False
    """Keep every case's trace."""
    trace_images: bool = False
    """And the pictures of its views."""


class Run:
    """A run, open. `close` lets other processes in."""

    def __init__(self, spec: EvalSpec, settings: Settings) -> None:
        """UsageError or InputRejected for what cannot be run, before anything is spent."""
        if spec.solver not in SOLVERS:
            raise UsageError(f"there is no solver {spec.solver!r}; there are {', '.join(SOLVERS)}")
        if spec.judge not in judge_names():
            raise UsageError(f"there is no judge {spec.judge!r}; there are {', '.join(judge_names())}")
        self.spec, self.settings = spec, settings
        found = benchmark(spec.benchmark)
        self.split = spec.split or found.splits[0]
        read = read_cases(found, spec.folder, self.split, allow_missing=spec.allow_missing)
        warnings = (*read.warnings, *(() if found.drawn else _unfit(settings)))
        cases = read.cases[: spec.limit]
        fit = tuple(case for case in cases if case.kind not in _UNANSWERED.get(spec.solver, ()))
        if len(fit) < len(cases):
            left = f"{len(cases) - len(fit)} of {len(cases)} cases ask for a place"
            if not fit:
                raise UsageError(f"{left}, which {spec.solver} cannot give; use single_pass or blank_image")
            warnings = (*warnings, f"{left}, which {spec.solver} cannot give; they are left out")
        self.read = Cases(cases=fit, hashes=read.hashes, warnings=warnings)
        self.cases = {case.id: case for case in self.read.cases}
        self._like: Efforts | None = None
        if spec.like is not None:
            self._like = efforts_of(spec.like, spec.solver, self.parameters)
        self.rows: dict[tuple[str, int], Row] = {}
        self.on_row: Callable[[Row], None] | None = None
        self.elsewhere: Callable[[Case, int], Awaitable[Outcome]] | None = None
        """Solves a case in another process; its calls are still kept here. None: solved in this one."""
        self.stopped: BaseException | None = None
        """Why it could not go on."""
        self.started = time.time()
        self.replayed = 0
        """Cases taken from the record."""
        self.kept_open = False
        """Whoever made it writes its files and closes it; else the scoring of its last case does."""
        self.traces = TraceFolder(spec.out, images=spec.trace_images) if spec.traces or spec.trace_images else None
        self._outcomes: dict[tuple[str, int], Outcome] = {}
        self._store: RunStore | None = None
        self._counts = (0, 0)
        self._bench: Bench | None = None

    @property
    def prompts(self) -> dict[str, str]:
        """Prompt name to sha-256, of all that can reach a model."""
        return {name: prompt(name).sha256 for name in sorted({*PROMPTS, *_EVAL_PROMPTS})}

    @property
    def parameters(self) -> dict[str, Any]:
        """What a run is made with, as it is recorded."""
        settings = self.settings.model_dump(mode="json", include=set(_CONFIGURES))
        spec = self.spec.model_dump(mode="json", exclude={"folder", "out", "split", "like", *_RECORDING})
        like = {"like": self._like.scores} if self._like else {}
        return {**spec, **like, "split": self.split, "dataset": self.read.digest, **settings}

    @property
    def store(self) -> RunStore:
        """Opened on first use: RunBusy while another process has it."""
        if self._store is None:
            self._store = RunStore(self.spec.out)
        return self._store

    @property
    def bench(self) -> Bench:
        """The models, loaded on first use."""
        if self._bench is None:
            self._bench = make_bench(self.spec, self.settings, self.store.ledger, self.traces)
        return self._bench

    def key(self, case: Case, epoch: int) -> str:
        """What a case's outcome is recorded under."""
        parameters = self.parameters
        if parameters.pop("like", None):
            parameters |= {"looks": self.options(case, epoch).looks, "tokens": self.options(case, epoch).tokens}
        for name in ("benchmark", "dataset", "limit", "epochs", "judge", "allow_missing"):  # of the run, not of a case
            parameters.pop(name)
        return case_key(case.model_dump_json(), epoch, parameters, self.prompts)

    async def solve(self, case: Case, epoch: int) -> Outcome:
        """The recorded outcome, or a new one. Kept, unless calls were lost or the machine had no time."""
        key = self.key(case, epoch)
        outcome = self.store.outcome(key)
        if outcome is None or (self.traces and not self.traces.has(case.id, epoch)):  # its replies are recorded
            outcome = await (self.elsewhere or self._solve_here)(case, epoch)
            if not outcome.spent.lost and not outcome.passing:
                await self.store.record(key, outcome)
        else:
            self.replayed += 1
        self._outcomes[case.id, epoch] = outcome
        return outcome

    def options(self, case: Case, epoch: int) -> Options:
        """How the solver's effort is matched, at one case."""
        spec = self.spec
        if self._like is None:
            return Options(looks=spec.looks, tokens=spec.tokens, seed=spec.seed)
        effort = self._like.of[case.id, epoch]
        return Options(looks=effort.looks, tokens=max(1, effort.tokens), seed=spec.seed)

    async def _solve_here(self, case: Case, epoch: int) -> Outcome:
        return await solve(self.bench, case, self.spec.solver, self.options(case, epoch), epoch=epoch)

    async def score(self, case: Case, epoch: int) -> Row:
        """The row of a case that was solved."""
        outcome = self._outcomes.pop((case.id, epoch))
        row = await score_case(case, outcome, epoch=epoch, folder=self.spec.folder, judges=self._judges(epoch))
        self.rows[case.id, epoch] = row
        if self.on_row:
            self.on_row(row)
        return row

    def _judges(self, epoch: int) -> Judges:
        if self.spec.judge == "words":
            return WORDS
        resources, settings = self.bench.resources, self.settings
        model = resources.verifier or resources.vlm
        endpoint = settings.verifier_vlm or settings.vlm or ""
        vlm = LedgerVLM(model, self.store.ledger, endpoint=endpoint, epoch=epoch) if model else None
        return load_judges(self.spec.judge, vlm)

    @property
    def store_counts(self) -> tuple[int, int]:
        """(calls sent, calls answered from the record) since it was opened."""
        return self._counts if self._store is None else (self._store.ledger.sent, self._store.ledger.replayed)

    @property
    def complete(self) -> bool:
        """Every case was scored."""
        return len(self.rows) == len(self.cases) * self.spec.epochs

    @property
    def ordered(self) -> list[Row]:
        """Rows in the order of the cases, whatever order they ended in."""
        epochs = range(1, self.spec.epochs + 1)
        keys = [(case, epoch) for case in self.cases for epoch in epochs]
        return [self.rows[key] for key in keys if key in self.rows]

    def summary(self) -> Summary:
        """Of what was scored so far."""
        prices = Prices.of_settings(self.settings)
        return summarise(self.spec.benchmark, self.ordered, self.read.warnings, prices=prices)

    def write(self) -> Summary:
        """scores.jsonl, summary.json and run.json into the run's folder; each is there whole or not at all."""
        out, summary = self.spec.out, self.summary()
        # Seconds are left out: how long a model took is no score, and differs from run to run.
        lines = [row.model_dump_json(exclude={"seconds"}) + "\n" for row in self.ordered]
        write_whole(out / "scores.jsonl", "".join(lines))
        write_whole(out / "summary.json", summary.model_dump_json(indent=2) + "\n")
        about = {
            "parameters": self.parameters, "prompts": self.prompts, "dataset": {"sha256": self.read.digest},
            "tables": self.read.hashes, "models": self.bench.resources.models(), "ids": list(self.cases),
            "scores": hashlib.sha256("".join(lines).encode()).hexdigest(),
            "calls": self.store.ledger.counts()._asdict(),
        }  # fmt: skip
        write_whole(out / "run.json", json.dumps(about, indent=2, ensure_ascii=False) + "\n")
        return summary

    async def release(self) -> None:
        """Close the models' connections, in the event loop that made them."""
        if self._bench is not None:
            await self._bench.resources.close()

    def close(self) -> None:
        """Close the record."""
        if self._store is not None:
            self._counts = self.store_counts
            self._store.close()
            self._store = None


def _unfit(settings: Settings) -> tuple[str, ...]:
    """Warnings that a model's scores on real images mean nothing."""
    named = ((settings.vlm, settings.vlm_model), (settings.verifier_vlm, settings.verifier_model))
    profiles = {p.name: p for p in (profile_for(model or Path(where or "").name) for where, model in named)}
    return tuple(
        f"{p.name} was trained on drawn phantoms only: what it scores on real images means nothing"
        for p in profiles.values()
        if p.phantoms_only
    )


def make_bench(spec: EvalSpec, settings: Settings, ledger: Ledger | None, traces: TraceFolder | None = None) -> Bench:
    """The models that the settings name, and where their replies and traces are kept."""
    return Bench(
        folder=spec.folder, resources=resources_from(settings, store=MemoryStore()), ledger=ledger, traces=traces,
        endpoint=settings.vlm or "", verifier_endpoint=settings.verifier_vlm or settings.vlm or "",
        drawn=benchmark(spec.benchmark).drawn,
    )  # fmt: skip


def spec_of(name: str, folder: Path, below: Path, **given: Any) -> EvalSpec:
    """A spec with its defaults filled in. The run's folder, in `below`, is named for what is run."""
    chosen = {key: value for key, value in given.items() if value is not None}
    split = chosen.pop("split", "") or benchmark(name).splits[0]
    own = Path(chosen.pop("out", None) or below / f"{name}-{split}-{chosen.get('solver', 'agent')}")
    return EvalSpec(**{"benchmark": name, "folder": folder, **chosen, "split": split, "out": own})
