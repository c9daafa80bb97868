"""Releases that differ from what was expected: quoted tables, repeated pictures, and what is not as released."""

from __future__ import annotations

import base64
import csv
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from miniatures import MINIATURES, parquet, png

from medloupe.errors import BackendMissing, InputRejected
from medloupe.evals.tasks.catalogue import benchmark, recognise
from medloupe.evals.tasks.images import exists, materialise
from medloupe.evals.tasks.release import Cases, read_cases


def read(name: str, folder: Path) -> Cases:
    return read_cases(benchmark(name), folder, benchmark(name).splits[0])


def test_a_quoted_cell_may_hold_lines_tabs_and_quotes(tmp_path: Path) -> None:
    shown = base64.b64encode(png(3)).decode()
    head = "index\timage\tquestion\tA\tB\tanswer"
    rows = [f'0\t{shown}\t"Two\nlines, a\ttab and ""quotes"""\tyes\tno\tA', f'1\t{shown}\tA 5" disc?\tyes\tno\tB']
    (tmp_path / "GMAI_mm_bench_VAL_latest.tsv").write_text("\n".join([head, *rows]) + "\n")
    cases = read("gmai_mmbench", tmp_path).cases
    assert [case.question for case in cases] == ['Two\nlines, a\ttab and "quotes"', 'A 5" disc?']
    for number, case in enumerate(cases):
        assert materialise(tmp_path, case.images[0], tmp_path, str(number)).read_bytes() == png(3)


def test_a_quote_inside_a_cell_neither_swallows_a_row_nor_cuts_one(tmp_path: Path) -> None:
    shown = base64.b64encode(png(3)).decode()
    rows = [f'0\t"Say ""a"""\t5" disc\tno\tB\t{shown}', f'1\t5" disc\t"yes\nsir"\tno\tB\t{shown}']
    table = "\r\n".join(["index\tquestion\tA\tB\tanswer\timage", *rows, f"2\tNext?\tyes\tno\tB\t{shown}"])
    (tmp_path / "GMAI_mm_bench_VAL_latest.tsv").write_bytes(table.encode("utf-8-sig"))
    cases = read("gmai_mmbench", tmp_path).cases
    assert [(case.question, case.options[0]) for case in cases] == [
        ('Say "a"', '5" disc'),
        ('5" disc', "yes\nsir"),
        ("Next?", "yes"),
    ]
    for number, case in enumerate(cases):
        assert materialise(tmp_path, case.images[0], tmp_path, str(number)).read_bytes() == png(3)


def test_a_picture_that_is_given_by_another_rows_index_is_that_rows_and_of_its_cluster(tmp_path: Path) -> None:
    first, second = (base64.b64encode(png(n)).decode() for n in (3, 4))
    rows = [f"{n}\t{shown}\tWhat?\tyes\tno\tA" for n, shown in enumerate([first, second, "0", first])]
    table = tmp_path / "GMAI_mm_bench_VAL_latest.tsv"
    table.write_text("\n".join(["index\timage\tquestion\tA\tB\tanswer", *rows]) + "\n")
    cases = read("gmai_mmbench", tmp_path).cases
    pictures = [materialise(tmp_path, case.images[0], tmp_path, case.id).read_bytes() for case in cases]
    assert pictures == [png(3), png(4), png(3), png(3)]
    clusters = [case.cluster for case in cases]
    assert clusters[0] == clusters[2] == clusters[3] != clusters[1]
    table.write_text(table.read_text() + "9\t17\tWhat?\tyes\tno\tA\n")
    with pytest.raises(InputRejected, match="index 9: its picture is that of no row"):
        read("gmai_mmbench", tmp_path)


