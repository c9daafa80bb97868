"""What the process that reads files can do without, so that a cold load does not wait for it."""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from medloupe.tools.imaging import _plain

__all__ = ["hasten"]

_HANDLERS = "pydicom.pixel_data_handlers"
_UNUSED = (
    "PIL.ImageCms", "numpy._core._add_newdocs", "numpy._core._add_newdocs_scalars", "pydicom.data.download",
    "pydicom._version", "pydicom.examples", _HANDLERS,
    *(f"{_HANDLERS}.{name}_handler" for name in ("gdcm", "jpeg_ls", "numpy", "pillow", "pylibjpeg", "rle")),
)  # fmt: skip
"""Colour management, docstrings, a downloader, a version (looked up in the metadata of all packages), examples, and
what decoded pixels before pydicom 3."""


class _Absent(ModuleType):
    """Stands for a module of which nothing is ever used."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__") and "version" not in name:
            raise AttributeError(name)


class _Late(ModuleType):
    """Stands for a package until one of its functions is called; its modules can be loaded without it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def called(*args: Any, **kwargs: Any) -> Any:
            if isinstance(sys.modules[self.__name__], _Late):
                del sys.modules[self.__name__]
            return getattr(import_module(self.__name__), name)(*args, **kwargs)

        return called


def hasten() -> None:
    """Keep from loading what takes long and is not used, put off pydicom's decoders (with every library that they can
    use) until a file needs one, have plain models for pydantic's, and keep the garbage collector from looking through
    modules that all stay; whoever calls this turns it on again.

    To be called before anything else of medloupe, numpy or pydicom is imported. There is no network in that process,
    and so nothing to download.
    """
    gc.disable()
    for name in _UNUSED:
        sys.modules[name] = _Absent(name)
    sys.modules["pydantic"] = _plain
    found = find_spec("pydicom")
    if found is not None and found.submodule_search_locations:
        pixels = sys.modules["pydicom.pixels"] = _Late("pydicom.pixels")
        pixels.__path__ = [f"{place}/pixels" for place in found.submodule_search_locations]
