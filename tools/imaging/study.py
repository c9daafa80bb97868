"""Open a file, a ZIP or a folder as a study; the files are read by worker processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from medloupe.errors import InputRejected
from medloupe.limits import DEFAULT, Limits
from medloupe.prompts import knowledge
from medloupe.tools.imaging.assembly import build_study
from medloupe.tools.imaging.pyramid import build_slides
from medloupe.tools.imaging.reading import Read, unknown
from medloupe.tools.imaging.slide import LEFT_OUT
from medloupe.tools.imaging.sources import Source, find_sources
from medloupe.tools.imaging.store import ImageStore
from medloupe.tools.imaging.workers import read_all
from medloupe.types import Study

__all__ = ["load_study"]

Rejecting = Callable[[Source, InputRejected], None]
"""Told of each file of a folder that is left out, and why."""


def load_study(
    path: str | Path,
    store: ImageStore,
    *,
    modality: str | None = None,
    limits: Limits = DEFAULT,
    on_rejected: Rejecting | None = None,
) -> Study:
    """Open a DICOM file, a PNG, JPEG or TIFF, or a folder of them; pixels go to `store`, and so does the study.

    A slide's pixels stay in its files, which must stay where they are.

    Content decides what a file is, never its name. `modality` overrides what the tags say. In a folder, other files
    are passed over and damaged ones left out with a warning, of which `on_rejected` is told one by one. Raises
    InputRejected; a store that fails (a full disk) raises its own error.

    The files are parsed and decoded in processes of their own, which have no network and are killed beyond `limits`.
    """
    chosen = _modality(modality)
    root = Path(path)
    try:
        if not root.exists():
            raise InputRejected("not-found", "There is no such file or folder.")
        sources = find_sources(root, limits)
        read = _read_files(root, sources, chosen, limits, on_rejected)
        paths, notes = [source.path for source in sources], list(read.notes)
        slides = build_slides(read.slides, paths, limits, notes.append)
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        raise InputRejected("unreadable", "The file or folder cannot be read.") from error
    study = build_study(read.frames, read.marks, notes, store, slides)
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


def _read_files(
    root: Path, sources: list[Source], modality: str | None, limits: Limits, on_rejected: Rejecting | None
) -> Read:
    """All that a file, or every file of a folder or ZIP that can be read, gave."""
    outcomes, notes = read_all(sources, modality, limits)
    if len(sources) == 1 and sources[0].path == root and sources[0].entry is None:
        read, rejected = outcomes[0]
        if rejected is not None:
            raise rejected
        if read is None:
            with root.open("rb") as file:
                raise unknown(file)
        if not (read.frames or read.slides):
            holds = knowledge("dicom_terms")["not_images"][read.marks[0].source]
            raise InputRejected("not-an-image", f"The DICOM file holds {holds}, not an image.")
        return replace(read, notes=read.notes + notes)
    for source, outcome in zip(sources, outcomes, strict=True):
        if outcome.rejected is not None and on_rejected is not None:
            on_rejected(source, outcome.rejected)
    refused = Counter(outcome.rejected.code for outcome in outcomes if outcome.rejected is not None)
    reads = [outcome.read for outcome in outcomes if outcome.read is not None]
    whole = Read(
        frames=[frame for read in reads for frame in read.frames],
        marks=[mark for read in reads for mark in read.marks],
        slides=[slide for read in reads for slide in read.slides],
        notes=[note for read in reads for note in read.notes] + [LEFT_OUT] * bool(refused["label-image"]) + notes,
    )
    return _checked(whole, _left_out(refused, len(reads) + refused.total()))


def _checked(read: Read, left_out: str) -> Read:
    if not (read.frames or read.slides):
        raise InputRejected("no-image", f"The folder holds no image that can be read{left_out and f' ({left_out})'}.")
    notes = [f"{left_out}."] if left_out else []
    if len({f.study_uid for f in read.frames} | {s.study_uid for s in read.slides}) > 1:
        notes.append("The folder holds images of more than one study; they are opened as one.")
    return replace(read, notes=notes + read.notes)


def _left_out(rejected: Counter[str], files: int) -> str:
    """ "1 of 5 files left out: truncated"; codes only, no file names."""
    if not rejected:
        return ""
    codes = [code if len(rejected) == 1 else f"{count} {code}" for code, count in sorted(rejected.items())]
    return f"{rejected.total()} of {files} files left out: {', '.join(codes)}"
