"""What `medloupe deidentify` does once the command line is read."""

from __future__ import annotations

from pathlib import Path

import click

from medloupe.apps.wording import one_line
from medloupe.settings import Settings
from medloupe.tools.imaging.deidentify import deidentify_study

__all__ = ["run_deidentify"]


def run_deidentify(settings: Settings, study: Path, out: Path) -> None:
    """Copy, and say what became of each file: the result on stdout, what to look at on stderr."""
    done = deidentify_study(study, out, limits=settings.limits())
    files = "file" if done.written == 1 else "files"
    click.echo(f"{done.written} {files} copied to {out} (PS3.15 Basic Profile; UIDs replaced, private data removed)")
    for left in done.left_out:
        click.echo(f"left out  {one_line(left.name)}  [{left.code}]  {left.reason}")
    for warning in done.warnings:
        click.echo(f"medloupe: warning: {warning}", err=True)
