"""What `medloupe phantom` draws is a benchmark: its questions follow from truth.json."""

from __future__ import annotations

from pathlib import Path

from medloupe.evals.phantoms import Order, read_truth, write_set
from medloupe.evals.tasks.catalogue import benchmark, recognise
from medloupe.evals.tasks.drawn import write_phantom_cases
from medloupe.evals.tasks.release import read_cases


def test_a_drawn_set_is_read_as_the_benchmark_with_the_answers_of_its_truth(tmp_path: Path) -> None:
    truths = write_set(tmp_path / "set", Order(kind="ct"), count=2, seed=1_100_000)
    (written,) = write_phantom_cases(tmp_path / "set", truths)
    assert written.name == "cases_test.jsonl"
    assert [(found.name, split) for found, split in recognise(tmp_path / "set")] == [("phantoms", "test")]
    cases = read_cases(benchmark("phantoms"), tmp_path / "set", "test").cases
    assert {case.cluster for case in cases} == {"ct-1100000", "ct-1100001"}
    for path in truths:
        (image,) = read_truth(path).images
        mine = {c.id.rpartition("/")[2]: c for c in cases if c.cluster == path.parent.name}
        assert mine["nodule"].answer == ("yes" if image.lesions else "no")
        if not image.lesions:
            assert "where" not in mine
            continue
        assert [box.as_tuple() for box in mine["where"].boxes] == [lesion.box for lesion in image.lesions]
        largest = max(image.lesions, key=lambda lesion: lesion.area_px)
        asked = {name: case for name, case in mine.items() if case.kind == "option"}
        assert {name: case.answer for name, case in asked.items()} == (
            largest.attributes | {"site": largest.site} | ({"side": largest.side} if largest.side else {})
        )
        assert all(case.answer in case.options and len(set(case.options)) == 2 for case in asked.values())


def test_the_seeds_say_the_split_and_both_times_of_a_pair_are_one_cluster(tmp_path: Path) -> None:
    truths = write_set(tmp_path / "set", Order(kind="us", pairs=True), count=2, seed=999_999)
    written = write_phantom_cases(tmp_path / "set", truths)
    assert sorted(path.name for path in written) == ["cases_train.jsonl", "cases_validation.jsonl"]
    cases = read_cases(benchmark("phantoms"), tmp_path / "set", "train").cases
    assert {case.cluster for case in cases} == {"us-0999999"}
    assert {case.images[0].split("/")[1] for case in cases} == {"prior", "current"}


def test_of_a_series_the_middle_slice_is_asked_about(tmp_path: Path) -> None:
    truths = write_set(tmp_path / "set", Order(kind="ct", slices=3), count=1, seed=1_100_000)
    write_phantom_cases(tmp_path / "set", truths)
    cases = read_cases(benchmark("phantoms"), tmp_path / "set", "test").cases
    assert {case.images for case in cases} == {("ct-1100000/phantom-001.dcm",)}
