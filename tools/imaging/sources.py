"""Where a study's files are: a file, the files below a folder, the entries of a ZIP. Nothing is written to disk."""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from medloupe.errors import InputRejected
from medloupe.limits import HARMLESS_BYTES, Limits
from medloupe.tools.imaging.inflate import RAW, check_inflation, inflated
from medloupe.tools.imaging.slide import Part

__all__ = ["Source", "find_sources", "is_dicomdir", "open_source"]

_ENTRY_BYTES = 1024
"""Of one entry in a ZIP's directory, at most: 46, its name, and a comment. Longer ones are not to be expected."""
_ENTRY = b"PK\1\2"
"""How each begins."""
_LOCAL = struct.Struct("<26xHH")
"""What stands before an entry's bytes; of it only how long its name and extra field are, which follow."""
_ENCRYPTED = 0x1
_DICOMDIR = b"1.2.840.10008.1.3.10"


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file to read: on disk, or an entry of a ZIP on disk."""

    path: Path
    entry: int | None = None
    """Place in the ZIP's directory; entries are never addressed by their names, which may be hostile."""
    suffix: str = ""
    number: int = 0
    """In order of finding."""
    part: Part | None = None
    """Of a slide: the pixels to read, as one frame, in place of the whole."""


def find_sources(root: Path, limits: Limits) -> list[Source]:
    """The regular files to look at, in the order of their names. InputRejected for a ZIP that is not to be trusted.

    Links that lead out of a folder are not followed; a ZIP inside a folder or a ZIP is not opened.
    """
    if root.is_dir():
        return [Source(path=p, suffix=_suffix(p), number=n) for n, p in enumerate(_walk(root, limits))]
    if not root.is_file():
        raise InputRejected("not-a-file", "The path is neither a file nor a folder.")
    with root.open("rb") as file:
        if is_dicomdir(file):  # its index is not believed: its files are those that lie beside and below it
            return find_sources(root.parent, limits)
    if is_zip(root):
        return list(_entries(root, limits))
    return [Source(path=root, suffix=_suffix(root))]


def is_dicomdir(file: BinaryIO) -> bool:
    """Whether an open file is a DICOMDIR, by its Media Storage SOP Class; it is left at its start."""
    head = file.read(1024)
    file.seek(0)
    return head[128:132] == b"DICM" and _DICOMDIR in head


def is_zip(path: Path) -> bool:
    """Whether a file starts as a ZIP does."""
    with path.open("rb") as file:
        return file.read(4) in (b"PK\3\4", b"PK\5\6")


@contextmanager
def open_source(source: Source, limits: Limits) -> Iterator[tuple[BinaryIO, int]]:
    """The open, seekable file and its size in bytes; a ZIP's entry is inflated in memory, within the limits."""
    if source.entry is None:
        with source.path.open("rb") as file:
            yield file, os.fstat(file.fileno()).st_size
        return
    data = _inflate(source, limits)
    yield io.BytesIO(data), len(data)


def _suffix(path: Path | PurePosixPath) -> str:
    return "".join(path.suffixes[-2:]) if path.suffix.lower() == ".gz" else path.suffix


def _walk(root: Path, limits: Limits) -> Iterator[Path]:
    """Regular files below a folder, in the order of their names; links that lead out of it are not followed."""
    inside, count = root.resolve(), 0
    for folder, subfolders, names in os.walk(root):
        subfolders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if not path.is_file() or (path.is_symlink() and not path.resolve().is_relative_to(inside)):
                continue
            count += 1
            if count > limits.files:
                raise InputRejected("too-large", f"The folder holds more than {limits.files:,} files.")
            yield path


# --- ZIP ------------------------------------------------------------------------------------------------------------
#
# Its directory is looked at here, before a worker is given an entry: only names, sizes and flags, and no more of them
# than `_Archive` lets zipfile see. Nothing is inflated but by a worker.


