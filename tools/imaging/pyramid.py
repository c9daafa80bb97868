"""What files say of slides, to slides: the files of one DICOM series are the levels of one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from medloupe.errors import InputRejected
from medloupe.limits import Limits
from medloupe.tools.imaging.geometry import Warn
from medloupe.tools.imaging.region import read_level
from medloupe.tools.imaging.slide import MAX_REGION_PIXELS, Pyramid, PyramidLevel, SlideFile, fitting
from medloupe.tools.imaging.window import window_for
from medloupe.types import Image, Level

__all__ = ["Slide", "build_slides"]


class Slide(NamedTuple):
    """One slide, without its place in a study."""

    image: Image
    pyramid: Pyramid
    series_uid: str | None


def build_slides(found: Sequence[SlideFile], paths: Sequence[Path], limits: Limits, warn: Warn) -> list[Slide]:
    """The slides of a study. `paths` are by SlideFile.file. InputRejected for one that cannot be looked at.

    The smallest level of each is read, so that one whose tiles are of no use is refused now.
    """
    groups: dict[object, list[SlideFile]] = {}
    for file in found:
        key = file.file if file.series_uid is None else (file.series_uid, file.draft.modality)
        groups.setdefault(key, []).append(file)
    ordered = sorted(groups.values(), key=lambda group: (group[0].series_number, group[0].file))
    return [_slide(group, paths, limits, warn) for group in ordered]


def _slide(group: list[SlideFile], paths: Sequence[Path], limits: Limits, warn: Warn) -> Slide:
    listed: list[tuple[Level, int, SlideFile]] = [
        (level, place, file) for file in group for place, level in enumerate(file.levels)
    ]
    listed.sort(key=lambda entry: (-entry[0].width * entry[0].height, entry[2].file))
    draft = listed[0][2].draft
    alike = [entry for entry in listed if entry[2].draft.values == draft.values]
    used = [alike[n] for n in fitting((level for level, _, _ in alike), warn)]
    smallest = used[-1][0]
    if smallest.width * smallest.height > MAX_REGION_PIXELS:
        raise InputRejected(
            "too-large",
            f"The slide's smallest level is {smallest.width:,} x {smallest.height:,} pixels, too many to be shown at "
            "once; open the folder with all its levels.",
        )
    pyramid = Pyramid(
        levels=tuple(
            PyramidLevel(path=os.fsencode(paths[file.file].absolute()).decode("latin-1"), place=place, stamp=file.stamp)
            for _, place, file in used
        ),
        limits=limits,
    )
    prints = "".join(dict.fromkeys(file.fingerprint for _, _, file in used))
    image = Image(
        **draft.model_dump(exclude={"digest", "levels"}),
        digest=hashlib.sha256(prints.encode()).hexdigest(),
        levels=tuple(level for level, _, _ in used),
    )
    values = read_level(pyramid, image, len(used) - 1, (0, 0, smallest.width, smallest.height))
    if image.values != "RGB" and image.window is None:
        image = image.model_copy(update={"window": window_for(image, values, "default")})
    return Slide(image, pyramid, group[0].series_uid)
