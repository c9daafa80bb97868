"""Open a file or a folder as a study: one function, so that it can be moved into a worker."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Literal

from medloupe.errors import InputRejected
from medloupe.prompts import knowledge
from medloupe.tools.imaging.dicom import read_dicom
from medloupe.tools.imaging.frame import MAX_FILE_BYTES, Frame
from medloupe.tools.imaging.geometry import along_normal, slice_faults
from medloupe.tools.imaging.picture import read_picture
from medloupe.tools.imaging.store import ImageStore
from medloupe.types import Image, Series, Study

__all__ = ["load_study"]

Kind = Literal["DICOM", "PNG", "JPEG", "TIFF"]
_SUFFIXES: dict[str, Kind] = {
    ".dcm": "DICOM", ".dicom": "DICOM", ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF",
}  # fmt: skip
_MAGIC: tuple[tuple[bytes, Kind], ...] = (
    (b"\x89PNG\r\n\x1a\n", "PNG"), (b"\xff\xd8\xff", "JPEG"), (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"), (b"MM\0+", "TIFF"),
)  # fmt: skip
_FIRST_TAGS = (
    b"\x02\0\0\0", b"\x02\0\1\0", b"\x02\0\x10\0", b"\x08\0\0\0", b"\x08\0\1\0", b"\x08\0\5\0", b"\x08\0\x08\0",
    b"\0\x08\0\5", b"\0\x08\0\x08",
)  # fmt: skip
"""How a data set without a preamble starts."""
MAX_FILES = 50_000
"""Of one folder."""
_QUIET = threading.Lock()
"""Warning filters and log levels belong to the process: two loads at once would restore each other's."""


def load_study(path: str | Path, store: ImageStore, *, modality: str | None = None) -> Study:
    """Open a DICOM file, a PNG, JPEG or TIFF, or a folder of them; pixels go to `store`, and so does the study.

    Content decides what a file is, never its name. `modality` overrides what the tags say. In a folder, other files
    are passed over and damaged ones left out with a warning. Raises InputRejected; a store that fails (a full disk)
    raises its own error.
    """
    chosen = _modality(modality)
    root = Path(path)
    try:
        if not root.exists():
            raise InputRejected("not-found", "There is no such file or folder.")
        frames, notes = _folder(root, chosen) if root.is_dir() else _single(root, chosen)
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        raise InputRejected("unreadable", "The file or folder cannot be read.") from error
    study = _study(frames, notes, store)
    store.put_study(study)
    return study


def _modality(modality: str | None) -> str | None:
    if modality is None:
        return None
    word = modality.strip().upper()
    if word not in knowledge("dicom_terms")["modality"]:
        raise InputRejected("unknown-modality", "The modality given is none of DICOM's, such as CT, MR, DX, US or OT.")
    return word


# --- files ----------------------------------------------------------------------------------------------------------


def _single(path: Path, modality: str | None) -> tuple[list[Frame], list[str]]:
    if not path.is_file():
        raise InputRejected("not-a-file", "The path is neither a file nor a folder.")
    with path.open("rb") as file:
        kind = _sniff(file)
        if kind is None:
            raise _unknown(file)
        return _read(file, kind, path.suffix, modality)


def _folder(root: Path, modality: str | None) -> tuple[list[Frame], list[str]]:
    frames: list[Frame] = []
    notes: list[str] = []
    rejected: Counter[str] = Counter()
    files = 0
    for path in _walk(root):
        with path.open("rb") as file:
            kind = _sniff(file)
            if kind is None:
                continue
            try:
                read, said = _read(file, kind, path.suffix, modality, number=files)
                frames += read
                notes += said
            except InputRejected as error:
                rejected[error.code] += 1
            files += 1
    left_out = _left_out(rejected, files)
    if not frames:
        raise InputRejected("no-image", f"The folder holds no image that can be read{left_out and f' ({left_out})'}.")
    if len({f.study_uid for f in frames}) > 1:
        notes.append("The folder holds images of more than one study; they are opened as one.")
    return frames, ([f"{left_out}."] if left_out else []) + notes


def _left_out(rejected: Counter[str], files: int) -> str:
    """ "1 of 5 files left out: truncated"; codes only, no file names."""
    if not rejected:
        return ""
    codes = [code if len(rejected) == 1 else f"{count} {code}" for code, count in sorted(rejected.items())]
    return f"{rejected.total()} of {files} files left out: {', '.join(codes)}"


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


def _sniff(file: BinaryIO) -> Kind | None:
    head = file.read(132)
    file.seek(0)
    if head[128:] == b"DICM" or _bare_dicom(head):
        return "DICOM"
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), None)


def _bare_dicom(head: bytes) -> bool:
    """A data set without preamble starts with an element of group 0002 or 0008, in either byte order."""
    return len(head) >= 8 and head[:4] in _FIRST_TAGS