def test_without_pyarrow_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MINIATURES["medframeqa"](tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(BackendMissing, match="pyarrow"):
        read("medframeqa", tmp_path)


def test_a_short_row_is_a_changed_file(tmp_path: Path) -> None:
    MINIATURES["gmai_mmbench"](tmp_path)
    with (tmp_path / "GMAI_mm_bench_VAL_latest.tsv").open("a") as file:
        file.write("7\tabc\n")
    with pytest.raises(InputRejected, match="the row at byte"):
        read("gmai_mmbench", tmp_path)


def test_withheld_answers_are_said_to_be_withheld(tmp_path: Path) -> None:
    MINIATURES["gmai_mmbench"](tmp_path)
    with pytest.raises(InputRejected, match="withheld"):
        read_cases(benchmark("gmai_mmbench"), tmp_path, "test")


def test_pathvqa_questions_of_one_picture_are_one_cluster(tmp_path: Path) -> None:
    rows = [{"image": {"bytes": png(n // 2)}, "question": "Is it?", "answer": "yes"} for n in range(4)]
    parquet(tmp_path / "data/test-00000-of-00001.parquet", rows)
    clusters = [case.cluster for case in read("pathvqa", tmp_path).cases]
    assert clusters[0] == clusters[1] != clusters[2] == clusters[3]


def test_medframeqa_takes_its_own_ids_where_it_has_some(tmp_path: Path) -> None:
    MINIATURES["medframeqa"](tmp_path)
    assert [case.id for case in read("medframeqa", tmp_path).cases] == ["test-0", "test-1", "test-2"]
    named = tmp_path / "named"
    frames = {f"image_{n}": {"bytes": png(n)} for n in range(1, 6)}
    row = {"question_id": "q7", "question": "What?", "options": ["A. x", "B. y"], "correct_answer": "B", **frames}
    parquet(named / "data/test-00000-of-00001.parquet", [row])
    (case,) = read("medframeqa", named).cases
    assert (case.id, case.answer, len(case.images)) == ("q7", "y", 5)


def test_a_frame_of_null_bytes_is_no_frame(tmp_path: Path) -> None:
    frames = {f"image_{n}": {"bytes": png(n) if n < 3 else None} for n in range(1, 6)}
    row = {"question": "What?", "options": ["A. x", "B. y"], "correct_answer": "B", **frames}
    parquet(tmp_path / "data/test-00000-of-00001.parquet", [row])
    (case,) = read("medframeqa", tmp_path).cases
    assert [image.partition("#")[2] for image in case.images] == ["image_1/0", "image_2/0"]
    assert case.groups["frames"] == "2"


def test_chestagentbench_keeps_the_stem_whole_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    MINIATURES["chestagentbench"](tmp_path)
    table = tmp_path / "metadata.jsonl"
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    rows[0]["question"] = "Is it in the left lung? A) left B) right"
    rows[1]["images"] = []
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read("chestagentbench", tmp_path)
    (case,) = found.cases
    assert (case.question, case.options) == ("Is it in the left lung?", ("left", "right"))
    assert any("1 questions without a picture" in warning for warning in found.warnings)


def test_a_picture_that_a_zip_lacks_is_missing_before_the_run(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.writestr("images/a.png", png(1))
    assert exists(tmp_path, "images.zip#images/a.png")
    assert not exists(tmp_path, "images.zip#images/b.png")


def test_ms_cxr_is_read_from_its_json_too(tmp_path: Path) -> None:
    MINIATURES["ms_cxr"](tmp_path)
    of_csv = read("ms_cxr", tmp_path).cases
    table = tmp_path / "MS_CXR_Local_Alignment_v1.1.0.csv"
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    numbers = ("x", "y", "w", "h", "image_width", "image_height")
    rows = [{key: int(value) if key in numbers else value for key, value in row.items()} for row in rows]
    table.with_suffix(".json").write_text(json.dumps(rows))
    table.unlink()
    assert recognise(tmp_path)
    assert read("ms_cxr", tmp_path).cases == of_csv


@pytest.mark.parametrize("part", ["test", "train"])
def test_vindr_reports_ask_for_the_diseases_of_the_whole_image(part: str, tmp_path: Path) -> None:
    MINIATURES["vindr_cxr"](tmp_path)
    other = "Other disease" if part == "test" else "Other diseases"
    rows = [f"a1,R{n},{n},0,1,0" for n in (0, 1)]
    text = "\n".join([f"image_id,rad_id,Pneumonia,Tuberculosis,{other},No finding", *rows]) + "\n"
    (tmp_path / f"annotations/image_labels_{part}.csv").write_text(text)
    case = read_cases(benchmark("vindr_cxr"), tmp_path, f"{part}_report").cases[0]
    asked = [question for question in case.attributes if "/global/" in question.id]
    assert [question.id for question in asked] == ["a1/global/Pneumonia"]
    assert "There is pneumonia." in [phrase.text for phrase in case.reference]


def test_lidc_asks_whether_calcium_is_absent(tmp_path: Path) -> None:
    MINIATURES["lidc_idri"](tmp_path)
    (case,) = read("lidc_idri", tmp_path).cases
    question = next(q for q in case.attributes if q.id.endswith("calcification"))
    right = next(option for option in question.options if option.score == 1)
    assert right.text == "absent"
    assert "no calcification" in right.words


Change = Callable[[Path], None]


def _medmnist(folder: Path) -> None:
    file = folder / "pathmnist_64.npz"
    with np.load(file) as arrays:
        kept = dict(arrays)
    np.savez(file, **{name: value + 90 if "labels" in name else value for name, value in kept.items()})


def _damaged_array(folder: Path) -> None:
    """Bytes of the compressed labels that no inflating makes sense of."""
    file = folder / "pathmnist_64.npz"
    with zipfile.ZipFile(file) as archive:
        start = archive.getinfo("test_labels.npy").header_offset
    content = bytearray(file.read_bytes())
    name, extra = (int.from_bytes(content[start + n : start + n + 2], "little") for n in (26, 28))
    start += 30 + name + extra
    content[start : start + 40] = b"\xff" * 40
    file.write_bytes(content)


def _kvasir(folder: Path) -> None:
    file = folder / "kavsir_bboxes.json"
    content = json.loads(file.read_text())
    for entry in content.values():
        for box in entry["bbox"]:
            box.pop("xmin", None)
    file.write_text(json.dumps(content))


def _asked(**image: object) -> Change:
    """A PathVQA of one question, with this for its picture."""
    return lambda folder: parquet(folder / _PARQUET, [{"question": "Is it?", "answer": "yes", **image}])


def _becomes(name: str, content: bytes) -> Change:
    """A file that holds something else."""

    def change(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return change


def _says(name: str, old: str, new: str) -> Change:
    """A file in which something is written otherwise."""

    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return change


_VINDR, _MS_CXR = "annotations/annotations_test.csv", "MS_CXR_Local_Alignment_v1.1.0.csv"
_LIDC, _PARQUET = "LIDC-IDRI-0001/study/series/069.xml", "data/test-00000-of-00001.parquet"
_JSONL, _TSV = "metadata.jsonl", "medqbench_QA_test.tsv"
CHANGES: dict[str, tuple[str, str, Change, str]] = {
    "a box's number": ("vindr_cxr", "test", _says(_VINDR, "14.0", "wide"), _VINDR),
    "a report's box": ("vindr_cxr", "test_report", _says(_VINDR, "14.0", "wide"), _VINDR),
    "an inverted box": ("vindr_cxr", "test", _says(_VINDR, "44.0", "4.0"), _VINDR),
    "a side's number": ("ms_cxr", "test", _says(_MS_CXR, "28,48,", "wide,48,"), _MS_CXR),
    "a negative side": ("ms_cxr", "test", _says(_MS_CXR, "60,60,", "-60,60,"), _MS_CXR),
    "an image of no width": ("ms_cxr", "test", _says(_MS_CXR, "192,192", "0,192"), _MS_CXR),
    "a label out of range": ("medmnist", "test", _medmnist, "pathmnist_64.npz"),
    "a damaged array": ("medmnist", "test", _damaged_array, "pathmnist_64.npz"),
    "a box without a side": ("kvasir_seg", "all", _kvasir, "kavsir_bboxes.json"),
    "an edge between pixels": ("lidc_idri", "all", _says(_LIDC, "<xCoord>43<", "<xCoord>43.5<"), _LIDC),
    "a broken parquet": ("pathvqa", "test", _becomes(_PARQUET, b"PAR1 and nothing else"), _PARQUET),
    "a parquet without pictures": ("pathvqa", "test", _asked(), _PARQUET),
    "a picture that is null": ("pathvqa", "test", _asked(image={"bytes": None, "path": "a.png"}), _PARQUET),
    "JSON lines that are no text": ("chestagentbench", "test", _becomes(_JSONL, b"\xff\x00"), _JSONL),
    "a TSV that is no text": ("medq_bench", "test", _becomes(_TSV, b"\xff\tx\n"), _TSV),
    "JSON too deep": ("slake", "test", _becomes("test.json", b"[" * 200_000), "test.json"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "split", "change", "file"), CHANGES.values(), ids=CHANGES)
def test_what_is_not_as_released_is_one_typed_line_and_stops_no_listing(
    name: str, split: str, change: Change, file: str, tmp_path: Path
) -> None:
    MINIATURES[name](tmp_path)
    change(tmp_path)
    with pytest.raises(InputRejected) as met:
        read_cases(benchmark(name), tmp_path, split)
    assert met.value.code == "changed-file"
    assert met.value.reason.startswith(file)
    assert "\n" not in met.value.reason
    recognise(tmp_path)


def test_the_cause_of_a_changed_file_is_kept_for_whoever_mends_a_reader(tmp_path: Path) -> None:
    MINIATURES["vindr_cxr"](tmp_path)
    _says(_VINDR, "14.0", "wide")(tmp_path)
    with pytest.raises(InputRejected) as met:
        read("vindr_cxr", tmp_path)
    assert "could not convert string to float: 'wide'" in str(met.value.__cause__)


def test_a_picture_in_a_damaged_archive_is_unreadable_by_its_name(tmp_path: Path) -> None:
    MINIATURES["medmnist"](tmp_path)
    _damaged_array(tmp_path)
    with pytest.raises(InputRejected, match=r"pathmnist_64\.npz#test_labels/0 cannot be read: error"):
        materialise(tmp_path, "pathmnist_64.npz#test_labels/0", tmp_path, "0")
