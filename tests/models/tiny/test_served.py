"""`medloupe serve-tiny`: transformers' own server on loopback says what the model says in this process."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import httpx2
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("uvicorn", reason="transformers' server is not installed")

from medloupe.evals.tiny.samples import samples_of
from medloupe.models.tiny.build import TinyConfig, build_model, build_processor, build_tokenizer, save
from medloupe.models.vlm import EndpointVLM, LocalVLM, Message, Picture, VLMRequest


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The model before training, made to look at its pictures and to end its replies."""
    import torch

    from medloupe.models.torchvision_shim import prepare_torch

    prepare_torch()
    found = tmp_path_factory.mktemp("tiny") / "loupe-tiny"
    tokenizer = build_tokenizer()
    model = build_model(TinyConfig(), tokenizer)
    with torch.no_grad():
        for weight in model.model.multi_modal_projector.parameters():
            weight.mul_(10.0)
    model.generation_config.exponential_decay_length_penalty = (8, 3.0)
    save(model, build_processor(TinyConfig(), tokenizer), found)
    return found


@pytest.fixture(scope="module")
def served(folder, tmp_path_factory) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "medloupe", "serve-tiny", "--folder", str(folder), "--port", str(port)]
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    with log.open("wb") as out:
        server = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=out, stderr=out)
        try:
            _wait(port, server, log)
            assert "test and demonstration model" in log.read_text()
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            server.wait(20)


def _wait(port: int, server: subprocess.Popen, log: Path) -> None:
    with httpx2.Client(trust_env=False) as client:
        for _ in range(900):
            try:
                if client.get(f"http://127.0.0.1:{port}/health").status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            if server.poll() is not None:
                break
            time.sleep(0.1)
    pytest.fail("the server did not start:\n" + log.read_text()[-2000:])


def requests() -> list[VLMRequest]:
    made = []
    for view in samples_of(0, 144, "test"):
        for turn in view.turns[:1]:
            png = cv2.imencode(".png", view.picture[..., ::-1])[1].tobytes()
            picture = Picture(hashlib.sha256(png).hexdigest(), png, 144, 144)
            made.append(VLMRequest(messages=(Message("user", (picture, turn.ask)),), purpose="describe", max_tokens=64))
    return made


async def _texts(vlm) -> list[str]:
    try:
        return [reply.text for reply in await asyncio.gather(*(vlm(request) for request in requests()))]
    finally:
        await vlm.close()


async def test_the_same_words_from_the_server_and_from_this_process(served, folder) -> None:
    local = await _texts(LocalVLM(folder, max_batch=1))
    over_http = await _texts(EndpointVLM(served, str(folder)))
    assert local == over_http
    assert len(set(local)) >= 2  # the pictures are looked at
