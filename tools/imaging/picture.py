"""PNG, JPEG, WebP and TIFF through Pillow: pixels and nothing else of the file."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import PIL.Image
import PIL.ImageOps

from medloupe.errors import InputRejected
from medloupe.limits import Limits
from medloupe.prompts import knowledge
from medloupe.tools.imaging.frame import PHANTOM_WARNING, Draft, Frame, Values, check_size, compact
from medloupe.tools.imaging.geometry import Warn
from medloupe.tools.imaging.window import full_range, window_for
from medloupe.types import Window

__all__ = ["read_picture"]

_GREY = {"L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F"}
_ALPHA = {"RGBA", "LA", "PA", "RGBa", "La"}


def read_picture(file: BinaryIO, *, modality: str, warn: Warn, limits: Limits) -> list[Frame]:
    """Every page of a PNG, JPEG, WebP or TIFF. InputRejected for what cannot be decoded whole.

    8-bit and 16-bit grey keep their values; colour becomes RGB, and grey again when its channels are equal. Alpha is
    dropped. EXIF orientation is applied. There is no spacing: a picture's resolution says nothing of the patient.
    """
    try:
        PIL.Image.MAX_IMAGE_PIXELS = limits.frame_pixels  # a second line: what a page declares is checked below
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(file, formats=("PNG", "JPEG", "TIFF", "WEBP")) as opened:
                return list(_pages(opened, modality, warn, limits))
    except InputRejected:
        raise
    except (PIL.Image.DecompressionBombWarning, PIL.Image.DecompressionBombError) as error:
        raise InputRejected("too-large", "The picture declares more pixels than is allowed.") from error
    except Exception as error:  # a decoder may raise anything on a damaged file
        cut = isinstance(error, EOFError) or "truncated" in str(error)
        reason = "The picture ends before its pixels do." if cut else "The picture's pixels cannot be decoded."
        raise InputRejected("truncated" if cut else "undecodable", reason) from error


def _pages(opened: PIL.Image.Image, modality: str, warn: Warn, limits: Limits) -> Iterator[Frame]:
    kind = opened.format or ""
    pages = _checked_pages(opened, limits)
    phantom = opened.info.get("Comment") == knowledge("dicom_terms")["phantom_label"]
    if phantom:
        warn(PHANTOM_WARNING)
    if pages > 1 and kind != "TIFF":
        warn("The picture holds several frames: the first is used.")
        pages = 1
    for page in range(pages):
        if pages > 1:
            opened.seek(page)
        values, window = _values(opened, modality, warn)
        draft = Draft(
            frame=page,
            modality=modality,
            width=values.shape[1],
            height=values.shape[0],
            values="RGB" if values.ndim == 3 else "stored",
            window=window,
            photometric="RGB" if values.ndim == 3 else "MONOCHROME2",
            transfer_syntax="JPEG" if kind == "MPO" else kind,
            phantom=phantom,
        )
        yield Frame(values=values, draft=draft, kind="picture", instance_number=page)


def _checked_pages(opened: PIL.Image.Image, limits: Limits) -> int:
    """How many pages there are, once all are known to be of an allowed size together."""
    check_size(opened.width, opened.height, 1, limits)
    if opened.format != "TIFF":
        return int(getattr(opened, "n_frames", 1))
    page = pixels = 0
    while True:
        try:
            opened.seek(page)  # not n_frames, which walks to the end of the file first
        except EOFError:
            return page
        check_size(opened.width, opened.height, 1, limits)
        pixels += opened.width * opened.height
        if pixels > limits.file_pixels:
            raise InputRejected("too-large", f"The file declares more pixels than the {limits.file_pixels:,} allowed.")
        page += 1


def _values(opened: PIL.Image.Image, modality: str, warn: Warn) -> tuple[Values, Window | None]:
    """The page as an array, upright, and the window to show it with."""
    opened.load()
    if opened.mode in _ALPHA or "transparency" in opened.info:
        warn("The picture's transparency is dropped.")
    picture: Any = PIL.ImageOps.exif_transpose(opened)
    if picture.mode not in _GREY:
        picture = picture.convert("L" if picture.mode == "1" else "RGB")
    elif picture.mode in ("LA", "La"):
        picture = picture.getchannel(0)
    stored = np.asarray(picture)
    if stored.ndim == 3:
        if not (np.array_equal(stored[..., 0], stored[..., 1]) and np.array_equal(stored[..., 0], stored[..., 2])):
            return np.ascontiguousarray(stored, np.uint8), None
        stored = stored[..., 0]
    values = compact(stored)
    if picture.mode not in ("I", "F") and stored.dtype == np.uint8:
        return values, full_range(8)
    draft = Draft(modality=modality, width=values.shape[1], height=values.shape[0], values="stored")
    return values, window_for(draft, values, "default")
