"""Requests of a loop without the graph: what the benches of overhead compare with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from medloupe.models.vlm.schema import json_schema

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["reply_form", "send", "text_part"]


async def send(
    client: AsyncOpenAI, prefix: Sequence[dict[str, Any]], parts: Sequence[dict[str, Any]], **options: Any
) -> None:
    """One greedy request to the scripted model: messages that are there already, and a user's parts."""
    messages: Any = [*prefix, {"role": "user", "content": list(parts)}]
    await client.chat.completions.create(
        model="scripted", messages=messages, max_tokens=512, temperature=0, **options
    )  # fmt: skip


def text_part(words: str) -> dict[str, Any]:
    """A message's part."""
    return {"type": "text", "text": words}


def reply_form(name: str, schema: type[BaseModel]) -> dict[str, Any]:
    """The `response_format` of a structured reply."""
    return {"type": "json_schema", "json_schema": {"name": name, "schema": json_schema(schema)}}
