"""Whole slides: the same pixels as the whole array, without ever making one; and what is wrong with one is said."""

from __future__ import annotations

import os
import shutil
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless

from medloupe.errors import ActionRejected, InputRejected
from medloupe.evals.bench_load import held_bytes, peak_of
from medloupe.evals.bench_slide import write_flat_dicom, write_flat_tiff, write_level
from medloupe.limits import Limits
from medloupe.tools.imaging import DiskStore, MemoryStore, cut_view, load_study, whole
from medloupe.tools.imaging.region import region
from medloupe.tools.imaging.slide import LEFT_OUT
from medloupe.types import BoundingBox, Image, Level, Study

WIDTH, HEIGHT = 1300, 1000


def drawn(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Smooth colours, no two neighbourhoods alike."""
    coarse = np.random.default_rng(0).integers(0, 255, (height // 40, width // 40, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def reduced(full: np.ndarray, step: int) -> np.ndarray:
    size = (full.shape[1] // step, full.shape[0] // step)
    return cv2.resize(full, size, interpolation=cv2.INTER_AREA)


def write_tiff(path: Path, levels: list[np.ndarray], *, subifds: bool = True, **how: Any) -> Path:
    """A pyramid as tifffile writes it: reduced levels as SubIFDs of the first page, or as pages after it."""
    how = {"tile": (256, 256), "photometric": "rgb" if levels[0].ndim == 3 else "minisblack"} | how
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        writer.write(levels[0], subifds=len(levels) - 1 if subifds else 0, **how)
        for level in levels[1:]:
            writer.write(level, subfiletype=1, **how)
    return path


def tiles_of(full: np.ndarray, side: int) -> list[np.ndarray]:
    """Row by row, filled up at the edges."""
    down, right = -full.shape[0] % side, -full.shape[1] % side
    padded = np.pad(full, ((0, down), (0, right), (0, 0)))
    rows, columns = padded.shape[0] // side, padded.shape[1] // side
    return [padded[r * side : (r + 1) * side, c * side : (c + 1) * side] for r in range(rows) for c in range(columns)]


ENCODE: dict[UID, Callable[[np.ndarray], bytes]] = {
    ExplicitVRLittleEndian: lambda tile: tile.tobytes(),
    JPEGBaseline8Bit: lambda tile: bytes(imagecodecs.jpeg8_encode(tile, level=90, subsampling="420")),
    JPEGLSLossless: lambda tile: bytes(imagecodecs.jpegls_encode(tile)),
    JPEG2000Lossless: lambda tile: bytes(imagecodecs.jpeg2k_encode(tile, level=0, codecformat="j2k", mct=False)),
}


def write_dicom(
    folder: Path, full: np.ndarray, syntax: UID = ExplicitVRLittleEndian, side: int = 128, **tags: Any
) -> Path:
    """Three levels in three files of one series."""
    folder.mkdir(exist_ok=True)
    for step in (1, 2, 4):
        level = reduced(full, step)
        frames = [ENCODE[syntax](np.ascontiguousarray(tile)) for tile in tiles_of(level, side)]
        size = (level.shape[1], level.shape[0])
        write_level(folder / f"{step}.dcm", frames, size, step=step, tile=(side, side), syntax=syntax, **tags)
    return folder


def box_of(x0: float, y0: float, x1: float, y1: float) -> BoundingBox:
    return BoundingBox(x0=x0, y0=y0, x1=x1, y1=y1)


BOXES = [
    (0, 0, WIDTH, HEIGHT),
    (700, 900, 1300, 1000),  # the lower right corner
    (1299, 999, 1300, 1000),
    (255, 255, 257, 257),  # where four tiles meet
    (3, 511, 4, 513),
]


def opened(path: Path, store: MemoryStore) -> tuple[Study, Image]:
    study = load_study(path, store)
    (image,) = study.images
    return study, image


# --- the right pixels -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"compression": "jpeg"}, id="jpeg"),
        pytest.param({"compression": "adobe_deflate", "predictor": True}, id="deflate"),
        pytest.param({"compression": None, "planarconfig": "separate"}, id="planes"),
        pytest.param({"compression": "lzw", "subifds": False}, id="lzw, levels as pages"),
        pytest.param({"compression": "jpeg2000"}, id="jpeg 2000"),
    ],
)
def test_any_box_of_a_tiff_is_that_of_the_whole_array(how: dict[str, Any], tmp_path: Path, store: MemoryStore) -> None:
    full = drawn()
    levels = [full, reduced(full, 2), reduced(full, 4)]
    if how.get("planarconfig") == "separate":
        levels = [np.ascontiguousarray(np.moveaxis(level, -1, 0)) for level in levels]
    path = write_tiff(tmp_path / "slide.tif", levels, **how)
    _, image = opened(path, store)
    assert [(level.width, level.height) for level in image.levels] == [(1300, 1000), (650, 500), (325, 250)]
    with tifffile.TiffFile(path) as file:
        theirs = [level.asarray() for level in file.series[0].levels]
    if how.get("planarconfig") == "separate":
        theirs = [np.moveaxis(level, 0, -1) for level in theirs]
    for x0, y0, x1, y1 in BOXES:
        patch = region(store, image, box_of(x0, y0, x1, y1))
        assert patch.box == box_of(x0, y0, x1, y1)
        assert np.array_equal(patch.values, theirs[0][y0:y1, x0:x1])
    patch = region(store, image, box_of(10, 20, 1010, 1000), at_most=300)  # between two pixels of the quarter
    assert patch.box == box_of(8, 20, 1012, 1000)
    assert np.array_equal(patch.values, theirs[2][5:250, 2:253])


@pytest.mark.parametrize("syntax", ENCODE, ids=lambda uid: UID(uid).name)
def test_any_box_of_a_dicom_slide_is_that_of_the_total_pixel_matrix(
    syntax: UID, tmp_path: Path, store: MemoryStore
) -> None:
    import highdicom

    full = drawn()
    _, image = opened(write_dicom(tmp_path / "slide", full, syntax), store)
    assert (image.width, image.height, len(image.levels)) == (1300, 1000, 3)
    theirs = highdicom.imread(tmp_path / "slide" / "1.dcm").get_total_pixel_matrix(apply_icc_profile=False)
    assert np.array_equal(theirs, full) or syntax == JPEGBaseline8Bit
    for x0, y0, x1, y1 in BOXES:
        assert np.array_equal(region(store, image, box_of(x0, y0, x1, y1)).values, theirs[y0:y1, x0:x1])


@pytest.mark.parametrize("table", ["basic", "extended", "none"])
def test_frames_are_found_with_any_offset_table_and_with_none(table: str, tmp_path: Path, store: MemoryStore) -> None:
    full = drawn()
    write_dicom(tmp_path / "slide", full, JPEGLSLossless, table=table)
    _, image = opened(tmp_path / "slide", store)
    assert np.array_equal(region(store, image, box_of(600, 400, 1300, 1000)).values, full[400:1000, 600:1300])


def test_real_slides_are_those_that_highdicom_reads(shared_data: Path, store: MemoryStore) -> None:
    import highdicom

    for name in ("sm_image", "sm_image_dots", "sm_image_grayscale", "sm_image_jpegls"):
        path = shared_data / "dicom" / "valid" / "highdicom" / f"{name}.dcm"
        study, image = opened(path, store)
        theirs = highdicom.imread(path).get_total_pixel_matrix(apply_icc_profile=False)
        assert np.array_equal(whole(store, image).values, theirs)
        assert (image.modality, image.spacing and image.spacing.row_mm) == ("SM", 0.000499)
        assert study.warnings == ()


def test_a_sparse_slide_is_white_where_it_holds_no_tile(tmp_path: Path, store: MemoryStore) -> None:
    full, places = drawn(300, 200), [(0, 0), (128, 128), (30, 50)]
    frames = [np.pad(full, ((0, 128), (0, 128), (0, 0)))[y : y + 128, x : x + 128] for x, y in places]
    groups = []
    for x, y in places:
        place, group = Dataset(), Dataset()
        place.ColumnPositionInTotalImagePixelMatrix, place.RowPositionInTotalImagePixelMatrix = x + 1, y + 1
        group.PlanePositionSlideSequence = Sequence([place])
        groups.append(group)
    write_level(
        tmp_path / "a.dcm", [frame.tobytes() for frame in frames], (300, 200), tile=(128, 128),
        DimensionOrganizationType="TILED_SPARSE", PerFrameFunctionalGroupsSequence=Sequence(groups),
    )  # fmt: skip
    _, image = opened(tmp_path / "a.dcm", store)
    expected = np.full_like(full, 255)
    for x, y in places:
        expected[y : y + 128, x : x + 128] = full[y : y + 128, x : x + 128]
    assert np.array_equal(whole(store, image).values, expected)


def test_sixteen_bits_keep_their_values_and_get_a_window(tmp_path: Path, store: MemoryStore) -> None:
    full = drawn()[..., 0].astype(np.uint16) * 200
    path = write_tiff(tmp_path / "slide.tif", [full, full[::2, ::2], full[::4, ::4]], compression="adobe_deflate")
    _, image = opened(path, store)
    assert np.array_equal(region(store, image, box_of(5, 6, 700, 800)).values, full[6:800, 5:700])
    assert image.values == "stored" and image.window is not None
    assert 0 <= image.window.centre - image.window.width / 2 < image.window.centre + image.window.width / 2 <= 51_000


# --- views ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def slide(tmp_path: Path, store: MemoryStore) -> Image:
    """A lossless slide with the microscope's resolution."""
    full = drawn()
    how = {"compression": "adobe_deflate", "resolution": (40000, 40000), "resolutionunit": "CENTIMETER"}
    return opened(write_tiff(tmp_path / "slide.tif", [full, reduced(full, 2), reduced(full, 4)], **how), store)[1]


def test_nested_zooms_lead_back_to_the_same_pixels(slide: Image, store: MemoryStore) -> None:
    overview = cut_view(store, slide, box_of(0, 0, WIDTH, HEIGHT), index=0, kind="overview", longest=256)
    outer = overview.box_to_image(box_of(50, 60, 180, 170))
    zoom = cut_view(store, slide, outer, index=1, kind="zoom", longest=256, parent=overview)
    assert zoom.box == outer.snap()
    inner = zoom.box_to_image(box_of(100, 90, 140, 115))
    deep = cut_view(store, slide, inner, index=2, kind="zoom", longest=256, parent=zoom)
    x0, y0, x1, y1 = (int(v) for v in deep.box.as_tuple())
    picture = cv2.imdecode(np.frombuffer(store.get_png(deep.digest), np.uint8), cv2.IMREAD_COLOR_RGB)
    theirs = cv2.resize(drawn()[y0:y1, x0:x1], (deep.width, deep.height), interpolation=cv2.INTER_CUBIC)
    assert np.array_equal(picture, theirs)


@pytest.mark.parametrize("box", [(0, 0, 1300, 1000), (101, 57, 1262, 989), (333, 1, 1300, 1000)])
def test_a_view_of_a_reduced_level_shows_exactly_its_box(
    box: tuple[int, int, int, int], slide: Image, store: MemoryStore
) -> None:
    view = cut_view(store, slide, box_of(*box), index=0, kind="zoom", longest=300)
    x0, y0, x1, y1 = box
    assert view.box == box_of(*box)
    picture = cv2.imdecode(np.frombuffer(store.get_png(view.digest), np.uint8), cv2.IMREAD_COLOR_RGB)
    theirs = cv2.resize(drawn()[y0:y1, x0:x1], (view.width, view.height), interpolation=cv2.INTER_AREA)
    assert np.abs(picture.astype(int) - theirs).mean() < 1.0
    shifted = cv2.resize(drawn()[y0 : y1 - 8, x0 : x1 - 8], (view.width, view.height), interpolation=cv2.INTER_AREA)
    assert np.abs(picture.astype(int) - shifted).mean() > 2.0, "this would see eight pixels"


def test_the_resolution_is_the_microscopes_or_none(slide: Image, tmp_path: Path, store: MemoryStore) -> None:
    assert slide.spacing is not None
    assert (slide.spacing.row_mm, slide.spacing.column_mm) == pytest.approx((0.00025, 0.00025))
    full = drawn(600, 600)
    how = {"resolution": (72, 72), "resolutionunit": "INCH"}
    study, image = opened(write_tiff(tmp_path / "b.tif", [full, full[::2, ::2]], **how), store)
    assert image.spacing is None
    assert "The TIFF states no resolution of a microscope: sizes are in pixels." in study.warnings


def test_an_svs_gives_its_levels_and_keeps_its_label_and_its_words(tmp_path: Path, store: MemoryStore) -> None:
    full, path = drawn(), tmp_path / "case.svs"
    how = {"tile": (256, 256), "photometric": "rgb", "compression": "jpeg", "metadata": None}
    said = "Aperio Image Library v12.0.5 \r\n1300x1000 |AppMag = 40|MPP = 0.2527|User = GANTER|Filename = GANTER^ERIKA"
    with tifffile.TiffWriter(path) as writer:
        writer.write(full, description=said, **how)
        writer.write(reduced(full, 4), photometric="rgb", description=said, metadata=None)
        writer.write(reduced(full, 2), description=said, **how)
        writer.write(drawn(400, 200), photometric="rgb", subfiletype=1, description="label 400x200", metadata=None)
        writer.write(drawn(500, 200), photometric="rgb", subfiletype=9, description="macro 500x200", metadata=None)
    study, image = opened(path, store)
    assert [level.width for level in image.levels] == [1300, 650]
    assert (image.modality, image.spacing and image.spacing.row_mm) == ("SM", pytest.approx(0.0002527))
    assert LEFT_OUT in study.warnings
    assert "GANTER" not in study.model_dump_json()


def test_a_label_picture_is_left_out_and_never_opened(tmp_path: Path, store: MemoryStore) -> None:
    folder = write_dicom(tmp_path / "slide", drawn(300, 200))
    write_level(
        folder / "label.dcm", [bytes(128 * 128 * 3)], (128, 128), tile=(128, 128),
        ImageType=["ORIGINAL", "PRIMARY", "LABEL", "NONE"], SpecimenLabelInImage="YES",
    )  # fmt: skip
    study, image = opened(folder, store)
    assert [level.width for level in image.levels] == [300, 150, 75]
    assert LEFT_OUT in study.warnings and "1 of 4 files left out: label-image." in study.warnings
    with pytest.raises(InputRejected) as caught:
        load_study(folder / "label.dcm", store)
    assert caught.value.code == "label-image"


# --- size -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["TIFF", "DICOM"])
def test_memory_stays_bounded_on_a_large_slide(kind: str, tmp_path: Path) -> None:
    side = 30_000  # 2.7 GB in colour; `make bench-slide` takes one of 60,000
    if kind == "TIFF":
        write_flat_tiff(tmp_path / "slide.tif", side, side)
    else:
        write_flat_dicom(tmp_path, side, side)
    store, took = MemoryStore(), []

    def look() -> None:
        begun = time.process_time()
        (image,) = load_study(tmp_path, store).images
        took.append(time.process_time() - begun)
        for box in ((0, 0, side, side), (9_000, 9_000, 12_000, 11_000), (side - 90, side - 60, side, side)):
            cut_view(store, image, box_of(*box), index=0, kind="zoom")

    before = held_bytes()  # other tests may have loaded networks into this process
    assert peak_of(look) - before < 500 * 2**20
    assert took[0] < 2.0


def test_too_much_at_full_size_is_said_in_one_line(tmp_path: Path, store: MemoryStore) -> None:
    write_flat_tiff(tmp_path / "slide.tif", 8_000, 6_000)
    _, image = opened(tmp_path / "slide.tif", store)
    with pytest.raises(ActionRejected, match=r"^Image 0 is a slide of 8,000 x 6,000 pixels: no more than .* smaller"):
        region(store, image, box_of(0, 0, 8_000, 6_000))
    with pytest.raises(KeyError):
        store.get(image.digest)


def test_a_slide_without_small_levels_is_refused_with_the_reason(tmp_path: Path, store: MemoryStore) -> None:
    tile = bytes(imagecodecs.jpeg_encode(np.full((256, 256, 3), 9, np.uint8)))
    write_level(tmp_path / "a.dcm", [tile] * 24 * 24, (6000, 6000), syntax=JPEGBaseline8Bit)
    with pytest.raises(InputRejected, match="open the folder with all its levels") as caught:
        load_study(tmp_path / "a.dcm", store)
    assert caught.value.code == "too-large"


# --- the file -------------------------------------------------------------------------------------------------------


def test_a_resumed_session_finds_the_slide(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "slide.tif", [drawn(), reduced(drawn(), 4)], compression="adobe_deflate")
    study = load_study(path, DiskStore(tmp_path / "store"))
    resumed = DiskStore(tmp_path / "store")
    image = resumed.get_study(study.id).images[0]
    assert np.array_equal(region(resumed, image, box_of(800, 700, 900, 790)).values, drawn()[700:790, 800:900])
    assert not list((tmp_path / "store" / "values").iterdir()), "no pixel of it was copied"


@pytest.mark.parametrize("code", ["slide-changed", "slide-gone"])
def test_a_slide_that_changed_or_went_is_one_typed_error(code: str, tmp_path: Path, store: MemoryStore) -> None:
    path = write_tiff(tmp_path / "slide.tif", [drawn(), reduced(drawn(), 4)])
    _, image = opened(path, store)
    if code == "slide-gone":
        path.unlink()
    else:
        data = path.read_bytes()
        path.write_bytes(data)
        os.utime(path, ns=(1, 1))
    with pytest.raises(InputRejected) as caught:
        region(store, image, box_of(0, 0, 10, 10))
    assert caught.value.code == code


def test_the_same_slide_elsewhere_is_the_same_study(tmp_path: Path, store: MemoryStore) -> None:
    path = write_tiff(tmp_path / "a.tif", [drawn(), reduced(drawn(), 4)])
    first = load_study(path, store)
    shutil.copy(path, tmp_path / "b.tif")
    assert load_study(tmp_path / "b.tif", store).id == first.id
    other = write_tiff(tmp_path / "c.tif", [255 - drawn(), reduced(255 - drawn(), 4)])
    assert load_study(other, store).id != first.id


def test_a_slide_in_a_zip_is_refused_by_name(tmp_path: Path, store: MemoryStore) -> None:
    path = write_tiff(tmp_path / "slide.tif", [drawn(), reduced(drawn(), 4)], compression="jpeg")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path, "slide.tif")
    with pytest.raises(InputRejected, match="unsupported"):
        load_study(tmp_path / "a.zip", store)


