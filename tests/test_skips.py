"""The skip summary and STRICT, tried on a run of pytest itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = """
import pytest

@pytest.mark.parametrize("n", [1, 2])
def test_a(n):
    pytest.skip("no such device")

@pytest.mark.skip(reason="too slow here")
def test_b(): ...

def test_c(): ...
"""


def run(folder: Path, strict: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text((Path(__file__).parent / "conftest.py").read_text())
    (folder / "test_it.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", ".", "."]
    environment = {**os.environ, "STRICT": strict}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("strict", "code"), [("", 0), ("1", 1)])
def test_skips_are_counted_by_reason_and_strict_fails_on_them(strict: str, code: int, tmp_path: Path) -> None:
    ended = run(tmp_path, strict)
    assert ended.returncode == code, ended.stdout
    assert "skips: 3" in ended.stdout
    assert "2  no such device" in ended.stdout
    assert "1  too slow here" in ended.stdout
    assert ("STRICT=1 makes a failure" in ended.stdout) == bool(code)
