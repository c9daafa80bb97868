"""A VLM in this process: any Hugging Face image-text-to-text folder, through transformers.

The one place where transformers' untyped classes are called for VLMs. Nothing is downloaded, no code from the folder
is run, and only safetensors weights are read. Requests that arrive together can be answered as one padded batch.
"""

from __future__ import annotations

import asyncio
import io
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from medloupe.errors import BackendMissing, ModelError, ReplyCutOff, ReplyUnreadable, UsageError
from medloupe.models.vlm._wire import defuse, one_line
from medloupe.models.vlm.base import Message, Picture, VLMReply, VLMRequest
from medloupe.models.vlm.profiles import ModelProfile, profile_for

__all__ = ["LocalVLM", "placed"]

_WINDOW_S = 0.005
"""How long a first request waits for others to join its batch."""


def placed(device: str) -> tuple[str, str]:
    """(device, dtype) that a model is computed on and in: "auto" is a GPU where there is one. Imports torch."""
    import torch

    at = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    return at, "bfloat16" if at.startswith("cuda") else "float32"


class _Sampling(NamedTuple):
    """Requests that agree in these can share a batch."""

    max_tokens: int
    temperature: float
    draw: int


@dataclass(frozen=True)
class _Waiting:
    request: VLMRequest
    reply: asyncio.Future[VLMReply]
    since: float


class LocalVLM:
    """A model folder, loaded on first use, on one worker thread; safe for many calls at once in one event loop.

    The same request gets the same reply at temperature 0; above it, the draw seeds the batch it happens to be in.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        model: str = "",
        profile: ModelProfile | None = None,
        device: str = "auto",
        max_batch: int = 1,
    ) -> None:
        """max_batch: most requests answered as one padded batch. 1 gives the same words however busy it is."""
        self._folder = Path(folder).expanduser()
        if not (self._folder / "config.json").is_file():
            raise UsageError(f"{folder} is not a model folder (it holds no config.json)")
        self.model = model or self._folder.resolve().name
        # Chat templates differ in how a tool call is written, and nothing here enforces a schema: neither is asked for.
        self.profile = replace(profile or profile_for(self.model), tool_calls=False, json_schema=False)
        self._device = device
        self._max_batch = max_batch
        self._engine: _Engine | None = None
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="local-vlm")
        self._waiting: list[_Waiting] = []
        self._worker: asyncio.Task[None] | None = None

    async def __call__(self, request: VLMRequest) -> VLMReply:
        """Reply to one request; raises a ModelError, or BackendMissing where transformers is not installed."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(request, loop.create_future(), time.perf_counter())
        self._waiting.append(waiting)
        if self._worker is None or self._worker.done():
            self._worker = loop.create_task(self._work())
        return await waiting.reply

    async def close(self) -> None:
        """Free the model."""
        if self._worker is not None and not self._worker.done():
            await self._worker
        self._pool.shutdown()
        self._engine = None

    async def _work(self) -> None:
        """Answer batches until nobody waits."""
        try:
            await asyncio.sleep(_WINDOW_S)
            await self._work_through()
        finally:  # only when this task is cancelled, with its event loop, is anybody left waiting
            self._waiting.clear()

    async def _work_through(self) -> None:
        while self._waiting:
            batch = self._next_batch()
            try:
                replies = await asyncio.get_running_loop().run_in_executor(
                    self._pool, self._answer, [w.request for w in batch]
                )
            except Exception as error:  # noqa: BLE001 - handed to everyone who waits, never swallowed
                outcome: ModelError | BackendMissing = (
                    error
                    if isinstance(error, ModelError | BackendMissing)
                    else ModelError(f"the model {self.model} failed: {one_line(f'{type(error).__name__}: {error}')}")
                )
                replies = [outcome] * len(batch)
            for waiting, reply in zip(batch, replies, strict=True):
                _settle(waiting, reply)

    def _next_batch(self) -> list[_Waiting]:
        """The longest waiting request and those that can share its batch."""
        sampling = _sampling(self._waiting[0].request)
        batch = [w for w in self._waiting if _sampling(w.request) == sampling][: self._max_batch]
        self._waiting = [w for w in self._waiting if w not in batch]
        return batch

    def _answer(self, requests: Sequence[VLMRequest]) -> list[VLMReply | ModelError | BackendMissing]:
        """On the worker thread: load once, then generate."""
        if self._engine is None:
            self._engine = _Engine(self._folder, self._device)
        conversations = [[_plain(message) for message in request.messages] for request in requests]
        generated = self._engine.generate(conversations, _sampling(requests[0]))
        return [self._reply(one) for one in generated]

    def _reply(self, generated: _Generated) -> VLMReply | ModelError:
        if generated.cut_off:
            return ReplyCutOff("the model's reply was cut off at its token limit")
        if not generated.text.strip():
            return ReplyUnreadable("the model's reply is empty")
        return VLMReply(
            text=generated.text,
            model=self.model,
            prompt_tokens=generated.prompt_tokens,
            completion_tokens=generated.completion_tokens,
        )


