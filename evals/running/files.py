"""Files of a run: there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from medloupe.errors import UsageError

__all__ = ["write_whole"]


def write_whole(path: Path, content: str | bytes) -> None:
    """The file is there whole or not at all; UsageError when it cannot be written."""
    half = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        half.write_bytes(content.encode() if isinstance(content, str) else content)
        half.replace(path)
    except OSError as error:
        half.unlink(missing_ok=True)
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
