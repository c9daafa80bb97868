"""Every request is sent once, counted and kept within the budget."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from medloupe.agent.budget import Budget, Spent
from medloupe.agent.calls import BudgetReached, Calls
from medloupe.errors import ModelError
from medloupe.models.vlm import ScriptedVLM
from medloupe.models.vlm.base import Message, VLMRequest


def request(text: str = "what is it?", **options: Any) -> VLMRequest:
    return VLMRequest(messages=(Message(role="user", parts=(text,)),), purpose="probe", **options)


def calls(**caps: Any) -> Calls:
    return Calls(Budget(**caps), Spent(), time.time(), {})


async def test_an_identical_request_is_sent_once_even_while_the_first_is_under_way() -> None:
    vlm, events = ScriptedVLM(lambda _: "round"), []
    counter = calls()
    replies = await asyncio.gather(*(counter.ask(vlm, request(), events.append, 0) for _ in range(5)))
    assert [reply.text for reply, _ in replies] == ["round"] * 5
    assert len(vlm.requests) == 1
    assert sum(spent.calls for _, spent in replies) == 1
    assert [event.event for event in events] == ["call"]


async def test_another_draw_or_another_sampling_is_another_request() -> None:
    vlm, counter = ScriptedVLM(lambda _: "round"), calls()
    for asked in (request(), request(draw=1), request(temperature=0.5), request("and this?")):
        await counter.ask(vlm, asked, lambda _: None, 0)
    assert len(vlm.requests) == 4


async def test_parallel_calls_never_pass_the_cap() -> None:
    vlm, counter = ScriptedVLM(lambda _: "round"), calls(calls=3)
    asked = [counter.ask(vlm, request(str(n)), lambda _: None, 0) for n in range(10)]
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert len(vlm.requests) == 3
    assert sum(isinstance(result, BudgetReached) for result in results) == 7


async def test_a_failed_call_is_traced_and_may_be_asked_again() -> None:
    fails = True

    def script(_: VLMRequest) -> str:
        if fails:
            raise ModelError("the server is on fire")
        return "round"

    vlm, counter, events = ScriptedVLM(script), calls(), []
    with pytest.raises(ModelError, match="on fire"):
        await counter.ask(vlm, request(), events.append, 0)
    assert events[0].data["fault"] == "the server is on fire"
    fails = False
    reply, _ = await counter.ask(vlm, request(), events.append, 0)
    assert reply.text == "round"


async def test_the_time_cap_stops_calls() -> None:
    counter = Calls(Budget(seconds=1), Spent(), time.time() - 2, {})
    with pytest.raises(BudgetReached, match="cap of 1 seconds"):
        await counter.ask(ScriptedVLM(lambda _: "round"), request(), lambda _: None, 0)
