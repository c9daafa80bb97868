"""The trace: every step of a question, in order, as JSON lines.

Nodes emit events into LangGraph's custom stream, so that a terminal, a file and an embedding application all see the
same chain as it grows. A trace holds no pixels, no header of the study and no key; views are named by index and
sha-256. It is replayable: "call" events carry each request's key and reply, which `ScriptedVLM.from_trace` uses.

    event        data
    open         study: counts, modality, size, spacing; warnings
    plan         planner, round, actions (JSON), done, reason
    look         view (View), region (Region or null), measurement (Measurement or null)
    describe     observation (Observation)
    draft        statements (Statement list), answerable
    claims       claims (Claim list), unparsed (words)
    verdict      claim (Claim), verdict (Verdict)
    revise       statements (Statement list)
    answer       answer (Answer)
    call         purpose, key, model, prompt, draw, pictures (sha-256 list), reply, tool_calls, prompt_tokens,
                 completion_tokens, latency_s, attempts, fault
    warning      message
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field

from medloupe.types import Frozen

__all__ = ["TRACE_VERSION", "EventName", "TraceEvent", "TraceWriter", "read_trace"]

TRACE_VERSION = "medloupe.trace/1"

EventName = Literal[
    "open", "plan", "look", "describe", "draft", "claims", "verdict", "revise", "answer", "call", "warning"
]  # fmt: skip


class TraceEvent(Frozen):
    """One step."""

    event: EventName
    turn: int = 0
    """Which question of the session."""
    t: float = Field(default_factory=time.time)
    """Seconds since the epoch."""
    data: dict[str, Any] = {}
    """JSON-plain; see the module's table."""


class TraceWriter:
    """Appends events to trace.jsonl, each line flushed: what a killed run had done stays readable."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        if path.stat().st_size == 0:
            self._line({"event": "trace", "schema_version": TRACE_VERSION})

    def write(self, event: TraceEvent) -> None:
        """One event, one line."""
        self._line(event.model_dump(mode="json"))

    def _line(self, content: dict[str, Any]) -> None:
        self._file.write(json.dumps(content, ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def read_trace(path: Path) -> list[TraceEvent]:
    """The events of a trace; a last line cut off by a kill is left out. ValueError for what is no such trace."""
    lines = path.read_text("utf-8").rstrip("\n").split("\n")  # not splitlines: a reply may hold U+2028
    if not lines[0] or json.loads(lines[0]).get("schema_version") != TRACE_VERSION:
        raise ValueError(f"{path.name} is not a {TRACE_VERSION} file")
    events = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            events.append(TraceEvent.model_validate_json(line))
        except ValueError:
            if number != len(lines):
                raise
    return events
