"""`medloupe serve-tiny`: loupe-tiny behind transformers' own server, on loopback."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from medloupe.errors import BackendMissing, UsageError
from medloupe.models.serve import serve
from medloupe.models.tiny import packaged

__all__ = ["run_serve_tiny"]


def run_serve_tiny(folder: Path | None, port: int) -> int:
    """Serve until interrupted. UsageError for a folder without a model, BackendMissing without transformers' server."""
    found = folder if folder is not None else packaged()
    if not (found / "config.json").is_file():
        raise UsageError(f"{found} is not a model folder (it holds no config.json)")
    name = str(found.resolve())
    click.echo("loupe-tiny: a test and demonstration model, trained on phantoms; it knows no real image.", err=True)
    ask = f"--vlm http://127.0.0.1:{port}/v1 --vlm-model {shlex.quote(name)}"
    click.echo(f"medloupe ask STUDY QUESTION {ask}", err=True)
    try:
        # float32 as LocalVLM on a CPU, so that the same view gets the same words from both.
        serve(name, port=port, device="cpu", dtype="float32")
    except ImportError:
        raise BackendMissing("transformers' server", 'pip install "medloupe[local]"') from None
    return 0
