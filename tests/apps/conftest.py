"""The real command in a process of its own, in an empty place, with a scripted model on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from command import CANARY, Medloupe
from reader_script import ReaderScript, write_ct

from medloupe.models.vlm.loopback import ScriptedEndpoint


@pytest.fixture
def disc_ct(tmp_path: Path) -> Path:
    """A CT slice, 256 x 256 at 0.5 mm: a soft-tissue disc of 40 px (20 mm) in fat, at column 80, row 100."""
    values = np.full((256, 256), -100, np.float32)
    cv2.circle(values, (80, 100), 20, 60.0, thickness=-1)
    values += np.random.default_rng(0).normal(0, 4, values.shape)
    return write_ct(tmp_path / "disc.dcm", values)


@pytest.fixture
def script() -> ReaderScript:
    """Change what the model says before it is asked."""
    return ReaderScript()


@pytest.fixture
def endpoint(script: ReaderScript) -> Iterator[ScriptedEndpoint]:
    """The endpoint that says it."""
    with ScriptedEndpoint(script) as running:
        yield running


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The working directory of the command."""
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A clean environment with a key that must show nowhere; no segmenter, quick retries."""
    kept = {
        n: v for n, v in os.environ.items() if not n.startswith(("MEDLOUPE_", "OPENAI_", "LANGSMITH_", "LANGCHAIN_"))
    }
    return kept | {
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "MEDLOUPE_SEGMENTER": "none",
        "MEDLOUPE_RETRY_BASE_S": "0.01",
        "MEDLOUPE_API_KEY": CANARY,
        "PYTHONWARNINGS": "default",
        "NO_COLOR": "1",
    }


@pytest.fixture
def medloupe(here: Path, environment: dict[str, str]) -> Medloupe:
    """Run the command; the result has returncode, stdout and stderr. Keyword arguments are environment variables."""

    def run(*arguments: object, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "medloupe", *map(str, arguments)]
        return subprocess.run(
            command, cwd=here, env=environment | variables, input=stdin, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip

    return run
