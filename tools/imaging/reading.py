"""One file to frames: content decides what it is. Pure and picklable by name, so that a worker can run it."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import PurePath
from typing import BinaryIO, Literal

from medloupe.errors import InputRejected
from medloupe.limits import DEFAULT, Limits
from medloupe.tools.imaging.dicom import read_dicom
from medloupe.tools.imaging.frame import Draft, Frame
from medloupe.tools.imaging.geometry import Warn
from medloupe.tools.imaging.inflate import GZIP, inflated, inflated_head
from medloupe.tools.imaging.marks import Mark
from medloupe.tools.imaging.nifti import declared_bytes, is_nifti, read_nifti
from medloupe.tools.imaging.slide import Part, SlideFile, stamp_of
from medloupe.tools.imaging.slide_dicom import dicom_slide, read_dicom_part
from medloupe.tools.imaging.sources import Source, is_dicomdir, open_source

__all__ = ["Kind", "Read", "read_source", "read_stream", "sniff", "unknown"]

Kind = Literal["DICOM", "PNG", "JPEG", "TIFF", "WebP", "NIfTI", "NRRD", "gzip"]
_SUFFIXES: dict[str, Kind] = {
    ".dcm": "DICOM", ".dicom": "DICOM", ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF",
    ".webp": "WebP", ".nii": "NIfTI", ".nrrd": "NRRD",

}  # fmt: skip
_MAGIC: tuple[tuple[bytes, Kind], ...] = (
    (b"\x89PNG\r\n\x1a\n", "PNG"), (b"\xff\xd8\xff", "JPEG"), (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"), (b"MM\0+", "TIFF"), (b"\x1f\x8b\x08", "gzip"), (b"NRRD000", "NRRD"),
)  # fmt: skip
_FIRST_TAGS = (
    b"\x02\0\0\0", b"\x02\0\1\0", b"\x02\0\x10\0", b"\x08\0\0\0", b"\x08\0\1\0", b"\x08\0\5\0", b"\x08\0\x08\0",
    b"\0\x08\0\5", b"\0\x08\0\x08",
)  # fmt: skip
"""How a data set without a preamble starts."""
_HEAD_BYTES = 540
"""Enough to tell every kind apart, and the whole header of a NIfTI-2."""
TALKATIVE = ("pydicom", "PIL", "highdicom", "nibabel.global", "tifffile")
"""Loggers of libraries that quote tag values."""
_WHOLE_SLIDE = b"1.2.840.10008.5.1.4.1.1.77.1.6\x02\0\x03\0"
"""VL Whole Slide Microscopy Image Storage, and the tag that follows in every file's meta information."""
_LOGGERS = [logging.getLogger(name) for name in TALKATIVE]
_QUIET = threading.Lock()
"""Warning filters and log levels belong to the process: two loads at once would restore each other's."""


@dataclass(frozen=True, kw_only=True)
class Read:
    """What one file gave."""

    frames: list[Frame]
    notes: list[str]
    """Warnings, each said once a file."""
    marks: list[Mark] = field(default_factory=list)
    """Regions and texts of an object that is no image."""
    slides: list[SlideFile] = field(default_factory=list)
    """What is read by level; its pixels are asked for later, part by part."""


def read_source(source: Source, modality: str | None, limits: Limits = DEFAULT) -> Read | None:
    """A file's frames; None when it is no kind that is read here. InputRejected when it cannot be read whole.

    `modality` (checked by the caller) overrides what the tags say.
    """
    with open_source(source, limits) as (file, size):
        if source.part is not None:
            return Read(frames=[_part(file, source.part)], notes=[])
        inner, size, suffix = unwrapped(file, size, source.suffix, limits)
        if sniff(inner) is None or is_dicomdir(inner):
            return None
        read = read_stream(inner, size, suffix, modality, limits)
    slides = [slide.model_copy(update={"file": source.number}) for slide in read.slides]
    return replace(read, frames=[replace(f, file=source.number) for f in read.frames], slides=slides)


def sniff(file: BinaryIO) -> Kind | None:
    """What a file is by its first bytes; the file is left at its start."""
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    if head[128:132] == b"DICM" or (len(head) >= 8 and head[:4] in _FIRST_TAGS):
        return "DICOM"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if is_nifti(head):
        return "NIfTI"
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), None)


def read_stream(file: BinaryIO, size: int, suffix: str, modality: str | None, limits: Limits = DEFAULT) -> Read:
    """Read an open, seekable file of `size` bytes; `suffix` (".dcm") only serves to say that a name is wrong."""
    kind = sniff(file)
    if kind is None:
        raise unknown(file)
    if kind == "gzip":
        raise InputRejected("unsupported", "The file is compressed twice.")
    notes: dict[str, None] = {}  # an ordered set: a 30-frame file says a thing once
    named = _SUFFIXES.get(suffix.lower())
    if named not in (None, kind):
        notes[f"The file's name says {named}, its content is {kind}: it was read as {kind}."] = None
    with _quiet() as heard:
        slide = _slide(file, kind, modality, lambda note: notes.setdefault(note), limits)
        frames: list[Frame] = []
        marks: list[Mark] = []
        if slide is None:
            if size > limits.file_bytes:
                raise InputRejected("too-large", f"The file is larger than {limits.file_bytes:,} bytes.")
            frames, marks = _content(file, size, kind, modality, lambda note: notes.setdefault(note), limits)
        notes.update(dict.fromkeys(_retold(heard)))
    return Read(frames=frames, marks=marks, notes=list(notes), slides=[] if slide is None else [slide])


