"""What the process that reads files can do without, so that a cold load does not wait for it."""

from __future__ import annotations

import sys
from types import ModuleType

__all__ = ["leave_out"]


class _Absent(ModuleType):
    """Stands for a module of which nothing is ever called."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


def leave_out() -> None:
    """Keep pydicom's downloader (a third of its import) and colour management from loading; there is no network here.

    To be called before pydicom is imported.
    """
    for name in ("pydicom.data.download", "PIL.ImageCms"):
        sys.modules[name] = _Absent(name)
