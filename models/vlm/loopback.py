"""A real, scripted, OpenAI-compatible server on 127.0.0.1, for tests, benchmarks and embedders' own tests.

It speaks HTTP/1.1 with kept-alive connections, `/v1/chat/completions` (whole and streamed), `/v1/models` and, for
counting from another process, `/stats`. It answers what its script says, after `latency_s`, and can fail in every way
an endpoint fails. In a thread of this process, or as a process of its own:

    with ScriptedEndpoint(lambda body: "It is round.") as endpoint:
        vlm = EndpointVLM(endpoint.url, "scripted")

    python -m medloupe.models.vlm.loopback --latency 0.2 --script package.module:function
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import importlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from medloupe.models.vlm.base import ToolCall

__all__ = ["EndpointProcess", "Reply", "Script", "ScriptedEndpoint"]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the endpoint answers to one request."""

    text: str | None = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    """None: "tool_calls" or "stop", whichever fits."""
    refusal: str | None = None
    usage: tuple[int, int] | None = (10, 5)
    """Prompt and completion tokens; None leaves usage out, as some servers do."""
    status: int = 200
    error: str = ""
    """The message of an error status."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Sent as it is in place of a completion."""
    delay_s: float = 0.0
    """On top of the endpoint's latency."""
    fault: Literal["", "drop", "cut", "stall"] = ""
    """drop: hang up without a word; cut: hang up half way through the body or stream; stall: never answer."""


Script = Callable[[dict[str, Any]], "Reply | str"] | Sequence["Reply | str"]
"""What to answer to a request's JSON body; or the answers in order, after which every request is a 500."""


