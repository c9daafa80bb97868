"""A process that makes numbered calls through a ledger, to be killed: ledger_run.py DATABASE URL CALLS AT_ONCE [BYTES].

BYTES is the most that any file it writes may grow to: a full disk, made with RLIMIT_FSIZE.
"""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
from pathlib import Path

from medloupe._database import DurableDatabase
from medloupe.errors import UserError
from medloupe.models.vlm import EndpointVLM, Message, VLMRequest
from medloupe.models.vlm.ledger import LEDGER_SCHEMA, CallLedger, LedgerVLM


async def run(database: DurableDatabase, url: str, calls: int, at_once: int) -> str:
    ledger = CallLedger(database)
    vlm = LedgerVLM(EndpointVLM(url, "scripted"), ledger, endpoint=url)
    room = asyncio.Semaphore(at_once)

    async def call(number: int) -> None:
        async with room:
            message = Message(role="user", parts=(f"number {number}",))
            reply = await vlm(VLMRequest(messages=(message,), purpose="probe"))
            assert reply.text == f"echo number {number}"

    ended = await asyncio.gather(*(call(n) for n in range(calls)), return_exceptions=True)
    await vlm.close()
    for error in ended:
        if error is not None:
            raise error
    return f"sent {ledger.sent} replayed {ledger.replayed} in flight {ledger.counts().in_flight}"


def main() -> None:
    path, url, calls, at_once, *limit = sys.argv[1:]
    if limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit[0]), int(limit[0])))
    try:
        database = DurableDatabase(Path(path), LEDGER_SCHEMA)
        sys.stdout.write(asyncio.run(run(database, url, int(calls), int(at_once))) + "\n")
    except UserError as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
