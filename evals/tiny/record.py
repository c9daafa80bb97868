"""What a training run writes down of itself, and what its model scored, in the run's folder."""

from __future__ import annotations

import hashlib
import platform
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from medloupe.errors import UsageError
from medloupe.evals.phantoms.parameters import split_seeds
from medloupe.evals.tiny.plan import Plan
from medloupe.evals.tiny.samples import PER_SCENE
from medloupe.types import Frozen

__all__ = ["Drawn", "RunRecord", "ScoreSheet", "Session", "device_words", "drawn_with", "sha256"]

_RECORD, _SCORES = "record.json", "scores.json"
_Kept = TypeVar("_Kept", bound=Frozen)


class Session(Frozen):
    """One stretch of a run, from its start or a checkpoint to its end or the last checkpoint before it was killed."""

    device: str
    """"cpu: ..." or "cuda: ..." with the device's name."""
    cores: int
    """Of the machine."""
    threads: int
    """Of torch."""
    first: int
    """Steps done before it."""
    last: int
    """Steps done after it."""
    minutes: float
    """Wall clock."""
    load: float
    """Processes that wanted a core in the minute before its end: above `cores`, the minutes say little."""
    torch: str
    """Its version."""
    dtype: str = ""
    """Of the arithmetic: "bf16" where the device has instructions for it, else "fp32"."""

    compiled: bool = False
    """Whether torch.compile made kernels of its own: a third faster, and not the same in the last digits."""

    @property
    def arithmetic(self) -> str:
        """In words."""
        return (self.dtype or "dtype not recorded") + (", compiled" if self.compiled else "")


class Drawn(Frozen):
    """The data, which are drawn: their seeds, and what they are drawn by."""

    first_seed: int
    """Of the split that is trained on; phantom n has seed first_seed + n, and after last_seed the first again."""
    last_seed: int
    views: int
    """Of a phantom."""
    knowledge: int
    """Version of prompts/knowledge/phantoms.yaml."""
    sha256: str
    """Of that file."""


class RunRecord(Frozen):
    """record.json of a run's folder."""

    plan: Plan
    sessions: tuple[Session, ...]
    model_step: int
    """Steps that the saved model has learned from."""
    drawn: Drawn

    @classmethod
    def of(cls, run: Path) -> RunRecord | None:
        """The record in a folder, if there is one."""
        return _read(cls, run / _RECORD)

    def write(self, run: Path) -> None:
        """Into a folder."""
        _write(self, run / _RECORD)

    @property
    def last_seed(self) -> int:
        """The greatest seed that was trained on."""
        return min(self.drawn.first_seed + self.model_step * self.plan.scenes - 1, self.drawn.last_seed)

    @property
    def minutes(self) -> float | None:
        """Wall clock from nothing to the saved model; None where a stretch of it was not recorded."""
        done = 0
        for session in self.sessions:
            if session.first > done:
                return None
            done = session.last
        return sum(s.minutes for s in self.sessions) if done >= self.model_step else None

    def words(self) -> str:
        """Steps, minutes and device in a line."""
        took = "minutes not recorded" if self.minutes is None else f"{self.minutes:.0f} minutes of wall clock"
        where = dict.fromkeys(
            f"{s.device}, {s.arithmetic}, {s.threads} of {s.cores} cores, load {s.load:g}" for s in self.sessions
        )
        return f"{self.model_step} of {self.plan.total} steps, {took}; {'; '.join(where) or 'device not recorded'}"


class ScoreSheet(Frozen):
    """scores.json: what a model scored on phantoms that it was not trained on, each as (figure, of how many)."""

    weights: str
    """sha-256 of the model's weights."""
    phantoms: int
    """Of each column."""
    standard: dict[str, tuple[float, int]]
    """Drawn as in training."""
    shifted: dict[str, tuple[float, int]]
    """Drawn with shifted parameters."""
    bars: dict[str, float]
    missed: tuple[str, ...]
    """Bars that `standard` misses."""

    @classmethod
    def of(cls, run: Path) -> ScoreSheet | None:
        """The sheet in a folder, if there is one."""
        return _read(cls, run / _SCORES)

    def write(self, run: Path) -> None:
        """Into a folder."""
        _write(self, run / _SCORES)


def _read(kind: type[_Kept], file: Path) -> _Kept | None:
    """None where there is no such file; UsageError where it holds something else."""
    if not file.is_file():
        return None
    try:
        return kind.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise UsageError(f"{file} cannot be read: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _write(kept: Frozen, file: Path) -> None:
    """Whole or not at all."""
    beside = file.with_name(f"{file.name}.new")
    beside.write_text(kept.model_dump_json(indent=1) + "\n", encoding="utf-8")
    beside.replace(file)


def sha256(file: Path) -> str:
    """Of its bytes."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def drawn_with() -> Drawn:
    """What phantoms are drawn by now."""
    import yaml

    text = (files("medloupe.prompts") / "knowledge" / "phantoms.yaml").read_bytes()
    seeds = split_seeds("train")
    return Drawn(
        first_seed=seeds[0], last_seed=seeds[-1], views=PER_SCENE, knowledge=yaml.safe_load(text)["version"],
        sha256=hashlib.sha256(text).hexdigest(),
    )  # fmt: skip


def device_words(device: str) -> str:
    """The kind of device with its name."""
    if not device.startswith("cuda"):
        return f"{device}: {_processor()}"
    import torch

    return f"cuda: {torch.cuda.get_device_name(device)}"


def _processor() -> str:
    """The processor's name as Linux tells it, else its architecture."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.machine()
