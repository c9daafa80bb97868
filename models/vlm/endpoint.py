"""A VLM behind an OpenAI-compatible endpoint: vLLM, SGLang, `transformers serve`, Ollama, llama.cpp, a hosted model."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from medloupe.errors import UsageError
from medloupe.models.vlm._retry import Failure, RetryPolicy, retry_after
from medloupe.models.vlm._wire import DataURIs, StreamReader, chat_messages, one_line, read_completion
from medloupe.models.vlm.base import VLMReply, VLMRequest
from medloupe.models.vlm.profiles import ModelProfile, profile_for

if TYPE_CHECKING:
    from openai import APIConnectionError, APIStatusError, AsyncOpenAI

__all__ = ["EndpointVLM"]

_CONNECT_S = 5.0
_COMPLAINT = r"(?=.*(support|unknown|unexpected|unrecogni|permitted|extra))"
_MENDABLE = {
    "response_format": re.compile(r"(?i)(?!.*(function|tool)).*(response_format|schema|grammar|guided)"),
    "max_tokens": re.compile(rf"(?i){_COMPLAINT}.*max_tokens"),
    "temperature": re.compile(rf"(?i){_COMPLAINT}.*temperature"),
    "seed": re.compile(rf"(?i){_COMPLAINT}.*\bseed\b"),
}
"""Parameters that a request can do without, and the words with which servers refuse them (400 or 422)."""


class EndpointVLM:
    """One model at one endpoint, over one pooled client; safe for many calls at once in one event loop.

    The API key goes into the Authorization header and nowhere else. No proxy is used, no redirect followed. Retries are
    ours alone: at most `max_attempts` requests a call.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        profile: ModelProfile | None = None,
        timeout_s: float = 120.0,
        max_attempts: int = 4,
        retry_base_s: float = 0.5,
        stream: bool = False,
    ) -> None:
        self.model = model
        self.profile = profile or profile_for(model)
        self.base_url, self.origin = _checked_url(base_url)
        self._api_key = _checked_key(api_key)
        self._timeout_s = timeout_s
        self._retry = RetryPolicy(max_attempts=max_attempts, base_s=retry_base_s)
        self._stream = stream
        self._refused: set[str] = set()  # parameters this server answered 400 to
        self._uris = DataURIs()
        self._client: AsyncOpenAI | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"EndpointVLM({self.base_url!r}, {self.model!r})"

    async def __call__(self, request: VLMRequest) -> VLMReply:
        """Reply to one request; raises a ModelError, and never more than `max_attempts` HTTP requests."""
        start, attempt = time.perf_counter(), 1
        while True:
            body = self._body(request)
            outcome = await self._attempt(body)
            if isinstance(outcome, VLMReply):
                return replace(outcome, latency_s=time.perf_counter() - start, attempts=attempt)
            wait = 0.0 if self._mend(outcome, body) else self._retry.wait(outcome, attempt)
            if wait is None or attempt >= self._retry.max_attempts:
                raise outcome.error(self.origin, attempt)
            await asyncio.sleep(wait)
            attempt += 1

    async def close(self) -> None:
        """Close the connections. A later call opens new ones."""
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.close()

    def _body(self, request: VLMRequest) -> dict[str, Any]:
        """The request's JSON body, less what this server refused."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": chat_messages(request.messages, self._uris),
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
        }
        if request.tools:
            body["tools"] = list(request.tools)
        if request.schema is not None and self.profile.json_schema:
            schema = {"name": request.schema_name, "schema": request.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if request.temperature > 0:
            body["seed"] = request.draw  # so that draws differ, and a draw can be repeated
        if "max_tokens" in self._refused:
            body["max_completion_tokens"] = request.max_tokens  # the name that newer hosted models insist on
        if self._stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return {name: value for name, value in body.items() if name not in self._refused}

    def _mend(self, failure: Failure, body: dict[str, Any]) -> bool:
        """Whether the server refused a parameter that the next attempt can leave out. Remembered for later requests."""
        if failure.status not in (400, 422):
            return False
        named = next((p for p, words in _MENDABLE.items() if p in body and words.search(failure.reason)), None)
        if named is not None:
            self._refused.add(named)
        return named is not None

    async def _attempt(self, body: dict[str, Any]) -> VLMReply | Failure:
        """One HTTP request. Failures are values, so that no exception of the client's, with its headers, escapes."""
        import httpx2
        import openai

        try:
            async with asyncio.timeout(self._timeout_s):  # the client's own limit is a limit for each read
                return await (self._streamed(body) if self._stream else self._whole(body))
        except openai.APIStatusError as error:
            return self._http_failure(error)
        except openai.APIConnectionError as error:
            return Failure(reason=self._transport_reason(error))
        except openai.APIError as error:  # an error event inside a stream
            return Failure(status=500, reason=self._clean(error.message))
        except httpx2.RequestError as error:
            return Failure(reason=f"connection lost: {type(error).__name__}")
        except TimeoutError:
            return Failure(reason=f"no whole reply in {self._timeout_s:g} s")

    async def _whole(self, body: dict[str, Any]) -> VLMReply:
        import httpx2

        # By path: `chat.completions.create` first walks through all of a body by its type hints, which it need not.
        response = await self._connected().post("/chat/completions", body=body, cast_to=httpx2.Response)
        return read_completion(response.content, self.model, self._without_key)

    async def _streamed(self, body: dict[str, Any]) -> VLMReply | Failure:
        reader = StreamReader()
        async with await self._connected().chat.completions.create(**body) as chunks:
            try:
                async for chunk in chunks:
                    reader.add(chunk.model_dump())
            except ValueError:
                return Failure(reason="the stream broke off inside a chunk")
        if not reader.finished:
            return Failure(reason="the stream ended before the reply did")
        return reader.reply(self.model, self._without_key)

    def _connected(self) -> AsyncOpenAI:
        """The client of the running event loop, made on first use (importing openai takes half a second)."""
        import httpx2
        from openai import AsyncOpenAI

        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:  # a pool cannot outlive its loop
            timeout = httpx2.Timeout(self._timeout_s, connect=min(_CONNECT_S, self._timeout_s))
            self._loop = loop
            self._client = AsyncOpenAI(
                base_url=self.base_url,
                api_key=self._api_key or "none",  # None would send OPENAI_API_KEY to any endpoint
                max_retries=0,
                timeout=timeout,
                http_client=httpx2.AsyncClient(
                    timeout=timeout,
                    trust_env=False,
                    follow_redirects=False,
                    limits=httpx2.Limits(max_connections=1024, max_keepalive_connections=32),
                ),
            )
            self._client.organization = self._client.project = None  # likewise OPENAI_ORG_ID and OPENAI_PROJECT_ID
        return self._client

    def _http_failure(self, error: APIStatusError) -> Failure:
        headers = error.response.headers
        if 300 <= error.status_code < 400:
            return Failure(status=error.status_code, reason="a redirect, which is not followed")
        reason = self._clean(_server_words(error)) or "no reason given"
        return Failure(status=error.status_code, reason=reason, wait_s=retry_after(headers))

    def _transport_reason(self, error: APIConnectionError) -> str:
        """Why there was no answer, in words."""
        cause = error.__cause__
        name = type(cause).__name__
        if name == "ConnectTimeout":
            return f"no connection in {min(_CONNECT_S, self._timeout_s):g} s"
        if name.endswith("Timeout"):
            return f"no reply in {self._timeout_s:g} s"
        if name == "ConnectError":
            return self._clean(str(cause)).lower() or "no connection"
        return "the connection broke off before the reply was whole"

    def _clean(self, text: str) -> str:
        """A server's words without the key, should it have echoed it."""
        return one_line(self._without_key(text))

    def _without_key(self, text: str) -> str:
        return text.replace(self._api_key, "***") if self._api_key else text


def _server_words(error: APIStatusError) -> str:
    """What the server said went wrong: OpenAI's shape, FastAPI's, or the bare text."""
    body = error.body
    if isinstance(body, dict):
        for key in ("message", "detail", "error"):
            if body.get(key):
                return str(body[key])
    return str(body or "")


def _checked_key(key: str | None) -> str | None:
    """The key without surrounding blanks; UsageError, which does not quote it, when no HTTP header can carry it."""
    key = (key or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UsageError("the API key holds characters that no HTTP header can carry")
    return key or None


def _checked_url(url: str) -> tuple[str, str]:
    """The base URL ("/v1" added where there is no path) and its origin for messages; UsageError otherwise."""
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError("an endpoint is a URL such as http://127.0.0.1:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError("an endpoint URL holds no user name, password or query; give the key in the environment")
    path = parts.path.rstrip("/") or "/v1"
    return urlunsplit((parts.scheme, parts.netloc, path, "", "")), f"{parts.scheme}://{parts.netloc}"
