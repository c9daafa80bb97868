"""Whole-slide DICOM (VL Whole Slide Microscopy, PS3.3 A.32.8): each file is one level of tiles."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from medloupe.errors import InputRejected
from medloupe.prompts import knowledge
from medloupe.tools.imaging.frame import Draft, Values
from medloupe.tools.imaging.geometry import Warn, spacing
from medloupe.tools.imaging.pixels import decoded, syntax_name
from medloupe.tools.imaging.slide import LEFT_OUT, Box, Part, SlideFile, check_level, cut, fingerprint, stamp_of
from medloupe.tools.imaging.tags import BadValueError, code, functional, items, uid, whole
from medloupe.tools.imaging.window import full_range
from medloupe.types import Level

__all__ = ["dicom_slide", "is_sparse", "read_dicom_part", "tile_places"]

_KINDS = ("VOLUME", "THUMBNAIL", "LABEL", "OVERVIEW", "LOCALIZER")
"""Third value of ImageType (PS3.3 C.8.12.4.1.1)."""
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
_DECODED_BY = (
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation",
)  # fmt: skip
_ITEM, _DELIMITER, _PIXEL_DATA = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0", b"\xe0\x7f\x10\x00"
_UNDEFINED = 0xFFFFFFFF
_MAX_FRAMES = 2**22


def dicom_slide(file: BinaryIO, *, modality: str | None, warn: Warn) -> SlideFile:
    """What a file says of its level. InputRejected for a label or a macro picture, and for what is not read here."""
    try:
        stamp = stamp_of(file)
        ds = pydicom.dcmread(file, stop_before_pixels=True)
        _reject_other_pictures(ds)
        tiled = _opened(file, ds, stamp.size)
        draft, frames = _draft(ds, tiled, modality, warn), tiled.frames
        said = f"{stamp.size}{draft.model_dump_json()}"
        return SlideFile(
            draft=draft,
            levels=(tiled.level,),
            fingerprint=fingerprint(file, said, [(frames.offsets, frames.lengths)]),
            stamp=stamp,
            study_uid=uid(ds, "StudyInstanceUID"),
            series_uid=uid(ds, "SeriesInstanceUID"),
            series_number=whole(ds, "SeriesNumber") or 0,
        )
    except (InputRejected, MemoryError):
        raise
    except BadValueError as error:
        raise InputRejected("bad-header", f"{error} cannot be read.") from error
    except Exception as error:  # pydicom may raise anything on a damaged file
        raise InputRejected("undecodable", "The DICOM file is damaged and cannot be read.") from error


def read_dicom_part(file: BinaryIO, part: Part) -> Values:
    """A box of the file's level."""
    try:
        ds = pydicom.dcmread(file, stop_before_pixels=True)
        tiled = _opened(file, ds, part.stamp.size)
        return cut(tiled, part.box, colour=tiled.colour)
    except (InputRejected, MemoryError):
        raise
    except Exception as error:  # pydicom may raise anything on a damaged file
        raise InputRejected("undecodable", "The DICOM file is damaged and cannot be read.") from error


# --- the header -----------------------------------------------------------------------------------------------------


def _reject_other_pictures(ds: Any) -> None:
    image_type = list(ds.get("ImageType") or [])
    kind = str(image_type[2]).strip().upper() if len(image_type) > 2 else ""
    if (kind in _KINDS and kind not in ("VOLUME", "THUMBNAIL")) or code(ds, "SpecimenLabelInImage", ("YES",)):
        raise InputRejected("label-image", LEFT_OUT)
    if "ConcatenationUID" in ds and (whole(ds, "InConcatenationTotalNumber") or 2) > 1:
        raise InputRejected("unsupported", "The slide's level is split over several files (a concatenation).")


def _draft(ds: Any, tiled: _DicomLevel, modality: str | None, warn: Warn) -> Draft:
    told = code(ds, "Modality", knowledge("dicom_terms")["modality"])
    if modality and told and modality != told:
        warn(f"Modality {modality} was set by hand; the file says {told}.")
    if code(ds, "BurnedInAnnotation", ("YES",)):
        warn("The file says that text is burned into its pixels.")
    planes, paths = whole(ds, "TotalPixelMatrixFocalPlanes") or 1, len(items(ds, "OpticalPathSequence")) or 1
    if planes * paths > 1:
        warn(f"The slide holds {planes} focal planes and {paths} optical paths: the first is used.")
    step = spacing(ds, 0, warn)
    if step is None:
        warn("No usable pixel spacing: sizes are in pixels.")
    photometric = code(ds, "PhotometricInterpretation", ("MONOCHROME1", "MONOCHROME2", *_COLOUR))
    return Draft(
        sop_instance_uid=uid(ds, "SOPInstanceUID"),
        modality=modality or told or "SM",
        width=tiled.level.width,
        height=tiled.level.height,
        values="RGB" if tiled.colour else "stored",
        levels=(tiled.level,),
        inverted=photometric == "MONOCHROME1",
        spacing=step,
        window=full_range(8) if not tiled.colour and whole(ds, "BitsAllocated") == 8 else None,
        photometric=photometric,
        transfer_syntax=syntax_name(ds.file_meta.TransferSyntaxUID),
    )


