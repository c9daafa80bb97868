"""Pictures where releases keep them: as files, in a ZIP, in a numpy archive, in parquet, or as base64 in a table.

A locator is a path relative to the release's folder, alone, or with a place inside the file after a "#":

    images/a.png                          a file, or a folder with a series
    images.zip#images/a.png               an entry of a ZIP
    pathmnist.npz#test_images/12          an entry of an array
    data/test-0.parquet#image/12          a row's {"bytes": ...} or bytes
    GMAI_VAL.tsv#image/70210              base64 in the row that starts at that byte

Nothing is unpacked before it is asked for, and only one picture at a time is held.
"""

from __future__ import annotations

import base64
import csv
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import numpy.typing as npt

from medloupe.errors import InputRejected

__all__ = ["encode_png", "exists", "materialise", "read_mask", "tsv_rows"]

MOST_BYTES = 2**28
"""Of one picture inside another file."""
_UNREADABLE = (
    EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError, csv.Error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What taking a picture out of a damaged or changed file raises; a ZIP with a password is a RuntimeError."""
INSIDE = 127
"""Mask values above are inside; masks saved as JPEG ring around their edges, so their zeros and ones are not clean."""


def exists(folder: Path, locator: str) -> bool:
    """Whether the file of a locator is there, and, of a ZIP, the entry; of others it is looked for when it is read."""
    file, _, place = locator.partition("#")
    path = folder / file
    if place and path.suffix == ".zip" and path.is_file():
        return place in _entries(path)
    return path.exists()


@lru_cache(maxsize=4)
def _entries(path: Path) -> frozenset[str]:
    """Names in a ZIP; none where it is no ZIP that can be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return frozenset(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return frozenset()


def materialise(folder: Path, locator: str, into: Path, name: str) -> Path:
    """A file that can be opened as a study: the released file itself, or one written to `into`.

    InputRejected when it is not there or cannot be read.
    """
    file, _, place = locator.partition("#")
    path = folder / file
    if not path.exists():
        raise InputRejected("missing-file", f"{file} is missing from the release's folder")
    if not place:
        return path
    try:
        content = _inside(path, place)
    except _UNREADABLE as error:
        raise InputRejected("unreadable", f"{locator} cannot be read: {type(error).__name__}") from None
    out = into / f"{name}{Path(place).suffix.lower() or '.png'}"
    out.write_bytes(content)
    return out


def _inside(path: Path, place: str) -> bytes:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(place).file_size > MOST_BYTES:
                raise ValueError("too large")
            return archive.read(place)
    name, _, number = place.rpartition("/")
    if path.suffix == ".npz":
        return encode_png(np.asarray(_array(path, name)[int(number)]))
    if path.suffix == ".npy":
        return encode_png(np.asarray(np.load(path, mmap_mode="r", allow_pickle=False)[int(number)]))
    if path.suffix == ".parquet":
        return _parquet_bytes(path, name, int(number))
    if path.suffix == ".tsv":
        return _table_bytes(path, name, int(number))
    raise ValueError("no such container")


@lru_cache(maxsize=2)
def _array(path: Path, name: str) -> npt.NDArray[Any]:
    """An array of an archive; the last two are kept, since its entries cannot be read one by one."""
    with np.load(path, allow_pickle=False) as archive:
        array: npt.NDArray[Any] = archive[name]
    return array


def encode_png(pixels: npt.NDArray[Any]) -> bytes:
    """(rows, columns) or (rows, columns, 3) RGB, 8-bit, as PNG. ValueError for anything else."""
    values = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    if values.dtype != np.uint8 or values.ndim not in (2, 3):
        raise ValueError("no 8-bit picture")
    done, encoded = cv2.imencode(".png", cv2.cvtColor(values, cv2.COLOR_RGB2BGR) if values.ndim == 3 else values)
    if not done:
        raise ValueError("cannot be encoded")
    return encoded.tobytes()


def _parquet_bytes(path: Path, column: str, row: int) -> bytes:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if row < rows:
                value = file.read_row_group(group, columns=[column])[column][row].as_py()
                return bytes(value["bytes"] if isinstance(value, dict) else value)
            row -= rows
    raise IndexError(row)


def _table_bytes(path: Path, column: str, offset: int) -> bytes:
    with path.open("rb") as file:
        _, names = next(tsv_rows(file), (0, []))
        file.seek(offset)
        _, cells = next(tsv_rows(file), (0, []))
    return base64.b64decode(cells[names.index(column)], validate=True)


def tsv_rows(file: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """(byte at which it starts, cells) of each row from here on; a quoted cell may go on over lines.

    No line is read before its row is asked for. UnicodeDecodeError or csv.Error for what is no table.
    """
    csv.field_size_limit(2**30)
    reader = csv.reader(iter(lambda: file.readline(2 * MOST_BYTES).decode("utf-8-sig"), ""), delimiter="\t")
    offset = file.tell()
    for cells in reader:
        yield offset, cells
        offset = file.tell()


def read_mask(folder: Path, locators: tuple[str, ...], scratch: Path) -> npt.NDArray[np.bool_]:
    """(rows, columns), the union of the masks' pixels above 127 in any channel; InputRejected for an unreadable one."""
    union: npt.NDArray[np.bool_] | None = None
    for number, locator in enumerate(locators):
        file = materialise(folder, locator, scratch, f"mask{number}")
        values = cv2.imread(str(file), cv2.IMREAD_COLOR)
        if values is None:
            raise InputRejected("unreadable", f"{locator} is no picture")
        inside = np.asarray(values.max(axis=2) > INSIDE)
        if union is not None and union.shape != inside.shape:
            raise InputRejected("unreadable", f"{locator} has another size than its image's other masks")
        union = inside if union is None else union | inside
    if union is None:
        raise InputRejected("missing-file", "the case has no mask")
    return union


def remove(folder: Path) -> None:
    """Delete what was materialised for one case."""
    shutil.rmtree(folder, ignore_errors=True)
