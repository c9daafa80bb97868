"""Checkpoints in SQLite: private to the user, unable to run code when read back, cheap for many sessions at once."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiosqlite
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from medloupe.agent import state  # noqa: F401 - so that every type a state can hold is known below
from medloupe.types import Frozen

__all__ = ["GroupCommitSaver", "open_checkpoints", "strict_serializer"]

Row = tuple[object, ...]
_Entry = tuple[str, list[Row], asyncio.Future[None]]


class _Writer:
    """Writes that wait at the same time become one transaction on one thread.

    The library's saver makes three thread hops and a commit for every write; with 32 sessions at once those hops, not
    SQLite, were most of the time (docs/adr/0002-group-commit.md).
    """

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._thread = ThreadPoolExecutor(1, "checkpoints")
        self._waiting: list[_Entry] = []
        self._flush: asyncio.Task[None] | None = None

    async def write(self, statement: str, rows: list[Row]) -> None:
        """Returns when the rows are committed; raises what kept them from it."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((statement, rows, done))
        if self._flush is None:
            self._flush = asyncio.create_task(self._flush_all())
        await done

    async def _flush_all(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                groups = [[entry] for entry in batch]
                # Together; one by one when that fails, so that one session's bad row is not another's loss.
                for group in groups if await self._failed(loop, batch) else ():
                    await self._failed(loop, group, last=True)
        finally:
            self._flush = None

    async def _failed(self, loop: asyncio.AbstractEventLoop, batch: list[_Entry], *, last: bool = False) -> bool:
        """Commit a batch and tell those who wait for it; of a failure only when it is the last try."""
        error = await loop.run_in_executor(self._thread, self._commit, [(s, rows) for s, rows, _ in batch])
        for _, _, done in batch:
            if not done.done() and (error is None or last):
                done.set_exception(error) if error else done.set_result(None)
        return error is not None

    def _commit(self, batch: list[tuple[str, list[Row]]]) -> Exception | None:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            for statement, rows in batch:
                self._database.executemany(statement, rows)
            self._database.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - handed to whoever waits; a lone surrogate is no sqlite3.Error
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            return error
        return None

    def close(self) -> None:
        """Finish what is being written and close."""
        self._thread.shutdown(wait=True)
        self._database.close()


def strict_serializer() -> JsonPlusSerializer:
    """Msgpack that reads back plain values and medloupe's own frozen types, and imports nothing else.

    Explicit, because LANGGRAPH_STRICT_MSGPACK does nothing where an application loaded langgraph before medloupe.
    """
    return JsonPlusSerializer(allowed_msgpack_modules=sorted(_frozen_types(Frozen)))


def _frozen_types(root: type[Frozen]) -> set[tuple[str, str]]:
    below = (_frozen_types(child) for child in root.__subclasses__())
    return {(root.__module__, root.__name__)}.union(*below)


class GroupCommitSaver(AsyncSqliteSaver):
    """LangGraph's own SQLite saver and tables, with writes committed in groups. Reads are the library's."""

    def __init__(self, connection: aiosqlite.Connection, writer: _Writer) -> None:
        super().__init__(connection, serde=strict_serializer())
        self._writer = writer

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,  # noqa: ARG002 - the saver's signature
    ) -> RunnableConfig:
        """Save one checkpoint; returns when it is committed."""
        await self.setup()
        where = config["configurable"]
        kind, content = self.serde.dumps_typed(checkpoint)
        about = json.dumps(get_checkpoint_metadata(config, metadata), ensure_ascii=False).encode("utf-8", "ignore")
        row = (
            str(where["thread_id"]), where["checkpoint_ns"], checkpoint["id"], where.get("checkpoint_id"),
            kind, content, about,
        )  # fmt: skip
        await self._writer.write(
            "INSERT OR REPLACE INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type,"
            " checkpoint, metadata) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [row],
        )
        saved = {key: where[key] for key in ("thread_id", "checkpoint_ns")}
        return {"configurable": {**saved, "checkpoint_id": checkpoint["id"]}}

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Save what one task wrote; returns when it is committed.

        Special channels (errors, interrupts) replace what stands there; ordinary writes are kept as first written.
        """
        await self.setup()
        where = config["configurable"]
        place = (str(where["thread_id"]), str(where["checkpoint_ns"]), str(where["checkpoint_id"]), task_id, task_path)
        rows: list[Row] = [
            (*place, WRITES_IDX_MAP.get(channel, number), channel, *self.serde.dumps_typed(value))
            for number, (channel, value) in enumerate(writes)
        ]
        again = "REPLACE" if all(channel in WRITES_IDX_MAP for channel, _ in writes) else "IGNORE"
        await self._writer.write(
            f"INSERT OR {again} INTO writes (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel,"  # noqa: S608 - one of two words
            " type, value) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )


def _make_private(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    path.chmod(0o600)


@asynccontextmanager
async def open_checkpoints(path: Path) -> AsyncIterator[GroupCommitSaver]:
    """A saver on the database at `path`, made with mode 0600.

    Write-ahead log with synchronous=NORMAL: a killed process loses nothing, and a power cut loses at most the last
    steps and never the database (SQLite documentation, "Write-Ahead Logging").
    """
    await asyncio.to_thread(_make_private, path)
    async with aiosqlite.connect(path) as connection:
        saver = GroupCommitSaver(connection, writer := _Writer(path))
        try:
            await saver.setup()
            yield saver
        finally:
            writer.close()
