"""The end of an evaluation that solves cases on another machine. It keeps nothing: its driver does, as for one process.

A case is a conversation. The worker tells of every call that it is about to make (`Asked`) and waits. The driver looks
it up in the run's ledger: a call that was never answered it has the worker `send`, which brings the reply back to be
recorded; then, or where the reply was recorded long ago, it is `deliver`ed and the case goes on. So no reply is used
that is not on the driver's disk, no call is sent that the driver does not know of, and no database is shared.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, NamedTuple

from medloupe import __version__
from medloupe.errors import MedloupeError, UserError
from medloupe.evals.running.run import EvalSpec, Run, make_bench
from medloupe.evals.solvers.bench import Bench
from medloupe.evals.solvers.outcome import Outcome
from medloupe.evals.solvers.solve import Options, solve
from medloupe.models.vlm.base import VLMReply
from medloupe.models.vlm.ledger import KEPT_FAULTS, Call, Send
from medloupe.settings import Settings

__all__ = ["Asked", "Fault", "Worker", "fingerprint"]


class Asked(NamedTuple):
    """A call that waits for the driver."""

    number: int
    """Of the worker's calls."""
    call: Call


class Fault(NamedTuple):
    """A ModelError as data: exceptions do not travel well."""

    name: str
    message: str

    def error(self) -> Exception:
        """As it was raised; one of KEPT_FAULTS."""
        return KEPT_FAULTS[self.name](self.message)


@dataclass
class _Waiting:
    send: Send
    settled: asyncio.Future[VLMReply]
    under_way: asyncio.Task[VLMReply] | None = None
    error: BaseException = field(default_factory=asyncio.CancelledError)
    """What the call ended with, where it brought no reply."""


def fingerprint(run: Run) -> dict[str, Any]:
    """What driver and workers must agree on for their cases to be the same cases."""
    same = {name: value for name, value in run.parameters.items() if name != "like"}  # the driver hands the effort on
    return {"version": __version__, **same, "prompts": run.prompts}


class Worker:
    """Solves cases of one run, many at once. Its methods are called from the driver."""

    def __init__(self) -> None:
        self._waiting: dict[int, _Waiting] = {}
        self._numbers = count()
        self._run: Run | None = None
        self._bench: Bench | None = None

    async def open(self, spec: dict[str, Any], settings: dict[str, Any], expected: dict[str, Any]) -> str:
        """Read the cases and load the models. "" or, in a line, why this machine cannot take part.

        settings: without keys, which are this machine's own environment's.
        """
        try:
            self._run = run = Run(EvalSpec.model_validate(spec), Settings(**settings))
            here = fingerprint(run)
            if differs := sorted(name for name in expected if here.get(name) != expected[name]):
                return f"it has another {', '.join(differs)}"
            self._bench = make_bench(run.spec, run.settings, None)
        except UserError as error:
            return str(error)
        return ""

    async def solve(self, case: str, epoch: int, options: Options) -> AsyncIterator[Asked | Outcome]:
        """The case's calls as they come, and last its outcome."""
        assert self._run is not None and self._bench is not None
        run, events = self._run, asyncio.Queue[Asked | None]()
        bench = replace(self._bench, ledger=_Remote(self, events))
        solving = asyncio.create_task(
            solve(bench, run.cases[case], run.spec.solver, options, epoch=epoch)
        )  # fmt: skip
        solving.add_done_callback(lambda _: events.put_nowait(None))
        try:
            while (event := await events.get()) is not None:
                yield event
            yield solving.result()
        finally:
            solving.cancel()

    async def send(self, number: int) -> VLMReply | Fault | None:
        """Make a call that waits. None where it brought no reply, or is no longer wanted."""
        waiting = self._waiting.get(number)
        if waiting is None:
            return None
        waiting.under_way = asyncio.ensure_future(waiting.send())
        try:
            return await waiting.under_way
        except tuple(KEPT_FAULTS.values()) as error:
            return Fault(type(error).__name__, str(error))
        except (MedloupeError, asyncio.CancelledError) as error:
            waiting.error = error
            return None

    async def deliver(self, number: int, reply: VLMReply | Fault | None) -> None:
        """The reply of a call that waits, now that it is recorded. None: there is none."""
        waiting = self._waiting.get(number)
        if waiting is None or waiting.settled.done():
            return
        if isinstance(reply, VLMReply):
            waiting.settled.set_result(reply)
        else:
            waiting.settled.set_exception(reply.error() if reply else waiting.error)

    async def wait_for(self, call: Call, send: Send, events: asyncio.Queue[Asked | None]) -> VLMReply:
        """Tell the driver of a call, and wait until it is settled."""
        number = next(self._numbers)
        waiting = self._waiting[number] = _Waiting(send, asyncio.get_running_loop().create_future())
        events.put_nowait(Asked(number, call))
        try:
            return await waiting.settled
        finally:
            del self._waiting[number]
            if waiting.under_way is not None:
                waiting.under_way.cancel()


class _Remote:
    """The driver's ledger, as one case sees it."""

    def __init__(self, worker: Worker, events: asyncio.Queue[Asked | None]) -> None:
        self._worker, self._events = worker, events

    async def settle(self, call: Call, send: Send) -> VLMReply:
        """The reply that the driver has recorded."""
        return await self._worker.wait_for(call, send, self._events)
