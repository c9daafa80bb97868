"""loupe-tiny at the command: on a phantom it just speaks; on any other image every answer warns, wherever read."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import Medloupe

from medloupe.agent.trace import read_trace
from medloupe.errors import BackendMissing
from medloupe.evals.phantoms import Order, write_phantom
from medloupe.models.tiny import NAME, home, packaged
from medloupe.models.tiny.language import description, location
from medloupe.models.vlm.loopback import ScriptedEndpoint

WARNED = "loupe-tiny was trained on drawn phantoms only and this image is none: what it says means nothing"


def says(body: dict[str, Any]) -> str:
    """A nodule in the middle of every view."""
    words = body["messages"][-1]["content"][-1]["text"]
    if "Where to look" in words:
        return location([(0.3, 0.3, 0.6, 0.6)], "nodule")
    if "Describe" in words:
        return description("nodule", {"shape": "round"}, size=0.4, site="central")
    return "yes"


@pytest.fixture(scope="module")
def tiny() -> Iterator[tuple[str, ...]]:
    """The flags that name a server of it."""
    with ScriptedEndpoint(says) as endpoint:
        yield ("--vlm", endpoint.url, "--vlm-model", "loupe-tiny")


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    return folder / json.loads(write_phantom(folder, Order(kind="ct"), 1_100_001)[0].read_text())["images"][0]["file"]


def test_terminal_json_and_report_of_a_real_image_carry_the_warning(
    disc_ct: Path, here: Path, medloupe: Medloupe, tiny: tuple[str, ...]
) -> None:
    ended = medloupe("ask", disc_ct, "Is there a nodule?", *tiny, "--json")
    assert ended.returncode == 0, ended.stderr
    assert f"warning  {WARNED}" in ended.stderr
    assert WARNED in json.loads(ended.stdout)["warnings"]
    (run,) = (here / "out").iterdir()
    assert WARNED in (run / "report.html").read_text()
    assert WARNED in read_trace(run / "trace.jsonl")[0].data["warnings"]


def test_every_turn_of_a_chat_about_a_real_image_carries_it(
    disc_ct: Path, medloupe: Medloupe, tiny: tuple[str, ...]
) -> None:
    ended = medloupe("chat", disc_ct, *tiny, stdin="Is there a nodule?\nIs it round?\n")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count(f"warning  {WARNED}") == 2


def test_verdicts_of_its_probes_on_a_real_image_carry_it(
    disc_ct: Path, medloupe: Medloupe, tiny: tuple[str, ...]
) -> None:
    ended = medloupe("verify", disc_ct, "--text", "The nodule has a spiculated margin.", *tiny)
    assert ended.returncode == 0, ended.stderr
    assert WARNED in json.loads(ended.stdout)["warnings"]
    assert f"warning: {WARNED}" in ended.stderr


def test_on_a_phantom_it_says_phantom_and_does_not_warn_of_the_model(
    phantom: Path, medloupe: Medloupe, tiny: tuple[str, ...]
) -> None:
    ended = medloupe("ask", phantom, "Is there a nodule?", *tiny, "--json")
    assert ended.returncode == 0, ended.stderr
    warnings = json.loads(ended.stdout)["warnings"]
    assert any("phantom: drawn by medloupe" in warning for warning in warnings)
    assert WARNED not in warnings and WARNED not in ended.stderr


def test_the_shipped_model_answers_or_its_absence_is_one_line(disc_ct: Path, medloupe: Medloupe) -> None:
    listed = json.loads(medloupe("models", "--json").stdout)[NAME]
    assert listed["available"] is home().is_dir()
    ended = medloupe("ask", disc_ct, "Is there a nodule?", "--vlm", NAME)
    if home().is_dir():
        assert ended.returncode == 0, ended.stderr
        assert WARNED in ended.stdout
        return
    assert ended.returncode == 2
    assert ended.stderr == f"medloupe: {listed['detail']}\n"
    assert listed["detail"].startswith("loupe-tiny is not available here")
    with pytest.raises(BackendMissing):
        packaged()
    served: subprocess.CompletedProcess[str] = medloupe("serve-tiny")
    assert (served.returncode, served.stderr) == (2, ended.stderr)
