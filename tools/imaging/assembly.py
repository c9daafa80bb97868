"""Frames and marks to a study: series grouped, sorted by position, given their windows and their annotations."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from medloupe.tools.imaging.annotate import annotate
from medloupe.tools.imaging.frame import Frame
from medloupe.tools.imaging.geometry import along_normal
from medloupe.tools.imaging.labelmap import label_marks
from medloupe.tools.imaging.marks import Mark
from medloupe.tools.imaging.pyramid import Slide
from medloupe.tools.imaging.stack import stack_faults
from medloupe.tools.imaging.store import ImageStore
from medloupe.tools.imaging.window import series_window
from medloupe.types import Image, Series, Study

__all__ = ["build_study"]


def build_study(
    frames: list[Frame], marks: list[Mark], notes: list[str], store: ImageStore, slides: Sequence[Slide] = ()
) -> Study:
    """The study that files made; pixels go to `store`, and where those of slides lie."""
    images: list[Image] = []
    series: list[Series] = []
    counted = [note if times == 1 else f"{note} ({times} files)" for note, times in Counter(notes).items()]
    frames, drawn = _without_label_maps(frames)
    for _, group in sorted(_grouped(frames).items()):
        members = _windowed(_sorted(group))
        placed = [_place(f, len(images) + n, len(series), store) for n, f in enumerate(members)]
        series.append(
            Series(
                index=len(series),
                uid=members[0].series_uid,
                modality=placed[0].modality,
                images=tuple(i.index for i in placed),
            )
        )
        images += placed
        counted += [f"Series {series[-1].index}: {fault}" for fault in stack_faults(members)]
    for slide in slides:
        store.put_pyramid(slide.image.digest, slide.pyramid)
        images.append(slide.image.model_copy(update={"index": len(images), "series": len(series)}))
        series.append(
            Series(
                index=len(series), uid=slide.series_uid, modality=slide.image.modality, images=(images[-1].index,)
            )
        )  # fmt: skip
    annotations, unplaced = annotate(marks + drawn, images)
    return Study(
        id=_study_id(images),
        images=tuple(images),
        series=tuple(series),
        annotations=annotations,
        warnings=tuple(counted + unplaced),
    )


def _without_label_maps(frames: list[Frame]) -> tuple[list[Frame], list[Mark]]:
    """Volumes of labels on the grid of a DICOM series are turned to marks."""
    dicom = [f for f in frames if f.kind == "DICOM"]
    volumes: dict[tuple[int, int], list[Frame]] = {}
    for frame in frames:
        if frame.kind == "volume":
            volumes.setdefault((frame.file, frame.series_number), []).append(frame)
    read = {key: label_marks(volume, dicom) for key, volume in volumes.items()} if dicom else {}
    kept = [f for f in frames if f.kind != "volume" or read.get((f.file, f.series_number)) is None]
    return kept, [mark for marks in read.values() for mark in marks or ()]


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


def _windowed(frames: list[Frame]) -> list[Frame]:
    """One percentile window over the whole series, so that its slices can be compared."""
    shared = series_window([f.draft for f in frames], [f.values for f in frames])
    if shared is None:
        return frames
    return [replace(f, draft=f.draft.model_copy(update={"window": shared})) for f in frames]


def _parallel(a: tuple[float, ...], b: tuple[float, ...] | None) -> bool:
    return b is not None and all(abs(x - y) < 1e-3 for x, y in zip(a, b, strict=True))


def _place(frame: Frame, index: int, series: int, store: ImageStore) -> Image:
    digest = store.put(frame.values, digest=frame.digest)
    placed = {"index": index, "series": series, "digest": digest}
    return Image.model_construct(**dict(frame.draft) | placed)  # a draft is a checked image


def _study_id(images: list[Image]) -> str:
    """Over what each image is and shows, not over its place: renamed files are the same study."""
    parts = sorted(image.model_dump_json(exclude={"index", "series"}) for image in images)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
