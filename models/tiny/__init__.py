"""loupe-tiny: our own small vision-language model, for tests and demonstrations. Light to import.

Trained on phantoms only (evals/tiny): what it says of any other picture means nothing.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from medloupe.errors import BackendMissing, ModelError

__all__ = ["NAME", "SUMS", "home", "packaged", "write_sums"]

NAME = "loupe-tiny"
SUMS = "SHA256SUMS"
"""Of a model's folder: as `sha256sum` writes and checks it."""


def home() -> Path:
    """Where the package keeps its model, whether or not it came with one."""
    return Path(__file__).parent / NAME


def packaged(folder: Path | None = None) -> Path:
    """The model's folder as it is shipped, its files checked against their sha-256.

    BackendMissing where the package came without weights; ModelError where a file is not what was shipped.
    """
    found = folder or home()
    sums = found / SUMS
    if not sums.is_file():
        raise BackendMissing(NAME, "make train-tiny, then make ship-tiny RUN=out/tiny")
    for line in sums.read_text("utf-8").splitlines():
        wanted, _, name = line.partition("  ")
        file = found / name
        if not file.is_file() or _sha256(file) != wanted:
            raise ModelError(f"{NAME} cannot be used: {name} is not the file that was shipped")
    return found


def write_sums(folder: Path) -> None:
    """Write the sha-256 of every file of a model's folder beside them."""
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.name != SUMS)
    (folder / SUMS).write_text("".join(f"{_sha256(p)}  {p.name}\n" for p in files), encoding="utf-8")


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