# --- hostile and damaged --------------------------------------------------------------------------------------------


def patched(path: Path, tag: int, value: int) -> None:
    """Set a tag of the first page of a little-endian BigTIFF."""
    with tifffile.TiffFile(path) as file:
        place = file.pages.first.tags[tag].offset
    data = bytearray(path.read_bytes())
    struct.pack_into("<Q", data, place + 12, value)
    path.write_bytes(data)


def first_tile(path: Path, page: int = 0) -> tuple[int, int]:
    with tifffile.TiffFile(path) as file:
        level = file.series[0].levels[page].keyframe
        return level.dataoffsets[0], level.databytecounts[0]


def refused(path: Path, **limits: Any) -> str:
    begun = time.monotonic()
    with pytest.raises(InputRejected) as caught:
        load_study(path, MemoryStore(), limits=Limits(**limits))
    assert time.monotonic() - begun < 10
    return caught.value.code


@pytest.mark.parametrize("tag", [322, 323], ids=["width", "height"])
def test_tiles_declared_huge_are_refused_before_one_is_decoded(tag: int, tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "slide.tif", [drawn(), reduced(drawn(), 4)], compression="jpeg")
    patched(path, tag, 2**31 // 16 * 16)
    assert refused(path) in ("too-large", "undecodable")


def test_a_tile_that_inflates_to_gigabytes_is_refused(tmp_path: Path) -> None:
    compressor = zlib.compressobj(9)
    block = compressor.compress(bytes(2**24)) + compressor.flush(zlib.Z_FULL_FLUSH)
    bomb = block + 255 * block[2:]  # 4 GiB in 4 MiB
    with tifffile.TiffWriter(tmp_path / "slide.tif", bigtiff=True) as writer:
        for place in (0, 1):
            size = 512 >> place
            writer.write(
                iter([bomb] * (size // 256) ** 2), shape=(size, size, 3), dtype=np.uint8, tile=(256, 256),
                photometric="rgb", compression="adobe_deflate", subifds=1 - place, subfiletype=place,
            )  # fmt: skip
    assert refused(tmp_path / "slide.tif") in ("too-large", "undecodable", "time-limit", "crashed")


def test_a_jpeg_tile_that_is_larger_than_its_place_is_refused(tmp_path: Path, store: MemoryStore) -> None:
    large = bytes(imagecodecs.jpeg_encode(np.zeros((2000, 3000, 3), np.uint8)))
    write_level(tmp_path / "a.dcm", [large] * 4, (500, 500), syntax=JPEGBaseline8Bit)
    assert refused(tmp_path / "a.dcm") == "undecodable"


def test_a_file_that_was_cut_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    folder = write_dicom(tmp_path / "slide", drawn(), JPEGLSLossless, table="extended")
    data = (folder / "1.dcm").read_bytes()
    (folder / "cut.dcm").write_bytes(data[: len(data) * 2 // 3])
    assert refused(folder / "cut.dcm") == "truncated"
    path = write_tiff(tmp_path / "slide.tif", [drawn(), reduced(drawn(), 4)], compression="jpeg")
    patched(path, 256, 9000)  # wider than its tiles
    assert refused(path) in ("truncated", "undecodable")
    shutil.copy(path, tmp_path / "cut.tif")
    os.truncate(tmp_path / "cut.tif", path.stat().st_size // 2)
    assert refused(tmp_path / "cut.tif") in ("truncated", "undecodable")


def test_a_damaged_tile_spoils_what_touches_it_and_nothing_else(tmp_path: Path, store: MemoryStore) -> None:
    path = write_tiff(tmp_path / "slide.tif", [drawn(), reduced(drawn(), 4)], compression="adobe_deflate")
    offset, length = first_tile(path)
    data = bytearray(path.read_bytes())
    data[offset : offset + length] = bytes(length)
    path.write_bytes(data)
    _, image = opened(path, store)
    with pytest.raises(ActionRejected, match="That part of the slide cannot be read"):
        region(store, image, box_of(200, 200, 300, 300))
    assert np.array_equal(region(store, image, box_of(256, 0, 500, 300)).values, drawn()[:300, 256:500])
    damaged = bytearray(data)
    offset, length = first_tile(path, 1)
    damaged[offset : offset + length] = bytes(length)
    path.write_bytes(damaged)
    assert refused(path) == "undecodable", "its smallest level is looked at first"


def test_a_level_that_lies_about_its_size_is_left_out(tmp_path: Path, store: MemoryStore) -> None:
    full = drawn()
    path = write_tiff(tmp_path / "slide.tif", [full, reduced(full, 4)], compression="jpeg")
    with tifffile.TiffWriter(tmp_path / "lies.tif", bigtiff=True) as writer:
        how = {"tile": (256, 256), "photometric": "rgb"}
        writer.write(full, subifds=2, **how)
        writer.write(drawn(600, 700), subfiletype=1, **how)
        writer.write(reduced(full, 4), subfiletype=1, **how)
    study, image = opened(tmp_path / "lies.tif", store)
    assert [level.width for level in image.levels] == [1300, 325]
    assert any("600 x 700 pixels does not fit" in warning for warning in study.warnings)
    assert [level.width for level in opened(path, store)[1].levels] == [1300, 325]
    folder = write_dicom(tmp_path / "slide", drawn(300, 200))
    tile = drawn(128, 128).tobytes()
    write_level(folder / "2.dcm", [tile], (150, 100), step=2, tile=(128, 128))  # needs two
    study, image = opened(folder, store)
    assert [level.width for level in image.levels] == [300, 75]
    assert "1 of 3 files left out: truncated." in study.warnings


# --- beside it ------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["dots", "dots_tiled_full", "numbers", "control_labelmap_palette_color"])
def test_a_tiled_segmentation_lies_on_its_slide(
    name: str, shared_data: Path, tmp_path: Path, store: MemoryStore
) -> None:
    import highdicom

    folder = shared_data / "dicom" / "valid" / "highdicom"
    for file in ("sm_image.dcm", f"seg_image_sm_{name}.dcm"):
        shutil.copy(folder / file, tmp_path)
    study = load_study(tmp_path, store)
    assert len(study.images) == 1 and study.warnings == ()
    seg = highdicom.seg.segread(folder / f"seg_image_sm_{name}.dcm")
    label_map = seg.segmentation_type.value == "LABELMAP"
    theirs = seg.get_total_pixel_matrix(combine_segments=label_map)
    numbers = [n for n in np.unique(theirs) if n] if label_map else range(theirs.shape[-1])
    expected = [theirs == n if label_map else theirs[..., n] > 0 for n in numbers]
    found = [a.mask.to_array() for a in study.annotations if a.mask is not None]
    assert sorted(m.tobytes() for m in found) == sorted(m.tobytes() for m in expected if m.any())
    assert {a.image for a in study.annotations} == {0}


def test_what_an_image_says_of_its_levels_is_kept(slide: Image) -> None:
    assert slide.levels[1] == Level(width=650, height=500, tile_width=256, tile_height=256)
    assert Image.model_validate_json(slide.model_dump_json()) == slide
