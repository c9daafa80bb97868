"""`medloupe eval export RUN OUT`: what to train on, from a run that kept its traces with their pictures.

    sft.jsonl          a trajectory a line as chat messages (records.py), with its score and its verdicts as rewards
    ophiuchus-SFT.json the same in Ophiuchus's layout
    preferences.jsonl  pairs: a right and a wrong trajectory of one case (from --epochs), and an answer that
                       verification made better or worse
    images/            the pictures, by sha-256

Never from a test split.
"""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from medloupe.agent.trace import read_trace
from medloupe.errors import InputRejected, UsageError
from medloupe.evals.running.compare import read_rows
from medloupe.evals.running.files import write_whole
from medloupe.evals.running.traces import TraceFolder
from medloupe.evals.scorers.rows import Row
from medloupe.evals.tasks.case import Benchmark
from medloupe.evals.tasks.catalogue import benchmark
from medloupe.evals.training.records import Trajectory, Turn, to_chat, to_ophiuchus
from medloupe.evals.training.trajectory import answers_of, trajectory_of
from medloupe.types import Frozen

__all__ = ["Exported", "export_run"]


class Exported(Frozen):
    """What was written."""

    trajectories: int
    pairs: int
    images: int
    left_out: int
    """Cases without an answer."""
    licence: str
    """The release's: what is trained on it is bound by it."""

    def text(self) -> str:
        """As a person reads it."""
        return (
            f"{self.trajectories} trajectories, {self.pairs} preference pairs, {self.images} pictures;"
            f" {self.left_out} cases without an answer left out; the release's licence: {self.licence}"
        )


class _Told(Frozen):
    """One case's trajectory, with what verification made of its answer."""

    case: str
    trajectory: Trajectory
    before: str
    score_before: float | None


def export_run(run: Path, out: Path) -> Exported:
    """Write OUT.

    UsageError for a test split, for a run without traces and their pictures, and for one that is not finished.
    """
    about = _about(run)
    found, split = benchmark(about["benchmark"]), about["split"]
    _refuse_test(found, split)
    told, left_out = [], 0
    traces = TraceFolder(run, images=True)
    for row in read_rows(run):
        one = _told(row, traces, source=found.name, split=split)
        told += [one] if one else []
        left_out += one is None
    pairs = [*_by_epoch(told), *_by_verification(told)]
    names = _copy(traces, told, out)
    _lines(out / "sft.jsonl", (to_chat(one.trajectory) for one in told))
    records = [to_ophiuchus(one.trajectory) for one in told]
    write_whole(out / "ophiuchus-SFT.json", json.dumps(records, indent=1, ensure_ascii=False) + "\n")
    _lines(out / "preferences.jsonl", pairs)
    return Exported(
        trajectories=len(told), pairs=len(pairs), images=names, left_out=left_out, licence=found.licence
    )  # fmt: skip


def _about(run: Path) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads((run / "run.json").read_text("utf-8"))["parameters"]
    except (OSError, ValueError, KeyError):
        raise UsageError(f"{run} holds no finished run (no run.json); run the same command again") from None
    return about


def _refuse_test(found: Benchmark, split: str) -> None:
    if split in found.test_splits or split not in found.splits:
        others = [name for name in found.splits if name not in found.test_splits]
        instead = f"export a run over {' or '.join(others)}" if others else "it has no other"
        raise UsageError(f"{split} is a test split of {found.title}: nothing is trained on it; {instead}")


def _told(row: Row, traces: TraceFolder, *, source: str, split: str) -> _Told | None:
    if not traces.has(row.id, row.epoch):
        raise UsageError(
            "the run kept no traces with pictures; give its command again with --traces --trace-images"
            " (recorded replies are not asked for again)"
        )
    try:
        case, events = traces.case(row.id, row.epoch), read_trace(traces.file(row.id, row.epoch))
    except ValueError:
        raise InputRejected("changed-file", f"the trace of {row.id} cannot be read") from None
    trajectory = trajectory_of(case, row, events, source=source, split=split, folder="images")
    if trajectory is None or row.status in ("failed", "refused"):
        return None
    return _Told(case=row.id, trajectory=trajectory, before=answers_of(case, events)[0], score_before=row.value_before)


# --- preferences ----------------------------------------------------------------------------------------------------


def _by_epoch(told: Iterable[_Told]) -> list[dict[str, Any]]:
    """The best and the worst trajectory of a case, where they scored apart."""
    same: dict[str, list[Trajectory]] = defaultdict(list)
    for one in told:
        same[one.case].append(one.trajectory)
    pairs = []
    for found in same.values():
        best, least = max(found, key=lambda t: t.score), min(found, key=lambda t: t.score)
        if best.score > least.score:
            pairs.append(_pair("scored higher", best, least, shared=2))
    return pairs


def _by_verification(told: Iterable[_Told]) -> list[dict[str, Any]]:
    """The same trajectory with the answer before and after verification, where they scored apart."""
    pairs = []
    for one in told:
        after, last = one.trajectory, one.trajectory.turns[-1]
        if one.score_before is None or one.score_before == after.score or one.before == (last.answer or "").strip():
            continue
        before = after.model_copy(
            update={
                "turns": (*after.turns[:-1], Turn(role="assistant", text=last.text, answer=f" {one.before} ")),
                "score": one.score_before,
            }
        )
        shared = len(after.turns) - 1
        better, worse = (after, before) if after.score > before.score else (before, after)
        pairs.append(_pair("verification changed it", better, worse, shared=shared))
    return pairs


def _pair(why: str, better: Trajectory, worse: Trajectory, *, shared: int) -> dict[str, Any]:
    """shared: how many turns both begin with, and the prompt is."""
    pictures = sum(turn.images for turn in better.turns[:shared])
    prompt = to_chat(better.model_copy(update={"turns": better.turns[:shared]}))
    sides = [to_chat(t.model_copy(update={"turns": t.turns[shared:]})) for t in (better, worse)]
    return {
        "schema_version": "medloupe.preference/1", "why": why, "source": better.source, "split": better.split,
        "question_id": better.question_id, "prompt": prompt["messages"], "images": list(better.images[:pictures]),
        "chosen": sides[0]["messages"], "chosen_images": list(better.images[pictures:]),
        "rejected": sides[1]["messages"], "rejected_images": list(worse.images[pictures:]),
        "chosen_score": better.score, "rejected_score": worse.score, "chosen_reward": better.reward,
        "rejected_reward": worse.reward,
    }  # fmt: skip


# --- files ----------------------------------------------------------------------------------------------------------


def _copy(traces: TraceFolder, told: Iterable[_Told], out: Path) -> int:
    """The pictures; how many."""
    names = {image for one in told for image in one.trajectory.images}
    try:
        (out / "images").mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in names:
            if not (out / name).exists():
                shutil.copyfile(traces.picture(Path(name).stem), out / name)
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}") from None
    return len(names)


def _lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    write_whole(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
