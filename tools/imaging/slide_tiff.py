"""TIFF pyramids: tiled TIFF and BigTIFF with reduced levels (SubIFDs, or series of pages as scanners write them)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import tifffile

from medloupe.errors import InputRejected
from medloupe.limits import Limits
from medloupe.tools.imaging.frame import Draft, Values
from medloupe.tools.imaging.geometry import Warn
from medloupe.tools.imaging.slide import (
    LEFT_OUT,
    Box,
    Part,
    SlideFile,
    check_level,
    cut,
    fingerprint,
    fitting,
    stamp_of,
)
from medloupe.tools.imaging.window import full_range
from medloupe.types import Level, Spacing

__all__ = ["read_tiff_part", "tiff_slide"]

SLIDE_MM = (1e-5, 0.02)
"""Ten nanometres to 20 micrometres: a resolution outside it is a screen's or a printer's, not a slide's."""
_SCANNERS = ("svs", "ndpi", "philips", "scn", "bif")
"""tifffile's names of layouts that only slide scanners write."""
_MM = {2: 25.4, 3: 10.0}
"""ResolutionUnit: inch, centimetre."""
_MPP = re.compile(r"\bMPP = (0?\.\d{1,12}|\d(?:\.\d{1,12})?)\b")
"""Micrometres a pixel in the description that Aperio's scanners write; nothing else of that text is used."""


def tiff_slide(file: BinaryIO, *, modality: str | None, warn: Warn, limits: Limits) -> SlideFile | None:
    """What a TIFF says of a slide; None where it is a picture that can be decoded whole."""
    try:
        with tifffile.TiffFile(file) as tiff:
            return _described(file, tiff, modality, warn, limits) if _may_be_slide(tiff, limits) else None
    except InputRejected:
        raise
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - tifffile may raise anything on a damaged file; Pillow says what is wrong with it
        return None
    finally:
        file.seek(0)


def read_tiff_part(file: BinaryIO, part: Part) -> Values:
    """A box of one level."""
    try:
        with tifffile.TiffFile(file) as tiff:
            pages = _levels(tiff, lambda _: None)
            if part.level >= len(pages):
                raise InputRejected("bad-header", "The slide has no such level.")
            page = pages[part.level]
            return cut(_TiffLevel(file, page), part.box, colour=_is_colour(page))
    except (InputRejected, MemoryError):
        raise
    except Exception as error:  # a decoder may raise anything on a damaged tile
        raise InputRejected("undecodable", "A tile of the slide is damaged and cannot be decoded.") from error


def _may_be_slide(tiff: tifffile.TiffFile, limits: Limits) -> bool:
    """By the first page alone: walking all of them costs time that a plain picture need not take."""
    page = tiff.pages.first
    return page.is_tiled or page.subifds is not None or tiff.is_ndpi or _pixels(page) > limits.frame_pixels


def _pixels(page: Any) -> int:
    return int(page.imagewidth) * int(page.imagelength)


def _described(
    file: BinaryIO, tiff: tifffile.TiffFile, modality: str | None, warn: Warn, limits: Limits
) -> SlideFile | None:
    notes: list[str] = []
    pages = _levels(tiff, notes.append)
    if len(pages) < 2 and _pixels(pages[0]) <= limits.frame_pixels:
        return None
    stamp = stamp_of(file)
    for note in notes:
        warn(note)
    for page in pages:
        _check(page, stamp.size)
    if any(not series.keyframe.is_subifd and series.keyframe not in pages for series in tiff.series):
        warn(LEFT_OUT)
    kind = str(tiff.series[0].kind)
    if modality is None and kind not in _SCANNERS:
        warn("A TIFF says nothing of its modality.")
    page, levels = pages[0], tuple(_level(page) for page in pages)
    draft = Draft(
        modality=modality or ("SM" if kind in _SCANNERS else "OT"),
        width=levels[0].width,
        height=levels[0].height,
        values="RGB" if _is_colour(page) else "stored",
        levels=levels,
        inverted=page.photometric == tifffile.PHOTOMETRIC.MINISWHITE,
        spacing=_spacing(tiff, page, warn),
        window=full_range(8) if page.dtype == np.uint8 and not _is_colour(page) else None,
        photometric="RGB" if _is_colour(page) else "MONOCHROME2",
        transfer_syntax=f"TIFF, {_compression(page)}",
    )
    said = f"{stamp.size}{draft.model_dump_json()}"
    print_ = fingerprint(file, said, (_table(page) for page in pages))
    return SlideFile(draft=draft, levels=levels, fingerprint=print_, stamp=stamp)


def _levels(tiff: tifffile.TiffFile, warn: Warn) -> list[Any]:
    """The pages of the largest picture's levels, largest first."""
    series = max(tiff.series, key=lambda s: _pixels(s.levels[0].keyframe))
    if len(series.levels[0].pages) > 1:
        warn(f"The slide holds {len(series.levels[0].pages)} planes or channels: the first is used.")
    pages = [level.keyframe for level in series.levels]
    # tifffile joins levels that are each the same step below the one before; SubIFDs may go down by other steps.
    subifds = [s.keyframe for s in tiff.series if s is not series and s.keyframe.is_subifd and s.keyframe.is_reduced]
    pages += [page for page in subifds if page.treeindex[:-1] == series.keyframe.treeindex]
    pages.sort(key=_pixels, reverse=True)
    return [pages[place] for place in fitting((_level(page) for page in pages), warn)]


