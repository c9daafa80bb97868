"""Open a file, a ZIP or a folder as a study; the files are read by worker processes."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

from medloupe.errors import InputRejected
from medloupe.prompts import knowledge
from medloupe.tools.imaging.frame import Frame
from medloupe.tools.imaging.geometry import along_normal, slice_faults
from medloupe.tools.imaging.limits import DEFAULT, Limits
from medloupe.tools.imaging.reading import unknown
from medloupe.tools.imaging.sources import find_sources
from medloupe.tools.imaging.store import ImageStore
from medloupe.tools.imaging.workers import read_all
from medloupe.types import Image, Series, Study

__all__ = ["load_study"]


def load_study(path: str | Path, store: ImageStore, *, modality: str | None = None, limits: Limits = DEFAULT) -> Study:
    """Open a DICOM file, a PNG, JPEG or TIFF, or a folder of them; pixels go to `store`, and so does the study.

    Content decides what a file is, never its name. `modality` overrides what the tags say. In a folder, other files
    are passed over and damaged ones left out with a warning. Raises InputRejected; a store that fails (a full disk)
    raises its own error.

    The files are parsed and decoded in processes of their own, which have no network and are killed beyond `limits`.
    """
    chosen = _modality(modality)
    root = Path(path)
    try:
        if not root.exists():
            raise InputRejected("not-found", "There is no such file or folder.")
        frames, notes = _read_files(root, chosen, limits)
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


def _read_files(root: Path, modality: str | None, limits: Limits) -> tuple[list[Frame], list[str]]:
    """The frames of a file, or of every file of a folder or ZIP that can be read, and what is to be said of them."""
    sources = find_sources(root)
    outcomes, notes = read_all(sources, modality, limits)
    if not (root.is_dir() or (sources and sources[0].entry is not None)):
        read, rejected = outcomes[0]
        if rejected is not None:
            raise rejected
        if read is None:
            with root.open("rb") as file:
                raise unknown(file)
        return read.frames, read.notes + notes
    refused = Counter(outcome.rejected.code for outcome in outcomes if outcome.rejected is not None)
    reads = [outcome.read for outcome in outcomes if outcome.read is not None]
    frames = [frame for read in reads for frame in read.frames]
    said = [note for read in reads for note in read.notes]
    return _checked(frames, said + notes, _left_out(refused, len(reads) + refused.total()))


def _checked(frames: list[Frame], notes: list[str], left_out: str) -> tuple[list[Frame], list[str]]:
    if not frames:
        raise InputRejected("no-image", f"The folder holds no image that can be read{left_out and f' ({left_out})'}.")
    if len({f.study_uid for f in frames}) > 1:
        notes = [*notes, "The folder holds images of more than one study; they are opened as one."]
    return frames, ([f"{left_out}."] if left_out else []) + notes


def _left_out(rejected: Counter[str], files: int) -> str:
    """ "1 of 5 files left out: truncated"; codes only, no file names."""
    if not rejected:
        return ""
    codes = [code if len(rejected) == 1 else f"{count} {code}" for code, count in sorted(rejected.items())]
    return f"{rejected.total()} of {files} files left out: {', '.join(codes)}"


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
                uid=members[0].series_uid,
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
        groups.setdefault(
            own if frame.kind == "DICOM" else (1, frame.file, f"{frame.series_number:06d}", ""), []
        ).append(frame)
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
    return Image(**{**draft, "index": index, "series": series, "digest": store.put(frame.values, digest=frame.digest)})


def _study_id(images: list[Image]) -> str:
    """Over what each image is and shows, not over its place: renamed files are the same study."""
    parts = sorted(image.model_dump_json(exclude={"index", "series"}) for image in images)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
