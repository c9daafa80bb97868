"""Bad input: one typed error with a code, one clear sentence, nothing half-read."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import MPEG4HP41, DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1, RLELossless

from medloupe.errors import InputRejected
from medloupe.tools.imaging import MemoryStore, load_study

Ct = Callable[..., Dataset]
Save = Callable[..., Path]


def refused(path: Path, store: MemoryStore) -> InputRejected:
    with pytest.raises(InputRejected) as caught:
        load_study(path, store)
    error = caught.value
    assert re.fullmatch(r"[A-Z][^\n]*\.", error.reason), "one sentence"
    assert str(error) == f"{error.reason} [{error.code}]"
    assert (store._values, store._studies) == ({}, {}), "nothing half-read is kept"
    return error


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("empty.dcm", b"", "empty-file"),
        ("report.dcm", b"Chest: no change since last year.\n" * 20, "not-an-image"),
        ("page.png", b"<html><body>not found</body></html>", "not-an-image"),
        ("text.dcm", "Größe 3 mm, ".encode() * 900, "not-an-image"),
        ("noise.dcm", bytes(range(256)) * 4, "unknown-format"),
        ("zeros.dcm", bytes(500), "unknown-format"),
        ("preamble.dcm", bytes(128) + b"DICM", "truncated"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, store: MemoryStore, name: str, content: bytes, code: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert refused(tmp_path / name, store).code == code


def test_a_path_that_is_none(tmp_path: Path, store: MemoryStore) -> None:
    assert refused(tmp_path / "missing.dcm", store).code == "not-found"
    assert refused(tmp_path / "bad\0name", store).code in ("not-found", "unreadable")
    os.mkfifo(tmp_path / "pipe")
    assert refused(tmp_path / "pipe", store).code == "not-a-file"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("rtstruct.dcm", "structure set"),
        ("rtplan.dcm", "radiotherapy plan"),
        ("test-SR.dcm", "structured report"),
        ("waveform_ecg.dcm", "electrocardiogram"),
        ("liver_1frame.dcm", "segmentation"),
    ],
)
def test_dicom_that_is_no_image_is_named(name: str, kind: str, real: Callable[[str], Path], store: MemoryStore) -> None:
    error = refused(real(name), store)
    assert error.code == "not-an-image"
    assert kind in error.reason


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_RLE.dcm", "SC_rgb_small_odd_jpeg.dcm"])
def test_a_dicom_cut_anywhere_is_refused(
    name: str, real: Callable[[str], Path], tmp_path: Path, store: MemoryStore
) -> None:
    whole = real(name).read_bytes()
    path = tmp_path / "cut.dcm"
    for length in range(64, len(whole), max(64, len(whole) // 60 // 64 * 64)):
        path.write_bytes(whole[:length])
        assert refused(path, store).code in (
            "truncated",
            "not-an-image",
            "unknown-format",
            "undecodable",
            "unsupported",
        )


def test_real_truncated_files(real: Callable[[str], Path], store: MemoryStore) -> None:
    assert refused(real("MR_truncated.dcm"), store).code == "truncated"
    assert refused(real("rtplan_truncated.dcm"), store).code in ("truncated", "not-an-image")


def test_an_element_that_runs_past_the_end_of_the_file(ct: Ct, save: Save, store: MemoryStore) -> None:
    path = save(ct(pixels=None))
    data = path.read_bytes()
    tail = struct.pack("<HH2sHI", 0x7FE1, 0x1010, b"OB", 0, 0xFFFFFFF0) + b"abc"  # declares 4 GiB, holds 3 bytes
    path.write_bytes(data + tail)
    assert refused(path, store).code in ("truncated", "undecodable")  # by how much memory a worker may have


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({"Rows": 65535, "Columns": 65535}, "too-large"),
        ({"Rows": 10_000, "Columns": 10_000}, "too-large"),
        ({"Rows": 7}, "truncated"),
        ({"Rows": 0}, "bad-header"),
        ({"NumberOfFrames": 2}, "truncated"),
        ({"NumberOfFrames": -1}, "bad-header"),
        ({"NumberOfFrames": 2**31 - 1}, "too-large"),
        ({"SamplesPerPixel": 3}, "bad-header"),
        ({"BitsAllocated": 12}, "bad-header"),
        ({"BitsStored": 32}, "bad-header"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "no-palette"),
        ({"PhotometricInterpretation": "HSV"}, "unsupported"),
        ({"PhotometricInterpretation": None}, "unsupported"),
        ({"PixelData": None}, "truncated"),
        ({"PixelData": b""}, "truncated"),
        ({"RescaleSlope": 0}, "bad-header"),
    ],
    ids=str,
)
def test_a_header_that_its_pixels_do_not_bear_out(
    ct: Ct, save: Save, store: MemoryStore, tags: dict[str, object], code: str
) -> None:
    assert refused(save(ct(**tags)), store).code == code


def test_a_slope_that_is_no_number_leaves_the_values_without_meaning(ct: Ct, save: Save, store: MemoryStore) -> None:
    path = save(ct(RescaleSlope="12345678"))
    path.write_bytes(path.read_bytes().replace(b"12345678", b"NaN     "))
    assert refused(path, store).code == "bad-header"


def compressed(ct: Ct, save: Save, syntax: str, data: bytes, **tags: object) -> Path:
    ds = ct(**tags)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = data
    ds["PixelData"].is_undefined_length = True
    return save(ds)


@pytest.mark.parametrize(
    ("syntax", "code"),
    [(JPEG2000Lossless, "undecodable"), (JPEGLosslessSV1, "undecodable"), (MPEG4HP41, "unsupported")],
)
def test_pixels_that_no_decoder_reads(ct: Ct, save: Save, store: MemoryStore, syntax: str, code: str) -> None:
    error = refused(compressed(ct, save, syntax, encapsulate([b"no such codestream"])), store)
    assert error.code == code


def test_a_decoder_that_panics_is_an_error_like_any_other(ct: Ct, save: Save, store: MemoryStore) -> None:
    runs = bytes.fromhex("cfeb0fa321d7d982f8bd1045")  # longer than the frame: pylibjpeg-rle's Rust panics
    data = struct.pack("<16I", 2, 64, 70, *[0] * 13) + runs
    path = compressed(ct, save, RLELossless, encapsulate([data]), pixels=np.zeros((2, 2), np.uint16))
    assert refused(path, store).code == "undecodable"


def test_fewer_compressed_frames_than_declared(real: Callable[[str], Path], tmp_path: Path, store: MemoryStore) -> None:
    whole = real("SC_rgb_rle_2frame.dcm").read_bytes()
    path = tmp_path / "frames.dcm"
    path.write_bytes(
        whole.replace(
            struct.pack("<HH2sH", 0x28, 8, b"IS", 2) + b"2 ", struct.pack("<HH2sH", 0x28, 8, b"IS", 2) + b"9 "
        )
    )
    assert path.read_bytes() != whole
    error = refused(path, store)
    assert error.code == "truncated"
    assert "than the header declares" in error.reason, "counted, before anything is decoded"
    assert "decoded" not in error.reason


def test_a_deflated_data_set_that_ends_early(ct: Ct, save: Save, store: MemoryStore) -> None:
    ds = ct()
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = save(ds)
    assert load_study(path, store).images
    path.write_bytes(path.read_bytes()[:-8])
    assert refused(path, MemoryStore()).code == "truncated"


def test_a_deep_sequence_is_refused(ct: Ct, save: Save, store: MemoryStore) -> None:
    path = save(ct())
    start = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    path.write_bytes(path.read_bytes()[: 132 + 12 + _meta_length(path)] + start * 3000)
    assert refused(path, store).code == "too-large"


def _meta_length(path: Path) -> int:
    return int(struct.unpack("<I", path.read_bytes()[140:144])[0])


def test_a_dicom_without_preamble_is_read_and_told(ct: Ct, save: Save, store: MemoryStore) -> None:
    path = save(ct())
    path.write_bytes(path.read_bytes()[132:])
    study = load_study(path, store)
    assert study.images[0].values == "HU"
    assert "The file has no DICOM preamble." in study.warnings


def test_a_polyglot_preamble_is_told(ct: Ct, save: Save, store: MemoryStore) -> None:
    path = save(ct())
    path.write_bytes(b"MZ" + path.read_bytes()[2:])
    assert any("preamble is not empty" in w for w in load_study(path, store).warnings)


def test_mutated_files_never_raise_anything_else(real: Callable[[str], Path], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "mutant.dcm"
    for name in ("CT_small.dcm", "MR_small_jp2klossless.dcm", "SC_rgb_rle_2frame.dcm", "JPEGLSNearLossless_08.dcm"):
        whole = bytearray(real(name).read_bytes()[:20_000])
        for _ in range(40):
            mutant = bytearray(whole)
            for place in rng.integers(132, min(len(whole), 2000), 6):
                mutant[place] = rng.integers(256)
            path.write_bytes(mutant)
            try:
                load_study(path, MemoryStore())
            except InputRejected as error:
                assert error.code