def _level(page: Any) -> Level:
    rows, columns = (
        (page.tilelength, page.tilewidth)
        if page.is_tiled
        else (min(page.rowsperstrip, page.imagelength), page.imagewidth)
    )
    return Level(width=page.imagewidth, height=page.imagelength, tile_width=columns, tile_height=rows)


def _is_colour(page: Any) -> bool:
    return int(page.samplesperpixel) >= 3


def _check(page: Any, size: int) -> None:
    """InputRejected for what is not read here and for tables that do not bear the size out. Nothing is decoded."""
    level, (offsets, lengths) = _level(page), _table(page)
    grey, colour = ("MINISBLACK", "MINISWHITE"), ("RGB", "YCBCR")
    photometric = getattr(page.photometric, "name", "")
    if photometric not in (colour if _is_colour(page) else grey) or page.samplesperpixel not in (1, 3, 4):
        raise InputRejected("unsupported", "The slide's photometric interpretation is not supported.")
    if page.dtype not in (np.uint8, np.uint16) or page.imagedepth > 1:
        raise InputRejected("unsupported", "The slide's samples are not of 8 or 16 unsigned bits.")
    check_level(level, len(offsets) // (int(page.samplesperpixel) if page.planarconfig == 2 else 1))
    if len(lengths) != len(offsets) or np.any(offsets.astype(np.float64) + lengths > size):
        raise InputRejected("truncated", "The slide's file ends before its tiles do.")


def _table(page: Any) -> tuple[Values, Values]:
    return np.asarray(page.dataoffsets, np.uint64), np.asarray(page.databytecounts, np.uint64)


def _compression(page: Any) -> str:
    name = getattr(page.compression, "name", "")
    return "uncompressed" if name == "NONE" else name.replace("_", " ")


def _spacing(tiff: tifffile.TiffFile, page: Any, warn: Warn) -> Spacing | None:
    """Aperio's MPP, else the resolution tags where they are a microscope's."""
    found = _MPP.search(page.description or "") if tiff.is_svs else None
    if found is not None and float(found[1]) > 0:
        mm = float(found[1]) / 1000
        return Spacing(row_mm=mm, column_mm=mm, source="MPP")
    unit = _MM.get(int(page.resolutionunit or 0))
    across, down = page.resolution
    if unit is not None and across > 0 and down > 0:
        row, column = unit / down, unit / across
        if all(SLIDE_MM[0] <= mm <= SLIDE_MM[1] for mm in (row, column)):
            return Spacing(row_mm=row, column_mm=column, source="XResolution, YResolution")
    warn("The TIFF states no resolution of a microscope: sizes are in pixels.")
    return None


@dataclass(frozen=True)
class _TiffLevel:
    """A page's tiles or strips."""

    file: BinaryIO
    page: Any

    @property
    def level(self) -> Level:
        return _level(self.page)

    @property
    def fill(self) -> int:
        """Of tiles that are not stored."""
        return int(self.page.nodata)

    def tiles(self, box: Box) -> Iterator[tuple[int, int, Values]]:
        """Decoded by tifffile, one at a time; samples that lie in planes of their own are put together."""
        level, page = self.level, self.page
        across, planes = -(-level.width // level.tile_width), page.samplesperpixel if page.planarconfig == 2 else 1
        each = across * -(-level.height // level.tile_height)
        for row in range(box[1] // level.tile_height, -(-box[3] // level.tile_height)):
            for column in range(box[0] // level.tile_width, -(-box[2] // level.tile_width)):
                stored = [self._decoded(row * across + column + each * plane) for plane in range(min(planes, 3))]
                if all(part is not None for part in stored):
                    samples = stored[0] if planes == 1 else np.concatenate([p for p in stored if p is not None], -1)
                    yield column * level.tile_width, row * level.tile_height, _as_values(samples)

    def _decoded(self, index: int) -> Values | None:
        """(rows, columns, samples); None for a tile that is not stored."""
        page = self.page
        offset, length = int(page.dataoffsets[index]), int(page.databytecounts[index])
        if not (offset and length):
            return None
        self.file.seek(offset)
        data = self.file.read(length)
        if len(data) < length:
            raise InputRejected("truncated", "The slide's file ends before its tiles do.")
        tables = {} if page.jpegtables is None else {"jpegtables": page.jpegtables}
        header = {} if page.jpegheader is None else {"jpegheader": page.jpegheader}
        decoded = page.decode(data, index, **tables, **header)[0]
        return None if decoded is None else np.asarray(decoded)[0]


def _as_values(samples: Any) -> Values:
    """RGB as uint8 and grey as it is, (rows, columns) or (rows, columns, 3)."""
    if samples.shape[-1] == 1:
        return np.asarray(samples[..., 0])
    return np.asarray(samples[..., :3] >> 8 if samples.dtype == np.uint16 else samples[..., :3])
