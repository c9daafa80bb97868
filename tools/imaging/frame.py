"""What a reader hands to the loader, and the sizes beyond which nothing is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medloupe.errors import InputRejected
from medloupe.types import Image

__all__ = [
    "MAX_FILE_BYTES", "MAX_INFLATED_BYTES", "MAX_PIXELS", "MAX_TOTAL_PIXELS", "PHANTOM_WARNING", "Draft",
    "Frame", "Values", "check_size",
    "compact",
    "rescaled",
]  # fmt: skip

Values = npt.NDArray[Any]
"""(rows, columns) int16, int32 or float32, or (rows, columns, 3) uint8."""

PHANTOM_WARNING = "The image is a phantom: drawn by medloupe, it shows no patient."

MAX_FILE_BYTES = 2**31
"""Of one file."""
MAX_INFLATED_BYTES = 2**29
"""Of a deflated data set, a gzip or a ZIP's entry: a megabyte of zeros may inflate to a gigabyte."""
MAX_PIXELS = 89_478_485
"""Of one frame: Pillow's own limit against decompression bombs, held for DICOM too."""
MAX_TOTAL_PIXELS = 2**30
"""Of all the frames of one file."""


class Draft(Image):
    """An image that has not yet been given its place in a study, nor its pixels a digest."""

    index: int = 0
    series: int = 0
    digest: str = ""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One decoded frame and what is needed to place it."""

    values: Values
    digest: str | None = None
    """Of the values, where a worker has already taken it."""
    draft: Draft
    kind: Literal["DICOM", "picture", "volume"]
    file: int = 0
    """Which file it came from, in order of reading."""
    study_uid: str | None = None
    series_uid: str | None = None
    series_number: int = 0
    instance_number: int = 0
    stack: str = ""
    """What sets images at one position apart (echo, b-value, time, image type), as a digest."""


def check_size(width: int, height: int, frames: int = 1) -> None:
    """InputRejected when the declared size is nothing or too much. Called before a pixel is decoded."""
    if width < 1 or height < 1 or frames < 1:
        raise InputRejected("bad-header", "The file declares an image without pixels.")
    if width * height > MAX_PIXELS or width * height * frames > MAX_TOTAL_PIXELS:
        raise InputRejected("too-large", f"The file declares more pixels than the {MAX_PIXELS:,} allowed an image.")


def compact(values: Values) -> Values:
    """The same numbers in the smallest of int16, int32 and float32 that holds them exactly (float32 may round)."""
    if values.dtype.kind == "f" and (not np.isfinite(values).all() or not np.array_equal(values, np.rint(values))):
        return values.astype(np.float32)
    low, high = values.min(), values.max()
    for kind in (np.int16, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return values.astype(kind)
    return values.astype(np.float32)


def rescaled(values: Values, slope: float, intercept: float) -> Values:
    """slope x values + intercept, as `compact` gives it; in whole numbers, and so four times as fast, where all are."""
    if values.dtype.kind not in "iu" or slope != int(slope) or intercept != int(intercept):
        return compact(values.astype(np.float64) * slope + intercept)
    ends = [int(end) * int(slope) + int(intercept) for end in (values.min(), values.max())]
    for kind in (np.int16, np.int32):
        if np.iinfo(kind).min <= min(ends) and max(ends) <= np.iinfo(kind).max:
            # What overflows on the way wraps round and comes back: these are integers modulo 2^16 or 2^32.
            scaled: Values = values.astype(kind)
            if slope != 1:
                np.multiply(scaled, np.int64(slope).astype(kind), out=scaled)
            np.add(scaled, np.int64(intercept).astype(kind), out=scaled)
            return scaled
    return compact(values.astype(np.float64) * slope + intercept)
