"""Every request to a VLM goes through one place: sent once, counted, traced, and kept within the budget."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from medloupe.agent.budget import Budget, Spent
from medloupe.agent.trace import TraceEvent
from medloupe.errors import ModelError
from medloupe.models.vlm.base import VLM, Picture, VLMReply, VLMRequest

__all__ = ["BudgetReached", "Calls", "Emit", "call_event"]

Emit = Callable[[TraceEvent], None]


class BudgetReached(ModelError):
    """A cap leaves no room for another call. A ModelError, so that it can never become a finding."""

    sent = False
    """The call had been sent, and ran into the cap on seconds."""


class Calls:
    """The calls of one question.

    Two equal requests (views, prompt, sampling, draw) are one call, also while the first is still under way. The count
    is taken before a call is sent, so that parallel branches together never pass the cap.
    """

    def __init__(
        self, budget: Budget, before: Spent, started: float, known: dict[str, asyncio.Future[VLMReply]]
    ) -> None:
        self._budget = budget
        self._known = known
        self._calls = before.calls
        self._tokens = before.tokens
        self.started = started
        """Seconds since the epoch; may be set anew."""
        self._drafted = False

    async def ask(self, vlm: VLM, request: VLMRequest, emit: Emit, turn: int) -> tuple[VLMReply, Spent]:
        """The reply and what it cost (nothing when the same was asked before); raises a ModelError."""
        key = f"{vlm.model}:{request.key}"
        while (known := self._known.get(key)) is not None:
            try:
                return await asyncio.shield(known), Spent()
            except asyncio.CancelledError:
                if not known.cancelled():
                    raise  # it is this asker that was cancelled
                # The one who had sent it was cancelled, so this one sends its own.
        limit = self._seconds_left(request)
        self._calls += 1
        future: asyncio.Future[VLMReply] = asyncio.get_running_loop().create_future()
        self._known[key] = future
        begin = time.perf_counter()
        try:
            async with asyncio.timeout(limit):
                reply = await vlm(request)
        except BaseException as error:
            # A failed call is not remembered: asking again later is a new attempt, not a repeat.
            self._known.pop(key, None)
            fault = self._out_of_time() if isinstance(error, TimeoutError) else error
            if not isinstance(fault, Exception):
                future.cancel()
                raise
            future.set_exception(fault)
            future.exception()  # read, so that asyncio does not warn when nobody else waited
            emit(call_event(vlm, request, turn, None, str(fault), time.perf_counter() - begin))
            raise fault from None
        future.set_result(reply)
        self._tokens += reply.prompt_tokens + reply.completion_tokens
        emit(call_event(vlm, request, turn, reply, None, reply.latency_s))
        return reply, Spent(calls=1, tokens=reply.prompt_tokens + reply.completion_tokens)

    def _out_of_time(self) -> BudgetReached:
        error = BudgetReached(_cap(self._budget.seconds, "seconds"))
        error.sent = True
        return error

    def _seconds_left(self, request: VLMRequest) -> float | None:
        """How long the call may take; BudgetReached when a cap leaves no room.

        The first draft goes through all the same: what was seen is answered with, one call over at most.
        """
        left = self.started + self._budget.seconds - time.time()
        if request.purpose == "draft" and not self._drafted:
            self._drafted = True
            return left if left > 0 else None
        if self._calls >= self._budget.calls:
            raise BudgetReached(_cap(self._budget.calls, "model calls"))
        if self._tokens >= self._budget.tokens:
            raise BudgetReached(_cap(self._budget.tokens, "tokens"))
        if left <= 0:
            raise BudgetReached(_cap(self._budget.seconds, "seconds"))
        return left


def call_event(
    vlm: VLM, request: VLMRequest, turn: int, reply: VLMReply | None, fault: str | None, latency: float
) -> TraceEvent:
    """The trace's "call": what was asked, by key, and what came back."""
    pictures = [part.digest for m in request.messages for part in m.parts if isinstance(part, Picture)]
    calls = reply.tool_calls if reply else ()
    return TraceEvent(
        event="call",
        turn=turn,
        data={
            "purpose": request.purpose,
            "key": request.key,
            "model": vlm.model,
            "prompt": request.prompt,
            "draw": request.draw,
            "pictures": pictures,
            "reply": reply.text if reply else "",
            "tool_calls": [{"id": c.id, "name": c.name, "arguments": c.arguments} for c in calls],
            "prompt_tokens": reply.prompt_tokens if reply else 0,
            "completion_tokens": reply.completion_tokens if reply else 0,
            "latency_s": round(latency, 4),
            "attempts": reply.attempts if reply else 0,
            "fault": fault,
        },
    )


def _cap(cap: float, name: str) -> str:
    return f"the cap of {cap:g} {name} was reached"
