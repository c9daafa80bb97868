"""The call ledger, on real files, against the loopback endpoint, in processes that are really killed."""

from __future__ import annotations

import asyncio
import hashlib
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ledger_run
import pytest

from medloupe._database import DurableDatabase
from medloupe.errors import EndpointUnreachable, ReplyRefused, RunBusy, UsageError
from medloupe.models.vlm import Message, Picture, ScriptedVLM, ToolCall, VLMReply, VLMRequest
from medloupe.models.vlm.ledger import LEDGER_SCHEMA, CallLedger, LedgerVLM, call_key
from medloupe.models.vlm.loopback import ScriptedEndpoint

REQUEST = VLMRequest(messages=(Message(role="user", parts=("Is it round?",)),), purpose="probe")


def open_ledger(path: Path) -> tuple[DurableDatabase, CallLedger]:
    database = DurableDatabase(path, LEDGER_SCHEMA)
    return database, CallLedger(database)


async def test_a_recorded_reply_is_given_again_and_the_model_is_not_asked(tmp_path: Path) -> None:
    said = VLMReply(text="yes", tool_calls=(ToolCall("a", "zoom", "{}"),), prompt_tokens=3, latency_s=0.25)
    database, ledger = open_ledger(tmp_path / "run.sqlite")
    first = await LedgerVLM(ScriptedVLM([said]), ledger)(REQUEST)
    database.close()
    database, ledger = open_ledger(tmp_path / "run.sqlite")
    again = await LedgerVLM(ScriptedVLM([]), ledger)(REQUEST)
    assert first == again == replace(said, model="scripted")
    assert (ledger.sent, ledger.replayed, ledger.counts()) == (0, 1, (1, 1, 0, 0))
    database.close()


def shown(content: bytes) -> VLMRequest:
    picture = Picture(hashlib.sha256(content).hexdigest(), content, 1, 1)
    return VLMRequest(messages=(Message(role="user", parts=("Is it round?", picture)),), purpose="probe")


KEYS: dict[str, tuple[str, str, VLMRequest, int]] = {
    "as it is": ("m", "http://a", REQUEST, 1),
    "another model": ("n", "http://a", REQUEST, 1),
    "another endpoint": ("m", "http://b", REQUEST, 1),
    "another epoch": ("m", "http://a", REQUEST, 2),
    "another draw": ("m", "http://a", replace(REQUEST, draw=1), 1),
    "another temperature": ("m", "http://a", replace(REQUEST, temperature=0.7), 1),
    "another length": ("m", "http://a", replace(REQUEST, max_tokens=9), 1),
    "a schema": ("m", "http://a", replace(REQUEST, schema={"type": "object"}), 1),
    "a tool": ("m", "http://a", replace(REQUEST, tools=({"type": "function"},)), 1),
    "a picture": ("m", "http://a", shown(b"one"), 1),
    "another picture": ("m", "http://a", shown(b"two"), 1),
}


def test_the_key_holds_model_endpoint_request_epoch_and_draw() -> None:
    assert len({call_key(*parts) for parts in KEYS.values()}) == len(KEYS)
    assert call_key(*KEYS["a picture"]) == call_key("m", "http://a", shown(b"one"), 1)


async def test_equal_calls_at_the_same_time_are_sent_once(tmp_path: Path) -> None:
    database, ledger = open_ledger(tmp_path / "run.sqlite")
    vlm = LedgerVLM(ScriptedVLM(["yes"]), ledger)
    replies = await asyncio.gather(*(vlm(REQUEST) for _ in range(8)))
    assert {reply.text for reply in replies} == {"yes"}
    assert (ledger.sent, ledger.replayed) == (1, 7)
    database.close()


async def test_an_unusable_reply_is_kept_and_a_lost_connection_is_not(tmp_path: Path) -> None:
    database, ledger = open_ledger(tmp_path / "run.sqlite")
    refusing = LedgerVLM(ScriptedVLM([ReplyRefused("the model declined")]), ledger, epoch=1)
    for _ in range(2):
        with pytest.raises(ReplyRefused, match="the model declined"):
            await refusing(REQUEST)
    failing = LedgerVLM(ScriptedVLM([EndpointUnreachable("gone"), "yes"]), ledger, epoch=2)
    with pytest.raises(EndpointUnreachable):
        await failing(REQUEST)
    assert (await failing(REQUEST)).text == "yes"
    assert ledger.counts() == (2, 3, 1, 0)
    database.close()


