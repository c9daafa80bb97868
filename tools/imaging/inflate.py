"""Deflated bytes, piece by piece: what grows beyond the limits is refused while it grows, whatever it declares."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO

from medloupe.errors import InputRejected
from medloupe.limits import HARMLESS_BYTES, Limits

__all__ = ["GZIP", "RAW", "check_inflation", "inflated", "inflated_head"]

GZIP, RAW = 16 + zlib.MAX_WBITS, -zlib.MAX_WBITS
"""zlib's `wbits` of a gzip, of which the first member is read, and of a bare stream as DICOM's is."""
_CHUNK, _PIECE = 2**16, 2**20


def inflated(file: BinaryIO, wbits: int, limits: Limits, *, declared: int | None = None) -> Iterator[bytes]:
    """What an open file holds from here on, in pieces of at most a megabyte.

    declared: how many bytes a checked header says there are. Reading stops there, and no ratio is asked: a mask is
    mostly zeros. InputRejected when it is too much, damaged, or ends early.
    """
    if declared is not None:
        check_inflation(declared, declared, limits)
    inflater, begun, total = zlib.decompressobj(wbits), file.tell(), 0
    try:
        while not inflater.eof and (declared is None or total < declared):
            chunk = inflater.unconsumed_tail or file.read(_CHUNK)
            piece = inflater.decompress(chunk, _PIECE if declared is None else min(_PIECE, declared - total))
            if not chunk and not piece:
                raise InputRejected("truncated", "The compressed data end early.")
            total += len(piece)
            if declared is None:
                check_inflation(total, file.tell() - begun - len(inflater.unconsumed_tail), limits)
            yield piece
    except zlib.error as error:
        raise InputRejected("undecodable", "The compressed data are damaged.") from error
    if declared is not None and total < declared:
        raise InputRejected("truncated", "The compressed data end early.")


def inflated_head(file: BinaryIO, wbits: int, count: int) -> bytes:
    """The first bytes at most; fewer where the data end or are damaged. The file is left where it was."""
    begun = file.tell()
    try:
        return zlib.decompressobj(wbits).decompress(file.read(_CHUNK), count)
    except zlib.error:
        return b""
    finally:
        file.seek(begun)


def check_inflation(inflated: int, stored: int, limits: Limits) -> None:
    """InputRejected when so many stored bytes inflate to too many."""
    much = inflated > HARMLESS_BYTES and inflated > limits.inflate_ratio * max(stored, 1)
    if inflated > limits.inflated_bytes or much:
        raise InputRejected("too-large", "What is compressed inflates beyond what is allowed.")
