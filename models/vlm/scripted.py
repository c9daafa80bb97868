"""The scripted VLM: the fake that tests, demonstrations and embedders need, and the one that replays a trace.

It fails closed: a request that the script does not foresee is a ModelError, never an invented reply.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medloupe.errors import ModelError, UsageError
from medloupe.models.vlm.base import ToolCall, VLMReply, VLMRequest
from medloupe.models.vlm.profiles import ModelProfile, profile_for

__all__ = ["ScriptedVLM"]

Said = str | VLMReply | ModelError
"""A reply, its text alone, or the error to raise."""

Script = Callable[[VLMRequest], Said] | Mapping[str, Said | Sequence[Said]] | Sequence[Said]


class ScriptedVLM:
    """Replies from a function; from a list, in order; or by purpose ("plan", "describe", "draft", "probe").

    A purpose has one reply, given every time, or a sequence of replies, each given once.
    """

    def __init__(self, script: Script = (), *, model: str = "scripted", profile: ModelProfile | None = None) -> None:
        self.model = model
        self.profile = profile or profile_for(model)
        self.requests: list[VLMRequest] = []
        """Every request, in order of arrival."""
        self._say = _speaker(script)

    @classmethod
    def from_trace(cls, path: str | Path, *, profile: ModelProfile | None = None) -> ScriptedVLM:
        """A VLM that gives the replies recorded in a run's `trace.jsonl`, each to the very request that got it.

        A recorded fault is raised again. UsageError when the file cannot be read or records no call.
        """
        calls = _recorded_calls(Path(path))
        if not calls:
            raise UsageError("the trace records no model call to replay")
        model = str(next(iter(calls.values())).get("model") or "scripted")

        def replay(request: VLMRequest) -> Said:
            call = calls.get(request.key)
            return _recorded(call) if call else ModelError("the trace holds no reply to this request")

        return cls(replay, model=model, profile=profile)

    async def __call__(self, request: VLMRequest) -> VLMReply:
        """The script's reply; ModelError when it has none."""
        self.requests.append(request)
        said = self._say(request)
        if isinstance(said, ModelError):
            raise said
        if isinstance(said, str):
            return VLMReply(text=said, model=self.model)
        return said if said.model else replace(said, model=self.model)

    async def close(self) -> None:
        """Nothing to free."""


def _speaker(script: Script) -> Callable[[VLMRequest], Said]:
    if callable(script):
        return script
    if isinstance(script, Mapping):
        speakers = {purpose: _by_turn(said, purpose) for purpose, said in script.items()}
        unknown = _by_turn((), "this purpose")
        return lambda request: speakers.get(request.purpose, unknown)()
    speak = _by_turn(tuple(script), "the script")
    return lambda _: speak()


def _by_turn(said: Said | Sequence[Said], what: str) -> Callable[[], Said]:
    if isinstance(said, str | VLMReply | ModelError):
        return lambda: said
    turns = iter(tuple(said))
    return lambda: next(turns, ModelError(f"the script has no further reply for {what}"))


def _recorded_calls(path: Path) -> dict[str, dict[str, Any]]:
    """The trace's "call" events by request key; a fault does not hide the reply that came when it was asked again."""
    try:
        lines = path.read_text("utf-8").rstrip("\n").split("\n")  # not splitlines: a reply may hold U+2028
    except (OSError, ValueError) as error:
        raise UsageError(f"the trace cannot be read: {type(error).__name__}") from None
    calls: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(lines, start=1):
        try:
            event = json.loads(line)
        except ValueError:
            if number == len(lines):  # the run was killed while it wrote
                break
            raise UsageError(f"the trace cannot be read: line {number} is no JSON") from None
        call = event.get("data") if event.get("event") == "call" else None
        if call and not (call.get("fault") and call["key"] in calls):
            calls[call["key"]] = call
    return calls


def _recorded(call: dict[str, Any]) -> Said:
    if fault := call.get("fault"):
        return ModelError(str(fault))
    return VLMReply(
        text=call.get("reply") or "",
        tool_calls=tuple(
            ToolCall(id=tool["id"], name=tool["name"], arguments=tool["arguments"])
            for tool in call.get("tool_calls") or ()
        ),
        model=call.get("model") or "",
        prompt_tokens=call.get("prompt_tokens") or 0,
        completion_tokens=call.get("completion_tokens") or 0,
    )
