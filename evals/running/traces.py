"""Traces of a run, by choice: `OUT/traces`, a medloupe.trace/1 file a case and epoch, and the views' pictures if asked.

A trace holds no pixels; with pictures, they lie beside it under their sha-256, which is how a trace names them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

from medloupe.agent.trace import TRACE_VERSION, TraceEvent
from medloupe.errors import UsageError
from medloupe.evals.running.files import write_whole

__all__ = ["TraceFolder"]


class TraceFolder:
    """Where a run's traces lie."""

    def __init__(self, out: Path, *, images: bool) -> None:
        """out: the run's folder. images: keep the pictures of views too."""
        self.path = out / "traces"
        self.images = images

    def file(self, case: str, epoch: int) -> Path:
        """The trace of one case: its id as far as a file may be called so, and a digest, since ids hold anything."""
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", case)[:80]
        return self.path / f"{plain}-{hashlib.sha256(case.encode()).hexdigest()[:12]}.{epoch}.jsonl"

    def picture(self, digest: str) -> Path:
        """The PNG of a view."""
        return self.path / "images" / f"{digest}.png"

    def has(self, case: str, epoch: int) -> bool:
        """Whether a case's trace is there, with its pictures where they are wanted."""
        try:
            with self.file(case, epoch).open(encoding="utf-8") as file:
                header = json.loads(file.readline())
        except (OSError, ValueError):
            return False
        return bool(header.get("images") or not self.images)

    def keep_picture(self, digest: str, png: bytes) -> None:
        """A view's picture, once."""
        if self.images and not self.picture(digest).exists():
            self._private()
            write_whole(self.picture(digest), png)

    def write(self, case: str, epoch: int, events: Sequence[TraceEvent]) -> None:
        """A case's trace, in place of an earlier one. UsageError when it cannot be written."""
        header = {
            "event": "trace",
            "schema_version": TRACE_VERSION,
            "case": case,
            "epoch": epoch,
            "images": self.images,
        }
        lines = [json.dumps(header), *(json.dumps(e.model_dump(mode="json"), ensure_ascii=False) for e in events)]
        self._private()
        write_whole(self.file(case, epoch), "\n".join(lines) + "\n")

    def _private(self) -> None:
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{self.path} cannot be written: {error.strerror}") from None
