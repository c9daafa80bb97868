"""SEG, RTSTRUCT and SR beside images are regions and text in the standards' own words, never images."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medloupe.tools.imaging import MemoryStore, load_study

Ct = Callable[..., Dataset]
Save = Callable[..., Path]


@pytest.mark.filterwarnings("ignore")
def test_a_segmentation_lies_on_the_slices_that_highdicom_says(
    shared_data: Path, store: MemoryStore, tmp_path: Path
) -> None:
    import highdicom

    folder = shared_data / "dicom" / "valid" / "dcmqi" / "segmentations"
    for path in [*(folder / "ct-3slice").iterdir(), folder / "liver.dcm"]:
        shutil.copy(path, tmp_path)
    study = load_study(tmp_path, store)
    assert len(study.images) == 2
    assert {(a.kind, a.source, a.label) for a in study.annotations} == {("region", "SEG", "Liver structure")}
    seg = highdicom.seg.segread(tmp_path / "liver.dcm")
    for annotation in study.annotations:
        image = study.images[annotation.image or 0]
        assert annotation.mask is not None
        theirs = seg.get_pixels_by_source_instance(
            [image.sop_instance_uid], combine_segments=True, ignore_spatial_locations=True
        )[0]
        assert np.array_equal(annotation.mask.to_array(), theirs > 0)


def test_a_structures_contour_is_drawn_where_its_millimetres_say(ct: Ct, save: Save, store: MemoryStore) -> None:
    image = ct(np.zeros((40, 40), np.uint16), PixelSpacing=[0.5, 0.5])
    save(image, "s/a.dcm")
    contour, roi, rt = Dataset(), Dataset(), ct(Modality="RTSTRUCT")
    contour.ContourGeometricType = "CLOSED_PLANAR"
    contour.ContourData = [11.75, 21.75, 30, 16.75, 21.75, 30, 16.75, 26.75, 30, 11.75, 26.75, 30]  # 5 mm square
    roi.ContourSequence, roi.ReferencedROINumber = Sequence([contour]), 1
    rt.ROIContourSequence = Sequence([roi])
    del rt.PixelData
    save(rt, "s/rt.dcm")
    (annotation,) = load_study(save(rt, "s/rt.dcm").parent, store).annotations
    assert (annotation.source, annotation.label, annotation.image) == ("RTSTRUCT", "structure 1", 0)
    assert annotation.mask is not None
    rows, columns = np.nonzero(annotation.mask.to_array())
    assert (rows.min(), columns.min()) in {(3, 3), (4, 4)}
    assert annotation.mask.area == pytest.approx(100, abs=25)


def test_a_report_gives_numbers_and_keeps_its_free_text(shared_data: Path, store: MemoryStore, tmp_path: Path) -> None:
    shutil.copy(shared_data / "dicom" / "valid_without_pixels" / "dcmqi" / "sr-example" / "sr.dcm", tmp_path)
    shutil.copy(shared_data / "dicom" / "valid" / "pydicom" / "CT_small.dcm", tmp_path)
    study = load_study(tmp_path, store)
    said = [(a.label, a.text) for a in study.annotations]
    assert any(label == "Volume" and text.startswith("33.5824 ml") for label, text in said)
    assert not any("primary tumor" in text for _, text in said)
    assert any("Free text of a structured report is left out" in w for w in study.warnings)
