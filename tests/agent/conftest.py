"""A study of known content, and a real endpoint on loopback that plays the model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from reader_script import ReaderScript, write_ct

from medloupe.models.vlm import EndpointVLM
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
async def vlm(endpoint: ScriptedEndpoint) -> AsyncIterator[EndpointVLM]:
    """The ordinary client on it."""
    client = EndpointVLM(endpoint.url, "scripted", retry_base_s=0.01, timeout_s=5)
    yield client
    await client.close()
