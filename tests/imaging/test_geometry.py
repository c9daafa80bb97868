"""Geometry as it goes wrong in practice: tilted gantries, faulty stacks, echoes, spacings of something else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medloupe.errors import ActionRejected
from medloupe.tools.imaging import MemoryStore, load_study
from medloupe.tools.imaging.stack import tilt_degrees
from medloupe.tools.imaging.volume import Volume, plane_sizes
from medloupe.tools.look import Loupe
from medloupe.types import BoundingBox, Image, Spacing, Study

Ct = Callable[..., Dataset]
Save = Callable[..., Path]
MakeStack = Callable[..., Study]


@pytest.fixture
def stack(ct: Ct, save: Save, store: MemoryStore) -> MakeStack:
    """A series of slices at these positions (mm), the n-th full of 10 n; other tags may be lists, one value a slice."""

    def make(positions: list[tuple[float, float, float]], **tags: object) -> Study:
        path = Path()
        for n, position in enumerate(positions):
            own = {name: value[n] if isinstance(value, tuple) else value for name, value in tags.items()}
            own = {"InstanceNumber": n + 1, "RescaleIntercept": 0, **own}
            ds = ct(np.full((6, 8), 10 * n, np.uint16), ImagePositionPatient=list(position), **own)
            path = save(ds, f"s/{n:03d}.dcm")
        return load_study(path.parent, store)

    return make


def upright(*heights: float) -> list[tuple[float, float, float]]:
    return [(0.0, 0.0, z) for z in heights]


# --- stacks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [3.0, 12.5, -20.0])
def test_a_tilted_gantry_is_told_by_its_angle_and_not_reformatted(
    stack: MakeStack, store: MemoryStore, degrees: float
) -> None:
    """The table moves along z, the slices are turned about x: they are shifted against each other."""
    angle = np.radians(degrees)
    turned = [1, 0, 0, 0, float(np.cos(angle)), float(np.sin(angle))]
    study = stack(upright(0, 2, 4, 6), ImageOrientationPatient=turned)
    tilted = f"The stack is tilted by {abs(degrees):.1f} degrees against its slices; positions are kept as they are."
    assert study.warnings == (f"Series 0: {tilted}",)
    assert [i.position for i in study.images] == upright(0, 2, 4, 6)
    with pytest.raises(ActionRejected, match="Series 0 is tilted: its reformats would be sheared"):
        Volume.of(study, 0, store)
    with pytest.raises(ActionRejected, match="tilted"):
        Loupe(study, store).slice(0, 0, plane="sagittal", index=1)
    for image in study.images:  # within its own plane each slice is right
        assert image.image_to_patient() is not None


def test_half_a_degree_is_no_tilt(stack: MakeStack) -> None:
    angle = np.radians(0.4)
    turned = [1, 0, 0, 0, float(np.cos(angle)), float(np.sin(angle))]
    assert stack(upright(0, 2, 4), ImageOrientationPatient=turned).warnings == ()


def test_tilt_is_the_angle_between_the_way_and_the_normal() -> None:
    assert tilt_degrees([(0, 0, 0), (0, 3, 3)], (1, 0, 0, 0, 1, 0)) == pytest.approx(45)
    assert tilt_degrees([(0, 0, 0), (0, 0, -5)], (1, 0, 0, 0, 1, 0)) == pytest.approx(0)
    assert tilt_degrees([(0, 0, 0), (0, 0, 0)], (1, 0, 0, 0, 1, 0)) == 0
    assert tilt_degrees([None, (0, 0, 1)], (1, 0, 0, 0, 1, 0)) == 0


@pytest.mark.parametrize(
    ("heights", "numbers", "said"),
    [
        ((0, 2, 4, 6), (1, 2, 3, 4), ()),
        ((6, 4, 2, 0), (1, 2, 3, 4), ()),
        ((0, 2, 6, 8), (1, 2, 3, 4), ("1 slice(s) seem to be missing",)),
        ((0, 2, 4, 12), (1, 2, 3, 4), ("3 slice(s) seem to be missing",)),
        ((0, 2, 2, 4), (1, 2, 3, 4), ("1 slice position(s) are held by more than one image",)),
        ((0, 2, 4, 6), (1, 3, 2, 4), ("numbers do not follow their positions",)),
        ((0, 2, 2, 4, 8, 10), (1, 2, 4, 3, 5, 6), ("more than one", "1 slice(s) seem", "do not follow")),
        ((0, 2, 4, 6), (1, 1, 1, 1), ()),
        ((0, 0.005, 2, 4), (1, 2, 3, 4), ("1 slice position(s) are held by more than one image",)),
        ((0, 2, 4.9, 7), (1, 2, 3, 4), ()),
    ],
)
def test_faults_of_a_stack_are_found_and_said(
    stack: MakeStack, heights: tuple[float, ...], numbers: tuple[int, ...], said: tuple[str, ...]
) -> None:
    study = stack(upright(*heights), InstanceNumber=numbers)
    assert [i.position[2] for i in study.images if i.position] == sorted(heights)
    assert len(study.warnings) == len(said), study.warnings
    for words in said:
        assert any(words in warning for warning in study.warnings)


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("EchoTime", (10, 10, 10, 80, 80, 80)),
        ("DiffusionBValue", (0.0, 0.0, 0.0, 1000.0, 1000.0, 1000.0)),
        ("TemporalPositionIdentifier", (1, 1, 1, 2, 2, 2)),
        ("AcquisitionNumber", (1, 1, 1, 2, 2, 2)),
    ],
)
def test_two_echoes_at_one_place_are_not_doubled_slices(
    stack: MakeStack, keyword: str, values: tuple[float, ...]
) -> None:
    study = stack(upright(0, 2, 4, 0, 2, 4), **{keyword: values}, Modality="MR")
    assert study.warnings == ()
    assert [i.position[2] for i in study.images if i.position] == [0, 0, 2, 2, 4, 4]
    assert plane_error(study) == "The slices of series 0 are not evenly spaced."


def plane_error(study: Study) -> str:
    with pytest.raises(ActionRejected) as caught:
        plane_sizes(study, 0)
    return str(caught.value)


def test_a_slice_missing_from_one_echo_only_is_found(stack: MakeStack) -> None:
    study = stack(upright(0, 2, 4, 6, 0, 2, 6), EchoTime=(10, 10, 10, 10, 80, 80, 80), Modality="MR")
    assert study.warnings == ()  # two steps of one echo do not tell which is the usual one
    study = stack(upright(0, 2, 4, 6, 8, 0, 2, 4, 8), EchoTime=(10,) * 5 + (80,) * 4, Modality="MR")
    assert any("1 slice(s) seem to be missing" in warning for warning in study.warnings)


# --- what a pixel is ------------------------------------------------------------------------------------------------


def test_anisotropic_pixels_are_measured_each_way(ct: Ct, save: Save, store: MemoryStore) -> None:
    """0.5 mm down and 2 mm across: a square of 20 x 20 pixels is 10 mm tall, 40 mm wide and 400 mm2."""
    pixels = np.zeros((60, 60), np.uint16)
    pixels[20:40, 20:40] = 3000
    study = load_study(save(ct(pixels, PixelSpacing=[0.5, 2.0])), store)
    loupe = Loupe(study, store)
    (region,) = loupe.segment(loupe.overview(), box=BoundingBox(x0=15, y0=15, x1=45, y1=45), first_id=1)
    found = loupe.measure(region)
    measured = {name: found.get(name) for name in ("area", "long_axis")}
    assert all(quantity is not None for quantity in measured.values())
    assert measured["area"].value == pytest.approx(400, rel=0.02)  # type: ignore[union-attr]
    assert measured["long_axis"].value == pytest.approx(np.hypot(10, 40), rel=0.05)  # type: ignore[union-attr]
    matrix = np.array(study.images[0].image_to_patient())
    assert matrix @ [10, 0, 1] - matrix @ [0, 0, 1] == pytest.approx([20, 0, 0])
    assert matrix @ [0, 10, 1] - matrix @ [0, 0, 1] == pytest.approx([0, 5, 0])


@pytest.mark.parametrize(
    ("tags", "spacing", "said"),
    [
        ({}, Spacing(row_mm=0.5, column_mm=0.25, source="PixelSpacing"), ()),
        (
            {"PixelSpacing": None, "ImagerPixelSpacing": [0.2, 0.1]},
            Spacing(row_mm=0.2, column_mm=0.1, source="ImagerPixelSpacing"),
            ("at the detector",),
        ),
        (
            {"ImagerPixelSpacing": [0.6, 0.3]},
            Spacing(row_mm=0.5, column_mm=0.25, source="PixelSpacing"),
            ("calibrated for one depth",),
        ),
        (
            {"ImagerPixelSpacing": [0.5, 0.25]},
            Spacing(row_mm=0.5, column_mm=0.25, source="PixelSpacing"),
            (),
        ),
        (
            {"ImagerPixelSpacing": [0.5, 0.25], "PixelSpacingCalibrationType": "FIDUCIAL"},
            Spacing(row_mm=0.5, column_mm=0.25, source="PixelSpacing"),
            ("calibrated for one depth",),
        ),
        ({"PixelSpacing": None}, None, ("No usable pixel spacing",)),
    ],
    ids=["patient", "detector", "corrected", "both alike", "fiducial", "none"],
)
def test_a_radiographs_millimetres_say_where_they_hold(
    ct: Ct, save: Save, store: MemoryStore, tags: dict[str, object], spacing: Spacing | None, said: tuple[str, ...]
) -> None:
    study = load_study(save(ct(Modality="DX", **tags)), store)
    assert study.images[0].spacing == spacing
    assert len(study.warnings) == len(said), study.warnings
    assert all(any(words in warning for warning in study.warnings) for words in said)


def region(**tags: object) -> Dataset:
    item = Dataset()
    place = {"RegionLocationMinX0": 0, "RegionLocationMinY0": 0, "RegionLocationMaxX1": 7, "RegionLocationMaxY1": 5}
    units = {"PhysicalUnitsXDirection": 3, "PhysicalUnitsYDirection": 3, "PhysicalDeltaX": 0.05, "PhysicalDeltaY": 0.02}
    for name, value in {**place, **units, **tags}.items():
        setattr(item, name, value)
    return item


def test_an_ultrasounds_millimetres_come_from_its_region(ct: Ct, save: Save, store: MemoryStore) -> None:
    """Centimetres a pixel, across and down; a negative step is a direction, no size."""
    regions = Sequence([region(PhysicalDeltaX=-0.05)])
    study = load_study(save(ct(Modality="US", PixelSpacing=None, SequenceOfUltrasoundRegions=regions)), store)
    assert study.images[0].spacing == Spacing(row_mm=0.2, column_mm=0.5, source="SequenceOfUltrasoundRegions")
    assert study.warnings == ("Spacing holds inside the calibrated ultrasound region only.",)


@pytest.mark.parametrize(
    ("regions", "said"),
    [
        ([region(), region()], "several calibrated regions"),
        ([region(RegionLocationMaxX1=3)], "less than half the image"),
        ([region(PhysicalDeltaX=0.0)], "not plausible"),
        ([region(PhysicalUnitsXDirection=4)], "No usable pixel spacing"),
    ],
    ids=["two", "small", "no step", "seconds"],
)
def test_an_ultrasound_without_one_scale_is_in_pixels_and_says_so(
    ct: Ct, save: Save, store: MemoryStore, regions: list[Dataset], said: str
) -> None:
    ds = ct(Modality="US", PixelSpacing=None, SequenceOfUltrasoundRegions=Sequence(regions))
    study = load_study(save(ds), store)
    assert study.images[0].spacing is None
    assert any(said in warning for warning in study.warnings)


# --- sides ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "laterality"),
    [
        ({"ImageLaterality": "L"}, "L"),
        ({"Laterality": "R"}, "R"),
        ({"ImageLaterality": "R", "Laterality": "L"}, "R"),
        ({"ImageLaterality": "B"}, "B"),
        ({"ImageLaterality": "LEFT"}, ""),
        ({}, ""),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore")  # pydicom says that it writes what is wrong
def test_laterality_is_the_images_then_the_series(
    ct: Ct, save: Save, store: MemoryStore, tags: dict[str, str], laterality: str
) -> None:
    assert load_study(save(ct(Modality="MG", **tags)), store).images[0].laterality == laterality


@pytest.mark.parametrize("view", ["PA", "AP", "LL", "RL", "MLO", "CC"])
def test_the_view_position_is_kept(ct: Ct, save: Save, store: MemoryStore, view: str) -> None:
    assert load_study(save(ct(Modality="DX", ViewPosition=view)), store).images[0].view_position == view


@pytest.mark.parametrize(
    ("orientation", "sides"),
    [
        ([1, 0, 0, 0, 1, 0], ("right", "left")),
        ([-1, 0, 0, 0, 1, 0], ("left", "right")),
        ([0, 1, 0, 1, 0, 0], (None, None)),
        ([0, 1, 0, 0, 0, -1], (None, None)),
    ],
    ids=["supine", "prone", "turned by 90 degrees", "sagittal"],
)
def test_image_left_is_the_side_that_the_cosines_say(
    ct: Ct, save: Save, store: MemoryStore, orientation: list[float], sides: tuple[str | None, str | None]
) -> None:
    image: Image = load_study(save(ct(ImageOrientationPatient=orientation)), store).images[0]
    if orientation == [0, 1, 0, 1, 0, 0]:  # rows grow to the left: above is the patient's right
        assert (image.patient_side(4, 0), image.patient_side(4, 6)) == ("right", "left")
    else:
        assert (image.patient_side(0, 3), image.patient_side(8, 3)) == sides