async def test_a_call_that_is_given_up_is_a_fault_and_not_one_in_flight(tmp_path: Path) -> None:
    database, ledger = open_ledger(tmp_path / "run.sqlite")

    class Never(ScriptedVLM):
        async def __call__(self, request: VLMRequest) -> VLMReply:
            await asyncio.sleep(60)
            raise AssertionError

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await LedgerVLM(Never(), ledger)(REQUEST)
    assert ledger.counts() == (0, 1, 1, 0)
    database.close()


# --- processes ------------------------------------------------------------------------------------------------------


def echo(body: dict[str, Any]) -> str:
    return "echo " + str(body["messages"][0]["content"])


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint(echo, latency_s=0.02) as running:
        yield running


def start(path: Path, url: str, calls: int, at_once: int, *limit: int) -> subprocess.Popen[str]:
    command = [sys.executable, ledger_run.__file__, str(path), url, str(calls), str(at_once), *map(str, limit)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_kill_9_loses_no_reply_and_repeats_only_what_was_in_flight(tmp_path: Path, endpoint: ScriptedEndpoint) -> None:
    path, calls, at_once, kills = tmp_path / "run.sqlite", 60, 4, 4
    chance = random.Random(7)  # noqa: S311 - where to kill
    for _ in range(kills):
        before = len(endpoint.bodies)
        process = start(path, endpoint.url, calls, at_once)
        goal = before + chance.randint(1, 12)
        while len(endpoint.bodies) < goal and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    out, errors = start(path, endpoint.url, calls, at_once).communicate(timeout=60)
    assert not errors
    stats = endpoint.stats()
    in_flight = int(out.split()[-1])
    assert stats["distinct"] == calls
    assert stats["calls"] - calls <= in_flight <= kills * at_once
    recorded = sqlite3.connect(path)
    assert recorded.execute("SELECT COUNT(*) FROM calls WHERE outcome LIKE '%echo number%'").fetchone() == (calls,)
    assert recorded.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    recorded.close()

    out, _ = start(path, endpoint.url, calls, at_once).communicate(timeout=60)
    assert out.startswith(f"sent 0 replayed {calls}")
    assert endpoint.stats() == stats


def test_of_two_processes_one_works_and_the_other_says_so(tmp_path: Path, endpoint: ScriptedEndpoint) -> None:
    path = tmp_path / "run.sqlite"
    first = start(path, endpoint.url, 40, 1)
    while not endpoint.bodies:
        time.sleep(0.005)
    _, said = start(path, endpoint.url, 40, 1).communicate(timeout=60)
    assert said == (f"RunBusy: another process ({first.pid}) is working on this run; let it finish, or stop it first\n")
    out, _ = first.communicate(timeout=60)
    assert out.startswith("sent 40")
    assert len(endpoint.bodies) == 40


def test_a_full_disk_stops_clearly_and_what_was_recorded_is_whole(tmp_path: Path, endpoint: ScriptedEndpoint) -> None:
    path = tmp_path / "run.sqlite"
    _, said = start(path, endpoint.url, 60, 4, 65536).communicate(timeout=60)
    assert said.startswith("StorageFull: the disk ")
    assert said.count("\n") == 1
    asked = len(endpoint.bodies)
    out, errors = start(path, endpoint.url, 60, 4).communicate(timeout=60)
    assert not errors
    sent, in_flight = int(out.split()[1]), int(out.split()[-1])
    assert 60 - asked <= sent <= 60 - asked + in_flight
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_what_cannot_be_opened_is_said(tmp_path: Path) -> None:
    (tmp_path / "damaged.sqlite").write_bytes(b"no database at all, but long enough to be looked at" * 30)
    for _ in range(2):  # and the lock was let go
        with pytest.raises(UsageError, match="damaged"):
            DurableDatabase(tmp_path / "damaged.sqlite", LEDGER_SCHEMA)
    held = DurableDatabase(tmp_path / "run.sqlite", LEDGER_SCHEMA)
    with pytest.raises(RunBusy):
        DurableDatabase(tmp_path / "run.sqlite", LEDGER_SCHEMA)
    held.close()
    DurableDatabase(tmp_path / "run.sqlite", LEDGER_SCHEMA).close()
