"""Every benchmark, and which of them a folder is."""

from __future__ import annotations

from pathlib import Path

from medloupe.errors import InputRejected, UsageError
from medloupe.evals.tasks.case import Benchmark
from medloupe.evals.tasks.choices import (
    CHESTAGENTBENCH,
    GMAI_MMBENCH,
    MEDFRAMEQA,
    MEDQ_BENCH,
    MEDXPERTQA_MM,
    OMNIMEDVQA,
)
from medloupe.evals.tasks.classification import MEDMNIST, MEDMNIST_C
from medloupe.evals.tasks.descriptions import LIDC_IDRI, SKINCON, VINDR_CXR
from medloupe.evals.tasks.grounding import CHESTXRAY14, MEDSG_BENCH, MS_CXR
from medloupe.evals.tasks.questions import PATHVQA, PROBMED, SLAKE, VQA_RAD
from medloupe.evals.tasks.release import Release, read_release
from medloupe.evals.tasks.segmentation import BUSI, HAM10000, KVASIR_SEG
from medloupe.evals.tasks.written import PHANTOMS

__all__ = ["BENCHMARKS", "benchmark", "recognise"]

BENCHMARKS: dict[str, Benchmark] = {
    found.name: found
    for found in (
        VINDR_CXR, LIDC_IDRI, SKINCON, PROBMED, VQA_RAD, SLAKE, PATHVQA, CHESTAGENTBENCH, MEDXPERTQA_MM, OMNIMEDVQA,
        GMAI_MMBENCH, MEDFRAMEQA, MEDQ_BENCH, MS_CXR, MEDSG_BENCH, CHESTXRAY14, KVASIR_SEG, BUSI, HAM10000, MEDMNIST,
        MEDMNIST_C, PHANTOMS,
    )
}  # fmt: skip


def benchmark(name: str) -> Benchmark:
    """The benchmark of that name; UsageError names them all."""
    if name not in BENCHMARKS:
        raise UsageError(f"there is no benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]


def recognise(folder: Path) -> list[tuple[Benchmark, str]]:
    """(benchmark, split) of what a folder can be read as: its files are there, and their first case can be read."""
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    found = []
    for candidate in BENCHMARKS.values():
        if candidate.recognises(folder):
            found += [(candidate, split) for split in candidate.splits if _first(candidate, folder, split)]
    return found


def _first(candidate: Benchmark, folder: Path, split: str) -> bool:
    try:
        return next(read_release(candidate, Release(folder), split), None) is not None
    except InputRejected:
        return False
