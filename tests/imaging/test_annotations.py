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
    assert (rows.min(), columns.min(), rows.max(), columns.max()) == (4, 4, 13, 13)
    assert annotation.mask.area == 100


@pytest.mark.parametrize("oblique", [False, True])
def test_a_contour_encloses_the_pixels_whose_centres_lie_in_it(
    ct: Ct, save: Save, store: MemoryStore, oblique: bool
) -> None:
    """A circle of 7.3 mm and a hole of 2.9 mm in it, drawn in the plane of an image with pixels of 0.5 x 0.8 mm."""
    along, down = ((0.8, 0.6, 0.0), (-0.36, 0.48, 0.8)) if oblique else ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    position, spacing = np.array([10.0, 20.0, 30.0]), (0.8, 0.5)
    image = ct(np.zeros((50, 60), np.uint16), PixelSpacing=list(spacing), ImageOrientationPatient=[*along, *down])
    save(image, "s/a.dcm")
    centre = position + 15.13 * np.array(along) + 18.21 * np.array(down)
    contours, angles = [], np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    for radius in (7.3, 2.9):
        points = centre + radius * (np.outer(np.cos(angles), along) + np.outer(np.sin(angles), down))
        contour = Dataset()
        contour.ContourGeometricType, contour.ContourData = "CLOSED_PLANAR", [f"{v:.6f}" for v in points.ravel()]
        contours.append(contour)
    roi, rt = Dataset(), ct(Modality="RTSTRUCT")
    roi.ContourSequence, roi.ReferencedROINumber = Sequence(contours), 1
    rt.ROIContourSequence = Sequence([roi])
    del rt.PixelData
    (annotation,) = load_study(save(rt, "s/rt.dcm").parent, store).annotations
    rows, columns = np.mgrid[:50, :60]
    away = np.hypot(columns * spacing[1] - 15.13, rows * spacing[0] - 18.21)
    assert annotation.mask is not None
    assert np.array_equal(annotation.mask.to_array(), (away < 7.3) & (away > 2.9))


def test_a_contour_is_placed_as_highdicom_places_it(ct: Ct, save: Save, store: MemoryStore) -> None:
    """Against highdicom's millimetres to pixels and scikit-image's point in polygon."""
    from highdicom.spatial import ReferenceToPixelTransformer
    from skimage.measure import points_in_poly

    orientation, position, spacing = [0.8, 0.6, 0, -0.36, 0.48, 0.8], [10, 20, 30], [0.8, 0.5]
    pixels = np.zeros((50, 60), np.uint16)
    save(ct(pixels, PixelSpacing=spacing, ImageOrientationPatient=orientation), "s/a.dcm")
    along, down = np.array(orientation[:3]), np.array(orientation[3:])
    corners = [(5.1, 6.3), (25.7, 8.8), (14.2, 30.9), (13.3, 12.1)]
    millimetres = np.array([position + x * along + y * down for x, y in corners])
    contour, roi, rt = Dataset(), Dataset(), ct(Modality="RTSTRUCT")
    contour.ContourGeometricType, contour.ContourData = "CLOSED_PLANAR", [f"{v:.6f}" for v in millimetres.ravel()]
    roi.ContourSequence, roi.ReferencedROINumber = Sequence([contour]), 1
    rt.ROIContourSequence = Sequence([roi])
    del rt.PixelData
    (annotation,) = load_study(save(rt, "s/rt.dcm").parent, store).annotations
    place = ReferenceToPixelTransformer(position, orientation, spacing, round_output=False)(millimetres)
    rows, columns = np.mgrid[:50, :60]
    theirs = points_in_poly(np.stack([columns.ravel(), rows.ravel()], axis=1), place[:, :2]).reshape(50, 60)
    assert annotation.mask is not None
    assert np.array_equal(annotation.mask.to_array(), theirs)


def test_a_report_gives_numbers_and_keeps_its_free_text(shared_data: Path, store: MemoryStore, tmp_path: Path) -> None:
    shutil.copy(shared_data / "dicom" / "valid_without_pixels" / "dcmqi" / "sr-example" / "sr.dcm", tmp_path)
    shutil.copy(shared_data / "dicom" / "valid" / "pydicom" / "CT_small.dcm", tmp_path)
    study = load_study(tmp_path, store)
    said = [(a.label, a.text) for a in study.annotations]
    assert any(label == "Volume" and text.startswith("33.5824 ml") for label, text in said)
    assert not any("primary tumor" in text for _, text in said)
    assert any("Free text of a structured report is left out" in w for w in study.warnings)
