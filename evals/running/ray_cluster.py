"""`--ray ADDRESS`: the cases of a run are solved on a Ray cluster, and everything is kept here, as by one process.

This process runs Inspect AI, holds the run's lock and its database, scores and reports; the workers
(medloupe.evals.running.ray_worker) read images, look and call models. A worker that dies costs its calls under way; its
cases begin again on another, from the record.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from medloupe.errors import BackendMissing, MedloupeError, UsageError, UserError
from medloupe.evals.running.ray_worker import Asked, Fault, Worker, fingerprint
from medloupe.evals.running.run import Run
from medloupe.evals.solvers.outcome import Outcome
from medloupe.evals.tasks.case import Case
from medloupe.models.vlm.base import VLMReply
from medloupe.models.vlm.ledger import KEPT_FAULTS

__all__ = ["cluster"]

_ATTEMPTS = 3
"""At one case, each on a worker that was alive before it."""
_CONNECT_S = 5.0
_START_S = 600.0
"""Longest that a worker takes to read the cases and load its models."""


class _Lost(MedloupeError):
    """A worker's call ended without a reply."""


@contextmanager
def cluster(run: Run, address: str, parallel: int) -> Iterator[None]:
    """Solve the run's cases at `address` ("HOST:PORT", "auto" for one on this machine, "local" for a new one here).

    A worker for every CPU of the cluster, at most `parallel`. BackendMissing without Ray; UsageError where no cluster
    answers, traces are wanted, or a machine of it has other data, another version or other settings than this one.
    """
    if run.traces is not None:
        raise UsageError("traces are not written on Ray; the same command without --ray adds them and calls no model")
    ray = _connected(address)
    try:
        workers = _Workers(ray, run, max(1, min(parallel, int(ray.cluster_resources().get("CPU", 1)))))
        run.elsewhere = workers.solve
        yield
    finally:
        run.elsewhere = None
        ray.shutdown()


def _connected(address: str) -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # Ray tells its makers of its use unless it is told not to
    try:
        import ray
    except ImportError:
        raise BackendMissing("Ray", "pip install 'medloupe[ray]'") from None
    if "://" in address:
        raise UsageError("--ray is the cluster's own HOST:PORT, auto or local; a Ray Client address is none of these")
    if address not in ("auto", "local"):
        _knock(address)
    own = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise UsageError(f"the Ray cluster at {address} cannot be used: {_line(error)}") from None
    return ray


def _knock(address: str) -> None:
    """UsageError where nothing listens: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), _CONNECT_S).close()
    except (OSError, ValueError):
        raise UsageError(f"no Ray cluster answers at {address}; it is HOST:PORT, as `ray start --head` says") from None


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


class _Gone(Exception):
    """A worker died, or never came up."""


class _Workers:
    """Ray actors by place, and how many cases each has."""

    def __init__(self, ray: Any, run: Run, number: int) -> None:
        self._ray, self._run = ray, run
        # Started again by us, not by Ray: calls to a new actor wait for it, those to one that restarts fail.
        self._make = ray.remote(num_cpus=1, max_restarts=0)(Worker).remote
        self._actors = {place: self._make() for place in range(number)}
        self._busy = dict.fromkeys(self._actors, 0)
        self._opening: dict[Any, asyncio.Task[None]] = {}

    async def solve(self, case: Case, epoch: int) -> Outcome:
        """Solve a case on the worker that has the fewest; UserError where that machine cannot take part."""
        for _ in range(_ATTEMPTS):
            if not self._actors:
                raise MedloupeError("no worker of the Ray cluster is left")
            place = min(self._actors, key=self._busy.__getitem__)
            actor = self._actors[place]
            self._busy[place] += 1
            try:
                return await self._solved(actor, case, epoch)
            except _Gone:
                self._replace(place, actor)
            finally:
                self._busy[place] -= 1
        raise MedloupeError(f"{_ATTEMPTS} Ray workers died at the case {case.id}")

    def _replace(self, place: int, actor: Any) -> None:
        """A new actor in the place of one that died; of one that found no room, none. By the first that notices."""
        if self._actors.get(place) is not actor:
            return
        opening = self._opening.pop(actor)
        if opening.done() and isinstance(opening.exception(), TimeoutError):
            del self._actors[place]
        else:
            self._actors[place] = self._make()

    async def _solved(self, actor: Any, case: Case, epoch: int) -> Outcome:
        """_Gone when the worker is."""
        if actor not in self._opening:
            self._opening[actor] = asyncio.create_task(self._open(actor))
        try:
            await asyncio.shield(self._opening[actor])
        except (TimeoutError, self._ray.exceptions.RayActorError):
            raise _Gone from None
        try:
            return await self._talk(actor, case, epoch)
        except self._ray.exceptions.RayActorError:
            raise _Gone from None
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise error.cause from None
            raise

    async def _open(self, actor: Any) -> None:
        """Once a worker, whichever case comes first. TimeoutError where the cluster has no room for it."""
        run = self._run
        spec = run.spec.model_copy(update={"folder": run.spec.folder.resolve(), "split": run.split, "like": None})
        async with asyncio.timeout(_START_S):
            why = await actor.open.remote(
                spec.model_dump(mode="json"), run.settings.model_dump(mode="json"), fingerprint(run)
            )
        if why:
            raise UsageError(f"a machine of the Ray cluster cannot take part: {why}")

    async def _talk(self, actor: Any, case: Case, epoch: int) -> Outcome:
        try:
            async with asyncio.TaskGroup() as calls:
                async for reference in actor.solve.remote(case.id, epoch, self._run.options(case, epoch)):
                    said: Asked | Outcome = await reference
                    if isinstance(said, Asked):
                        calls.create_task(self._settle(actor, said))
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
        assert isinstance(said, Outcome)
        return said

    async def _settle(self, actor: Any, asked: Asked) -> None:
        """One call through the ledger: looked up, or sent by the worker and recorded, then delivered."""

        async def send() -> VLMReply:
            reply: VLMReply | Fault | None = await actor.send.remote(asked.number)
            if reply is None:
                raise _Lost
            if isinstance(reply, Fault):
                raise reply.error()
            return reply

        try:
            reply: VLMReply | Fault | None = await self._run.store.ledger.settle(asked.call, send)
        except tuple(KEPT_FAULTS.values()) as error:
            reply = Fault(type(error).__name__, str(error))
        except _Lost:
            reply = None
        await actor.deliver.remote(asked.number, reply)
