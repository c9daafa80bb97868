"""A pydicom decoder plugin for what its own cannot read without GDCM: JPEG Lossless and 12-bit JPEG, by imagecodecs.

libjpeg-turbo 3, inside imagecodecs, decodes 8, 12 and 16-bit samples, DCT and lossless (predictors 1 to 7).
"""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import Any

import numpy as np
from pydicom.pixels import get_decoder
from pydicom.uid import JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1

__all__ = ["DECODER_DEPENDENCIES", "decode_frame", "is_available", "register"]

DECODER_DEPENDENCIES = dict.fromkeys((JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1), ("imagecodecs",))
"""What pydicom's plugin interface asks for."""


@cache
def register() -> None:
    """Make the plugin known to pydicom, once a process."""
    for syntax in DECODER_DEPENDENCIES:
        get_decoder(syntax).add_plugin("medloupe-imagecodecs", (__name__, "decode_frame"))


def is_available(uid: str) -> bool:
    """Whether this plugin can decode a transfer syntax here."""
    return uid in DECODER_DEPENDENCIES and importlib.util.find_spec("imagecodecs") is not None


def decode_frame(src: bytes, runner: Any) -> bytes:
    """One frame's samples as bytes, in the colour space they were stored in; `runner` is pydicom's DecodeRunner."""
    import imagecodecs

    space = "RGB" if runner.samples_per_pixel == 3 else None  # in = out: no colour conversion, pydicom does that
    array = np.asarray(imagecodecs.jpeg8_decode(src, colorspace=space, outcolorspace=space))
    if array.shape[:2] != (runner.rows, runner.columns):
        raise ValueError("the frame is not of the size that the header declares")
    container = 8 * array.dtype.itemsize
    if runner.pixel_representation == 1 and runner.bits_stored < container:  # extend the sign to the container
        unused = container - runner.bits_stored
        array = (array << unused).view(f"i{array.dtype.itemsize}") >> unused
    runner.set_option("bits_allocated", container)
    if runner.samples_per_pixel > 1:
        runner.set_option("planar_configuration", 0)
    return array.tobytes()
