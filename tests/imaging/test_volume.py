"""A series as a volume: what lies at a point in millimetres is the same in every plane."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medloupe.errors import ActionRejected
from medloupe.tools.imaging import MemoryStore, load_study
from medloupe.tools.imaging.volume import Plane, Volume, with_reformats


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_reformat_shows_each_voxel_where_it_lies(shared_data: Path, store: MemoryStore, plane: Plane) -> None:
    import highdicom

    study = load_study(shared_data / "mri_t1_dicom_studyforrest" / "stack_0150", store)
    volume = Volume.of(study, 0, store)
    values, image = volume.reformat(plane, volume.count(plane) // 2)
    assert image.position and image.orientation and image.spacing
    to_mm = highdicom.spatial.PixelToReferenceTransformer(
        image.position, image.orientation, (image.spacing.row_mm, image.spacing.column_mm)
    )
    back = np.linalg.inv(volume.affine)
    compared = 0
    for row in range(image.height):
        for column in range(0, image.width, 9):
            mm = to_mm(np.array([[column, row]]))[0]
            ours = np.array(image.image_to_patient()) @ [column + 0.5, row + 0.5, 1]
            assert np.abs(mm - ours).max() < 0.01
            voxel = (back @ [*mm, 1])[:3]
            whole = np.rint(voxel).astype(int)
            if np.abs(voxel - whole).max() < 1e-4:
                compared += 1
                assert values[row, column] == volume.values[whole[2], whole[1], whole[0]]
    assert compared > 20


def test_reformats_are_series_of_the_study(shared_data: Path, store: MemoryStore) -> None:
    study = load_study(shared_data / "ct_mr_totalsegmentator" / "ct_series", store)
    more = with_reformats(study, 0, store, planes=("coronal", "sagittal"), every=128)
    assert [s.plane for s in more.series] == ["acquired", "coronal", "sagittal"]
    coronal = more.images[more.series[1].images[2]]
    assert (coronal.width, coronal.height, coronal.values) == (512, 39, "HU")  # 19 steps of 2 mm, in 0.977 mm
    assert coronal.patient_orientation == ("L", "F")
    assert more.images[more.series[2].images[0]].patient_orientation == ("P", "F")
    assert store.get(coronal.digest).shape == (39, 512)


def test_a_single_slice_is_no_volume(shared_data: Path, store: MemoryStore) -> None:
    study = load_study(shared_data / "dicom" / "valid" / "pydicom" / "CT_small.dcm", store)
    with pytest.raises(ActionRejected, match="no volume"):
        Volume.of(study, 0, store)
