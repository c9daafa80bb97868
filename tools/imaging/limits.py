"""How much a file may cost before it is refused."""

from __future__ import annotations

from pydantic import Field

from medloupe.types import Frozen

__all__ = ["DEFAULT", "Limits"]


class Limits(Frozen):
    """Of the worker processes that read files. A file that needs more is refused; the caller does not notice."""

    memory_bytes: int = Field(default=3 * 2**29, ge=2**28)
    """Address space of a worker (RLIMIT_AS), its libraries included; also the most pixels one file may hand back."""
    seconds: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    """Wall clock of one file."""
    workers: int = Field(default=2, ge=1, le=64)
    """Worker processes that read at the same time, over all threads of this process."""


DEFAULT = Limits()
