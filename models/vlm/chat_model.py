"""A VLM that is any LangChain chat model, for applications that already have one."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from medloupe.errors import ModelError, ReplyCutOff, ReplyRefused, ReplyUnreadable
from medloupe.models.vlm._wire import DataURIs, chat_messages, one_line
from medloupe.models.vlm.base import ToolCall, VLMReply, VLMRequest
from medloupe.models.vlm.profiles import ModelProfile, profile_for

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage

__all__ = ["ChatModelVLM"]

_CUT_OFF = frozenset({"length", "max_tokens", "MAX_TOKENS"})
_REFUSED = frozenset({"content_filter", "refusal", "SAFETY", "PROHIBITED_CONTENT"})


class ChatModelVLM:
    """Wraps a `BaseChatModel`, whose own retries and timeouts apply.

    max_tokens and temperature are passed to it with each call; with `sampling` false its own are used.
    """

    def __init__(
        self,
        chat_model: BaseChatModel,
        *,
        model: str = "",
        profile: ModelProfile | None = None,
        sampling: bool = True,
    ) -> None:
        self._chat_model = chat_model
        self._sampling = sampling
        self._uris = DataURIs()
        self.model = model or _name(chat_model)
        self.profile = profile or profile_for(self.model)

    async def __call__(self, request: VLMRequest) -> VLMReply:
        """Reply to one request; whatever the chat model raises becomes a ModelError that does not quote it."""
        from langchain_core.messages import AIMessage, convert_to_messages

        messages = convert_to_messages(chat_messages(request.messages, self._uris))
        options: dict[str, Any] = {}
        if self._sampling:
            options = {"max_tokens": request.max_tokens, "temperature": request.temperature}
        start = time.perf_counter()
        try:  # bind_tools raises where the chat model calls no tools
            runnable = self._chat_model.bind_tools(request.tools) if request.tools else self._chat_model
            message = await runnable.ainvoke(messages, **options)
        except Exception as error:  # noqa: BLE001 - any provider's own exception, which may quote keys and headers
            raise ModelError(f"the chat model {self.model} failed: {type(error).__name__}") from None
        if not isinstance(message, AIMessage):
            raise ReplyUnreadable("the chat model's reply is no message")
        return self._reply(message, time.perf_counter() - start)

    async def close(self) -> None:
        """The chat model belongs to the caller."""

    def _reply(self, message: AIMessage, latency_s: float) -> VLMReply:
        finish = message.response_metadata.get("finish_reason") or message.response_metadata.get("stop_reason")
        if finish in _CUT_OFF:
            raise ReplyCutOff("the model's reply was cut off at its token limit")
        refusal = message.additional_kwargs.get("refusal")
        if finish in _REFUSED or refusal:
            raise ReplyRefused(f"the model declined to reply: {one_line(str(refusal or finish), 120)}")
        calls = tuple(
            ToolCall(id=call["id"] or f"call_{place}", name=call["name"], arguments=json.dumps(call["args"]))
            for place, call in enumerate(message.tool_calls)
        ) + tuple(  # left as they are: the planner's own check rejects them with a message to the model
            ToolCall(id=call["id"] or "call_invalid", name=call["name"] or "", arguments=call["args"] or "")
            for call in message.invalid_tool_calls
        )
        if not message.text.strip() and not calls:
            raise ReplyUnreadable("the model's reply is empty")
        usage = message.usage_metadata
        return VLMReply(
            text=str(message.text),
            tool_calls=calls,
            model=str(message.response_metadata.get("model_name") or self.model),
            prompt_tokens=usage["input_tokens"] if usage else 0,
            completion_tokens=usage["output_tokens"] if usage else 0,
            latency_s=latency_s,
        )


def _name(chat_model: BaseChatModel) -> str:
    """The model id that a chat model was made with, else its class."""
    for attribute in ("model_name", "model"):
        if isinstance(value := getattr(chat_model, attribute, None), str) and value:
            return value
    return type(chat_model).__name__
