"""Where a study's files are: a file, the files below a folder, the entries of a ZIP. Nothing is written to disk."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from medloupe.errors import InputRejected
from medloupe.tools.imaging.frame import MAX_INFLATED_BYTES
from medloupe.tools.imaging.slide import Part

__all__ = ["MAX_FILES", "Source", "find_sources", "is_dicomdir", "open_source"]

MAX_FILES = 50_000
"""Of one folder or ZIP."""
MAX_RATIO = 200
"""Of an entry's inflated to its stored size, once it is larger than a megabyte."""
MAX_ZIP_BYTES = 2**33
"""Of all entries of one ZIP, inflated."""
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


def find_sources(root: Path) -> list[Source]:
    """The regular files to look at, in the order of their names. InputRejected for a ZIP that is not to be trusted.

    Links that lead out of a folder are not followed; a ZIP inside a folder or a ZIP is not opened.
    """
    if root.is_dir():
        return [Source(path=p, suffix=_suffix(p), number=n) for n, p in enumerate(_walk(root))]
    if not root.is_file():
        raise InputRejected("not-a-file", "The path is neither a file nor a folder.")
    with root.open("rb") as file:
        if is_dicomdir(file):  # its index is not believed: its files are those that lie beside and below it
            return find_sources(root.parent)
    if is_zip(root):
        return list(_entries(root))
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
def open_source(source: Source) -> Iterator[tuple[BinaryIO, int]]:
    """The open, seekable file and its size in bytes; a ZIP's entry is inflated in memory, within the limits."""
    if source.entry is None:
        with source.path.open("rb") as file:
            yield file, os.fstat(file.fileno()).st_size
        return
    data = _inflate(source)
    yield BytesIO(data), len(data)


def _suffix(path: Path | PurePosixPath) -> str:
    return "".join(path.suffixes[-2:]) if path.suffix.lower() == ".gz" else path.suffix


def _walk(root: Path) -> Iterator[Path]:
    """Regular files below a folder, in the order of their names; links that lead out of it are not followed."""
    inside, count = root.resolve(), 0
    for folder, subfolders, names in os.walk(root):
        subfolders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if not path.is_file() or (path.is_symlink() and not path.resolve().is_relative_to(inside)):
                continue
            count += 1
            if count > MAX_FILES:
                raise InputRejected("too-large", f"The folder holds more than {MAX_FILES:,} files.")
            yield path


# --- ZIP ------------------------------------------------------------------------------------------------------------


def _entries(path: Path) -> Iterator[Source]:
    """The files of a ZIP once its whole directory is sound; an entry that leads out, or is a link, refuses the ZIP."""
    with _opened(path) as archive:
        listed = archive.infolist()
    if len(listed) > MAX_FILES:
        raise InputRejected("too-large", f"The ZIP holds more than {MAX_FILES:,} files.")
    if sum(info.file_size for info in listed) > MAX_ZIP_BYTES:
        raise InputRejected("too-large", "The ZIP inflates beyond what is allowed.")
    for info in listed:
        _check_entry(info)
    named = sorted((info.filename, n) for n, info in enumerate(listed) if not info.is_dir())
    for number, (name, entry) in enumerate(named):
        yield Source(path=path, entry=entry, suffix=_suffix(PurePosixPath(name)), number=number)


def _check_entry(info: zipfile.ZipInfo) -> None:
    parts = info.filename.replace("\\", "/").split("/")
    if info.filename.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
        raise InputRejected("hostile-archive", "The ZIP holds a name that leads out of it.")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise InputRejected("hostile-archive", "The ZIP holds a link.")
    if info.flag_bits & _ENCRYPTED:
        raise InputRejected("unsupported", "The ZIP is encrypted.")
    if info.file_size > MAX_INFLATED_BYTES or (
        info.file_size > 2**20 and info.file_size > MAX_RATIO * max(info.compress_size, 1)
    ):
        raise InputRejected("too-large", "The ZIP holds a file that inflates beyond what is allowed.")


def _inflate(source: Source) -> bytes:
    """An entry, checked against the size that the directory declares (zipfile checks its CRC)."""
    with _opened(source.path) as archive:
        listed = archive.infolist()
        if source.entry is None or source.entry >= len(listed):
            raise InputRejected("undecodable", "The ZIP changed while it was read.")
        info = listed[source.entry]
        _check_entry(info)
        with archive.open(info) as file:
            data = file.read(info.file_size + 1)
    if len(data) != info.file_size:
        raise InputRejected("hostile-archive", "A file in the ZIP is not of the size that its directory declares.")
    return data


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise InputRejected("undecodable", "The ZIP is damaged or of a kind that is not supported.") from error
    except Exception as error:  # zlib, bz2 and lzma raise errors of their own
        if isinstance(error, InputRejected | OSError):
            raise
        raise InputRejected("undecodable", "The ZIP is damaged.") from error
