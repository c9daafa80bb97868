"""A folder is one study: series in spatial order, whatever its files are called."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from medloupe.errors import InputRejected
from medloupe.tools.imaging import MemoryStore, load_study

Ct = Callable[..., Dataset]
Save = Callable[..., Path]


def slices(ct: Ct, save: Save, heights: list[float], folder: str = "series", **tags: object) -> Path:
    """One file a height, named against their order, each with its height in its pixels."""
    path = Path()
    for n, z in enumerate(heights):
        pixels = np.full((6, 8), int(z * 10), np.uint16)
        ds = ct(pixels, ImagePositionPatient=[0, 0, z], InstanceNumber=100 - n, RescaleIntercept=0, **tags)
        path = save(ds, f"{folder}/{len(heights) - n:03d}.dcm")
    return path.parent


def heights_of(study_images: object, store: MemoryStore) -> list[float]:
    return [float(store.get(i.digest)[0, 0]) / 10 for i in study_images]  # type: ignore[attr-defined]


def test_slices_are_sorted_by_position_and_not_by_name(ct: Ct, save: Save, store: MemoryStore) -> None:
    folder = slices(ct, save, [4, 1, 3, 0, 2])
    study = load_study(folder, store)
    assert heights_of(study.images, store) == [0, 1, 2, 3, 4]
    assert [i.index for i in study.images] == [0, 1, 2, 3, 4]
    assert len(study.series) == 1
    assert study.series[0].images == (0, 1, 2, 3, 4)
    assert study.warnings == (
        "Series 0: The slices' numbers do not follow their positions: they are sorted by position.",
    )


def test_without_geometry_instance_numbers_decide(ct: Ct, save: Save, store: MemoryStore) -> None:
    folder = slices(ct, save, [4, 1, 3], ImageOrientationPatient=None)
    assert heights_of(load_study(folder, store).images, store) == [3, 1, 4]


@pytest.mark.parametrize(
    ("heights", "words"),
    [([0, 1, 2, 5, 6], "2 slice(s) seem to be missing"), ([0, 1, 1, 2, 3], "1 slice position(s) are held")],
)
def test_missing_and_doubled_slices_are_told(
    ct: Ct, save: Save, store: MemoryStore, heights: list[float], words: str
) -> None:
    study = load_study(slices(ct, save, heights), store)
    assert len(study.images) == 5
    assert any(words in w for w in study.warnings)


def test_series_are_told_apart_by_their_uid_and_may_mix_sizes(ct: Ct, save: Save, store: MemoryStore) -> None:
    folder = slices(ct, save, [0, 1], SeriesInstanceUID="1.2.9", SeriesNumber=2)
    save(ct(np.zeros((4, 4), np.uint16), SeriesInstanceUID="1.2.8", SeriesNumber=1), f"{folder.name}/zz.dcm")
    save(ct(np.zeros((2, 2), np.uint16), SeriesInstanceUID="1.2.8", SeriesNumber=1), f"{folder.name}/sub/aa.dcm")
    study = load_study(folder, store)
    assert [s.uid for s in study.series] == ["1.2.8", "1.2.9"]
    assert [s.images for s in study.series] == [(0, 1), (2, 3)]
    assert {(i.width, i.series) for i in study.images} == {(4, 0), (2, 0), (8, 1)}


def test_the_same_files_are_the_same_study_under_any_names(ct: Ct, save: Save, store: MemoryStore) -> None:
    folder = slices(ct, save, [0, 1, 2])
    first = load_study(folder, store)
    files = sorted(folder.iterdir())
    for n, path in enumerate([files[2], files[0], files[1]]):
        path.rename(folder / f"renamed{n}")
    again = load_study(folder, store)
    assert again == first
    assert load_study(folder, store, modality="MR").id != first.id
    assert store.get_study(first.id) == first


def test_what_is_no_image_is_left_out_and_counted(
    ct: Ct, save: Save, store: MemoryStore, real: Callable[[str], Path]
) -> None:
    folder = slices(ct, save, [0, 1, 2, 3])
    (folder / "notes.txt").write_text("not an image")
    (folder / "empty").touch()
    whole = (folder / "001.dcm").read_bytes()
    (folder / "cut.dcm").write_bytes(whole[:-20])
    assert load_study(folder, store).warnings == ("1 of 5 files left out: truncated.",)
    shutil.copy(real("rtstruct.dcm"), folder / "structures")
    shutil.copy(real("test-SR.dcm"), folder / "report")
    study = load_study(folder, store)
    assert len(study.images) == 4
    assert study.warnings[0] == "2 of 7 files left out: 1 not-an-image, 1 truncated."


def test_a_folder_without_an_image_is_refused(tmp_path: Path, store: MemoryStore, real: Callable[[str], Path]) -> None:
    (tmp_path / "readme.txt").write_text("nothing here")
    with pytest.raises(InputRejected, match=r"no-image") as rejected:
        load_study(tmp_path, store)
    assert rejected.value.code == "no-image"
    shutil.copy(real("test-SR.dcm"), tmp_path)
    with pytest.raises(InputRejected, match=r"1 of 1 files left out: not-an-image"):
        load_study(tmp_path, store)


def test_links_that_lead_out_of_the_folder_are_not_followed(ct: Ct, save: Save, store: MemoryStore) -> None:
    outside = save(ct(), "outside.dcm")
    folder = slices(ct, save, [0])
    (folder / "link.dcm").symlink_to(outside)
    (folder / "inner.dcm").symlink_to(folder / "001.dcm")
    assert len(load_study(folder, store).images) == 2


def test_images_of_two_studies_are_told(ct: Ct, save: Save, store: MemoryStore) -> None:
    folder = slices(ct, save, [0])
    save(ct(StudyInstanceUID=generate_uid(), SeriesInstanceUID=generate_uid()), "series/other.dcm")
    assert any("more than one study" in w for w in load_study(folder, store).warnings)


def test_a_real_ct_series_lies_two_millimetres_apart(shared_data: Path, store: MemoryStore) -> None:
    study = load_study(shared_data / "ct_mr_totalsegmentator" / "ct_series", store)
    assert len(study.series) == 1
    assert [i.values for i in study.images] == ["HU"] * 20
    heights = [i.position[2] for i in study.images if i.position]
    assert np.diff(heights) == pytest.approx([2.0] * 19)
    assert study.images[0].window is not None
    assert (study.images[0].window.centre, study.images[0].window.width) == (40, 300)
    assert {(a.source, a.label) for a in study.annotations} >= {("label map", "label 5"), ("label map", "label 20")}
    assert "The volume says nothing" in study.warnings[0]
    assert len(study.warnings) == 1


def test_a_real_mr_stack_is_oblique_and_its_impossible_orientation_tag_is_not_believed(
    shared_data: Path, store: MemoryStore
) -> None:
    study = load_study(shared_data / "mri_t1_dicom_studyforrest" / "stack_0150", store)
    assert [i.sop_instance_uid is not None for i in study.images] == [True] * 24
    assert {i.patient_orientation for i in study.images} == {("L", "P")}
    assert study.warnings == ("PatientOrientation makes no sense and is not used. (24 files)",)
