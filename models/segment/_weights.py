"""Reading weights and choosing a device, for every segmenter here."""

from __future__ import annotations

import hashlib
import io
import pickle
import warnings
from pathlib import Path
from typing import Any

from medloupe.errors import BackendMissing, UsageError
from medloupe.models.torchvision_shim import prepare_torch

INSTALL = "pip install 'medloupe[local]'"


def require_torch(what: str) -> Any:
    """The torch module, with torchvision made importable; BackendMissing where torch is not installed."""
    try:
        import torch
    except ImportError as error:
        raise BackendMissing(what, INSTALL) from error
    prepare_torch()
    return torch


def device_for(torch: Any, device: str) -> Any:
    """The torch device for a name; "auto" is cuda where there is one. UsageError for one that is not here."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(f"no device {device!r} for the segmenter here; use auto, cpu or cuda") from error
    return chosen


def file_sha256(path: Path) -> str:
    """sha-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state_dict(torch: Any, source: Path | bytes, what: str) -> dict[str, Any]:
    """Tensors by name from a checkpoint; nothing else in it is unpickled. Also inside {"model": ...}, as trainers save.

    UsageError, naming `what`, for a file that is no such checkpoint.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)  # an error follows, or nothing
            file = io.BytesIO(source) if isinstance(source, bytes) else source
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise UsageError(f"{what} cannot be read as a file of weights") from error
    for key in ("model", "state_dict"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(torch.is_tensor(value) for value in loaded.values()):
        raise UsageError(f"{what} does not hold a state dict of tensors")
    return {key.removeprefix("module."): value for key, value in loaded.items()}