def _slide(file: BinaryIO, kind: Kind, modality: str | None, warn: Warn, limits: Limits) -> SlideFile | None:
    """What a file that is opened by level says of itself; None for every other."""
    if kind == "TIFF":
        from medloupe.tools.imaging.slide_tiff import tiff_slide  # with tifffile, which few loads need

        return tiff_slide(file, modality=modality, warn=warn, limits=limits)
    return dicom_slide(file, modality=modality, warn=warn) if kind == "DICOM" and _is_whole_slide(file) else None


def _is_whole_slide(file: BinaryIO) -> bool:
    """Whether an open file is whole-slide DICOM, by its Media Storage SOP Class; it is left at its start."""
    head = file.read(1024)
    file.seek(0)
    return head[128:132] == b"DICM" and _WHOLE_SLIDE in head


def _part(file: BinaryIO, part: Part) -> Frame:
    """A box of a slide's level, if the file is still the one that was opened."""
    if stamp_of(file) != part.stamp:
        raise InputRejected("slide-changed", "The slide's file was changed since it was opened: open it again.")
    kind = sniff(file)
    with _quiet():
        if kind == "TIFF":
            from medloupe.tools.imaging.slide_tiff import read_tiff_part

            values = read_tiff_part(file, part)
        else:
            values = read_dicom_part(file, part)
    draft = Draft(width=values.shape[1], height=values.shape[0], values="RGB" if values.ndim == 3 else "stored")
    return Frame(values=values, draft=draft, kind="picture")


def _content(
    file: BinaryIO, size: int, kind: Kind, modality: str | None, warn: Warn, limits: Limits
) -> tuple[list[Frame], list[Mark]]:
    match kind:
        case "DICOM":
            return read_dicom(file, modality=modality, warn=warn, limits=limits)
        case "NIfTI":
            return read_nifti(file, size, modality=modality, warn=warn, limits=limits), []
        case "NRRD":
            from medloupe.tools.imaging.nrrd import read_nrrd  # with pynrrd, which few loads need

            return read_nrrd(file, modality=modality, warn=warn, limits=limits), []
    from medloupe.tools.imaging.picture import read_picture  # with Pillow, which a study of DICOM does not need

    frames = read_picture(file, modality=modality or "OT", warn=warn, limits=limits)
    warn(
        "A picture says nothing of spacing, sides or whether it is turned: "
        "sizes are in pixels, left and right cannot be told."
    )
    if modality is None:
        warn("A picture says nothing of its modality.")
    return frames, []


def unwrapped(file: BinaryIO, size: int, suffix: str, limits: Limits) -> tuple[BinaryIO, int, str]:
    """The file itself, or what a gzip holds (in memory), with its size and the suffix of its inner name."""
    if sniff(file) != "gzip":
        return file, size, suffix
    inner = _gunzip(file, limits)
    return inner, inner.getbuffer().nbytes, PurePath(suffix).stem


def unknown(file: BinaryIO) -> InputRejected:
    """Why a file that is no known kind is refused."""
    head = file.read(4096)
    if not head:
        return InputRejected("empty-file", "The file is empty.")
    if b"\0" not in head:
        try:
            head[:-3].decode("utf-8")
        except UnicodeDecodeError as error:
            if error.end < len(head) - 6:
                return InputRejected("unknown-format", "The file is of no format that is read here.")
        return InputRejected("not-an-image", "The file is text, not an image.")
    return InputRejected("unknown-format", "The file is of no format that is read here.")


def _gunzip(file: BinaryIO, limits: Limits) -> BytesIO:
    """What a gzip holds; no more than its beginning where that is of no kind that is read."""
    head = BytesIO(inflated_head(file, GZIP, _HEAD_BYTES))
    kind = sniff(head)
    if kind is None and head.getbuffer().nbytes == _HEAD_BYTES:
        return head
    declared = declared_bytes(head.getvalue(), limits) if kind == "NIfTI" else None
    inner = BytesIO()
    for piece in inflated(file, GZIP, limits, declared=declared):
        inner.write(piece)
    inner.seek(0)
    return inner


@contextmanager
def _quiet() -> Iterator[list[warnings.WarningMessage]]:
    """Libraries' warnings collected and their logs silenced: both quote tag values."""
    with _QUIET, warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        levels = [logger.level for logger in _LOGGERS]
        try:
            for logger in _LOGGERS:
                _set_level(logger, logging.CRITICAL + 1)
            yield heard
        finally:
            for logger, level in zip(_LOGGERS, levels, strict=True):
                _set_level(logger, level)


def _set_level(logger: logging.Logger, level: int) -> None:
    if logger.level != level:  # setting it clears every logger's cache; in a worker they are silent for good
        logger.setLevel(level)


def _retold(heard: list[warnings.WarningMessage]) -> Iterator[str]:
    """A library's warnings in words of ours, without the values that they quote."""
    for warning in heard:
        text = str(warning.message)
        if "excess padding" in text:
            continue
        if "frames have been found" in text or "excess" in text:
            yield "The pixel data holds more frames than the header declares; the rest is not used."
        elif "Bits Stored" in text or "precision" in text or "Pixel Representation" in text:
            yield "The compressed pixels and the header disagree on bit depth or sign."
        else:
            yield "Some header values do not follow the DICOM standard."