class _Archive(io.FileIO):
    """A ZIP on disk whose directory is refused, before zipfile takes it apart, when it is too long."""

    def __init__(self, path: Path, limits: Limits) -> None:
        super().__init__(path)
        self._files = limits.files

    def read(self, size: int | None = -1, /) -> bytes:
        """As a file does. zipfile reads the directory in one piece, and before it no more than the last 64 KiB."""
        if (size or 0) > max(2**17, self._files * _ENTRY_BYTES):
            raise InputRejected("too-large", "The ZIP's directory is longer than is allowed.")
        data = super().read(size)
        if data.startswith(_ENTRY) and data.count(_ENTRY) > self._files:
            raise InputRejected("too-large", f"The ZIP holds more than {self._files:,} files.")
        return data


def _entries(path: Path, limits: Limits) -> Iterator[Source]:
    """The files of a ZIP once its whole directory is sound; an entry that leads out, or is a link, refuses the ZIP."""
    listed = _directory(path, path.stat().st_mtime_ns, limits)
    whole = sum(info.file_size for info in listed)
    if whole > limits.zip_bytes or (whole > HARMLESS_BYTES and whole > limits.inflate_ratio * path.stat().st_size):
        raise InputRejected("too-large", "The ZIP inflates beyond what is allowed.")  # its entries may overlap
    for info in listed:
        _check_entry(info, limits)
    named = sorted((info.filename, n) for n, info in enumerate(listed) if not info.is_dir())
    for number, (name, entry) in enumerate(named):
        yield Source(path=path, entry=entry, suffix=_suffix(PurePosixPath(name)), number=number)


@lru_cache(maxsize=1)
def _directory(path: Path, _changed: int, limits: Limits) -> tuple[zipfile.ZipInfo, ...]:
    """What a ZIP holds; kept, so that a worker which reads its entries one by one goes through it once."""
    try:
        with _Archive(path, limits) as file, zipfile.ZipFile(file) as archive:
            return tuple(archive.infolist())
    except (InputRejected, OSError):
        raise
    except Exception as error:  # zipfile lets errors of struct and of codecs pass
        raise InputRejected("undecodable", "The ZIP is damaged or of a kind that is not supported.") from error


def _check_entry(info: zipfile.ZipInfo, limits: Limits) -> None:
    parts = info.filename.replace("\\", "/").split("/")
    if info.filename.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
        raise InputRejected("hostile-archive", "The ZIP holds a name that leads out of it.")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise InputRejected("hostile-archive", "The ZIP holds a link.")
    if info.flag_bits & _ENCRYPTED:
        raise InputRejected("unsupported", "The ZIP is encrypted.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputRejected("unsupported", "The ZIP is compressed in a way that is not read.")
    check_inflation(info.file_size, info.compress_size, limits)


def _inflate(source: Source, limits: Limits) -> bytes:
    """An entry, of the size and with the checksum that the directory declares, and no byte more."""
    listed = _directory(source.path, source.path.stat().st_mtime_ns, limits)
    if source.entry is None or source.entry >= len(listed):
        raise InputRejected("undecodable", "The ZIP changed while it was read.")
    info = listed[source.entry]
    _check_entry(info, limits)
    data = bytearray()
    with source.path.open("rb") as file:
        file.seek(info.header_offset)
        head = file.read(_LOCAL.size)
        if len(head) < _LOCAL.size or head[:4] != b"PK\3\4":
            raise InputRejected("undecodable", "The ZIP is damaged.")
        file.seek(sum(_LOCAL.unpack(head)), os.SEEK_CUR)
        deflated = info.compress_type == zipfile.ZIP_DEFLATED
        for piece in inflated(file, RAW, limits) if deflated else (file.read(info.file_size),):
            data += piece
            if len(data) > info.file_size:
                break
    if len(data) != info.file_size:
        raise InputRejected("hostile-archive", "A file in the ZIP is not of the size that its directory declares.")
    if zlib.crc32(data) != info.CRC:
        raise InputRejected("undecodable", "A file in the ZIP is damaged.")
    return bytes(data)
