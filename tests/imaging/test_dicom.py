"""DICOM in: values in their own meaning, geometry where the tags give it, nothing guessed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut
from pydicom.sequence import Sequence

from medloupe.errors import InputRejected
from medloupe.limits import Limits
from medloupe.tools.imaging import MemoryStore, load_study
from medloupe.types import Image, Spacing

Ct = Callable[..., Dataset]
Save = Callable[..., Path]


def test_a_ct_slice_is_in_hounsfield_units_with_its_geometry(real: Callable[[str], Path], store: MemoryStore) -> None:
    study = load_study(real("CT_small.dcm"), store)
    image, ds = study.images[0], pydicom.dcmread(real("CT_small.dcm"))
    raw = np.frombuffer(ds.PixelData, "<i2").reshape(128, 128)
    assert (image.modality, image.values) == ("CT", "HU")
    assert store.get(image.digest).dtype == np.int16
    assert np.array_equal(store.get(image.digest), raw.astype(int) * ds.RescaleSlope + ds.RescaleIntercept)
    assert image.spacing == Spacing(row_mm=0.661468, column_mm=0.661468, source="PixelSpacing")
    assert image.position == tuple(ds.ImagePositionPatient)
    assert image.orientation == (1, 0, 0, 0, 1, 0)
    assert image.patient_orientation == ("L", "P")
    assert image.patient_side(100, 64) == "left"
    assert image.transfer_syntax == "Explicit VR Little Endian"
    assert study.series[0].images == (0,)


@dataclass(frozen=True)
class Case:
    id: str
    frames: int
    modality: str
    values: str
    size: tuple[int, int]


CASES = [
    Case("MR_small.dcm", 1, "MR", "stored", (64, 64)),
    Case("MR_small_bigendian.dcm", 1, "MR", "stored", (64, 64)),
    Case("MR_small_implicit.dcm", 1, "MR", "stored", (64, 64)),
    Case("MR_small_jp2klossless.dcm", 1, "MR", "stored", (64, 64)),
    Case("MR_small_jpeg_ls_lossless.dcm", 1, "MR", "stored", (64, 64)),
    Case("MR_small_RLE.dcm", 1, "MR", "stored", (64, 64)),
    Case("JPEG2000.dcm", 1, "NM", "stored", (256, 1024)),
    Case("image_dfl.dcm", 1, "OT", "stored", (512, 512)),
    Case("examples_rgb_color.dcm", 1, "US", "RGB", (320, 240)),
    Case("examples_palette.dcm", 1, "US", "RGB", (800, 350)),
    Case("examples_ybr_color.dcm", 30, "US", "RGB", (320, 240)),
    Case("examples_jpeg2k.dcm", 1, "US", "RGB", (640, 480)),
    Case("SC_rgb_rle_16bit_2frame.dcm", 2, "OT", "RGB", (100, 100)),
    Case("SC_rgb_rle_32bit.dcm", 1, "OT", "RGB", (100, 100)),
    Case("SC_ybr_full_422_uncompressed.dcm", 1, "OT", "RGB", (100, 100)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_real_files_open_as_what_their_tags_say(case: Case, real: Callable[[str], Path], store: MemoryStore) -> None:
    study = load_study(real(case.id), store)
    assert len(study.images) == case.frames
    assert [i.frame for i in study.images] == list(range(case.frames))
    for image in study.images:
        assert (image.modality, image.values, (image.width, image.height)) == (case.modality, case.values, case.size)
        values = store.get(image.digest)
        assert values.shape[:2] == (image.height, image.width)
        assert values.dtype in ((np.uint8,) if case.values == "RGB" else (np.int16, np.int32))


@pytest.mark.parametrize("name", ["bigendian", "implicit", "jp2klossless", "jpeg_ls_lossless", "RLE", "padded"])
def test_lossless_encodings_of_one_image_have_the_same_values(
    name: str, real: Callable[[str], Path], store: MemoryStore
) -> None:
    plain, other = (load_study(real(f), store).images[0] for f in ("MR_small.dcm", f"MR_small_{name}.dcm"))
    assert other.digest == plain.digest


@pytest.mark.parametrize(
    "name",
    ["rle_16bit", "rle_32bit", "dcmtk_+eb+cr", "dcmtk_+eb+cy+n1", "dcmtk_+eb+cy+s4", "gdcm_KY", "jpeg_dcmtk"],
)
def test_every_colour_space_and_depth_becomes_the_same_rgb(
    name: str, real: Callable[[str], Path], store: MemoryStore
) -> None:
    plain, other = (load_study(real(f"SC_rgb_{f}.dcm"), store).images[0] for f in ("rle", name))
    bars = [store.get(i.digest)[5::10, 50].astype(int) for i in (plain, other)]  # ten bars of colour
    assert bars[0][0].tolist() == [255, 0, 0]
    assert np.abs(bars[0] - bars[1]).max() <= 8  # lossy JPEG


def test_a_palette_is_looked_up(real: Callable[[str], Path], store: MemoryStore) -> None:
    image = load_study(real("examples_palette.dcm"), store).images[0]
    ds = pydicom.dcmread(real("examples_palette.dcm"))
    sixteen = apply_color_lut(ds.pixel_array, ds)
    assert image.photometric == "PALETTE COLOR"
    assert np.array_equal(store.get(image.digest), (sixteen / 257).astype(np.uint8)) or np.array_equal(
        store.get(image.digest), sixteen >> 8
    )


@pytest.mark.parametrize("bits", [1, 4, 8, 10, 12, 16])
@pytest.mark.parametrize("kind", ["u", "i"])
def test_any_depth_and_sign_keeps_its_values(ct: Ct, save: Save, store: MemoryStore, bits: int, kind: str) -> None:
    size = 1 if bits <= 8 else 2
    low, high = (0, 2**bits - 1) if kind == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    pixels = np.linspace(low, high, 48).astype(f"{kind}{size}").reshape(6, 8)
    ds = ct(pixels, BitsStored=bits, HighBit=bits - 1, RescaleIntercept=0)
    image = load_study(save(ds), store).images[0]
    assert np.array_equal(store.get(image.digest), pixels)


def test_bits_beyond_those_stored_do_not_count(ct: Ct, save: Save, store: MemoryStore) -> None:
    clean = np.arange(48, dtype=np.uint16).reshape(6, 8)
    ds = ct(clean | 0xF000, BitsStored=12, HighBit=11, RescaleIntercept=0)  # an old overlay in the high bits
    image = load_study(save(ds), store).images[0]
    assert np.array_equal(store.get(image.digest), clean)


def test_a_fractional_slope_gives_float_values(ct: Ct, save: Save, store: MemoryStore) -> None:
    image = load_study(save(ct(Modality="PT", RescaleSlope="0.25", RescaleIntercept=0)), store).images[0]
    values = store.get(image.digest)
    assert (image.values, values.dtype) == ("stored", np.float32)
    assert values[0, 3] == 0.75


@pytest.mark.parametrize(
    ("tags", "values"),
    [
        ({"RescaleType": "HU"}, "HU"),
        ({}, "HU"),
        ({"RescaleType": "US"}, "stored"),
        ({"RescaleSlope": None, "RescaleIntercept": None}, "stored"),
        ({"Modality": "MR"}, "stored"),
    ],
)
def test_hounsfield_units_only_where_the_file_gives_them(
    ct: Ct, save: Save, store: MemoryStore, tags: dict[str, object], values: str
) -> None:
    assert load_study(save(ct(**tags)), store).images[0].values == values


def test_the_user_overrides_the_modality_and_the_name_never_does(ct: Ct, save: Save, store: MemoryStore) -> None:
    path = save(ct(), "MR_brain.dcm")
    assert load_study(path, store).images[0].modality == "CT"
    study = load_study(path, store, modality="mr")
    assert (study.images[0].modality, study.series[0].modality) == ("MR", "MR")
    assert study.warnings == ("Modality MR was set by hand; the file says CT.",)
    with pytest.raises(InputRejected, match="unknown-modality"):
        load_study(path, store, modality="scan")


# --- geometry -------------------------------------------------------------------------------------------------------


def test_an_enhanced_multi_frame_keeps_each_frames_geometry(ct: Ct, save: Save, store: MemoryStore) -> None:
    shared, frames = Dataset(), []
    shared.PixelMeasuresSequence = [_item(PixelSpacing=[0.5, 0.75])]
    shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=[0, 1, 0, 0, 0, -1])]
    shared.PixelValueTransformationSequence = [_item(RescaleSlope=2, RescaleIntercept=-10, RescaleType="HU")]
    for x, centre in ((5, 10), (3, 20), (4, 30)):
        frame = Dataset()
        frame.PlanePositionSequence = [_item(ImagePositionPatient=[x, 0, 0])]
        frame.FrameVOILUTSequence = [_item(WindowCenter=centre, WindowWidth=100)]
        frames.append(frame)
    ds = ct(
        np.stack([np.full((6, 8), n, np.uint16) for n in range(3)]),
        NumberOfFrames=3,
        **dict.fromkeys(("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope")),
        SharedFunctionalGroupsSequence=Sequence([shared]),
        PerFrameFunctionalGroupsSequence=Sequence(frames),
    )
    study = load_study(save(ds), store)
    # The normal of this plane is -x: the frame at x = 5 comes first.
    assert [i.frame for i in study.images] == [0, 2, 1]
    assert [i.position[0] for i in study.images if i.position] == [5, 4, 3]
    assert [i.window.centre for i in study.images if i.window] == [10, 30, 20]
    assert {i.patient_orientation for i in study.images} == {("P", "F")}
    assert {(i.spacing.row_mm, i.spacing.column_mm) for i in study.images if i.spacing} == {(0.5, 0.75)}
    assert [int(store.get(i.digest)[0, 0]) for i in study.images] == [-10, -6, -8]


def _item(**tags: object) -> Dataset:
    item = Dataset()
    for keyword, value in tags.items():
        setattr(item, keyword, value)
    return item


@pytest.mark.parametrize(
    ("stated", "orientation", "letters", "warned"),
    [
        (["L", "F"], None, ("L", "F"), False),
        (["R", "FA"], None, ("R", "FA"), False),
        (None, [1, 0, 0, 0, 1, 0], ("L", "P"), False),
        (None, [-0.9, 0.1, 0.42426407, 0, -0.97332853, 0.22941573], ("R", "A"), False),
        (["L", "R"], [1, 0, 0, 0, 1, 0], ("L", "P"), True),  # as some real MR files have it
        (["R", "P"], [1, 0, 0, 0, 1, 0], ("L", "P"), True),
        (["SMITH", "X"], None, None, True),
        (None, None, None, False),
    ],
)
def test_which_way_the_patient_lies(
    ct: Ct, save: Save, store: MemoryStore, stated: object, orientation: object, letters: object, warned: bool
) -> None:
    ds = ct(ImageOrientationPatient=orientation)
    if stated:
        ds.PatientOrientation = stated
    study = load_study(save(ds), store)
    assert study.images[0].patient_orientation == letters
    assert any("PatientOrientation" in w for w in study.warnings) == warned


def test_the_sides_of_a_frontal_radiograph_are_not_guessed(ct: Ct, save: Save, store: MemoryStore) -> None:
    tags = {"Modality": "DX", "ViewPosition": "PA", "ImageOrientationPatient": None, "PixelSpacing": None}
    study = load_study(save(ct(**tags, ImagerPixelSpacing=[0.2, 0.2], BodyPartExamined="CHEST", Laterality="B")), store)
    image = study.images[0]
    assert image.patient_side(0, 0) is None
    assert (image.view_position, image.body_part, image.laterality) == ("PA", "CHEST", "B")
    assert image.spacing == Spacing(row_mm=0.2, column_mm=0.2, source="ImagerPixelSpacing")
    assert any("left and right cannot be told" in w for w in study.warnings)
    assert any("magnified" in w for w in study.warnings)
    told = load_study(save(ct(**tags, PatientOrientation=["L", "F"]), "told.dcm"), store)
    assert told.images[0].patient_side(7, 0) == "left"
    assert not any("left and right" in w for w in told.warnings)


def us_region(**tags: object) -> Dataset:
    place = {"RegionLocationMinX0": 0, "RegionLocationMinY0": 0, "RegionLocationMaxX1": 7, "RegionLocationMaxY1": 5}
    units = {"PhysicalUnitsXDirection": 3, "PhysicalUnitsYDirection": 3, "PhysicalDeltaX": 0.05, "PhysicalDeltaY": 0.02}
    return _item(**{**place, **units, **tags})


IN_CENTIMETRES = Spacing(row_mm=0.2, column_mm=0.5, source="SequenceOfUltrasoundRegions")


@pytest.mark.parametrize(
    ("regions", "spacing"),
    [
        ([us_region()], IN_CENTIMETRES),
        ([us_region(), us_region(PhysicalUnitsXDirection=4)], IN_CENTIMETRES),
        ([us_region(), us_region()], None),
        ([us_region(RegionLocationMaxX1=2)], None),
        ([us_region(PhysicalUnitsYDirection=5)], None),
    ],
    ids=["one", "and a Doppler trace", "two", "small", "no centimetres"],
)
def test_ultrasound_is_measured_only_in_one_calibrated_region(
    ct: Ct, save: Save, store: MemoryStore, regions: list[Dataset], spacing: Spacing | None
) -> None:
    ds = ct(Modality="US", PixelSpacing=None, SequenceOfUltrasoundRegions=Sequence(regions))
    assert load_study(save(ds), store).images[0].spacing == spacing


@pytest.mark.parametrize(
    ("keyword", "placeholder", "text", "lost"),
    [
        ("PixelSpacing", ["0.123456", "0.123456"], b"NaN     ", "spacing"),
        ("PixelSpacing", ["0.123456", "0.5"], b"-1      ", "spacing"),
        ("PixelSpacing", ["0.123456", "0.5"], b"0       ", "spacing"),
        ("PixelSpacing", ["0.123456", "0.5"], b"1e9     ", "spacing"),
        ("PixelSpacing", ["0.123456", "0.5"], b"half    ", "spacing"),
        ("ImagePositionPatient", ["0.123456", "0", "0"], b"nan     ", "position"),
        ("ImagePositionPatient", ["0.123456", "0", "0"], b"1e30    ", "position"),
        ("ImageOrientationPatient", ["0.123456", "0", "0", "0", "1", "0"], b"7       ", "orientation"),
        ("ImageOrientationPatient", ["0.123456", "1", "0", "0", "1", "0"], b"0       ", "orientation"),
    ],
)
def test_absurd_geometry_is_dropped_with_a_warning(
    ct: Ct, save: Save, store: MemoryStore, keyword: str, placeholder: list[str], text: bytes, lost: str
) -> None:
    path = save(ct(**{keyword: placeholder}))
    path.write_bytes(path.read_bytes().replace(b"0.123456", text))
    study = load_study(path, store)
    image: Image = study.images[0]
    assert getattr(image, lost) is None
    assert image.image_to_patient() is None
    assert any(keyword in w for w in study.warnings)


def test_every_valid_image_of_the_collection_opens_and_the_rest_say_what_they_are(
    shared_data: Path, store: MemoryStore
) -> None:
    """No crash, no untyped error, no false rejection but of what no free decoder reads."""
    manifest = json.loads((shared_data / "dicom" / "MANIFEST.json").read_text())
    opened = 0
    for item in manifest["items"]:
        label = item["label"]
        image = item["file"].startswith("valid/") and label["modality"] != "SEG"
        try:
            study = load_study(shared_data / "dicom" / item["file"], store)
        except InputRejected as rejected:
            undecoded = (label["transfer_syntax"] or "").startswith(("JPEG Lossless", "JPEG Extended"))
            assert not image or undecoded, f"{item['file']}: {rejected}"
            continue
        opened += 1
        if image:
            slide = label["modality"] == "SM"  # one image of many tiles
            size = (50, 50) if slide else (int(label["rows"]), int(label["cols"]))
            assert len(study.images) == (1 if slide else int(label["frames"] or 1))
            assert (study.images[0].height, study.images[0].width) == size
    assert opened >= 60


# --- what one slice leaves to the next ------------------------------------------------------------------------------


def test_a_header_like_the_last_one_says_the_same_and_one_that_differs_does_not(
    ct: Callable[..., Dataset], save: Callable[..., Path], store: MemoryStore
) -> None:
    steps = (-1000, -1000, -500, -1000, None)
    for n, intercept in enumerate(steps):
        path = save(ct(RescaleIntercept=intercept, ImagePositionPatient=[0, 0, n], InstanceNumber=n), f"{n}.dcm")
    study = load_study(path.parent, store, limits=Limits(workers=1))
    assert [float(store.get(image.digest)[0, 0]) for image in study.images] == [-1000, -1000, -500, -1000, 0]
    assert [image.position and image.position[2] for image in study.images] == [0, 1, 2, 3, 4]
    assert len({image.sop_instance_uid for image in study.images}) == len(steps)


def test_a_slice_without_a_position_takes_no_other_slices_away(
    ct: Callable[..., Dataset], save: Callable[..., Path], store: MemoryStore
) -> None:
    for n in range(4):
        path = save(ct(ImagePositionPatient=[0, 0, n] if n != 1 else None), f"{n}.dcm")
    study = load_study(path.parent, store, limits=Limits(workers=1))
    assert sorted(image.position[2] for image in study.images if image.position) == [0, 2, 3]


def test_every_file_of_a_series_that_breaks_the_standard_is_counted(
    ct: Callable[..., Dataset], save: Callable[..., Path], store: MemoryStore
) -> None:
    for n in range(4):
        path = save(ct(SeriesInstanceUID="1.2.3.44", InstanceNumber=n), f"{n}.dcm")
        path.write_bytes(path.read_bytes().replace(b"1.2.3.44", b"1.2.03.4"))  # no part may begin with a zero
    study = load_study(path.parent, store, limits=Limits(workers=1))
    assert "Some header values do not follow the DICOM standard. (4 files)" in study.warnings