class ScriptedEndpoint:
    """The server in a thread of this process. Everything it was sent can be read afterwards."""

    def __init__(
        self,
        script: Script = (),
        *,
        latency_s: float = 0.0,
        model: str = "scripted",
        host: str = "127.0.0.1",
        port: int = 0,
        keep_bodies: bool = True,
    ) -> None:
        """keep_bodies: False for long runs with pictures; their digests are kept all the same."""
        self._script = script if callable(script) else _in_order(script)
        self._latency_s, self._model = latency_s, model
        self._host, self._port = host, port
        self._ready = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._sessions: set[asyncio.Task[None]] = set()
        self._keep_bodies = keep_bodies
        self.digests: list[bytes] = []
        """sha-256 of every request's body, in order of arrival."""
        self.bodies: list[bytes] = []
        """Every request's body, byte for byte, in order of arrival."""
        self.headers: list[dict[str, str]] = []
        """Its headers, names in lower case; as long as bodies are kept."""
        self.at_once = 0
        self.most_at_once = 0
        """Most requests that were being answered at one time."""

    @property
    def url(self) -> str:
        """Base URL for a client."""
        return f"http://{self._host}:{self._port}/v1"

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The bodies, parsed."""
        return [json.loads(body) for body in self.bodies]

    def stats(self) -> dict[str, int]:
        """calls, distinct (different bodies) and most_at_once."""
        distinct = len(set(self.digests))
        return {"calls": len(self.digests), "distinct": distinct, "most_at_once": self.most_at_once}

    def forget(self) -> None:
        """Count from here."""
        for kept in (self.digests, self.bodies, self.headers):
            kept.clear()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self.serve()), name="scripted-endpoint", daemon=True)
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._loop is not None and self._stop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(10)

    async def serve(self, announce: Callable[[str], None] | None = None) -> None:
        """Serve in the running loop until stopped or cancelled; `announce` is called with the URL once it listens."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._session, self._host, self._port, backlog=1024)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        if announce is not None:
            announce(self.url)
        try:
            await self._stop.wait()
        finally:
            server.close()
            for session in tuple(self._sessions):
                session.cancel()
            await asyncio.gather(*self._sessions, return_exceptions=True)

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One kept-alive connection."""
        task = asyncio.current_task()
        if task is not None:
            self._sessions.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left, or the server is being stopped
        finally:
            if task is not None:
                self._sessions.discard(task)
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False when the connection ends with it."""
        head = await reader.readuntil(b"\r\n\r\n")
        request_line, *lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        method, path, _ = request_line.split(" ", 2)
        if (method, path) == ("GET", "/stats"):
            return await _send(writer, 200, json.dumps(self.stats()).encode())
        if (method, path) == ("GET", "/v1/models"):
            listing = {"object": "list", "data": [{"id": self._model, "object": "model"}]}
            return await _send(writer, 200, json.dumps(listing).encode())
        if (method, path) != ("POST", "/v1/chat/completions"):
            return await _send(writer, 404, _error("no such path"))
        self.digests.append(hashlib.sha256(body).digest())
        if self._keep_bodies:
            self.bodies.append(body)
            self.headers.append(headers)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self._answer(json.loads(body), writer)
        finally:
            self.at_once -= 1

    async def _answer(self, request: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        said = self._script(request)
        reply = Reply(text=said) if isinstance(said, str) else said
        await asyncio.sleep(self._latency_s + reply.delay_s)
        if reply.fault == "stall":
            await asyncio.Event().wait()
        if reply.fault == "drop":
            return False
        if reply.status != 200:
            return await _send(writer, reply.status, reply.body or _error(reply.error), reply.headers)
        if reply.body is not None:
            return await _send(writer, 200, reply.body, reply.headers)
        if request.get("stream"):
            return await self._stream(reply, writer)
        whole = json.dumps(_completion(reply, self._model)).encode()
        return await _send(writer, 200, whole, reply.headers, cut=reply.fault == "cut")

    async def _stream(self, reply: Reply, writer: asyncio.StreamWriter) -> bool:
        """Server-sent events in chunked transfer coding."""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        events = [b"data: " + json.dumps(event).encode() + b"\n\n" for event in _chunks(reply, self._model)]
        if reply.fault == "cut":
            half = b"".join(events)[: sum(map(len, events)) // 2]
            writer.write(b"%x\r\n%s\r\n" % (len(half), half))
            await writer.drain()
            return False
        for event in (*events, b"data: [DONE]\n\n"):
            writer.write(b"%x\r\n%s\r\n" % (len(event), event))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


class EndpointProcess:
    """The server as a process of its own, so that its work is not counted in the client's event loop."""

    def __init__(self, script: str, *, latency_s: float = 0.0) -> None:
        self._command = [
            sys.executable, "-m", "medloupe.models.vlm.loopback", "--latency", str(latency_s), "--script", script,
        ]  # fmt: skip
        self._process: subprocess.Popen[str] | None = None
        self.url = ""
        """Base URL for a client, once entered."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own module
        if self._process.stdout is None or not (line := self._process.stdout.readline()):
            self.__exit__()
            raise RuntimeError("the scripted endpoint did not start")
        self.url = line.strip()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._process is not None:
            self._process.communicate()  # closes its stdin, at which it ends
            self._process = None

    def stats(self) -> dict[str, int]:
        """calls, distinct and most_at_once, from the process."""
        import httpx2

        with httpx2.Client(trust_env=False) as client:
            counted: dict[str, int] = client.get(self.url.removesuffix("/v1") + "/stats").json()
        return counted


def _in_order(script: Sequence[Reply | str]) -> Callable[[dict[str, Any]], Reply | str]:
    answers = iter(tuple(script))

    def answer(_: dict[str, Any]) -> Reply | str:
        return next(answers, Reply(status=500, error="the script has no further answer"))

    return answer


def _error(message: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": "scripted"}}).encode()


def _message(reply: Reply) -> dict[str, Any]:
    calls = [
        {
            "index": place,
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for place, call in enumerate(reply.tool_calls)
    ]
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or (None if calls else reply.text)}
    return message | ({"tool_calls": calls} if calls else {}) | ({"refusal": reply.refusal} if reply.refusal else {})


def _finish(reply: Reply) -> str:
    return reply.finish_reason or ("tool_calls" if reply.tool_calls else "stop")


def _usage(reply: Reply) -> dict[str, Any]:
    if reply.usage is None:
        return {}
    prompt, completion = reply.usage
    return {"usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}}


def _completion(reply: Reply, model: str) -> dict[str, Any]:
    choice = {"index": 0, "message": _message(reply), "finish_reason": _finish(reply)}
    start = {"id": "scripted", "object": "chat.completion", "created": 0, "model": model}
    return start | {"choices": [choice]} | _usage(reply)


def _chunks(reply: Reply, model: str) -> list[dict[str, Any]]:
    """The reply in pieces: text by the word, a tool call's arguments in two halves."""
    message = _message(reply)
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": word} for word in (reply.text or "").replace(" ", " \0").split("\0") if word]
    for call in message.get("tool_calls", []):
        arguments = call["function"]["arguments"]
        half = len(arguments) // 2
        deltas.append({"tool_calls": [call | {"function": call["function"] | {"arguments": arguments[:half]}}]})
        deltas.append({"tool_calls": [{"index": call["index"], "function": {"arguments": arguments[half:]}}]})
    if reply.refusal:
        deltas.append({"refusal": reply.refusal})
    start = {"id": "scripted", "object": "chat.completion.chunk", "created": 0, "model": model}
    events = [start | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    events.append(start | {"choices": [{"index": 0, "delta": {}, "finish_reason": _finish(reply)}]})
    return [*events, start | {"choices": []} | _usage(reply)]


async def _send(
    writer: asyncio.StreamWriter,
    status: int,
    body: bytes,
    headers: Mapping[str, str] | None = None,
    *,
    cut: bool = False,
) -> bool:
    """One whole answer (or, cut, half of it); whether the connection stays open."""
    lines = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(
        f"HTTP/1.1 {status} Scripted\r\n{head}\r\n".encode("latin-1") + (body[: len(body) // 2] if cut else body)
    )
    await writer.drain()
    return not cut


def _load(name: str) -> Callable[[dict[str, Any]], Reply | str]:
    module, _, function = name.partition(":")
    loaded: Callable[[dict[str, Any]], Reply | str] = getattr(importlib.import_module(module), function)
    return loaded


def _plain(_: dict[str, Any]) -> str:
    """The script of a server that was given none."""
    return "ok"


async def _serve_until_stdin_closes(endpoint: ScriptedEndpoint) -> None:
    def announce(url: str) -> None:
        sys.stdout.write(url + "\n")
        sys.stdout.flush()

    serving = asyncio.create_task(endpoint.serve(announce))
    await asyncio.to_thread(sys.stdin.read)  # ends with the parent, however it ends
    serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving


def main() -> None:
    """Serve until stdin closes; the first line on stdout is the base URL."""
    parser = argparse.ArgumentParser(prog="python -m medloupe.models.vlm.loopback", description=main.__doc__)
    parser.add_argument("--script", default=f"{__package__}.loopback:_plain", help="package.module:function")
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    endpoint = ScriptedEndpoint(
        _load(arguments.script), latency_s=arguments.latency, port=arguments.port, keep_bodies=False
    )
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve_until_stdin_closes(endpoint))


if __name__ == "__main__":
    main()
