"""Phantoms as files: read back by the loader they have the values, geometry and truth that they were drawn with."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import PIL.Image
import pydicom
import pytest
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist
from skimage.io import imread
from skimage.measure import find_contours, regionprops

from medloupe.errors import UsageError
from medloupe.evals.phantoms import (
    KINDS,
    Order,
    make_scene,
    read_truth,
    split_of,
    split_seeds,
    write_phantom,
    write_set,
)
from medloupe.prompts import knowledge
from medloupe.tools.imaging import MemoryStore, load_study

SEED = 1_100_003
WITH_LESIONS = 1_100_004


def write(folder: Path, seed: int = SEED, **order: object):
    """(truth, folder) of one phantom."""
    paths = write_phantom(folder, Order(**order), seed)  # type: ignore[arg-type]
    return read_truth(paths[0]), paths[0].parent


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_says_that_it_is_a_phantom_and_is_known_as_one(kind, tmp_path) -> None:
    truth, folder = write(tmp_path / "p", kind=kind)
    file = folder / truth.images[0].file
    if kind in ("ct", "cxr"):
        ds = pydicom.dcmread(file)
        tags = (ds.PatientName, ds.PatientID, ds.StudyDescription, ds.SeriesDescription, ds.ImageComments)
        assert all("PHANTOM" in str(tag) for tag in tags)
        assert file.suffix == ".dcm"
    else:
        with PIL.Image.open(file) as picture:
            assert "PHANTOM" in picture.info["Comment"]
    study = load_study(folder, MemoryStore())
    assert study.phantom
    assert any("phantom" in warning for warning in study.warnings)
    assert "PHANTOM" in truth.label


def test_a_real_image_is_no_phantom_whatever_its_name_says(tmp_path) -> None:
    truth, folder = write(tmp_path / "p", kind="ct")
    file = folder / truth.images[0].file
    ds = pydicom.dcmread(file)
    ds.ImageComments = "phantom limb pain"
    ds.save_as(file)
    assert not load_study(file, MemoryStore()).phantom


def test_ct_values_are_hounsfield_units_of_the_density_that_the_truth_names(tmp_path) -> None:
    store, seen = MemoryStore(), set()
    for seed in range(SEED, SEED + 6):
        truth, folder = write(tmp_path / str(seed), seed=seed, kind="ct")
        study = load_study(folder / truth.images[0].file, store)
        values = store.get(study.images[0].digest)
        assert study.images[0].values == "HU"
        assert values[:20].mean() == pytest.approx(-1000, abs=5)
        scene = make_scene("ct", seed)
        for lesion in truth.images[0].lesions:
            drawn = next(x for x in scene.lesions if x.name == lesion.id)
            whole = drawn.occupancy(scene.whole())
            inside = values[whole[0], whole[1]][whole[2] > 0.98]
            word = lesion.attributes.get("density")
            if word in (None, "part-solid") or inside.size < 30 or drawn.texture:
                continue
            low, high = knowledge("attributes")["attributes"]["density"]["values"][word]["hu"]
            assert low <= inside.mean() <= high
            assert inside.mean() == pytest.approx(lesion.level, abs=12 + 0.02 * abs(lesion.level + 840))
            seen.add(word)
    assert {"solid", "ground-glass", "calcified"} <= seen


def test_a_series_has_its_geometry_and_its_lesions_shrink_from_the_middle(tmp_path) -> None:
    truth, folder = write(tmp_path / "p", seed=WITH_LESIONS, kind="ct", slices=5)
    study = load_study(folder, MemoryStore())
    assert [len(series.images) for series in study.series] == [5]
    heights = [study.images[n].position[2] for n in study.series[0].images]
    assert np.diff(heights) == pytest.approx([1.25] * 4)
    assert study.images[0].spacing.row_mm == pytest.approx(truth.spacing_mm)
    middle = {x.id: x.area_px for x in truth.images[2].lesions}
    for image in truth.images:
        assert all(lesion.area_px <= middle[lesion.id] for lesion in image.lesions)
    assert sum(x.area_px for x in truth.images[0].lesions) < sum(middle.values())


def test_millimetres_and_sides_follow_from_the_file(tmp_path) -> None:
    for kind in ("ct", "cxr"):
        truth, folder = write(tmp_path / kind, kind=kind)
        image = load_study(folder / truth.images[0].file, MemoryStore()).images[0]
        for lesion in truth.images[0].lesions:
            assert lesion.long_axis_mm == pytest.approx(lesion.long_axis_px * image.spacing.row_mm, abs=0.01)
            if lesion.side is not None:
                assert image.patient_side((lesion.box[0] + lesion.box[2]) / 2, image.height / 2) == lesion.side


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_axes_and_areas_are_those_of_the_masks(kind, tmp_path) -> None:
    truth, _ = write(tmp_path / "p", kind=kind)
    for lesion in truth.images[0].lesions:
        props = regionprops(lesion.mask.to_array().astype(np.uint8))[0]
        y0, x0, y1, x1 = props.bbox
        assert lesion.box == (x0, y0, x1, y1)
        assert lesion.area_px == props.area
        outline = np.vstack(find_contours(np.pad(lesion.mask.to_array(), 1).astype(float), 0.5))
        corners = outline[ConvexHull(outline).vertices]
        assert lesion.long_axis_px == pytest.approx(pdist(corners).max(), abs=0.01)
        turns = np.linspace(0, np.pi, 720)
        across = np.ptp(corners @ np.stack([np.cos(turns), np.sin(turns)]), axis=0)
        assert lesion.short_axis_px == pytest.approx(across.min(), abs=0.1)


def test_each_true_statement_has_a_false_twin(tmp_path) -> None:
    truth, _ = write(tmp_path / "p", kind="us")
    statements = truth.images[0].statements
    assert len(statements) > 10
    for right, wrong in zip(statements[::2], statements[1::2], strict=True):
        assert (right.true, wrong.true) == (True, False)
        assert (right.attribute, right.lesion) == (wrong.attribute, wrong.lesion)
        assert right.value != wrong.value
        assert right.text != wrong.text


def test_a_pair_has_grown_shrunk_new_and_gone_lesions(tmp_path) -> None:
    changes: set[str] = set()
    for seed in range(SEED, SEED + 8):
        prior, current = (
            read_truth(p).images[0].lesions
            for p in write_phantom(tmp_path / str(seed), Order(kind="derm", pairs=True), seed)
        )
        before = {x.id: x for x in prior}
        for lesion in current:
            changes.add(lesion.change)
            if lesion.change == "grown":
                assert lesion.long_axis_px > 1.2 * before[lesion.id].long_axis_px
            if lesion.change == "shrunk":
                assert lesion.long_axis_px < 0.75 * before[lesion.id].long_axis_px
            assert (lesion.change == "new") == (lesion.id not in before)
        gone = {x.id for x in prior if x.change == "gone"}
        changes |= {"gone"} if gone else set()
        assert gone == set(before) - {x.id for x in current}
    assert changes == {"same", "grown", "shrunk", "new", "gone"}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path) -> None:
    once, again, other = (
        write(tmp_path / name, seed=seed, kind="ct")[1] / "phantom-000.dcm"
        for name, seed in (("a", SEED), ("b", SEED), ("c", SEED + 1))
    )
    assert once.read_bytes() == again.read_bytes() != other.read_bytes()


@pytest.mark.parametrize("fault", ["noise", "blur", "motion", "text"])
def test_a_fault_changes_the_picture_and_not_the_truth(fault, tmp_path) -> None:
    plain, plain_folder = write(tmp_path / "plain", kind="us")
    spoilt, spoilt_folder = write(tmp_path / "spoilt", kind="us", faults=(fault,))
    assert plain.images == spoilt.images
    assert spoilt.faults == (fault,)
    a, b = (imread(f / "phantom-000.png").astype(float) for f in (plain_folder, spoilt_folder))
    assert np.abs(a - b).mean() > 0.2


def test_no_seed_is_in_two_splits() -> None:
    ranges = [split_seeds(name) for name in ("train", "val", "test")]
    assert all(a.stop <= b.start for a, b in pairwise(ranges))
    assert [split_of(r[0]) for r in ranges] == [split_of(r[-1]) for r in ranges] == ["train", "val", "test"]
    with pytest.raises(UsageError, match="belongs to no split"):
        split_of(-1)


def test_a_folder_that_holds_anything_is_left_alone(tmp_path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match="not empty"):
        write_set(tmp_path, Order(kind="ct"), count=1, seed=SEED)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(("kind", "seconds"), [("ct", 0.1), ("cxr", 1.0)])
def test_a_picture_is_drawn_quickly(kind, seconds) -> None:
    def once(seed: int) -> float:
        begin = time.process_time()
        scene = make_scene(kind, seed)
        scene.render(scene.whole(), np.random.default_rng(0))
        return time.process_time() - begin

    assert min(once(seed) for seed in range(SEED, SEED + 4)) < seconds
