"""How much a file may cost before it is refused."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from medloupe._geometry import Frozen

__all__ = ["DEFAULT", "HARMLESS_BYTES", "Amount", "Limits", "Memory", "Processes", "Seconds"]

Amount = Annotated[int, Field(ge=1, le=2**63)]
"""Of bytes, files, pixels, levels."""
Memory = Annotated[int, Field(ge=2**28, le=2**63)]
Processes = Annotated[int, Field(ge=1, le=64)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]

HARMLESS_BYTES = 2**26
"""What inflates to no more than this is not asked for its ratio: masks inflate a thousandfold, and this much costs
nothing."""


class Limits(Frozen):
    """Of one load. A file that needs more is refused, with the code "too-large" or "time-limit", and no other is.

    Each is a setting, `read_` and its name (docs/configuration.md); they go to the worker processes with every batch.
    """

    memory_bytes: Memory = 3 * 2**29
    """Address space of a worker (RLIMIT_AS), its libraries included; also the most pixels one file may hand back."""
    seconds: Seconds = 10.0
    """Wall clock of one file."""
    workers: Processes = 2
    """Worker processes that read at the same time, over all threads of this process."""
    file_bytes: Amount = 2**31
    """Of one file, and of what a gzip holds."""
    files: Amount = 50_000
    """Of one folder or ZIP."""
    inflated_bytes: Amount = 2**29
    """Of a deflated data set, a gzip or a ZIP's entry: a megabyte of zeros may inflate to a gigabyte."""
    inflate_ratio: Amount = 200
    """Of inflated to stored size, beyond 64 MiB; measured as it inflates, for what a header declares may be a lie."""
    zip_bytes: Amount = 2**33
    """Of all entries of one ZIP, inflated, by its directory."""
    frame_pixels: Amount = 89_478_485
    """Of one frame, by its header: Pillow's own limit against decompression bombs, held for DICOM too."""
    file_pixels: Amount = 2**30
    """Of all the frames of one file, by its header."""
    file_elements: Amount = 100_000
    """Of a DICOM data set, those inside its sequences not counted."""
    sequence_depth: Amount = 64
    """Of sequences in sequences of a DICOM data set or a structured report."""


DEFAULT = Limits()
