"""What tests of evaluations share: a scripted endpoint, and settings of a run against it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from eval_script import answer

from medloupe.models.vlm.loopback import ScriptedEndpoint
from medloupe.settings import Settings, load_settings


@pytest.fixture(scope="module")
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint(answer) as running:
        yield running


@pytest.fixture
def settings(endpoint: ScriptedEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return load_settings(segmenter="none", vlm=endpoint.url, vlm_model="scripted", out=tmp_path / "out")
