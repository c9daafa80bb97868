"""ZIPs that are not to be trusted: links, names that lead out, lies about sizes, steep entries, passwords."""

from __future__ import annotations

import io
import stat
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from medloupe.errors import InputRejected
from medloupe.tools.imaging import MemoryStore, load_study

Ct = Callable[..., Dataset]


@pytest.fixture
def slice_bytes(ct: Ct) -> bytes:
    pydicom.dcmwrite(buffer := io.BytesIO(), ct(), enforce_file_format=True)
    return buffer.getvalue()


def zipped(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return path


def refused(path: Path) -> tuple[str, str]:
    store = MemoryStore()
    with pytest.raises(InputRejected) as caught:
        load_study(path, store)
    assert not store._values
    return caught.value.code, caught.value.reason


def test_a_sound_zip_is_a_study(tmp_path: Path, slice_bytes: bytes) -> None:
    path = zipped(tmp_path / "s.zip", ("a/b/one.dcm", slice_bytes), ("a/", b""), ("a/readme.txt", b"hello"))
    assert len(load_study(path, MemoryStore()).images) == 1


@pytest.mark.parametrize("name", ["../out.dcm", "a/../../out.dcm", "/etc/out.dcm", "a\\..\\out.dcm", "C:\\out.dcm"])
def test_a_name_that_leads_out_refuses_the_whole(name: str, tmp_path: Path, slice_bytes: bytes) -> None:
    path = zipped(tmp_path / "s.zip", ("good.dcm", slice_bytes), (name, slice_bytes))
    assert refused(path) == ("hostile-archive", "The ZIP holds a name that leads out of it.")
    assert [p.name for p in tmp_path.iterdir()] == ["s.zip"], "nothing is written"


def test_a_link_refuses_the_whole(tmp_path: Path, slice_bytes: bytes) -> None:
    link = zipfile.ZipInfo("link.dcm")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    path = zipped(tmp_path / "s.zip", ("good.dcm", slice_bytes), (link, b"/etc/passwd"))
    assert refused(path) == ("hostile-archive", "The ZIP holds a link.")


def test_a_password_refuses_the_whole(tmp_path: Path, slice_bytes: bytes) -> None:
    path = zipped(tmp_path / "s.zip", ("a.dcm", slice_bytes), method=zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    for start, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.find(start) + place] |= 1
    path.write_bytes(data)
    assert refused(path) == ("unsupported", "The ZIP is encrypted.")


@pytest.mark.parametrize("told", [10, 2**20])
def test_a_size_that_is_a_lie_leaves_the_entry_out(told: int, tmp_path: Path, slice_bytes: bytes) -> None:
    path = zipped(tmp_path / "s.zip", ("lie.dcm", slice_bytes))
    path.write_bytes(path.read_bytes().replace(struct.pack("<I", len(slice_bytes)), struct.pack("<I", told)))
    code, reason = refused(path)
    assert code == "no-image"
    assert "1 of 1 files left out" in reason


def test_a_checksum_that_is_wrong_leaves_the_entry_out(tmp_path: Path, slice_bytes: bytes) -> None:
    path = zipped(tmp_path / "s.zip", ("a.dcm", slice_bytes), method=zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.find(b"DICM") + 200] ^= 0xFF
    path.write_bytes(data)
    assert "1 of 1 files left out: undecodable" in refused(path)[1]


def test_an_entry_that_inflates_steeply_refuses_the_whole(tmp_path: Path, slice_bytes: bytes) -> None:
    path = zipped(tmp_path / "s.zip", ("good.dcm", slice_bytes), ("zeros.dcm", bytes(2**26 + 1)))
    assert refused(path) == ("too-large", "The ZIP inflates beyond what is allowed.")
    inside = zipped(tmp_path / "t.zip", ("good.dcm", slice_bytes), ("zeros.dcm", bytes(2**25)))
    assert len(load_study(inside, MemoryStore()).images) == 1, "so much costs nothing"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_to_compress_are_not_read(method: int, tmp_path: Path, slice_bytes: bytes) -> None:
    assert refused(zipped(tmp_path / "s.zip", ("a.dcm", slice_bytes), method=method))[0] == "unsupported"


def test_a_zip_in_a_zip_is_not_opened(tmp_path: Path, slice_bytes: bytes) -> None:
    inner = zipped(tmp_path / "inner.zip", ("a.dcm", slice_bytes)).read_bytes()
    path = zipped(tmp_path / "s.zip", ("inner.zip", inner), ("b.dcm", slice_bytes))
    assert len(load_study(path, MemoryStore()).images) == 1


def test_a_large_zip_is_not_gone_through_once_an_entry(tmp_path: Path, slice_bytes: bytes) -> None:
    path = zipped(tmp_path / "s.zip", *((f"{n:05d}.txt", b"no image") for n in range(3000)), ("a.dcm", slice_bytes))
    begun = time.perf_counter()
    assert len(load_study(path, MemoryStore()).images) == 1
    assert time.perf_counter() - begun < 10, "a second or two; twenty where each entry reads the directory"
