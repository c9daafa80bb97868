"""Questions with options: ChestAgentBench, MedXpertQA-MM, OmniMedVQA, GMAI-MMBench, MedFrameQA and MedQ-Bench."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from medloupe.errors import InputRejected
from medloupe.evals.scorers.text import letters, normalised
from medloupe.evals.tasks.case import Benchmark, Case
from medloupe.evals.tasks.release import Release

__all__ = ["CHESTAGENTBENCH", "GMAI_MMBENCH", "MEDFRAMEQA", "MEDQ_BENCH", "MEDXPERTQA_MM", "OMNIMEDVQA"]

_INLINE = re.compile(r"(?:^|\s|\n)\(?([A-J])[).:]\s*(.+?)(?=(?:\s|\n)\(?[A-J][).:]\s|$)", re.DOTALL)


def _lettered(options: Mapping[str, Any] | list[Any]) -> tuple[str, ...]:
    """Options in the order of their letters, without the letter that some write before the text."""
    texts = [options[key] for key in sorted(options)] if isinstance(options, Mapping) else list(options)
    return tuple(re.sub(r"^\(?[A-J][).:]\s+", "", str(text).strip()) for text in texts)


def _chosen(answer: str, options: tuple[str, ...], where: str) -> str:
    """The text of the right option, which is given as its letter or as its text."""
    said = answer.strip()
    if re.fullmatch(r"\(?[A-J]\)?[.:]?", said) and (place := ord(said.strip("().:")) - ord("A")) < len(options):
        return options[place]
    same = [option for option in options if normalised(option) == normalised(said)]
    if len(same) != 1:
        raise InputRejected("changed-file", f"{where}: the answer is none of the options")
    return same[0]


def _chestagentbench(release: Release, split: str) -> Iterator[Case]:  # noqa: ARG001 - there is one split
    """Fallahpour et al. 2025 (MedRAX). Options stand in the question. Each question is asked alone: nothing of a case's
    other questions is carried over, which is what raised a peer's figure.
    """
    fields = ("full_question_id", "case_id", "question", "answer", "images")
    without = 0
    for row in release.json_rows("metadata.jsonl", fields):
        where = f"metadata.jsonl, {row['full_question_id']}"
        question = str(row["question"])
        found = list(_INLINE.finditer(question))
        names = [match[1] for match in found]
        if names != list(letters(len(names))) or len(names) < 2:
            raise InputRejected("changed-file", f"{where}: the question holds no options A, B, ...")
        options = tuple(match[2].strip() for match in found)
        stem = question[: found[0].start()].strip()
        images = row["images"] if isinstance(row["images"], list) else [row["images"]]
        if not images:
            without += 1  # a question without a picture is no question about one
            continue
        yield Case(
            id=str(row["full_question_id"]), kind="option", images=tuple(_in_figures(str(i)) for i in images),
            question=stem or question, options=options, answer=_chosen(str(row["answer"]), options, where),
            cluster=str(row["case_id"]), modality="DX", groups={"type": str(row.get("type", ""))},
        )  # fmt: skip
    if without:
        release.notes.append(f"{without} questions without a picture are left out")


def _in_figures(path: str) -> str:
    return path if path.startswith("figures/") else f"figures/{path.lstrip('./')}"


def _medxpertqa(release: Release, split: str) -> Iterator[Case]:
    """Zuo et al. 2025, the MM part."""
    name = release.find(f"MM/{split}.jsonl", f"{split}.jsonl", f"{split}.json")
    fields = ("id", "question", "options", "label", "images", "medical_task", "body_system", "question_type")
    zipped = release.has("images.zip") and not release.has("images")
    for row in release.json_rows(name, fields):
        options = _lettered(row["options"])
        stem = str(row["question"]).split("\nAnswer Choices:")[0].strip()
        folder = "images.zip#images" if zipped else "images"
        yield Case(
            id=str(row["id"]), kind="option", images=tuple(f"{folder}/{image}" for image in row["images"]),
            question=stem, options=options, answer=_chosen(str(row["label"]), options, f"{name}, {row['id']}"),
            cluster=str(row["id"]),
            groups={
                "task": str(row["medical_task"]), "system": str(row["body_system"]),
                "question": str(row["question_type"]),
            },
        )  # fmt: skip


def _omnimedvqa(release: Release, split: str) -> Iterator[Case]:  # noqa: ARG001 - there is one split
    """Hu et al., CVPR 2024, the open-access part. The answer is an option's text; some files say `modality`."""
    fields = ("question_id", "question", "gt_answer", "image_path", "question_type")
    for name in release.all("QA_information/Open-access/*.json"):
        for row in release.json_rows(name, fields):
            options = tuple(
                str(row[f"option_{letter}"]).strip()
                for letter in "ABCD"
                if row.get(f"option_{letter}") not in (None, "")
            )
            where = f"{name}, {row['question_id']}"
            yield Case(
                id=f"{name.rpartition('/')[2].removesuffix('.json')}/{row['question_id']}", kind="option",
                images=(str(row["image_path"]),), question=str(row["question"]), options=options,
                answer=_chosen_text(str(row["gt_answer"]), options, where), cluster=str(row["image_path"]),
                groups={
                    "modality": str(row.get("modality_type", row.get("modality", ""))),
                    "question": str(row["question_type"]),
                },
            )  # fmt: skip


