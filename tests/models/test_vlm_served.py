"""A real model: in this process, and behind transformers' own server, with the same words from both."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from medloupe.errors import EndpointFault, ModelError, ReplyCutOff
from medloupe.models.vlm import EndpointVLM, LocalVLM, VLMRequest

GREYS = (0, 60, 120, 180, 255)


@pytest.fixture(scope="module")
def served(tiny_llava: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`transformers serve`, started the way that works beside any torchvision; its base URL."""
    pytest.importorskip("uvicorn", reason="transformers' server is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "medloupe.models.serve", str(tiny_llava), "--port", str(port), "--device", "cpu"]
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    with log.open("wb") as out:
        server = subprocess.Popen(command, env=os.environ | offline, stdout=out, stderr=out)
        try:
            _wait_for_health(port, server, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            server.wait(20)


def _wait_for_health(port: int, server: subprocess.Popen, log: Path) -> None:
    with httpx2.Client(trust_env=False) as client:
        for _ in range(600):
            try:
                if client.get(f"http://127.0.0.1:{port}/health").status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            if server.poll() is not None:
                break
            time.sleep(0.1)
    pytest.fail("transformers' server did not start:\n" + log.read_text()[-2000:])


async def _replies(vlm: EndpointVLM | LocalVLM, requests: list[VLMRequest]) -> list[str]:
    try:
        return [reply.text for reply in await asyncio.gather(*(vlm(request) for request in requests))]
    finally:
        await vlm.close()


@pytest.fixture(scope="module")
def requests(ask) -> list[VLMRequest]:
    return [ask(grey=grey) for grey in GREYS] + [ask("describe the left lung region in one word .", grey=60)]


@pytest.fixture(scope="module")
def local_texts(tiny_llava: Path, requests) -> list[str]:
    return asyncio.run(_replies(LocalVLM(tiny_llava, max_batch=8), requests))


async def test_a_model_folder_answers_in_batches_what_it_answers_alone(tiny_llava, requests, local_texts) -> None:
    alone = await _replies(LocalVLM(tiny_llava), requests)
    assert alone == local_texts
    assert len(set(local_texts)) >= 3  # the pictures are looked at, and are not mixed up
    assert all(3 <= len(text.split()) <= 20 for text in local_texts)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_transformers_serve_answers_concurrent_pictures_alike(
    served, tiny_llava, requests, local_texts, stream
) -> None:
    vlm = EndpointVLM(served, str(tiny_llava), stream=stream)
    assert await _replies(vlm, requests) == local_texts


async def test_the_token_limit_is_a_cut_off_reply_in_both(served, tiny_llava, ask) -> None:
    for vlm in (EndpointVLM(served, str(tiny_llava)), LocalVLM(tiny_llava)):
        with pytest.raises(ReplyCutOff):
            await vlm(ask(max_tokens=4))
        await vlm.close()


async def test_a_wrong_model_name_is_a_fault(served, ask) -> None:
    vlm = EndpointVLM(served, "another-model")
    with pytest.raises(EndpointFault, match="another-model"):
        await vlm(ask())
    await vlm.close()


async def test_draws_differ_and_are_repeatable(tiny_llava, ask) -> None:
    async def draw(n: int) -> str:
        return (await _replies(LocalVLM(tiny_llava), [ask(temperature=5.0, draw=n)]))[0]

    assert await draw(1) == await draw(1) != await draw(2)


async def test_a_broken_model_folder_is_a_model_error(tiny_llava, tmp_path, ask) -> None:
    (tmp_path / "config.json").write_text((tiny_llava / "config.json").read_text())
    vlm = LocalVLM(tmp_path)
    with pytest.raises(ModelError, match="cannot be loaded"):
        await vlm(ask())
    await vlm.close()


async def test_pickled_weights_are_not_read(tiny_llava, tmp_path, ask) -> None:
    import torch

    for file in tiny_llava.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    vlm = LocalVLM(tmp_path)
    with pytest.raises(ModelError, match="cannot be loaded"):
        await vlm(ask())
    await vlm.close()


async def test_a_picture_placeholder_in_text_is_only_text(tiny_llava, ask) -> None:
    reply = (await _replies(LocalVLM(tiny_llava), [ask("a <image> in the text")]))[0]
    assert reply
