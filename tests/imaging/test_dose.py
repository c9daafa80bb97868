"""A radiotherapy dose grid is a volume of gray, each frame where its offset says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from medloupe.errors import InputRejected
from medloupe.tools.imaging import MemoryStore, load_study
from medloupe.tools.imaging.volume import Volume
from medloupe.tools.measure import measure_region

Ct = Callable[..., Dataset]
Save = Callable[..., Path]


@pytest.fixture
def grid(ct: Ct) -> Callable[..., Dataset]:
    """Three frames of 6 x 8, frame n full of 1000 n, in steps of 0.001 Gy."""

    def make(**tags: object) -> Dataset:
        pixels = np.repeat(np.arange(3, dtype=np.uint32) * 1000, 48).reshape(3, 6, 8)
        own = {
            "Modality": "RTDOSE", "NumberOfFrames": 3, "RescaleSlope": None, "RescaleIntercept": None,
            "GridFrameOffsetVector": [0, 2.5, 5], "DoseGridScaling": "0.001", "DoseUnits": "GY",
        }  # fmt: skip
        return ct(pixels, **{**own, **tags})

    return make


def test_values_are_gray_and_measured_so(grid: Callable[..., Dataset], save: Save, store: MemoryStore) -> None:
    study = load_study(save(grid()), store)
    assert study.warnings == ()
    assert [(i.modality, i.values) for i in study.images] == [("RTDOSE", "Gy")] * 3
    assert [float(store.get(i.digest).mean()) for i in study.images] == [0, 1, 2]
    image = study.images[2]
    found = measure_region(store.get(image.digest), image, np.ones((6, 8), bool), region_id="R1", segmenter="given")
    mean = found.get("mean")
    assert mean is not None
    assert (mean.value, mean.unit) == (2, "Gy")


@pytest.mark.parametrize(
    ("tags", "positions"),
    [
        ({}, [(10, 20, 30), (10, 20, 32.5), (10, 20, 35)]),
        ({"GridFrameOffsetVector": [30, 32.5, 35]}, [(10, 20, 30), (10, 20, 32.5), (10, 20, 35)]),
        ({"GridFrameOffsetVector": [0, -2.5, -5]}, [(10, 20, 25), (10, 20, 27.5), (10, 20, 30)]),
        ({"ImageOrientationPatient": [-1, 0, 0, 0, 1, 0]}, [(10, 20, 30), (10, 20, 27.5), (10, 20, 25)]),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, [(10, 20, 30), (7.5, 20, 30), (5, 20, 30)]),
    ],
    ids=["offsets", "z coordinates", "downwards", "turned", "sagittal"],
)
def test_each_frame_lies_at_its_offset(
    grid: Callable[..., Dataset],
    save: Save,
    store: MemoryStore,
    tags: dict[str, object],
    positions: list[tuple[float, float, float]],
) -> None:
    study = load_study(save(grid(**tags)), store)
    assert [i.position for i in study.images] == positions
    assert Volume.of(study, 0, store).values.shape == (3, 6, 8)


@pytest.mark.parametrize("offsets", [[0, 2.5], [7, 9.5, 12]])
def test_offsets_that_do_not_fit_leave_no_position(
    grid: Callable[..., Dataset], save: Save, store: MemoryStore, offsets: list[float]
) -> None:
    study = load_study(save(grid(GridFrameOffsetVector=offsets)), store)
    assert study.images[2].position is None
    assert any("GridFrameOffsetVector does not fit" in warning for warning in study.warnings)


@pytest.mark.parametrize("scaling", [None, 0])
def test_a_dose_without_a_scale_is_refused(
    grid: Callable[..., Dataset], save: Save, store: MemoryStore, scaling: int | None
) -> None:
    ds = grid(DoseGridScaling=0)
    if scaling is None:
        del ds.DoseGridScaling
    with pytest.raises(InputRejected, match="DoseGridScaling is missing") as caught:
        load_study(save(ds), store)
    assert caught.value.code == "bad-header"


def test_a_relative_dose_is_not_in_gray(grid: Callable[..., Dataset], save: Save, store: MemoryStore) -> None:
    study = load_study(save(grid(DoseUnits="RELATIVE")), store)
    assert study.images[0].values == "stored"
    assert any("relative" in warning for warning in study.warnings)


def test_a_real_dose_grid(real: Callable[[str], Path], store: MemoryStore) -> None:
    study, ds = load_study(real("rtdose.dcm"), store), pydicom.dcmread(real("rtdose.dcm"))
    values = np.stack([store.get(image.digest) for image in study.images])
    assert values == pytest.approx(ds.pixel_array * 1e-6, rel=1e-6)
    assert [image.position[2] for image in study.images if image.position] == pytest.approx(-761.87 + 5 * np.arange(15))
    assert study.images[0].values == "stored", "its units are relative"
