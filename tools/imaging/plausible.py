"""What a well-formed header says and its pixels do not bear out: said, since it cannot be told which is right."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydicom.pixels.utils import get_expected_length

from medloupe.tools.imaging.geometry import Warn
from medloupe.tools.imaging.tags import whole

__all__ = ["warn_of_header"]


def warn_of_header(ds: Any, warn: Warn) -> None:
    """HighBit against BitsStored; of uncompressed pixels, their length and their values against the header's."""
    bits, high = whole(ds, "BitsStored"), whole(ds, "HighBit")
    if bits and high is not None and high != bits - 1:
        warn("HighBit and BitsStored do not fit together: the values may be wrong.")
    syntax = ds.file_meta.TransferSyntaxUID
    if "PixelData" not in ds or (syntax.is_transfer_syntax and syntax.is_encapsulated):
        return
    allocated = whole(ds, "BitsAllocated") or 0
    row = (whole(ds, "Columns") or 0) * (whole(ds, "SamplesPerPixel") or 1) * allocated // 8
    needed = get_expected_length(ds)
    if len(ds.PixelData) - needed >= max(row, 2):  # less is padding
        warn("The pixel data is longer than rows, columns and frames need: the image may be wrong.")
    if bits and bits < allocated and allocated in (8, 16, 32):
        _warn_of_values(ds, bits, allocated, needed, warn)


def _warn_of_values(ds: Any, bits: int, allocated: int, length: int, warn: Warn) -> None:
    """pydicom cuts off what lies beyond BitsStored without a word."""
    kind = "i" if whole(ds, "PixelRepresentation") == 1 else "u"
    order = "<" if ds.original_encoding[1] else ">"
    stored = np.frombuffer(ds.PixelData, f"{order}{kind}{allocated // 8}", length // (allocated // 8))
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if kind == "i" else (0, 2**bits - 1)
    if int(stored.max()) > high or int(stored.min()) < low:
        warn("Stored values are outside what BitsStored and PixelRepresentation allow: they may be wrong.")
