"""Pixel data to arrays, one frame at a time: pydicom's decoders, our JPEG plugin, and packed single bits."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from pydicom.encaps import generate_frames, parse_fragments
from pydicom.pixels import get_decoder, iter_pixels
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import UID, RLELossless

from medloupe.errors import InputRejected
from medloupe.tools.imaging import jpeg
from medloupe.tools.imaging.frame import Values

__all__ = ["PIXEL_TAGS", "check_length", "decoded", "syntax_name"]

PIXEL_TAGS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_DEFLATED_FRAMES = UID("1.2.840.10008.1.2.8.1")
"""Deflated Image Frame Compression (DICOM 2024c); pydicom 3.0 does not know it."""


def check_length(ds: Any, frames: int) -> None:
    """InputRejected when the pixel data is shorter than its header needs, or nothing here decodes it."""
    syntax, tag = ds.file_meta.TransferSyntaxUID, next(t for t in PIXEL_TAGS if t in ds)
    data = ds[tag].value
    if not data:
        raise InputRejected("truncated", "The pixel data is empty.")
    if not _is_encapsulated(syntax):
        if len(data) < get_expected_length(ds):
            raise InputRejected("truncated", "The pixel data is shorter than rows, columns and frames need.")
        return
    if not _can_decode(syntax, ds):
        raise InputRejected("unsupported", f"{syntax_name(syntax)}: no decoder for these pixels is installed.")
    if parse_fragments(data)[0] < frames:
        raise InputRejected("truncated", "The pixel data holds fewer frames than the header declares.")


def _is_encapsulated(syntax: UID) -> bool:
    return bool(syntax == _DEFLATED_FRAMES or (syntax.is_transfer_syntax and syntax.is_encapsulated))


def _can_decode(syntax: UID, ds: Any) -> bool:
    jpeg.register()
    if _is_packed(ds, syntax):
        return True
    try:
        return bool(get_decoder(syntax).is_available)
    except NotImplementedError:
        return False


def syntax_name(syntax: UID) -> str:
    """The transfer syntax in words; a private one is not named."""
    if syntax == _DEFLATED_FRAMES:
        return "Deflated Image Frame Compression"
    return str(syntax.name) if syntax.name != str(syntax) else "an unknown transfer syntax"


def decoded(ds: Any) -> Iterator[Values]:
    """Every frame as (rows, columns) or (rows, columns, 3), as stored: no modality LUT. YBR has become RGB."""
    syntax = ds.file_meta.TransferSyntaxUID
    jpeg.register()
    try:
        yield from _packed(ds, syntax) if _is_packed(ds, syntax) else iter_pixels(ds, allow_excess_frames=False)
    except (KeyboardInterrupt, SystemExit, GeneratorExit, InputRejected):
        raise
    except BaseException as error:  # a decoder may raise anything on damaged pixels; a panic in Rust is no Exception
        raise InputRejected(
            "undecodable", f"The pixels ({syntax_name(syntax)}) are damaged or beyond the decoders here."
        ) from error


# --- single bits, packed and then compressed: pydicom's decoders expect whole bytes -----------------------------------


def _is_packed(ds: Any, syntax: UID) -> bool:
    return ds.get("BitsAllocated") == 1 and syntax in (RLELossless, _DEFLATED_FRAMES)


def _packed(ds: Any, syntax: UID) -> Iterator[Values]:
    rows, columns = int(ds.Rows), int(ds.Columns)
    size = (rows * columns + 7) // 8
    for frame in generate_frames(ds.PixelData, number_of_frames=int(ds.get("NumberOfFrames") or 1)):
        data = (
            _unpack_bits(frame)
            if syntax == RLELossless
            else zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame, size)
        )
        if len(data) < size:
            raise InputRejected("truncated", "A frame of the pixel data ends early.")
        bits = np.unpackbits(np.frombuffer(data, np.uint8, size), bitorder="little")
        yield bits[: rows * columns].reshape(rows, columns)


def _unpack_bits(frame: bytes) -> bytes:
    """The one segment of a DICOM RLE frame (PS3.5 Annex G): PackBits after a header of 64 bytes."""
    import imagecodecs

    start = int.from_bytes(frame[4:8], "little")
    if int.from_bytes(frame[:4], "little") != 1 or start < 64:
        raise ValueError("a frame of single bits has one segment")
    return bytes(imagecodecs.packbits_decode(frame[start:]))
