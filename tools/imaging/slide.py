"""Whole slides: too large to be decoded, so they stay in their files and are read tile by tile (see region.py).

What stands here passes between the loader and its workers, or is kept in a store; the readers themselves are in
slide_tiff.py and slide_dicom.py and run in the workers only.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from medloupe.errors import InputRejected
from medloupe.limits import Limits
from medloupe.tools.imaging.frame import Draft, Values
from medloupe.types import Frozen, Level

__all__ = [
    "LEFT_OUT", "MAX_REGION_PIXELS", "Box", "Part", "Pyramid", "PyramidLevel", "SlideFile", "Stamp", "Tiled",
    "check_level", "cut", "fingerprint", "fitting", "stamp_of",
]  # fmt: skip

MAX_REGION_PIXELS = 2**25
"""Of what is read of one level at a time, 100 MB in colour; the smallest level of a slide must not be larger."""
MAX_TILE_PIXELS = 2**24
"""Of one tile or strip."""
_SAMPLED = 64
"""Tiles of a level, evenly spread, whose stored bytes count for a slide's digest: all of them would take minutes."""
_RATIO = 0.01
"""How far a level's proportions may be from the full size's, beyond a pixel of rounding."""
LEFT_OUT = "A slide's label and macro pictures may show who it is of: they are left out."

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in whole pixels of a level."""


class Stamp(Frozen):
    """By which a slide's file is known again."""

    size: int
    """Bytes."""
    modified: int
    """Nanoseconds."""


class SlideFile(Frozen):
    """What one file says of a slide."""

    draft: Draft
    """As of its largest level, without a digest."""
    levels: tuple[Level, ...]
    """Largest first."""
    fingerprint: str
    """sha-256 over its tables and a sample of its tiles."""
    stamp: Stamp
    study_uid: str | None = None
    series_uid: str | None = None
    series_number: int = 0
    file: int = 0
    """Which file it is, in order of reading."""


class Part(Frozen):
    """What to read of a slide's file instead of describing it."""

    level: int
    """Place in SlideFile.levels."""
    box: Box
    stamp: Stamp


class PyramidLevel(Frozen):
    """Where one level of a slide lies."""

    path: str
    """The path's bytes as Latin-1: names need not be UTF-8, JSON must be."""
    place: int
    """Of the level in its file."""
    stamp: Stamp

    def file(self) -> Path:
        """The path again."""
        return Path(os.fsdecode(self.path.encode("latin-1")))


class Pyramid(Frozen):
    """What a store keeps of a slide in place of pixels: where its levels lie, as Image.levels lists them.

    Private to the store: a path may name a patient.
    """

    levels: tuple[PyramidLevel, ...]
    limits: Limits
    """Under which it was opened, and is read."""


class Tiled(Protocol):
    """One level of an open file."""

    @property
    def level(self) -> Level:
        """Its sizes."""
        ...

    @property
    def fill(self) -> int:
        """Where there is no tile."""
        ...

    def tiles(self, box: Box) -> Iterator[tuple[int, int, Values]]:
        """(column, row) of its first pixel in the level and the decoded pixels of every tile that the box touches."""
        ...


def cut(tiled: Tiled, box: Box, *, colour: bool) -> Values:
    """(rows, columns, 3) uint8 or (rows, columns) int32 of a box of a level. InputRejected beyond what is allowed."""
    x0, y0, x1, y1 = box
    if not (0 <= x0 < x1 <= tiled.level.width and 0 <= y0 < y1 <= tiled.level.height):
        raise InputRejected("bad-header", "The slide has no such region.")
    rows, columns = y1 - y0, x1 - x0
    if rows * columns > MAX_REGION_PIXELS:
        raise InputRejected("too-large", f"More than {MAX_REGION_PIXELS:,} pixels of a slide are asked for at once.")
    out: Values = np.full((rows, columns, 3) if colour else (rows, columns), tiled.fill, np.uint8 if colour else "i4")
    for x, y, tile in tiled.tiles(box):
        left, top, right, bottom = max(x, x0), max(y, y0), min(x + tile.shape[1], x1), min(y + tile.shape[0], y1)
        if left < right and top < bottom:
            out[top - y0 : bottom - y0, left - x0 : right - x0] = tile[top - y : bottom - y, left - x : right - x]
    return out


def check_level(level: Level, tiles: int) -> None:
    """InputRejected for tiles that are too large to be decoded, or fewer than the level's size needs."""
    if level.tile_width * level.tile_height > MAX_TILE_PIXELS:
        raise InputRejected("too-large", f"The slide declares tiles of more than {MAX_TILE_PIXELS:,} pixels.")
    if tiles < -(-level.width // level.tile_width) * -(-level.height // level.tile_height):
        raise InputRejected("truncated", "The slide holds fewer tiles than the size of a level needs.")


def fitting(levels: Iterable[Level], warn: Callable[[str], None]) -> list[int]:
    """The places of those levels, in order, that are of the first one's proportions and of no other's size."""
    listed = list(levels)
    first, kept = listed[0], [0]
    for place, level in enumerate(listed[1:], 1):
        across, down = first.width * level.height / first.height, first.height * level.width / first.width
        if abs(level.width - across) > 1 + _RATIO * across and abs(level.height - down) > 1 + _RATIO * down:
            warn(f"A level of {level.width} x {level.height} pixels does not fit to the slide's size and is left out.")
        elif any(level.width == listed[k].width for k in kept):
            warn(f"The slide holds several pictures of {level.width} x {level.height} pixels: the first is used.")
        else:
            kept.append(place)
    return kept


def stamp_of(file: BinaryIO) -> Stamp:
    """Of an open file. InputRejected for one that is held in memory."""
    try:
        found = os.fstat(file.fileno())
    except (io.UnsupportedOperation, AttributeError):
        reason = "A slide in a ZIP or gzip cannot be opened by level: unpack it first."
        raise InputRejected("unsupported", reason) from None
    return Stamp(size=found.st_size, modified=found.st_mtime_ns)


def fingerprint(file: BinaryIO, said: str, tables: Iterable[tuple[Values, Values]]) -> str:
    """Over what a header says, and (offsets, lengths) of the stored tiles of each level with some of those tiles."""
    digest = hashlib.sha256(said.encode())
    for offsets, lengths in tables:
        digest.update(np.ascontiguousarray(offsets, "<u8").data)
        digest.update(np.ascontiguousarray(lengths, "<u8").data)
        for place in np.unique(np.linspace(0, len(offsets) - 1, _SAMPLED).astype(int)) if len(offsets) else ():
            file.seek(int(offsets[place]))
            digest.update(file.read(min(int(lengths[place]), 2**20)))
    return digest.hexdigest()
