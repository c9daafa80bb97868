"""Traces of a run, by choice: `OUT/traces`, a medloupe.trace/1 file a case and epoch, and the views' pictures if asked.

A trace begins with the case that was asked, and holds no pixels; pictures lie beside it under their sha-256, which is
how a trace names them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medloupe.agent.trace import TRACE_VERSION, TraceEvent
from medloupe.errors import UsageError
from medloupe.evals.running.files import write_whole
from medloupe.evals.tasks.case import Case

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
            return bool(self._header(case, epoch).get("images") or not self.images)
        except (OSError, ValueError):
            return False

    def case(self, case: str, epoch: int) -> Case:
        """The case that a trace is of, as it was asked. ValueError or OSError when there is no whole trace."""
        return Case.model_validate(self._header(case, epoch)["case"])

    def _header(self, case: str, epoch: int) -> dict[str, Any]:
        with self.file(case, epoch).open(encoding="utf-8") as file:
            header: dict[str, Any] = json.loads(file.readline())
        return header

    def keep_picture(self, digest: str, png: bytes) -> None:
        """A view's picture, once."""
        if self.images and not self.picture(digest).exists():
            self._private()
            write_whole(self.picture(digest), png)

    def write(self, case: Case, epoch: int, events: Sequence[TraceEvent]) -> None:
        """A case's trace, in place of an earlier one. UsageError when it cannot be written."""
        asked = case.model_dump(mode="json", exclude_defaults=True)
        about = {"epoch": epoch, "images": self.images, "case": asked}
        header = {"event": "trace", "schema_version": TRACE_VERSION, **about}
        lines = [
            json.dumps(line, ensure_ascii=False) for line in (header, *(e.model_dump(mode="json") for e in events))
        ]
        self._private()
        write_whole(self.file(case.id, epoch), "\n".join(lines) + "\n")

    def _private(self) -> None:
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{self.path} cannot be written: {error.strerror}") from None
