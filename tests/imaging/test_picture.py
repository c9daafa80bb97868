"""PNG, JPEG and TIFF in: pixels and nothing else."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from medloupe.errors import InputRejected
from medloupe.tools.imaging import MemoryStore, load_study
from medloupe.types import Image, Window

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
COLOUR = np.dstack([GREY, GREY[::-1], 255 - GREY])


def opened(path: Path, store: MemoryStore) -> tuple[Image, np.ndarray]:
    image = load_study(path, store).images[0]
    return image, store.get(image.digest)


@pytest.mark.parametrize(("name", "kind"), [("a.png", "PNG"), ("a.tif", "TIFF")])
def test_grey_keeps_its_values(tmp_path: Path, store: MemoryStore, name: str, kind: str) -> None:
    PIL.Image.fromarray(GREY).save(tmp_path / name)
    image, values = opened(tmp_path / name, store)
    assert np.array_equal(values, GREY)
    assert (image.values, image.modality, image.transfer_syntax) == ("stored", "OT", kind)
    assert (image.spacing, image.patient_orientation) == (None, None)
    assert image.window == Window(centre=127.5, width=255, source="full range")


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_keep_their_values(tmp_path: Path, store: MemoryStore, name: str) -> None:
    deep = GREY.astype(np.uint16) * 250
    PIL.Image.fromarray(deep).save(tmp_path / name)
    image, values = opened(tmp_path / name, store)
    assert np.array_equal(values, deep)
    assert image.window is not None
    assert image.window.source == "percentile"


def test_float_tiff_keeps_its_values(tmp_path: Path, store: MemoryStore) -> None:
    PIL.Image.fromarray(GREY.astype(np.float32) / 3).save(tmp_path / "a.tif")
    assert np.array_equal(opened(tmp_path / "a.tif", store)[1], GREY.astype(np.float32) / 3)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "YCbCr"])
def test_colour_becomes_rgb(tmp_path: Path, store: MemoryStore, mode: str) -> None:
    smooth = cv2.resize(COLOUR, (64, 48), interpolation=cv2.INTER_LINEAR)
    path = tmp_path / ("a.jpg" if mode in ("CMYK", "YCbCr") else "a.png")
    PIL.Image.fromarray(smooth).convert(mode).save(path, **({"quality": 98} if path.suffix == ".jpg" else {}))
    image, values = opened(path, store)
    assert (image.values, values.shape, values.dtype, image.window) == ("RGB", (48, 64, 3), np.uint8, None)
    tolerance = {"RGB": 0, "RGBA": 0, "P": 64}.get(mode, 24)
    assert np.abs(values.astype(int) - smooth).max() <= tolerance


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_grey_saved_as_colour_is_grey_again(tmp_path: Path, store: MemoryStore, mode: str) -> None:
    PIL.Image.fromarray(GREY).convert(mode).save(tmp_path / "a.png")
    image, values = opened(tmp_path / "a.png", store)
    assert image.values == "stored"
    assert np.array_equal(values, GREY)


def test_alpha_is_dropped_not_blended(tmp_path: Path, store: MemoryStore) -> None:
    PIL.Image.fromarray(np.dstack([COLOUR, np.full_like(GREY, 10)])).save(tmp_path / "a.png")
    study = load_study(tmp_path / "a.png", store)
    assert np.array_equal(store.get(study.images[0].digest), COLOUR)
    assert "The picture's transparency is dropped." in study.warnings


def test_black_and_white_is_0_and_255(tmp_path: Path, store: MemoryStore) -> None:
    PIL.Image.fromarray(GREY > 100).save(tmp_path / "a.png")
    assert np.array_equal(opened(tmp_path / "a.png", store)[1], np.where(GREY > 100, 255, 0))


def test_exif_rotation_is_applied(tmp_path: Path, store: MemoryStore) -> None:
    picture = PIL.Image.fromarray(np.kron(GREY, np.ones((16, 16), np.uint8)))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    picture.save(tmp_path / "a.jpg", exif=exif, quality=100)
    image, values = opened(tmp_path / "a.jpg", store)
    assert (image.width, image.height) == (6 * 16, 8 * 16)
    assert np.abs(values[8::16, 8::16].astype(int) - np.rot90(GREY, -1)).max() <= 3


def test_pages_of_a_tiff_are_the_frames_of_one_series(tmp_path: Path, store: MemoryStore) -> None:
    pages = [PIL.Image.fromarray(GREY + n) for n in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    study = load_study(tmp_path / "a.tif", store)
    assert [i.frame for i in study.images] == [0, 1, 2]
    assert [int(store.get(i.digest)[0, 0]) for i in study.images] == [0, 1, 2]
    assert [s.images for s in study.series] == [(0, 1, 2)]


def test_pictures_of_a_folder_are_series_of_their_own(tmp_path: Path, store: MemoryStore) -> None:
    for name in ("b.png", "a.png"):
        PIL.Image.fromarray(GREY + ord(name[0])).save(tmp_path / name)
    study = load_study(tmp_path, store)
    assert [s.images for s in study.series] == [(0,), (1,)]
    assert int(store.get(study.images[0].digest)[0, 0]) == ord("a")


def test_pictures_that_swap_names_are_the_same_study(tmp_path: Path, store: MemoryStore) -> None:
    for name, shift in (("a.png", 0), ("b.png", 9)):
        PIL.Image.fromarray(GREY + shift).save(tmp_path / name)
    first = load_study(tmp_path, store)
    (tmp_path / "a.png").rename(tmp_path / "c.png")  # now the last
    again = load_study(tmp_path, store)
    assert again.images[0].digest == first.images[1].digest
    assert again.id == first.id


def test_content_decides_and_the_name_is_told(tmp_path: Path, store: MemoryStore) -> None:
    PIL.Image.fromarray(GREY).save(tmp_path / "ct.dcm", format="PNG")
    study = load_study(tmp_path / "ct.dcm", store, modality="US")
    assert (study.images[0].transfer_syntax, study.images[0].modality) == ("PNG", "US")
    assert study.warnings[0] == "The file's name says DICOM, its content is PNG: it was read as PNG."
    assert not any("modality" in w for w in study.warnings)


def test_a_picture_cut_short_is_refused(tmp_path: Path, store: MemoryStore) -> None:
    rng = np.random.default_rng(0)
    PIL.Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / "a.png")
    PIL.Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / "a.jpg")
    for path in (tmp_path / "a.png", tmp_path / "a.jpg"):
        path.write_bytes(path.read_bytes()[:-500])
        with pytest.raises(InputRejected) as rejected:
            load_study(path, store)
        assert rejected.value.code in ("truncated", "undecodable")


@pytest.mark.parametrize("side", [13_000, 30_000], ids=["169 Mpx", "900 Mpx"])
def test_a_small_file_of_many_pixels_is_refused_before_it_is_decoded(
    tmp_path: Path, store: MemoryStore, side: int
) -> None:
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, *zip(*chunks, strict=True))))
    with pytest.raises(InputRejected) as rejected:
        load_study(tmp_path / "bomb.png", store)
    assert rejected.value.code == "too-large"


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def test_real_chest_radiographs_open_as_grey(shared_data: Path, store: MemoryStore) -> None:
    study = load_study(shared_data / "cxr_nih_chestxray14" / "images", store)
    assert {i.values for i in study.images} == {"stored"}
    assert {(i.width, i.height) for i in study.images} == {(1024, 1024)}