def _unknown(file: BinaryIO) -> InputRejected:
    head = file.read(4096)
    if not head:
        return InputRejected("empty-file", "The file is empty.")
    if b"\0" not in head:
        try:
            head[:-3].decode("utf-8")
        except UnicodeDecodeError as error:
            if error.end < len(head) - 6:
                return InputRejected("unknown-format", "The file is no DICOM, PNG, JPEG or TIFF.")
        return InputRejected("not-an-image", "The file is text, not an image.")
    return InputRejected("unknown-format", "The file is no DICOM, PNG, JPEG or TIFF.")


def _read(
    file: BinaryIO, kind: Kind, suffix: str, modality: str | None, number: int = 0
) -> tuple[list[Frame], list[str]]:
    """Its frames, and what is to be said of it once a file."""
    if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
        raise InputRejected("too-large", f"The file is larger than {MAX_FILE_BYTES:,} bytes.")
    notes: dict[str, None] = {}  # an ordered set: a 30-frame file says a thing once
    named = _SUFFIXES.get(suffix.lower())
    if named not in (None, kind):
        notes[f"The file's name says {named}, its content is {kind}: it was read as {kind}."] = None
    with _quiet() as heard:
        if kind == "DICOM":
            frames = read_dicom(file, modality=modality, warn=lambda note: notes.setdefault(note))
        else:
            frames = read_picture(file, modality=modality or "OT", warn=lambda note: notes.setdefault(note))
            notes["A picture says nothing of spacing or sides: sizes are in pixels, left and right cannot be told."] = (
                None
            )
            if modality is None:
                notes["A picture says nothing of its modality."] = None
        notes.update(dict.fromkeys(_retold(heard)))
    return [replace(f, file=number) for f in frames], list(notes)


@contextmanager
def _quiet() -> Iterator[list[warnings.WarningMessage]]:
    """Libraries' warnings collected and their logs silenced: both quote tag values."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "PIL")]
    with _QUIET, warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        levels = [logger.level for logger in loggers]
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL + 1)
            yield heard
        finally:
            for logger, level in zip(loggers, levels, strict=True):
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


# --- the study ------------------------------------------------------------------------------------------------------


def _study(frames: list[Frame], notes: list[str], store: ImageStore) -> Study:
    images: list[Image] = []
    series: list[Series] = []
    counted = [note if times == 1 else f"{note} ({times} files)" for note, times in Counter(notes).items()]
    for key, members in sorted(_grouped(frames).items()):
        placed = [_place(f, len(images) + n, len(series), store) for n, f in enumerate(_sorted(members))]
        series.append(
            Series(
                index=len(series),
                uid=key[2] or None,
                modality=placed[0].modality,
                images=tuple(i.index for i in placed),
            )
        )
        images += placed
        counted += [f"Series {series[-1].index}: {fault}" for fault in slice_faults(placed)]
    return Study(id=_study_id(images), images=tuple(images), series=tuple(series), warnings=tuple(counted))


def _grouped(frames: list[Frame]) -> dict[tuple[int, int, str, str], list[Frame]]:
    """By SeriesInstanceUID (and modality, where files of one folder lack it); each picture file by itself."""
    groups: dict[tuple[int, int, str, str], list[Frame]] = {}
    for frame in frames:
        own = (0, frame.series_number, frame.series_uid or "", frame.draft.modality)
        groups.setdefault(own if frame.kind == "DICOM" else (1, frame.file, "", ""), []).append(frame)
    return groups


def _sorted(frames: list[Frame]) -> list[Frame]:
    """By position along the normal where all lie in parallel planes, else by InstanceNumber; never by file name."""
    by_number = sorted(frames, key=lambda f: (f.instance_number, f.draft.sop_instance_uid or "", f.draft.frame))
    places = {id(f): along_normal(f.draft) for f in frames}
    first = frames[0].draft.orientation
    parallel = first is not None and all(_parallel(first, f.draft.orientation) for f in frames)
    if not parallel or None in places.values():
        return by_number
    return sorted(by_number, key=lambda f: places[id(f)] or 0.0)


def _parallel(a: tuple[float, ...], b: tuple[float, ...] | None) -> bool:
    return b is not None and all(abs(x - y) < 1e-3 for x, y in zip(a, b, strict=True))


def _place(frame: Frame, index: int, series: int, store: ImageStore) -> Image:
    draft = frame.draft.model_dump()
    return Image(**{**draft, "index": index, "series": series, "digest": store.put(frame.values)})


def _study_id(images: list[Image]) -> str:
    """Over what each image is and shows, not over its place: renamed files are the same study."""
    parts = sorted(image.model_dump_json(exclude={"index", "series"}) for image in images)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
