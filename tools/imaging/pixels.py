"""Pixel data to arrays, one frame at a time: pydicom's decoders, our JPEG plugin, and packed single bits.

Plain grey pixels (little-endian, whole bytes, all within BitsStored) need no decoder: they are used where they lie.
"""

from __future__ import annotations

import math
import mmap
import zlib
from collections.abc import Iterator
from io import UnsupportedOperation
from typing import Any

import numpy as np
from pydicom.encaps import generate_frames, parse_fragments
from pydicom.pixels import get_decoder, iter_pixels
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from medloupe.errors import InputRejected
from medloupe.tools.imaging import jpeg
from medloupe.tools.imaging.frame import Values
from medloupe.tools.imaging.tags import code, whole

__all__ = [
    "LITTLE_ENDIAN", "PIXEL_TAGS", "check_length", "decoded", "expected_bytes", "pixel_bytes", "pixel_length",
    "plain_pixels", "stored_range", "syntax_name",
]  # fmt: skip

PIXEL_TAGS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
LITTLE_ENDIAN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
"""Transfer syntaxes whose pixels lie in the file as they are."""
_DEFLATED_FRAMES = UID("1.2.840.10008.1.2.8.1")
"""Deflated Image Frame Compression (DICOM 2024c); pydicom 3.0 does not know it."""


def check_length(ds: Any, frames: int) -> None:
    """InputRejected when the pixel data is shorter than its header needs, or nothing here decodes it."""
    syntax, tag = ds.file_meta.TransferSyntaxUID, next(t for t in PIXEL_TAGS if t in ds)
    length = pixel_length(ds, tag)
    if not length:
        raise InputRejected("truncated", "The pixel data is empty.")
    if not _is_encapsulated(syntax):
        if length < expected_bytes(ds, frames):
            raise InputRejected("truncated", "The pixel data is shorter than rows, columns and frames need.")
        return
    if not _can_decode(syntax, ds):
        raise InputRejected("unsupported", f"{syntax_name(syntax)}: no decoder for these pixels is installed.")
    if parse_fragments(bytes(pixel_bytes(ds, tag)))[0] < frames:
        raise InputRejected("truncated", "The pixel data holds fewer frames than the header declares.")


def expected_bytes(ds: Any, frames: int) -> int:
    """How long uncompressed pixel data must be, without padding (PS3.5 8.1.1, PS3.3 C.7.6.3.1.2 for YBR_FULL_422)."""
    shape = (frames, whole(ds, "Rows") or 0, whole(ds, "Columns") or 0, whole(ds, "SamplesPerPixel") or 1)
    length = (math.prod(shape) * (whole(ds, "BitsAllocated") or 0) + 7) // 8
    return length // 3 * 2 if code(ds, "PhotometricInterpretation", ("YBR_FULL_422",)) else length


def pixel_length(ds: Any, tag: str) -> int:
    """Bytes of the pixel data."""
    element = ds.get_item(tag, keep_deferred=True)
    return int(element.length) if element.value is None else len(element.value)


def pixel_bytes(ds: Any, tag: str) -> memoryview:
    """The pixel data as the file holds it; not copied where reading was deferred."""
    element = ds.get_item(tag, keep_deferred=True)
    if element.value is not None:
        return memoryview(element.value)
    try:
        file = memoryview(mmap.mmap(ds.buffer.fileno(), 0, access=mmap.ACCESS_READ))
    except UnsupportedOperation:  # in memory: what a ZIP or gzip held
        file = ds.buffer.getbuffer()
    return file[element.value_tell : element.value_tell + element.length]


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


def plain_pixels(ds: Any) -> Values | None:
    """Pixels that need no decoder, (frames, rows, columns) in the file's own memory; None when they do.

    Where a value lies beyond BitsStored pydicom decides what becomes of the other bits.
    """
    allocated, bits, sign = whole(ds, "BitsAllocated"), whole(ds, "BitsStored"), whole(ds, "PixelRepresentation")
    grey = code(ds, "PhotometricInterpretation", ("MONOCHROME1", "MONOCHROME2"))
    there = "PixelData" in ds and ds.file_meta.TransferSyntaxUID in LITTLE_ENDIAN
    if not there or not grey or not bits or allocated not in (8, 16, 32) or sign not in (0, 1):
        return None
    shape = whole(ds, "NumberOfFrames") or 1, whole(ds, "Rows") or 0, whole(ds, "Columns") or 0
    values: Values = np.frombuffer(pixel_bytes(ds, "PixelData"), f"<{'ui'[sign]}{allocated // 8}", math.prod(shape))
    low, high = stored_range(bits, signed=sign == 1)
    if bits < allocated and (values.max() > high or (sign and values.min() < low)):
        return None
    return values.reshape(shape)


def stored_range(bits: int, *, signed: bool) -> tuple[int, int]:
    """The lowest and highest value that BitsStored and PixelRepresentation allow."""
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


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