class _Generated(NamedTuple):
    text: str
    prompt_tokens: int
    completion_tokens: int
    cut_off: bool


class _Engine:
    """transformers' own objects, in one place."""

    def __init__(self, folder: Path, device: str) -> None:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported
        try:
            from medloupe.models.torchvision_shim import prepare_torch

            prepare_torch()
            import torch
            from transformers import AutoModelForImageTextToText, AutoProcessor
            from transformers.utils import logging
        except ImportError:
            raise BackendMissing("the local VLM", 'pip install "medloupe[local]"') from None
        logging.disable_progress_bar()  # the terminal shows the chain, not the loading of weights
        self._torch = torch
        self.device, dtype = placed(device)
        local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._processor = AutoProcessor.from_pretrained(folder, **local)
            model = AutoModelForImageTextToText.from_pretrained(folder, use_safetensors=True, dtype=dtype, **local)
        except Exception as error:  # noqa: BLE001 - a folder may fail to load in any way
            reason = one_line(f"{type(error).__name__}: {error}")
            raise ModelError(f"the model folder cannot be loaded: {reason}") from None
        self._model = model.to(self.device).eval()
        self._tokenizer = self._processor.tokenizer
        self._tokenizer.padding_side = "left"  # so that every row's reply starts in the same column
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token

    def generate(self, conversations: list[list[dict[str, Any]]], sampling: _Sampling) -> list[_Generated]:
        """One reply a conversation, through the folder's own chat template, as one left-padded batch."""
        torch = self._torch
        inputs = self._processor.apply_chat_template(
            conversations,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        ).to(self.device, dtype=self._model.dtype)
        choice: dict[str, Any] = {"do_sample": False}
        if sampling.temperature > 0:
            choice = {"do_sample": True, "temperature": sampling.temperature}
            torch.manual_seed(sampling.draw)
        with torch.inference_mode():
            output = self._model.generate(
                **inputs, max_new_tokens=sampling.max_tokens, pad_token_id=self._tokenizer.pad_token_id, **choice
            )
        prompt_tokens = inputs["attention_mask"].sum(dim=1).tolist()
        new = output[:, inputs["input_ids"].shape[1] :].tolist()
        return [self._read(row, count, sampling.max_tokens) for row, count in zip(new, prompt_tokens, strict=True)]

    def _read(self, tokens: list[int], prompt_tokens: int, limit: int) -> _Generated:
        """A row up to its end token; without one at the limit it was cut off."""
        ends = self._model.generation_config.eos_token_id
        ends = set(ends if isinstance(ends, list) else [ends])
        length = next((place + 1 for place, token in enumerate(tokens) if token in ends), len(tokens))
        ended = length > 0 and tokens[length - 1] in ends
        text: str = self._tokenizer.decode(tokens[:length], skip_special_tokens=True)
        return _Generated(text, prompt_tokens, length, cut_off=not ended and length >= limit)


def _sampling(request: VLMRequest) -> _Sampling:
    return _Sampling(request.max_tokens, request.temperature, request.draw if request.temperature > 0 else 0)


def _plain(message: Message) -> dict[str, Any]:
    """A message for a chat template; no text in it reads as a placeholder or a control token."""
    content = [
        {"type": "image", "image": _decode(part)}
        if isinstance(part, Picture)
        else {"type": "text", "text": defuse(part)}
        for part in message.parts
    ]
    return {"role": message.role, "content": content}


def _decode(picture: Picture) -> Any:
    from PIL import Image

    return Image.open(io.BytesIO(picture.png)).convert("RGB")


def _settle(waiting: _Waiting, reply: VLMReply | ModelError | BackendMissing) -> None:
    if waiting.reply.done():  # the caller was cancelled
        return
    if isinstance(reply, VLMReply):
        waiting.reply.set_result(replace(reply, latency_s=time.perf_counter() - waiting.since))
    else:
        waiting.reply.set_exception(reply)
