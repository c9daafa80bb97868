"""loupe-tiny: our own small vision-language model, for tests and demonstrations. Light to import.

Trained on phantoms only (evals/tiny): what it says of any other picture means nothing.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from medloupe.errors import BackendMissing, ModelError

__all__ = ["NAME", "packaged", "write_sums"]

NAME = "loupe-tiny"
_SUMS = "sha256.json"


def packaged(folder: Path | None = None) -> Path:
    """The model's folder as it is shipped, its files checked against their sha-256.

    BackendMissing where the package came without weights; ModelError where a file is not what was shipped.
    """
    found = folder or Path(__file__).parent / NAME
    sums = found / _SUMS
    if not sums.is_file():
        raise BackendMissing("loupe-tiny", "make train-tiny, and give its folder")
    for name, wanted in json.loads(sums.read_text("utf-8")).items():
        file = found / name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != wanted:
            raise ModelError(f"loupe-tiny cannot be used: {name} is not the file that was shipped")
    return found


def write_sums(folder: Path) -> None:
    """Write the sha-256 of every file of a model's folder beside them."""
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.name != _SUMS)
    sums = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    (folder / _SUMS).write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8")
