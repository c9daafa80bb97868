"""README's and docs' code blocks are executed, so that none of them can go stale.

bash      run whole by `bash -euo pipefail` in an empty folder that holds scan.dcm (a real MR). medloupe is first on
          the path, and no segmenter is loaded. A block that needs an endpoint says `${VLM_URL:-http://...}`: here
          variable names a scripted server on loopback.
python    executed in a process of its own in such a folder, with warnings as errors
toml      read by load_settings
console   not executed: they install, run make itself, or start a server. Their make lines are tried with `make -n`,
          and they are counted, so that none is added by the way.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from reader_script import ReaderScript

from medloupe.evals.bundled import bundled_study
from medloupe.models.vlm.loopback import ScriptedEndpoint
from medloupe.settings import Settings, load_settings

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
NOT_EXECUTED = 7
SERVERS = ("vllm serve ", "python -m sglang.launch_server ", "python -m medloupe.models.serve ", "medloupe serve-tiny ",
           "OLLAMA_", "ollama pull ", "  --")  # fmt: skip
"""How lines begin that start a server, or go on with its flags."""


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text("utf-8")
        for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(page, line, match[1], match[2]))
    return [block for block in found if block.language in languages] if languages else found


@pytest.fixture(scope="module")
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint(ReaderScript()) as running:
        yield running


@pytest.fixture
def environment(tmp_path: Path, endpoint: ScriptedEndpoint) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MEDLOUPE_", "OPENAI_", "LANG"))}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "LANG": "C.UTF-8",
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "MEDLOUPE_SEGMENTER": "none",
        "VLM_URL": endpoint.url,
        "VLM_MODEL": "scripted",
    }


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The folder that a reader of the page is in; settings there are not the study's own."""
    folder = tmp_path / "here"
    folder.mkdir()
    shutil.copy(bundled_study(), folder / "scan.dcm")
    return folder


def run(command: list[str], here: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    return ended


@pytest.mark.parametrize("block", blocks("bash"), ids=str)
def test_bash_blocks_run(block: Block, here: Path, environment: dict[str, str]) -> None:
    ended = run(["bash", "-euo", "pipefail", "-c", block.code], here, environment)
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_blocks_run(block: Block, here: Path, environment: dict[str, str]) -> None:
    run([sys.executable, "-W", "error", "-c", block.code], here, environment)


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_toml_blocks_are_settings(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "medloupe.toml").write_text(block.code)
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    for name, value in tomllib.loads(block.code).items():
        assert getattr(settings, name) == value


def test_blocks_that_are_not_executed_are_few_and_name_real_make_targets() -> None:
    kept = blocks("console")
    assert len(kept) == NOT_EXECUTED
    assert {block.language for block in blocks()} == {"bash", "python", "toml", "console"}
    for block in kept:
        for line in block.code.splitlines():
            assert line.startswith(("make ", "pip install ", *SERVERS))
            if line.startswith("make "):
                command = ["bash", "-c", line.replace("make ", "make -n -o .venv/ready ", 1)]
                subprocess.run(command, cwd=ROOT, check=True, capture_output=True)


def test_the_embedding_example_has_at_most_twenty_lines() -> None:
    first = next(block for block in blocks("python") if block.page.name == "embedding.md")
    assert len([line for line in first.code.splitlines() if line.strip()]) <= 20


def test_every_setting_is_in_the_configuration_page() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \|([^|]*)\|", page, re.MULTILINE))
    assert set(rows) == set(Settings.model_fields) - {"api_key", "openai_api_key", "verifier_api_key"}
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, int | float):
            assert float(rows[name]) == field.default
        elif isinstance(field.default, str):
            assert rows[name].strip(" `") == field.default


def test_links_between_the_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
