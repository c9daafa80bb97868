"""Checkpoints in SQLite: private to the user, unable to run code when read back, cheap for many sessions at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
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

from medloupe._database import GroupCommit, Row, make_private
from medloupe.agent import state  # noqa: F401 - so that every type a state can hold is known below
from medloupe.types import Frozen

__all__ = ["GroupCommitSaver", "open_checkpoints", "strict_serializer"]


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

    def __init__(self, connection: aiosqlite.Connection, writer: GroupCommit) -> None:
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


@asynccontextmanager
async def open_checkpoints(path: Path) -> AsyncIterator[GroupCommitSaver]:
    """A saver on the database at `path`, made with mode 0600.

    Write-ahead log with synchronous=NORMAL: a killed process loses nothing, and a power cut loses at most the last
    steps and never the database (SQLite documentation, "Write-Ahead Logging").
    """
    await asyncio.to_thread(make_private, path)
    async with aiosqlite.connect(path) as connection:
        saver = GroupCommitSaver(connection, writer := GroupCommit(path, synchronous="NORMAL"))
        try:
            await saver.setup()
            yield saver
        finally:
            writer.close()
