"""The call ledger: what a model has once replied is on the disk, and is never asked again.

A call's key is the sha-256 of model, endpoint, the whole request (pictures by their sha-256), epoch and draw. That a
call is about to be sent is committed before it is sent, its reply before it is handed on. So a run may be killed
anywhere: what was replied is found again, and only calls that were under way may be sent twice; `CallLedger.counts`
tells how many.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol
from weakref import WeakValueDictionary

from medloupe._database import DurableDatabase
from medloupe.errors import ModelError, ReplyCutOff, ReplyRefused, ReplyUnreadable
from medloupe.models.vlm.base import VLM, ToolCall, VLMReply, VLMRequest

__all__ = [
    "KEPT_FAULTS", "LEDGER_SCHEMA", "Call", "CallCounts", "CallLedger", "Ledger", "LedgerVLM", "Send", "call_key",
]  # fmt: skip

LEDGER_SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    key TEXT PRIMARY KEY,
    model TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    purpose TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    draw INTEGER NOT NULL,
    asked INTEGER NOT NULL,              -- how often it was about to be sent
    faults INTEGER NOT NULL DEFAULT 0,   -- how often that ended without a reply
    outcome TEXT                         -- the reply as JSON; NULL until there is one
) WITHOUT ROWID;
"""

KEPT_FAULTS: dict[str, type[ModelError]] = {
    error.__name__: error for error in (ReplyCutOff, ReplyRefused, ReplyUnreadable)
}
"""Replies that cannot be used. They came and were paid for, so they are recorded; a lost connection is not."""

_ASKED = """
INSERT INTO calls (key, model, endpoint, purpose, epoch, draw, asked) VALUES (?, ?, ?, ?, ?, ?, 1)
ON CONFLICT (key) DO UPDATE SET asked = asked + 1
"""
_REPLIED = "UPDATE calls SET outcome = ? WHERE key = ? AND outcome IS NULL"
_FAULTED = "UPDATE calls SET faults = faults + 1 WHERE key = ?"


class CallCounts(NamedTuple):
    """What the ledger knows of all runs on it."""

    recorded: int
    """Calls with a reply."""
    asked: int
    """Times a call was about to be sent."""
    faults: int
    """Of these, those that ended in an error."""
    in_flight: int
    """Of these, those that neither replied nor failed: under way at a kill (or just now)."""


def call_key(model: str, endpoint: str, request: VLMRequest, epoch: int) -> str:
    """sha-256 over everything that a reply may depend on."""
    content = json.dumps([model, endpoint, request.key, epoch, request.draw])
    return hashlib.sha256(content.encode()).hexdigest()


class Call(NamedTuple):
    """One call, without what is sent."""

    key: str
    model: str
    endpoint: str
    purpose: str
    epoch: int
    draw: int


Send = Callable[[], Awaitable[VLMReply]]
"""Sends a call to its model. Raises a ModelError."""


class Ledger(Protocol):
    """Where replies are looked up and kept."""

    async def settle(self, call: Call, send: Send) -> VLMReply:
        """The recorded reply, or what `send` brings, recorded. A ModelError, or StorageFull before it is sent."""
        ...


class CallLedger:
    """The replies of a run. Equal calls that are made at the same time wait for the first of them."""

    def __init__(self, database: DurableDatabase) -> None:
        self._database = database
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.sent = 0
        """Calls sent since it was opened."""
        self.replayed = 0
        """Calls answered from the ledger since it was opened."""

    def counts(self) -> CallCounts:
        """Totals over the life of the ledger."""
        recorded, asked, faults = self._database.read(
            "SELECT COUNT(outcome), COALESCE(SUM(asked), 0), COALESCE(SUM(faults), 0) FROM calls"
        )[0]
        return CallCounts(recorded, asked, faults, asked - faults - recorded)

    async def settle(self, call: Call, send: Send) -> VLMReply:
        """The recorded reply, or what `send` brings, recorded. A ModelError, or StorageFull before it is sent."""
        turn = self._turns.setdefault(call.key, asyncio.Lock())
        async with turn:
            known = self._database.read("SELECT outcome FROM calls WHERE key = ? AND outcome IS NOT NULL", (call.key,))
            if known:
                self.replayed += 1
                return _outcome(json.loads(known[0][0]))
            await self._database.write(_ASKED, call)
            self.sent += 1
            return await self._send(call.key, send)

    async def _send(self, key: str, send: Send) -> VLMReply:
        try:
            reply = await send()
        except tuple(KEPT_FAULTS.values()) as error:
            await self._record(key, {"fault": type(error).__name__, "message": str(error)})
            raise
        except BaseException:
            # Shielded: a call that a cap on time cancelled was given up, not lost.
            await asyncio.shield(self._database.write(_FAULTED, (key,)))
            raise
        await self._record(key, dataclasses.asdict(reply))
        return reply

    async def _record(self, key: str, outcome: Mapping[str, Any]) -> None:
        # Shielded: a reply that came is kept, even where nobody waits for it any more.
        await asyncio.shield(self._database.write(_REPLIED, (json.dumps(outcome), key)))


def _outcome(recorded: dict[str, Any]) -> VLMReply:
    """The reply as it was; a ModelError when it was one that could not be used."""
    if "fault" in recorded:
        raise KEPT_FAULTS[recorded["fault"]](recorded["message"])
    calls = tuple(ToolCall(**call) for call in recorded.pop("tool_calls"))
    return VLMReply(**recorded, tool_calls=calls)


class LedgerVLM:
    """A VLM whose every call goes through a ledger."""

    def __init__(self, vlm: VLM, ledger: Ledger, *, endpoint: str = "", epoch: int = 1) -> None:
        self.model = vlm.model
        self.profile = vlm.profile
        self._vlm, self._ledger, self._endpoint, self._epoch = vlm, ledger, endpoint, epoch

    async def __call__(self, request: VLMRequest) -> VLMReply:
        """Reply to one request, from the ledger where it has it."""
        key = call_key(self.model, self._endpoint, request, self._epoch)
        call = Call(key, self.model, self._endpoint, request.purpose, self._epoch, request.draw)
        return await self._ledger.settle(call, lambda: self._vlm(request))

    async def close(self) -> None:
        """Close the model; the ledger is its opener's."""
        await self._vlm.close()
