"""Messages as the Chat Completions protocol has them, and replies as they come back; no network here."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from medloupe.errors import ReplyCutOff, ReplyRefused, ReplyUnreadable
from medloupe.models.vlm.base import Message, Picture, ToolCall, VLMReply

__all__ = ["DataURIs", "StreamReader", "chat_messages", "defuse", "one_line", "read_completion"]

_CONTROL_TOKEN = re.compile(
    r"<(?=\|[^<>|]{1,60}\|>"  # <|im_start|>, <|vision_pad|>, <|begin_of_text|>
    r"|/?(?:s|bos|eos|pad|unk|img|image|video|audio|ref|box|quad|tool_call|tool_response|start_of_\w+|end_of_\w+"
    r"|\w*image\w*|\w*IMG\w*|loc\d+|seg\d+)>"
    r"|<SYS>>|</SYS>>)"
    r"|\[(?=/?(?:INST|IMG|IMG_BREAK|IMG_END|TOOL_CALLS|AVAILABLE_TOOLS|TOOL_RESULTS)\])"
)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\s]+")


def defuse(text: str) -> str:
    """Text whose spellings of chat-template control tokens and image placeholders are broken up by a space.

    A tokenizer reads "<|im_end|>" in a quoted report as the end of the turn; "< |im_end|>" is only text.
    """
    return _CONTROL_TOKEN.sub(lambda found: found.group() + " ", text)


def one_line(text: str, limit: int = 200) -> str:
    """Foreign text fit for an error message: no control characters, one line, cut to `limit` characters."""
    line = _CONTROLS.sub(" ", text).strip()
    return line if len(line) <= limit else line[: limit - 3] + "..."


class DataURIs:
    """Pictures as data: URIs, encoded once for each digest and kept while there is room."""

    def __init__(self, room: int = 64 * 2**20) -> None:
        self._kept: OrderedDict[str, str] = OrderedDict()
        self._room = room

    def __call__(self, picture: Picture) -> str:
        """The picture's data: URI; ValueError when its bytes are not those of its digest."""
        uri = self._kept.get(picture.digest)
        if uri is not None:
            self._kept.move_to_end(picture.digest)
            return uri
        if hashlib.sha256(picture.png).hexdigest() != picture.digest:
            raise ValueError(f"picture {picture.digest[:12]} does not hold the bytes of its digest")
        uri = "data:image/png;base64," + base64.b64encode(picture.png).decode("ascii")
        self._kept[picture.digest] = uri
        self._room -= len(uri)
        while self._room < 0 and len(self._kept) > 1:
            self._room += len(self._kept.popitem(last=False)[1])
        return uri


def chat_messages(messages: Sequence[Message], uris: DataURIs) -> list[dict[str, Any]]:
    """The messages for a Chat Completions body. ValueError for a picture outside a user message."""
    return [_chat_message(message, uris) for message in messages]


def _chat_message(message: Message, uris: DataURIs) -> dict[str, Any]:
    if any(isinstance(part, Picture) for part in message.parts):
        if message.role != "user":
            raise ValueError(f"a picture stands in a {message.role} message; only user messages carry pictures")
        return {"role": "user", "content": [_content_part(part, uris) for part in message.parts]}
    text = defuse("\n\n".join(part for part in message.parts if isinstance(part, str)))
    if message.role == "tool":
        return {"role": "tool", "content": text, "tool_call_id": message.tool_call_id}
    if message.tool_calls:
        calls = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
        return {"role": "assistant", "content": text or None, "tool_calls": calls}
    return {"role": message.role, "content": text}


def _content_part(part: str | Picture, uris: DataURIs) -> dict[str, Any]:
    if isinstance(part, Picture):
        return {"type": "image_url", "image_url": {"url": uris(part)}}
    return {"type": "text", "text": defuse(part)}


# --- replies: only what we read, everything optional that some server leaves out --------------------------------------


class _Function(BaseModel):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _Call(BaseModel):
    index: int | None = None
    id: str | None = None
    function: _Function = _Function()


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(BaseModel):
    message: _Message | None = None
    delta: _Message | None = None
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Completion(BaseModel):
    choices: list[_Choice]
    model: str | None = None
    usage: _Usage | None = None