def _chosen_text(answer: str, options: tuple[str, ...], where: str) -> str:
    """The right option where answers are texts: a text "A" is that text before it is a letter."""
    exact = [option for option in options if option == answer.strip()]
    return exact[0] if exact else _chosen(answer, options, where)


_LONGEST_INDEX = 64
"""Characters: a shorter cell of pictures names the row that holds it (VLMEvalKit's tables)."""


class _TablePictures:
    """Where a table's base64 pictures are, and which are the same."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._known: dict[str, tuple[str, str]] = {}

    def of(self, row: Mapping[str, str], offset: int) -> tuple[str, str]:
        """(locator, digest) of a row's picture; InputRejected where it is that of a row that did not come before."""
        cell = row["image"]
        if len(cell) > _LONGEST_INDEX:
            found = (f"{self._name}#image/{offset}", hashlib.sha256(cell.encode()).hexdigest()[:16])
        elif cell in self._known:
            found = self._known[cell]
        else:
            raise InputRejected(
                "changed-file", f"{self._name}, index {row['index']}: its picture is that of no row before it"
            )
        self._known[row["index"]] = found
        return found


def _gmai(release: Release, split: str) -> Iterator[Case]:  # noqa: ARG001 - there is one split
    """Chen et al. 2024. Pictures are base64 in the table; the answers of TEST are withheld.

    Questions of one picture are one cluster.
    """
    name = release.find("GMAI_mm_bench_VAL_latest.tsv", "GMAI_mm_bench_VAL*.tsv", "*VAL*.tsv")
    pictures = _TablePictures(name)
    for offset, row in release.lines_with_offsets(name, ("index", "image", "question", "A", "B", "answer")):
        options = tuple(row[letter] for letter in "ABCDE" if row.get(letter, "") not in ("", "nan"))
        image, picture = pictures.of(row, offset)
        yield Case(
            id=row["index"], kind="option", images=(image,), question=row["question"],
            options=options, answer=_chosen(row["answer"], options, f"{name}, index {row['index']}"),
            cluster=picture,
            groups={key: row[key] for key in ("modality", "category", "department") if row.get(key)},
        )  # fmt: skip


