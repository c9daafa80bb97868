"""Every benchmark's reader, on a miniature in the release's exact layout; its traps; what is missing is named."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from miniatures import CASES, MINIATURES

from medloupe.errors import InputRejected
from medloupe.evals.tasks.case import Case
from medloupe.evals.tasks.catalogue import BENCHMARKS, benchmark, recognise
from medloupe.evals.tasks.images import materialise, read_mask
from medloupe.evals.tasks.release import Cases, read_cases
from medloupe.tools.imaging import MemoryStore, load_study
from medloupe.types import BoundingBox


def read(name: str, folder: Path, split: str = "") -> Cases:
    MINIATURES[name](folder)
    return read_cases(benchmark(name), folder, split or benchmark(name).splits[0])


def test_every_benchmark_of_the_catalogue_has_a_miniature() -> None:
    assert list(MINIATURES) == list(BENCHMARKS) == list(CASES)


@pytest.mark.parametrize("name", MINIATURES)
def test_a_miniature_is_read_whole_and_its_pictures_open(name: str, tmp_path: Path) -> None:
    folder, scratch = tmp_path / "release", tmp_path / "scratch"
    scratch.mkdir()
    found = read(name, folder)
    assert len(found.cases) == CASES[name]
    assert (found.hashes and all(len(digest) == 64 for digest in found.hashes.values())) or name == "busi"
    for case in found.cases[:2]:
        for number, image in enumerate(case.images):
            file = materialise(folder, image, scratch, str(number))
            study = load_study(file, MemoryStore(), modality=None)
            width, height = study.images[0].width, study.images[0].height
        for box in case.boxes:
            assert box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height
        if case.masks:
            assert read_mask(folder, case.masks, scratch).shape == (height, width)


@pytest.mark.parametrize("name", MINIATURES)
def test_a_folder_is_recognised(name: str, tmp_path: Path) -> None:
    MINIATURES[name](tmp_path / "release")
    assert name in {found.name for found, _ in recognise(tmp_path / "release")}


def test_an_unrelated_folder_is_none_of_them(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    assert recognise(tmp_path) == []


def test_the_same_split_has_the_same_digest_and_a_changed_one_another(tmp_path: Path) -> None:
    first, again = read("vqa_rad", tmp_path / "a"), read("vqa_rad", tmp_path / "b")
    assert first.digest == again.digest
    rows = json.loads((tmp_path / "b" / "VQA_RAD Dataset Public.json").read_text())
    rows[0]["answer"] = "No"
    (tmp_path / "b" / "VQA_RAD Dataset Public.json").write_text(json.dumps(rows))
    changed = read_cases(benchmark("vqa_rad"), tmp_path / "b", "test")
    assert changed.digest != first.digest
    assert changed.hashes != first.hashes


# --- what is missing or changed is named ----------------------------------------------------------------------------


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    MINIATURES["vindr_cxr"](tmp_path)
    (tmp_path / "annotations" / "annotations_test.csv").unlink()
    with pytest.raises(InputRejected, match=r"annotations/annotations_test\.csv is missing"):
        read_cases(benchmark("vindr_cxr"), tmp_path, "test")


def test_a_changed_table_is_named_with_what_it_lacks(tmp_path: Path) -> None:
    MINIATURES["vindr_cxr"](tmp_path)
    table = tmp_path / "annotations" / "annotations_test.csv"
    table.write_text(table.read_text().replace("x_min", "left"))
    with pytest.raises(InputRejected, match=r"annotations_test\.csv has no x_min; it has image_id, class_name, left"):
        read_cases(benchmark("vindr_cxr"), tmp_path, "test")


def test_missing_images_are_named_and_can_be_left_out(tmp_path: Path) -> None:
    MINIATURES["vqa_rad"](tmp_path)
    (tmp_path / "VQA_RAD Image Folder" / "synpic1.jpg").unlink()
    with pytest.raises(InputRejected, match=r"1 images are missing, such as VQA_RAD Image Folder/synpic1\.jpg"):
        read_cases(benchmark("vqa_rad"), tmp_path, "test")
    found = read_cases(benchmark("vqa_rad"), tmp_path, "test", allow_missing=True)
    assert [case.id for case in found.cases] == ["4"]
    assert found.warnings[0].endswith("2 cases are left out")


def test_another_number_of_cases_than_released_is_warned_of(tmp_path: Path) -> None:
    assert read("vqa_rad", tmp_path).warnings == ("the split test was released with 451 cases, and here are 3",)


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    MINIATURES["gmai_mmbench"](tmp_path)
    with pytest.raises(InputRejected, match="has the splits val"):
        read_cases(benchmark("gmai_mmbench"), tmp_path, "dev")


def test_an_array_that_needs_unpickling_is_refused(tmp_path: Path) -> None:
    objects = np.array([{"a": 1}], dtype=object)
    np.savez(tmp_path / "pneumoniamnist.npz", test_images=objects, test_labels=objects)
    with pytest.raises(InputRejected, match="not unpickled"):
        read_cases(benchmark("medmnist"), tmp_path, "test")


# --- traps ----------------------------------------------------------------------------------------------------------


def only(found: Cases, identity: str) -> Case:
    return next(case for case in found.cases if case.id == identity)


def test_vindr_leaves_no_finding_out_and_counts_readers_of_the_training_set(tmp_path: Path) -> None:
    found = read("vindr_cxr", tmp_path)
    assert {case.cluster for case in found.cases} == {"a1", "b2"}
    case = found.cases[0]
    assert [q.kind for q in case.attributes] == ["recognition", "negative", "negative"]
    assert {o.text for o in case.attributes[0].options if o.score == 1} == {"Nodule/Mass"}
    train = read_cases(benchmark("vindr_cxr"), tmp_path, "train")
    assert train.cases[0].attributes[0].votes == {"Calcification": 1, "Nodule/Mass": 2}
    assert not found.cases[0].attributes[0].votes  # the test set is a consensus


def test_vindr_reports_ask_for_every_finding_of_an_image_in_its_place(tmp_path: Path) -> None:
    first, second, normal = read("vindr_cxr", tmp_path, "test_report").cases
    assert first.region is None and [phrase.text for phrase in first.reference] == ["There is nodule/mass."]
    assert [len(phrase.boxes) for phrase in second.reference] == [1, 1]
    assert [phrase.text for phrase in normal.reference] == ["There is no finding."]
    assert [q.kind for q in normal.attributes] == ["negative", "negative"]


def test_vindr_rows_without_numbers_are_no_regions_and_pngs_in_a_flat_folder_are_found(tmp_path: Path) -> None:
    MINIATURES["vindr_cxr"](tmp_path)
    table = tmp_path / "annotations" / "annotations_test.csv"
    table.write_text(table.read_text().replace("No finding,,,,", "No finding,nan,nan,nan,nan"))
    (tmp_path / "test" / "a1.dicom").rename(tmp_path / "a1.png")
    cases = read_cases(benchmark("vindr_cxr"), tmp_path, "test").cases
    assert [case.images[0] for case in cases] == ["a1.png", "test/b2.dicom", "test/b2.dicom"]


def test_pathvqa_as_pickles_is_not_recognised_for_a_pickle_runs_code(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "test_qa.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert "pathvqa" not in {found.name for found, _ in recognise(tmp_path)}
    with pytest.raises(InputRejected, match=r"test\.parquet is missing"):
        read_cases(benchmark("pathvqa"), tmp_path, "test")


def test_vqa_rad_is_split_by_phrase_type(tmp_path: Path) -> None:
    assert [case.id for case in read("vqa_rad", tmp_path / "a").cases] == ["1", "2", "4"]
    assert [case.id for case in read("vqa_rad", tmp_path / "b", "train").cases] == ["3"]


def test_slake_has_two_languages(tmp_path: Path) -> None:
    assert [case.id for case in read("slake", tmp_path / "a").cases] == ["1", "3"]
    assert [case.id for case in read("slake", tmp_path / "b", "test_zh").cases] == ["2"]


def test_ms_cxr_groups_the_rows_of_a_phrase_and_scales_to_a_resized_copy(tmp_path: Path) -> None:
    (case,) = read("ms_cxr", tmp_path).cases
    assert case.boxes == (BoundingBox(x0=14, y0=24, x1=44, y1=54), BoundingBox(x0=50, y0=50, x1=60, y1=60))


def test_ms_cxr_1_0_has_no_splits(tmp_path: Path) -> None:
    MINIATURES["ms_cxr"](tmp_path)
    table = tmp_path / "MS_CXR_Local_Alignment_v1.1.0.csv"
    text = table.read_text().replace(",split", "").replace(",test", "")
    table.unlink()
    (tmp_path / "MS_CXR_Local_Alignment_v1.0.0.csv").write_text(text)
    with pytest.raises(InputRejected, match="has none, so ask for all"):
        read_cases(benchmark("ms_cxr"), tmp_path, "test")
    assert len(read_cases(benchmark("ms_cxr"), tmp_path, "all").cases) == 1


def test_medsg_strips_stale_prefixes(tmp_path: Path) -> None:
    assert read("medsg_bench", tmp_path).cases[0].images == ("images/a.png", "images/b.png")


def test_chestxray14_reads_split_headers_and_its_own_spelling(tmp_path: Path) -> None:
    first, second = read("chestxray14", tmp_path).cases
    assert first.tags["phrase"] == "infiltration"
    assert first.boxes == (BoundingBox(x0=14.5, y0=24.5, x1=44.5, y1=54.5),)
    assert first.cluster == second.cluster == "1"


def test_chestagentbench_takes_the_options_out_of_the_question(tmp_path: Path) -> None:
    case = read("chestagentbench", tmp_path).cases[0]
    assert case.question == "What stands out?"
    assert case.options == ("A nodule", "An effusion", "A fracture")
    assert case.answer == "A nodule"
    assert case.cluster == "10"


def test_omnimedvqa_answers_by_text_and_either_name_of_the_modality(tmp_path: Path) -> None:
    found = read("omnimedvqa", tmp_path)
    assert [case.groups["modality"] for case in found.cases] == ["X-Ray", "CT"]
    assert found.cases[0].options == ("An effusion", "A nodule", "A fracture")


def test_an_answer_that_is_no_option_is_a_changed_file(tmp_path: Path) -> None:
    MINIATURES["omnimedvqa"](tmp_path)
    file = tmp_path / "QA_information/Open-access/Mini.json"
    file.write_text(file.read_text().replace('"gt_answer": "A nodule"', '"gt_answer": "A cyst"'))
    with pytest.raises(InputRejected, match=r"Mini\.json, Mini_0: the answer is none of the options"):
        read_cases(benchmark("omnimedvqa"), tmp_path, "test")


def test_medframeqa_has_no_null_frames_and_medq_numbers_are_letters(tmp_path: Path) -> None:
    assert len(read("medframeqa", tmp_path / "a").cases[0].images) == 2
    assert [case.answer for case in read("medq_bench", tmp_path / "b").cases] == ["Yes", "Yes"]


def test_busi_joins_several_masks_and_leaves_normal_out(tmp_path: Path) -> None:
    found = read("busi", tmp_path)
    assert [case.groups["diagnosis"] for case in found.cases] == ["benign", "malignant"]
    assert len(found.cases[0].masks) == 2
    assert read_mask(tmp_path, found.cases[0].masks, tmp_path)[85, 85]


def test_a_jpeg_mask_is_thresholded(tmp_path: Path) -> None:
    inside = read_mask(tmp_path, read("kvasir_seg", tmp_path).cases[0].masks, tmp_path)
    assert inside.sum() == pytest.approx(np.pi * (0.15 * 96) ** 2, rel=0.03)


def test_ham10000_clusters_by_lesion(tmp_path: Path) -> None:
    assert [case.cluster for case in read("ham10000", tmp_path).cases] == ["HAM_0", "HAM_0", "HAM_1"]


def test_medmnist_leaves_volumes_out_and_knows_an_image_at_two_sizes(tmp_path: Path) -> None:
    MINIATURES["medmnist"](tmp_path)
    shutil.copyfile(tmp_path / "pathmnist_64.npz", tmp_path / "pathmnist.npz")
    np.savez(tmp_path / "nodulemnist3d.npz", test_images=np.zeros((2, 28, 28, 28), np.uint8), test_labels=[[0], [1]])
    found = read_cases(benchmark("medmnist"), tmp_path, "test")
    assert len(found.cases) == 9, "three sets of three"
    assert len({case.cluster for case in found.cases}) == 6, "of which two show the same images"
    assert any("nodulemnist3d.npz" in warning for warning in found.warnings)


def test_medmnist_c_is_the_test_set_at_five_severities(tmp_path: Path) -> None:
    found = read("medmnist_c", tmp_path)
    assert [case.groups["severity"] for case in found.cases] == [str(n) for n in (1, 1, 2, 2, 3, 3, 4, 4, 5, 5)]
    assert len({case.cluster for case in found.cases}) == 2


def test_lidc_takes_the_pixels_inside_the_edge_and_leaves_small_nodules_out(tmp_path: Path) -> None:
    (case,) = read("lidc_idri", tmp_path).cases
    assert case.region == BoundingBox(x0=14, y0=24, x1=43, y1=53)
    asked = {question.id.rpartition("/")[2] for question in case.attributes}
    assert {"recognition", "lidc_margin", "lidc_texture"} <= asked
    assert not asked & {"lidc_lobulation", "lidc_spiculation"}  # some sites scored them the other way round
    (tmp_path / "LIDC-IDRI-0001/study/series/069.xml").write_text(
        '<!DOCTYPE x [<!ENTITY a "b">]><LidcReadMessage>&a;</LidcReadMessage>'
    )
    with pytest.raises(InputRejected, match="holds what no LIDC reading does"):
        read_cases(benchmark("lidc_idri"), tmp_path, "all")


def test_lidc_counts_the_readers_of_one_nodule(tmp_path: Path) -> None:
    MINIATURES["lidc_idri"](tmp_path)
    file = tmp_path / "LIDC-IDRI-0001/study/series/069.xml"
    one = re.search("<readingSession>.*</readingSession>", file.read_text(), re.DOTALL)
    assert one
    again = one[0].replace("<texture>5<", "<texture>4<").replace("<xCoord>43<", "<xCoord>41<")  # another outline of it
    elsewhere = one[0].replace("<xCoord>13<", "<xCoord>60<").replace("<xCoord>43<", "<xCoord>90<")
    file.write_text(file.read_text().replace(one[0], one[0] + again + elsewhere))
    cases = read_cases(benchmark("lidc_idri"), tmp_path, "all").cases
    assert [case.groups["readers"] for case in cases] == ["2", "2", "1"]
    texture = next(q for q in cases[0].attributes if q.id.endswith("lidc_texture"))
    assert sorted(texture.votes.values()) == [1, 1]
    assert all(not q.votes for q in cases[2].attributes)
    assert "Texture: solid texture." in [phrase.text for phrase in cases[0].reference]


def test_skincon_leaves_images_out_that_it_says_to_leave_out(tmp_path: Path) -> None:
    found = read("skincon", tmp_path)
    assert len(found.cases) == 2
    assert [case.groups["skin tone"] for case in found.cases] == ["1", "2"]
    assert [q.kind for q in found.cases[0].attributes] == ["positive", "positive", "negative", "negative"]


def test_a_release_is_read_where_it_lies(tmp_path: Path) -> None:
    folder = tmp_path / "release"
    MINIATURES["kvasir_seg"](folder)
    before = sorted(p.as_posix() for p in folder.rglob("*"))
    read_cases(benchmark("kvasir_seg"), folder, "all")
    assert sorted(p.as_posix() for p in folder.rglob("*")) == before
    shutil.rmtree(folder)
    with pytest.raises(InputRejected, match="there is no folder"):
        read_cases(benchmark("kvasir_seg"), folder, "all")