def read_completion(content: bytes, model: str, without_key: Callable[[str], str]) -> VLMReply:
    """The reply in a Chat Completions body; ReplyCutOff, ReplyRefused or ReplyUnreadable when there is none to use.

    A server may echo the request's headers: the key is taken out of the body before anything is read from it.
    """
    content = without_key(content.decode("utf-8", "replace")).encode()
    try:
        completion = _Completion.model_validate_json(content)
    except ValidationError:
        raise ReplyUnreadable(f"the endpoint's reply is no chat completion: {_peek(content)}") from None
    if not completion.choices or (message := completion.choices[0].message) is None:
        raise ReplyUnreadable("the endpoint's reply holds no message")
    return _reply(message, completion.choices[0].finish_reason, completion.usage, completion.model or model)


class StreamReader:
    """Puts the chunks of a streamed reply together."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._calls: dict[int, _Call] = {}
        self._usage: _Usage | None = None
        self._finish: str | None = None
        self._model: str | None = None

    def add(self, chunk: dict[str, Any]) -> None:
        """Take in one chunk; ValueError when it is none."""
        part = _Completion.model_validate(chunk)
        self._usage = part.usage or self._usage
        self._model = part.model or self._model
        if not part.choices:
            return
        self._finish = part.choices[0].finish_reason or self._finish
        delta = part.choices[0].delta or _Message()
        self._text.append(delta.content or "")
        self._refusal.append(delta.refusal or "")
        for call in delta.tool_calls or []:
            self._add_call(call)

    def _add_call(self, new: _Call) -> None:
        place = new.index if new.index is not None else len(self._calls)
        old = self._calls.get(place)
        if old is None:
            self._calls[place] = new
            return
        function = _Function(
            name=(old.function.name or "") + (new.function.name or ""),
            arguments=_arguments(old.function.arguments) + _arguments(new.function.arguments),
        )
        self._calls[place] = _Call(index=place, id=old.id or new.id, function=function)

    @property
    def finished(self) -> bool:
        """The reply said why it ended, so all of it is here."""
        return self._finish is not None

    def reply(self, model: str, without_key: Callable[[str], str]) -> VLMReply:
        """The whole reply, less the key should the server echo it; the same errors as `read_completion`."""
        calls = [self._calls[place] for place in sorted(self._calls)]
        whole = _Message(content="".join(self._text), refusal="".join(self._refusal), tool_calls=calls)
        message = _Message.model_validate_json(without_key(whole.model_dump_json()))
        return _reply(message, self._finish, self._usage, self._model or model)


def _reply(message: _Message, finish: str | None, usage: _Usage | None, model: str) -> VLMReply:
    """finish_reason first, content afterwards: half a reply is never parsed."""
    if finish == "length":
        raise ReplyCutOff("the model's reply was cut off at its token limit")
    if finish == "content_filter":
        raise ReplyRefused("the endpoint's content filter withheld the reply")
    if message.refusal:
        raise ReplyRefused(f"the model declined to reply: {one_line(message.refusal, 120)}")
    calls = tuple(_tool_call(call, place) for place, call in enumerate(message.tool_calls or []))
    text = message.content or ""
    if not calls and not text.strip():
        raise ReplyUnreadable("the model's reply is empty")
    usage = usage or _Usage()
    return VLMReply(
        text=text,
        tool_calls=calls,
        model=model,
        prompt_tokens=usage.prompt_tokens or 0,
        completion_tokens=usage.completion_tokens or 0,
    )


def _tool_call(call: _Call, place: int) -> ToolCall:
    if not call.function.name:
        raise ReplyUnreadable("the model called a tool without a name")
    return ToolCall(
        id=call.id or f"call_{place}", name=call.function.name, arguments=_arguments(call.function.arguments)
    )


def _arguments(given: str | dict[str, Any] | None) -> str:
    """Some servers send the arguments parsed."""
    return given if isinstance(given, str) else json.dumps(given) if given else ""


def _peek(content: bytes) -> str:
    """The start of a foreign body, for a message."""
    return one_line(content[:200].decode("utf-8", "replace"), 80) or "an empty body"