def _opened(file: BinaryIO, ds: Any, size: int) -> _DicomLevel:
    """The level, once header, tables and file agree. Nothing is decoded."""
    width, height = (whole(ds, f"TotalPixelMatrix{name}") or 0 for name in ("Columns", "Rows"))
    columns, rows, count = (whole(ds, name) or 0 for name in ("Columns", "Rows", "NumberOfFrames"))
    if min(width, height, columns, rows, count) < 1 or count > _MAX_FRAMES:
        raise InputRejected("bad-header", "The file declares a slide without pixels.")
    samples, allocated = whole(ds, "SamplesPerPixel") or 1, whole(ds, "BitsAllocated") or 0
    allowed = _COLOUR if samples == 3 else ("MONOCHROME1", "MONOCHROME2") if samples == 1 else ()
    if not code(ds, "PhotometricInterpretation", allowed) or whole(ds, "PixelRepresentation"):
        raise InputRejected("unsupported", "The slide's photometric interpretation is not supported.")
    if allocated != 8 and (allocated, samples) != (16, 1):
        raise InputRejected("unsupported", "The slide's samples are not of 8 bits, or 16 in grey.")
    level, syntax = (
        Level(width=width, height=height, tile_width=columns, tile_height=rows),
        UID(str(ds.file_meta.TransferSyntaxUID)),
    )
    check_level(level, 2**62 if is_sparse(ds) else count)
    if syntax == DeflatedExplicitVRLittleEndian or not ds.original_encoding[1]:
        raise InputRejected("unsupported", f"{syntax_name(syntax)}: a slide cannot be opened by level in it.")
    frames = _frames_of(file, ds, syntax, count, rows * columns * samples * allocated // 8, size)
    x, y = tile_places(ds, level, count)
    return _DicomLevel(file, level, _template(ds), frames, _first_of_each(x, y), y, fill=255 if samples == 3 else 0)


def is_sparse(ds: Any) -> bool:
    """Whether each tile says where it lies (TILED_SPARSE, or nothing said and functional groups of each frame)."""
    organised = code(ds, "DimensionOrganizationType", ("TILED_FULL", "TILED_SPARSE"))
    return organised == "TILED_SPARSE" or (not organised and "PerFrameFunctionalGroupsSequence" in ds)


def tile_places(ds: Any, level: Level, count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First column and row of each frame's tile.

    TILED_FULL goes row by row from the upper left, then over focal planes, optical paths or segments (PS3.3
    C.7.6.17.3); in TILED_SPARSE each frame says where, counted from 1.
    """
    across, down = -(-level.width // level.tile_width), -(-level.height // level.tile_height)
    if not is_sparse(ds):
        place = np.arange(count) % (across * down)
        return place % across * level.tile_width, place // across * level.tile_height
    found = np.empty((count, 2), np.int64)
    for n in range(count):
        group = functional(ds, n, "PlanePositionSlideSequence")
        for axis, name in enumerate(("Column", "Row")):
            said = None if group is None else whole(group, f"{name}PositionInTotalImagePixelMatrix")
            if said is None or said < 1:
                raise InputRejected("bad-header", "A tile of the slide does not say where in it it lies.")
            found[n, axis] = said - 1
    return found[:, 0], found[:, 1]


def _first_of_each(x: npt.NDArray[np.int64], y: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """x, negative for every tile that lies where another did: other focal planes and optical paths are not used."""
    kept = np.full_like(x, -1)
    _, first = np.unique(y << 32 | x, return_index=True)
    kept[first] = x[first]
    return kept


def _template(ds: Any) -> Dataset:
    """A data set of one frame, for the decoders."""
    single = Dataset()
    for keyword in _DECODED_BY:
        if keyword in ds:
            setattr(single, keyword, ds[keyword].value)
    single.NumberOfFrames = 1
    single.file_meta = FileMetaDataset()
    single.file_meta.TransferSyntaxUID = ds.file_meta.TransferSyntaxUID
    return single


# --- where frames lie -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Frames:
    """Offsets in the file and lengths of the frames; of compressed ones, of their items, headers included."""

    offsets: npt.NDArray[np.uint64]
    lengths: npt.NDArray[np.uint64]
    encapsulated: bool


def _frames_of(file: BinaryIO, ds: Any, syntax: UID, count: int, frame_bytes: int, size: int) -> _Frames:
    """From the file's place before its Pixel Data; InputRejected where the file is too short for them."""
    start, length = _pixel_data(file, implicit=bool(ds.original_encoding[0]))
    if syntax.is_encapsulated:
        frames = _encapsulated(file, ds, start, count, size)
    else:
        if length != _UNDEFINED and length < count * frame_bytes:
            raise InputRejected("truncated", "The pixel data is shorter than the slide's tiles need.")
        offsets = start + np.arange(count, dtype=np.uint64) * np.uint64(frame_bytes)
        frames = _Frames(offsets, np.full(count, frame_bytes, np.uint64), False)
    if np.any(frames.offsets.astype(np.float64) + frames.lengths > size):
        raise InputRejected("truncated", "The slide's file ends before its tiles do.")
    return frames


def _pixel_data(file: BinaryIO, *, implicit: bool) -> tuple[int, int]:
    """Where the value of (7FE0,0010) starts, and its length."""
    head = file.read(8 if implicit else 12)
    if len(head) < 8 or head[:4] != _PIXEL_DATA:
        raise InputRejected("truncated", "The DICOM file describes a slide and ends before its pixels.")
    return file.tell(), struct.unpack("<I", head[-4:])[0]


def _encapsulated(file: BinaryIO, ds: Any, start: int, count: int, size: int) -> _Frames:
    """From the Extended Offset Table, else the Basic one, else by walking from item to item (PS3.5 A.4)."""
    file.seek(start)
    head = file.read(8)
    if len(head) < 8 or head[:4] != _ITEM:
        raise InputRejected("undecodable", "The compressed pixel data does not start with its offset table.")
    table_bytes = struct.unpack("<I", head[4:])[0]
    first = start + 8 + table_bytes
    if "ExtendedOffsetTable" in ds and "ExtendedOffsetTableLengths" in ds:
        offsets = np.frombuffer(ds.ExtendedOffsetTable, "<u8") + np.uint64(first)
        lengths = np.frombuffer(ds.ExtendedOffsetTableLengths, "<u8") + np.uint64(8)
    elif table_bytes and size < 2**32:  # beyond, its 32 bits have wrapped round
        if table_bytes != 4 * count:
            raise InputRejected("truncated", "The slide holds fewer tiles than the header declares.")
        offsets = np.frombuffer(file.read(table_bytes), "<u4").astype(np.uint64) + np.uint64(first)
        lengths = np.append(offsets[1:], np.uint64(size)) - offsets  # the last one's items end where they end
        if np.any(np.diff(offsets.astype(np.int64)) <= 0):
            raise InputRejected("bad-header", "The offsets of the slide's tiles are not in order.")
    else:
        offsets, lengths = _walked(file, first, count)
    if len(offsets) != count or len(lengths) != count:
        raise InputRejected("truncated", "The slide holds fewer tiles than the header declares.")
    return _Frames(offsets, lengths, True)


def _walked(file: BinaryIO, place: int, count: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """One item a frame: without a table nothing says where a frame of several items begins."""
    offsets: list[int] = []
    lengths: list[int] = []
    while len(offsets) <= count:
        file.seek(place)
        head = file.read(8)
        if len(head) < 8 or head[:4] != _ITEM:
            break
        offsets.append(place)
        lengths.append(8 + int(struct.unpack("<I", head[4:])[0]))
        place += lengths[-1]
    if len(offsets) > count:
        raise InputRejected("unsupported", "The slide's tiles are in several parts each, and no table says where.")
    return np.array(offsets, np.uint64), np.array(lengths, np.uint64)


def _joined(data: bytes) -> bytes:
    """The fragments of one frame, without their headers; what follows the last is not read."""
    parts, place = [], 0
    while data[place : place + 4] == _ITEM and place + 8 <= len(data):
        length = struct.unpack("<I", data[place + 4 : place + 8])[0]
        if place + 8 + length > len(data):
            raise InputRejected("truncated", "A tile of the slide ends early.")
        parts.append(data[place + 8 : place + 8 + length])
        place += 8 + length
    if not parts:
        raise InputRejected("undecodable", "A tile of the slide does not start where the offset table says.")
    return b"".join(parts)


@dataclass(frozen=True)
class _DicomLevel:
    """The tiles of one file."""

    file: BinaryIO
    level: Level
    template: Dataset
    frames: _Frames
    x: npt.NDArray[np.int64]
    y: npt.NDArray[np.int64]
    """First column and row of each frame's tile; negative for one that is not used."""
    fill: int
    """White in colour, black in grey: where a sparse slide holds no tile, there is nothing to see."""

    @property
    def colour(self) -> bool:
        return bool(self.template.SamplesPerPixel == 3)

    def tiles(self, box: Box) -> Iterator[tuple[int, int, Values]]:
        """Decoded one at a time, as every DICOM frame is."""
        x0, y0, x1, y1 = box
        touched = (self.x < x1) & (self.x + self.level.tile_width > x0) & (self.x >= 0)
        touched &= (self.y < y1) & (self.y + self.level.tile_height > y0)
        for n in np.flatnonzero(touched):
            yield int(self.x[n]), int(self.y[n]), self._decoded(int(n))

    def _decoded(self, n: int) -> Values:
        self.file.seek(int(self.frames.offsets[n]))
        data = self.file.read(int(self.frames.lengths[n]))
        if len(data) < self.frames.lengths[n]:
            raise InputRejected("truncated", "The slide's file ends before its tiles do.")
        single = self.template
        single.PixelData = encapsulate([_joined(data)]) if self.frames.encapsulated else data + b"\0" * (len(data) % 2)
        single["PixelData"].is_undefined_length = self.frames.encapsulated
        array = next(decoded(single))
        if array.shape[:2] != (self.level.tile_height, self.level.tile_width):
            raise InputRejected("undecodable", "A tile of the slide is not of the size that the header declares.")
        return array
