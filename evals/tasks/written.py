"""Cases written by medloupe itself: `cases.jsonl` beside its images, one Case a line. The phantoms are kept so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from medloupe.errors import InputRejected
from medloupe.evals.tasks.case import Benchmark, Case
from medloupe.evals.tasks.release import Release

__all__ = ["PHANTOMS", "write_cases"]


def write_cases(folder: Path, cases: Iterable[Case], split: str = "test") -> Path:
    """The cases of a split as `cases_<split>.jsonl` in the folder that their locators are relative to."""
    path = folder / f"cases_{split}.jsonl"
    path.write_text("".join(case.model_dump_json(exclude_defaults=True) + "\n" for case in cases), encoding="utf-8")
    return path


def _read(release: Release, split: str) -> Iterator[Case]:
    name = f"cases_{split}.jsonl"
    for row in release.json_rows(name, ("id", "kind", "images", "question", "cluster")):
        try:
            yield Case.model_validate(row)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise InputRejected("changed-file", f"{name}, {row['id']}: {first['loc'][0]}: {first['msg']}") from None


PHANTOMS = Benchmark(
    name="phantoms", title="Phantoms", licence="medloupe's own", splits=("test", "validation", "train"),
    needs=("cases_*.jsonl",), read=_read, released={}, drawn=True,
)  # fmt: skip
