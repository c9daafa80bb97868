"""Questions with yes, no or free answers: VQA-RAD, SLAKE, PathVQA and ProbMed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from medloupe.errors import InputRejected
from medloupe.evals.scorers.probmed import split_type
from medloupe.evals.tasks.case import Benchmark, Case, Kind
from medloupe.evals.tasks.release import Release

__all__ = ["PATHVQA", "PROBMED", "SLAKE", "VQA_RAD"]


def _kind(answer: str) -> Kind:
    return "yesno" if answer in ("yes", "no") else "open"


def _cased(answer: str) -> str:
    """As released; "yes" and "no" in lower case."""
    return answer.lower() if _kind(answer.lower()) == "yesno" else answer


def _vqa_rad(release: Release, split: str) -> Iterator[Case]:
    """Lau et al., Sci Data 2018. The split is in `phrase_type`: "test_freeform" and "test_para" are the test set."""
    fields = ("qid", "phrase_type", "image_name", "image_organ", "question", "question_type", "answer", "answer_type")
    for row in release.json_rows("VQA_RAD Dataset Public.json", fields):
        if str(row["phrase_type"]).startswith("test") != (split == "test"):
            continue
        answer = str(row["answer"]).strip()
        yield Case(
            id=str(row["qid"]), kind=_kind(answer.lower()), images=(f"VQA_RAD Image Folder/{row['image_name']}",),
            question=str(row["question"]).strip(), answer=_cased(answer),
            cluster=str(row["image_name"]),
            groups={
                "organ": str(row["image_organ"]), "answer": str(row["answer_type"]).strip().lower(),
                "question": str(row["question_type"]),
            },
        )  # fmt: skip


_SLAKE_MODALITY = {"CT": "CT", "MRI": "MR", "X-Ray": "DX"}


def _slake(release: Release, split: str) -> Iterator[Case]:
    """Liu et al., ISBI 2021. Two languages: "test" is the English half, "test_zh" the Chinese."""
    part, _, language = split.partition("_")
    fields = (
        "qid",
        "img_name",
        "question",
        "answer",
        "q_lang",
        "answer_type",
        "modality",
        "content_type",
    )
    for row in release.json_rows(f"{part}.json", fields):
        if row["q_lang"] != (language or "en"):
            continue
        answer = str(row["answer"]).strip()
        yield Case(
            id=str(row["qid"]), kind=_kind(answer.lower()), images=(f"imgs/{row['img_name']}",),
            question=str(row["question"]), answer=_cased(answer),
            cluster=str(row["img_name"]), modality=_SLAKE_MODALITY.get(str(row["modality"])),
            groups={
                "modality": str(row["modality"]), "answer": str(row["answer_type"]).lower(),
                "question": str(row["content_type"]),
            },
        )  # fmt: skip


def _pathvqa(release: Release, split: str) -> Iterator[Case]:
    """He et al. 2020, as parquet. Copies as pickle are not read: a pickle runs code."""
    number = 0
    for name in release.all(f"data/{split}-*.parquet", f"{split}-*.parquet", f"{split}.parquet"):
        for row, content in enumerate(release.parquet_rows(name, ("image", "question", "answer"))):
            answer = str(content["answer"]).strip()
            kind = _kind(answer.lower())
            yield Case(
                id=f"{split}-{number}", kind=kind, images=(f"{name}#image/{row}",), question=str(content["question"]),
                answer=_cased(answer), cluster=_picture_of(content["image"]), modality="SM",
                groups={"answer": kind},
            )  # fmt: skip
            number += 1


def _picture_of(image: Any) -> str:
    """Which picture it is: a release asks several questions of one and repeats its bytes."""
    content = image["bytes"] if isinstance(image, dict) else image
    return hashlib.sha256(content).hexdigest()[:16]


_PROBMED_TYPES = ("modality", "body_part", "organ", "entity", "condition", "position", "grounding", "abnormality")


def _probmed(release: Release, split: str) -> Iterator[Case]:
    """Yan et al. 2024. Every ground-truth question has a hallucinated twin; `qa_type` ends in _gt or _hallu."""
    rows = release.json_rows(f"{split}.json", ("id", "image", "image_type", "qa_type", "question", "answer"))
    places: dict[tuple[str, str], int] = {}
    for row in rows:
        answer = str(row["answer"]).strip().lower().rstrip(".")
        if answer not in ("yes", "no"):
            raise InputRejected("changed-file", f"{split}.json, id {row['id']}: the answer is neither yes nor no")
        place = places.setdefault((str(row["image"]), str(row["qa_type"])), 0)
        places[str(row["image"]), str(row["qa_type"])] += 1
        yield Case(
            id=str(_unique(row)), kind="yesno", images=(str(row["image"]).lstrip("/"),), question=str(row["question"]),
            answer=answer, cluster=str(row["image"]), tags={"qa_type": str(row["qa_type"]), "pair": str(place)},
            groups={"type": split_type(str(row["qa_type"]))[0], "image": str(row["image_type"])},
        )  # fmt: skip


def _unique(row: dict[str, Any]) -> str:
    return f"{row['id']}-{row['i']}" if "i" in row else str(row["id"])


VQA_RAD = Benchmark(
    name="vqa_rad", title="VQA-RAD", licence="CC0", splits=("test", "train"),
    needs=("VQA_RAD Dataset Public.json", "VQA_RAD Image Folder"), read=_vqa_rad, released={"test": 451, "train": 1797},
)  # fmt: skip
SLAKE = Benchmark(
    name="slake", title="SLAKE", licence="CC BY 4.0",
    splits=("test", "validate", "train", "test_zh", "validate_zh", "train_zh"), needs=("test.json", "imgs"),
    read=_slake, released={}, test_splits=("test", "test_zh"),
)  # fmt: skip
PATHVQA = Benchmark(
    name="pathvqa", title="PathVQA", licence="MIT", splits=("test", "validation", "train"),
    needs=("**/test*.parquet",), read=_pathvqa, released={"test": 6719, "validation": 6259, "train": 19654},
)  # fmt: skip
PROBMED = Benchmark(
    name="probmed", title="ProbMed", licence="MIT", splits=("test",), needs=("test.json",), read=_probmed, released={},
)  # fmt: skip
