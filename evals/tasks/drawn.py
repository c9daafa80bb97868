"""Questions about phantoms, made from their truth: what `medloupe phantom` drew is a benchmark as it lies there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from medloupe.evals.phantoms.files import read_truth
from medloupe.evals.phantoms.truth import ImageTruth, LesionTruth, PhantomTruth
from medloupe.evals.tasks.case import Case
from medloupe.evals.tasks.written import write_cases
from medloupe.prompts import knowledge
from medloupe.types import BoundingBox

__all__ = ["phantom_cases", "write_phantom_cases"]

_SPLITS = {"train": "train", "val": "validation", "test": "test"}
"""Of the seeds, to those of the benchmark."""


def write_phantom_cases(folder: Path, truths: Iterable[Path]) -> list[Path]:
    """`cases_<split>.jsonl` in `folder`, for the truth.json files below it; the files that were written."""
    read = sorted(((read_truth(path), path) for path in truths), key=lambda pair: (pair[0].split, str(pair[1])))
    written = []
    for split, pairs in groupby(read, key=lambda pair: pair[0].split):
        cases = [
            case for truth, path in pairs for case in phantom_cases(truth, path.parent.relative_to(folder).as_posix())
        ]
        written.append(write_cases(folder, cases, _SPLITS[split]))
    return written


def phantom_cases(truth: PhantomTruth, place: str) -> Iterator[Case]:
    """What is asked of one phantom in the folder `place`: its image, of a series the middle slice.

    Whether each finding is there, each attribute of the largest lesion (the right word or its twin), and the lesions'
    boxes. A cluster is a phantom; both times of a pair are one.
    """
    words, image = knowledge("benchmarks")["phantoms"], truth.images[len(truth.images) // 2]
    about = {
        "images": (f"{place}/{image.file}",), "cluster": place.partition("/")[0], "modality": truth.modality,
        "boxes": tuple(BoundingBox.from_tuple(lesion.box) for lesion in image.lesions),
    }  # fmt: skip
    groups = {"phantom": truth.kind, "profile": truth.profile}
    for said in image.statements:
        if said.attribute == "presence" and said.value is True:
            yield Case(
                id=f"{place}/{said.finding}", kind="yesno", question=words["presence"].format(finding=said.finding),
                answer="yes" if said.true else "no", groups={**groups, "asks": "presence"}, **about,
            )  # fmt: skip
    if not image.lesions:
        return
    largest = max(image.lesions, key=lambda lesion: lesion.area_px)
    for name, right, twin in _words_of(image, largest):
        question = words["attribute"].format(attribute=name, finding=largest.finding)
        yield Case(
            id=f"{place}/{name}", kind="option", question=question, options=tuple(sorted((right, twin))), answer=right,
            groups={**groups, "asks": name}, **about,
        )  # fmt: skip
    yield Case(
        id=f"{place}/where", kind="boxes", question=words["boxes"].format(finding=largest.finding),
        groups={**groups, "asks": "boxes"}, **about,
    )  # fmt: skip


def _words_of(image: ImageTruth, lesion: LesionTruth) -> Iterator[tuple[str, str, str]]:
    """(attribute, its word, its twin) of one lesion, as its true statements and their twins have them."""
    said = [s for s in image.statements if s.lesion == lesion.id and isinstance(s.value, str)]
    for true, false in zip(said[::2], said[1::2], strict=True):  # a true one, then its twin
        yield true.attribute, str(true.value), str(false.value)
