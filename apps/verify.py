"""What `medloupe verify` does once the command line is read."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from pathlib import Path

from medloupe.agent.resources import Resources, resources_from
from medloupe.agent.verifying import Verdicts, averify_claims
from medloupe.apps.wording import one_line
from medloupe.errors import UsageError
from medloupe.settings import Settings
from medloupe.tools.imaging import MemoryStore

__all__ = ["run_verify"]


def run_verify(
    settings: Settings, study: Path, *, claims: Path | None, text: str | None, box: str | None, out: Path | None
) -> int:
    """Check, and write verdicts.json to `out`, or to stdout; 0 whatever the verdicts. Raises UserError."""
    corners = _corners(box) if box else None
    resources = resources_from(settings, store=MemoryStore())
    found = asyncio.run(_verify(resources, study, claims, text, corners, settings.modality))
    content = found.as_json() + "\n"
    if out is None:
        sys.stdout.write(content)
    else:
        _write(out, content)
        counts = Counter(claim.verdict for claim in found.verdicts)
        told = ", ".join(f"{counts[word]} {word}" for word in ("supported", "refuted", "undetermined"))
        sys.stderr.write(f"{told}: {out}\n{found.label}\n")
    for warning in found.warnings:
        sys.stderr.write(f"warning: {one_line(warning)}\n")
    return 0


async def _verify(
    resources: Resources,
    study: Path,
    claims: Path | None,
    text: str | None,
    box: tuple[float, float, float, float] | None,
    modality: str | None,
) -> Verdicts:
    try:
        return await averify_claims(study, claims, text=text, box=box, resources=resources, modality=modality)
    finally:
        await resources.close()


def _corners(box: str) -> tuple[float, float, float, float]:
    try:
        x0, y0, x1, y1 = (float(number) for number in box.split(","))
    except ValueError:
        raise UsageError("--box is four numbers: x0,y0,x1,y1, in pixels of the full image") from None
    return x0, y0, x1, y1


def _write(out: Path, content: str) -> None:
    """The file is there whole or not at all."""
    half = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        half.write_text(content, encoding="utf-8")
        half.replace(out)
    except OSError as error:
        half.unlink(missing_ok=True)
        raise UsageError(f"the verdicts cannot be written to {out}: {error.strerror}") from None
