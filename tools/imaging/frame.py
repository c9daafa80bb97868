"""What a reader hands to the loader, and the check of what it declares before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medloupe.errors import InputRejected
from medloupe.limits import Limits
from medloupe.types import Image

__all__ = ["PHANTOM_WARNING", "Draft", "Frame", "Values", "check_size", "compact", "rescaled"]

Values = npt.NDArray[Any]
"""(rows, columns) int16, int32 or float32, or (rows, columns, 3) uint8."""

PHANTOM_WARNING = "The image is a phantom: drawn by medloupe, it shows no patient."


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


def check_size(width: int, height: int, frames: int, limits: Limits) -> None:
    """InputRejected when the declared size is nothing or too much. Called before a pixel is decoded."""
    if width < 1 or height < 1 or frames < 1:
        raise InputRejected("bad-header", "The file declares an image without pixels.")
    if width * height > limits.frame_pixels:
        allowed = f"the {limits.frame_pixels:,} allowed a frame"
    elif width * height * frames > limits.file_pixels:
        allowed = f"the {limits.file_pixels:,} allowed a file"
    else:
        return
    raise InputRejected("too-large", f"The file declares more pixels than {allowed}.")


def compact(values: Values) -> Values:
    """The same numbers in the smallest of int16, int32 and float32 that holds them exactly (float32 may round)."""
    if values.dtype.kind == "f" and (not np.isfinite(values).all() or not np.array_equal(values, np.rint(values))):
        return values.astype(np.float32)
    low, high = values.min(), values.max()
    for kind in (np.int16, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return values.astype(kind)
    return values.astype(np.float32)


def rescaled(values: Values, slope: float, intercept: float, within: tuple[int, int] | None = None) -> Values:
    """slope x values + intercept, as `compact` gives it; in whole numbers, and so four times as fast, where all are.

    `within`: the lowest and highest that the values can be, where it is known that none lies beyond.
    """
    if values.dtype.kind not in "iu" or slope != int(slope) or intercept != int(intercept):
        return compact(values.astype(np.float64) * slope + intercept)
    kind = _whole_type(within, slope, intercept) if within else None
    if kind is not np.int16:
        kind = _whole_type((values.min(), values.max()), slope, intercept)
    if kind is None:
        return compact(values.astype(np.float64) * slope + intercept)
    # What overflows on the way wraps round and comes back: these are integers modulo 2^16 or 2^32.
    scaled: Values = values.astype(kind)
    if slope != 1:
        np.multiply(scaled, np.int64(slope).astype(kind), out=scaled)
    np.add(scaled, np.int64(intercept).astype(kind), out=scaled)
    return scaled


def _whole_type(ends: tuple[Any, Any], slope: float, intercept: float) -> type[np.signedinteger[Any]] | None:
    """The smaller of int16 and int32 that holds the rescaled ends; None when neither does."""
    scaled = [int(end) * int(slope) + int(intercept) for end in ends]
    for kind in (np.int16, np.int32):
        if np.iinfo(kind).min <= min(scaled) and max(scaled) <= np.iinfo(kind).max:
            return kind
    return None