def _medframeqa(release: Release, split: str) -> Iterator[Case]:
    """Yu et al. 2025: two to five frames a question, in image_1 ... image_5, of which the last may be null."""
    fields = ("question", "options", "correct_answer")
    before = 0
    for name in release.all(f"data/{split}-*.parquet", f"{split}*.parquet"):
        frames = [f"image_{n}" for n in range(1, 6)]
        number = -1
        for number, row in enumerate(release.parquet_rows(name, (*fields, *frames), optional=("question_id",))):
            identity = str(row.get("question_id") or f"{split}-{before + number}")
            given = row["options"]
            options = _lettered(json.loads(given) if isinstance(given, str) else given)
            present = [frame for frame in frames if _holds_picture(row[frame])]
            yield Case(
                id=identity, kind="option", images=tuple(f"{name}#{f}/{number}" for f in present),
                question=str(row["question"]), options=options,
                answer=_chosen(str(row["correct_answer"]), options, f"{name}, {identity}"), cluster=identity,
                groups={"frames": str(len(present))},
            )  # fmt: skip
        before += number + 1


def _holds_picture(cell: Any) -> bool:
    """Whether a cell is a picture: a frame that is none is null, or has null bytes."""
    return cell is not None and not (isinstance(cell, dict) and cell.get("bytes") is None)


def _medq_bench(release: Release, split: str) -> Iterator[Case]:
    """Liu et al. 2025, the perception part (QA). The answer is a letter or a number from 0 to 3."""
    name = release.find(f"medqbench_QA_{split}.tsv", f"**/medqbench_QA_{split}.tsv")
    folder = name.rpartition("/")[0]
    pictures = _TablePictures(name)
    for offset, row in release.lines_with_offsets(name, ("index", "question", "A", "B", "answer")):
        options = tuple(row[letter] for letter in "ABCD" if row.get(letter, "") not in ("", "nan"))
        answer = row["answer"].strip()
        letter = letters(4)[int(answer)] if answer in ("0", "1", "2", "3") else answer
        if row.get("image_path"):
            image, picture = f"{folder}/{row['image_path']}".lstrip("/"), row["image_path"]
        else:
            image, picture = pictures.of(row, offset)
        yield Case(
            id=row["index"], kind="option", images=(image,), question=row["question"], options=options,
            answer=_chosen(letter, options, f"{name}, index {row['index']}"),
            cluster=picture,
            groups={key: row[key] for key in ("modality", "category", "question_type") if row.get(key)},
        )  # fmt: skip


CHESTAGENTBENCH = Benchmark(
    name="chestagentbench", title="ChestAgentBench", licence="CC BY", splits=("test",),
    needs=("metadata.jsonl", "figures"), read=_chestagentbench, released={}, cluster="case",
)  # fmt: skip
MEDXPERTQA_MM = Benchmark(
    name="medxpertqa_mm", title="MedXpertQA-MM", licence="MIT", splits=("test", "dev"),
    needs=("**/test.jsonl", "images*"), read=_medxpertqa, released={}, cluster="question",
)  # fmt: skip
OMNIMEDVQA = Benchmark(
    name="omnimedvqa", title="OmniMedVQA (open access)", licence="by part", splits=("test",),
    needs=("QA_information/Open-access/*.json",), read=_omnimedvqa, released={},
)  # fmt: skip
GMAI_MMBENCH = Benchmark(
    name="gmai_mmbench", title="GMAI-MMBench", licence="CC BY-NC-SA", splits=("val",), needs=("*GMAI*VAL*.tsv",),
    read=_gmai, released={}, test_splits=("val",), withheld=("test",), cluster="picture",
)  # fmt: skip
MEDFRAMEQA = Benchmark(
    name="medframeqa", title="MedFrameQA", licence="see the release", splits=("test",), needs=("**/test*.parquet",),
    read=_medframeqa, released={}, cluster="question",
)  # fmt: skip
MEDQ_BENCH = Benchmark(
    name="medq_bench", title="MedQ-Bench (perception)", licence="Apache-2.0", splits=("test", "dev"),
    needs=("**/medqbench_QA_*.tsv",), read=_medq_bench, released={},
)  # fmt: skip
