"""What the tests of the models share: a picture, a request, and a small LLaVA-shaped model folder."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest

from medloupe.models.vlm import Message, Picture, VLMRequest


@pytest.fixture(scope="session")
def tiny_llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a LLaVA-shaped model with random weights; made once a session."""
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("tokenizers", reason="transformers is not installed")
    spec = importlib.util.spec_from_file_location("tiny_llava", Path(__file__).with_name("tiny_llava.py"))
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    return maker.make_tiny_llava(tmp_path_factory.mktemp("tiny-llava"))


@pytest.fixture(scope="session")
def picture():
    """Makes an encoded picture of one grey."""

    def make(grey: int = 128) -> Picture:
        _, encoded = cv2.imencode(".png", np.full((60, 80), grey, np.uint8))
        png = encoded.tobytes()
        return Picture(hashlib.sha256(png).hexdigest(), png, 80, 60)

    return make


@pytest.fixture(scope="session")
def ask(picture):
    """Makes a request about one picture."""

    def make(text: str = "what do you see ?", grey: int = 128, **fields) -> VLMRequest:
        fields = {"purpose": "describe", "max_tokens": 64} | fields
        return VLMRequest(messages=(Message("user", (picture(grey), text)),), **fields)

    return make
