"""What the process that reads files can do without, so that a cold load does not wait for it."""

from __future__ import annotations

import gc
import sys
from types import ModuleType

__all__ = ["hasten"]


class _Absent(ModuleType):
    """Stands for a module of which nothing is ever called."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


def hasten() -> None:
    """Keep pydicom's downloader (a third of its import) and colour management from loading, and the garbage collector
    from looking through modules that all stay; whoever calls this turns it on again.

    To be called before pydicom is imported. There is no network in that process, and so nothing to download.
    """
    gc.disable()
    for name in ("pydicom.data.download", "PIL.ImageCms"):
        sys.modules[name] = _Absent(name)
