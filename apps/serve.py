"""`medloupe serve-tiny`: loupe-tiny behind transformers' own server, on loopback."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path

import click

from medloupe.errors import BackendMissing, UsageError
from medloupe.models.serve import image_processor_of, serve
from medloupe.models.tiny import NAME, packaged
from medloupe.models.vlm.local import placed

__all__ = ["run_serve_tiny"]


def run_serve_tiny(folder: Path | None, port: int, device: str = "auto") -> int:
    """Serve until interrupted. UsageError for a folder without a model, BackendMissing without transformers' server."""
    found = (folder if folder is not None else packaged()).resolve()
    if not (found / "config.json").is_file():
        raise UsageError(f"{found} is not a model folder (it holds no config.json)")
    click.echo(f"{NAME}: a test and demonstration model, trained on phantoms; it knows no real image.", err=True)
    try:
        # Where and in which dtype LocalVLM computes, so that the same view gets the same words from both.
        at, dtype = placed(device)
        # From the folder above, so that the model is called by its name and no path of this machine.
        with contextlib.chdir(found.parent):
            click.echo(f"{NAME} on {at}, {dtype}, pictures by {image_processor_of(found.name)}", err=True)
            ask = f"--vlm http://127.0.0.1:{port}/v1 --vlm-model {shlex.quote(found.name)}"
            click.echo(f"medloupe ask STUDY QUESTION {ask}", err=True)
            serve(found.name, port=port, device=at, dtype=dtype)
    except ImportError:
        raise BackendMissing("transformers' server", 'pip install "medloupe[local]"') from None
    return 0
