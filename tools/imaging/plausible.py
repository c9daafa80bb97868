"""What a well-formed header says and its pixels do not bear out: said, since it cannot be told which is right."""

from __future__ import annotations

from typing import Any

import numpy as np

from medloupe.tools.imaging.geometry import Warn
from medloupe.tools.imaging.pixels import expected_bytes, pixel_bytes, pixel_length, stored_range
from medloupe.tools.imaging.tags import whole

__all__ = ["warn_of_header"]


def warn_of_header(ds: Any, warn: Warn, *, in_range: bool) -> None:
    """HighBit against BitsStored; of uncompressed pixels, their length and their values against the header's.

    `in_range` says that every value is known to lie within BitsStored.
    """
    bits, high = whole(ds, "BitsStored"), whole(ds, "HighBit")
    if bits and high is not None and high != bits - 1:
        warn("HighBit and BitsStored do not fit together: the values may be wrong.")
    syntax = ds.file_meta.TransferSyntaxUID
    if "PixelData" not in ds or (syntax.is_transfer_syntax and syntax.is_encapsulated):
        return
    allocated = whole(ds, "BitsAllocated") or 0
    row = (whole(ds, "Columns") or 0) * (whole(ds, "SamplesPerPixel") or 1) * allocated // 8
    needed = expected_bytes(ds, whole(ds, "NumberOfFrames") or 1)
    if pixel_length(ds, "PixelData") - needed >= max(row, 2):  # less is padding
        warn("The pixel data is longer than rows, columns and frames need: the image may be wrong.")
    if not in_range and bits and bits < allocated and allocated in (8, 16, 32):
        _warn_of_values(ds, bits, allocated, needed, warn)


def _warn_of_values(ds: Any, bits: int, allocated: int, length: int, warn: Warn) -> None:
    """pydicom cuts off what lies beyond BitsStored without a word."""
    kind = "i" if whole(ds, "PixelRepresentation") == 1 else "u"
    order = "<" if ds.original_encoding[1] else ">"
    stored = np.frombuffer(pixel_bytes(ds, "PixelData"), f"{order}{kind}{allocated // 8}", length // (allocated // 8))
    low, high = stored_range(bits, signed=kind == "i")
    if int(stored.max()) > high or int(stored.min()) < low:
        warn("Stored values are outside what BitsStored and PixelRepresentation allow: they may be wrong.")
