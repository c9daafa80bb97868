"""What a vision-language model is to medloupe: one request in, one reply out."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol, runtime_checkable

from medloupe.models.vlm.profiles import ModelProfile


@dataclass(frozen=True)
class Picture:
    """An encoded view in a message. Only what we encoded ourselves is ever sent; never a URL from data."""

    digest: str
    """sha-256 of `png`; equals View.digest."""
    png: bytes = field(repr=False)
    width: int
    height: int


@dataclass(frozen=True)
class ToolCall:
    """A tool that the model wants called."""

    id: str
    name: str
    arguments: str
    """JSON as the model wrote it; not validated."""


@dataclass(frozen=True)
class Message:
    """One chat message. Pictures stand in user messages only (vLLM refuses them in tool messages)."""

    role: Literal["system", "user", "assistant", "tool"]
    parts: tuple[str | Picture, ...] = ()
    """Text and pictures in order."""
    tool_calls: tuple[ToolCall, ...] = ()
    """Of an assistant message."""
    tool_call_id: str = ""
    """Of a tool message."""


@dataclass(frozen=True)
class VLMRequest:
    """Everything a reply may depend on. Two equal keys are the same request and are sent once."""

    messages: tuple[Message, ...]
    """Static first (system, modality prompt, overview), the region last: a server's prefix cache is hit."""
    purpose: Literal["plan", "describe", "draft", "probe", "choose", "locate", "judge"]
    """"choose", "locate": an evaluation's final answer; "judge": an evaluation's judge."""
    schema: dict[str, Any] | None = None
    """JSON Schema of the reply; asked for as response_format and always validated by us afterwards."""
    schema_name: str = "reply"
    tools: tuple[dict[str, Any], ...] = ()
    """OpenAI tool definitions."""
    max_tokens: int = 512
    temperature: float = 0.0
    draw: int = 0
    """Which independent sample of the same request this is."""
    prompt: str = ""
    """sha-256 of the prompt template; recorded, not sent."""

    @cached_property
    def key(self) -> str:
        """sha-256 over everything that is sent, pictures by their digest, and the draw."""

        def plain(part: str | Picture) -> object:
            return part if isinstance(part, str) else {"picture": part.digest}

        content = {
            "messages": [
                [m.role, [plain(p) for p in m.parts], [[c.id, c.name, c.arguments] for c in m.tool_calls],
                 m.tool_call_id]
                for m in self.messages
            ],
            "schema": self.schema, "tools": self.tools, "max_tokens": self.max_tokens,
            "temperature": self.temperature, "draw": self.draw,
        }  # fmt: skip
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class VLMReply:
    """What came back. `finish_reason` has been read: a reply cut off is an error, never a VLMReply."""

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    latency_s: float = 0.0
    attempts: int = 1


@runtime_checkable
class VLM(Protocol):
    """A model that looks and writes. Implementations are safe for many calls at once."""

    model: str
    """Id as recorded in every observation."""
    profile: ModelProfile
    """Box convention, picture limits and abilities."""

    async def __call__(self, request: VLMRequest) -> VLMReply:
        """Reply to one request; raises a ModelError and nothing else."""
        ...

    async def close(self) -> None:
        """Free connections or memory."""
        ...
