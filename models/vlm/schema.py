"""Structured replies: JSON found in a model's words, and validated."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from medloupe.errors import ReplyUnreadable
from medloupe.models.vlm._wire import one_line

__all__ = ["json_schema", "parse_json"]

M = TypeVar("M", bound=BaseModel)

_FENCE = re.compile(r"```(?:json|JSON)?\s*\n?(.*?)```", re.DOTALL)
_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)
_OPENING = re.compile(r"[{\[]")
_BRACKET_OR_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]')
_LONGEST = 200_000
"""Characters of a reply that are searched."""
_MOST_STARTS = 200
"""Places in a reply at which JSON is looked for, so that a reply of brackets takes no time."""


@cache
def json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of a reply, made once."""
    return model.model_json_schema()


def parse_json(reply_text: str, schema_model: type[M]) -> M:
    """The first JSON in a reply that fits the model: bare, in a code fence, or after some prose.

    ReplyUnreadable, in one line, when there is none, or none that fits. Nothing is repaired or filled in, and no part
    of a larger or a broken-off value is taken for the whole.
    """
    problem = ""
    for value in _values(_THOUGHT.sub("", reply_text[:_LONGEST])):
        try:
            return schema_model.model_validate(value)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(step) for step in first["loc"]) or "the top"
            problem = problem or f"does not fit the schema at {place}: {first['msg']}"
    raise ReplyUnreadable(one_line(f"the model's reply {problem or 'holds no JSON'}"))


def _values(text: str) -> Iterator[Any]:
    """The outermost JSON objects and arrays of a text, those in code fences first."""
    for piece in (*_FENCE.findall(text), text):
        at = 0
        for _ in range(_MOST_STARTS):
            opening = _OPENING.search(piece, at)
            if opening is None:
                break
            try:
                value, at = _DECODER.raw_decode(piece, opening.start())
            except (ValueError, RecursionError):
                at = _past(piece, opening.start())
            else:
                yield value


def _past(text: str, start: int) -> int:
    """Behind the bracket that closes the one at `start`; the text's end where none does (it was broken off)."""
    depth = 0
    for token in _BRACKET_OR_STRING.finditer(text, start):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token.group(), 0)
        if depth == 0:
            return token.end()
    return len(text)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)
