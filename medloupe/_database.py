"""SQLite as medloupe keeps things in it: private to the user, written in groups by one thread, and, for a run that may
be killed, durable and locked to one process.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from medloupe.errors import RunBusy, StorageFull, UsageError

__all__ = ["DurableDatabase", "GroupCommit", "Row", "make_private"]

Row = tuple[object, ...]
_Entry = tuple[str, list[Row], asyncio.Future[None]]


def make_private(path: Path) -> None:
    """The file and its folder, made where they are not there; the file readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    path.chmod(0o600)


class GroupCommit:
    """Writes that wait at the same time become one transaction on one thread.

    Three thread hops and a commit for every write were, with 32 sessions at once, most of the time; SQLite was not
    (docs/adr/0002-group-commit.md). synchronous: SQLite's own word; "FULL" outlives a power cut, "NORMAL" a kill.
    """

    def __init__(self, path: Path, *, synchronous: Literal["NORMAL", "FULL"]) -> None:
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute(f"PRAGMA synchronous={synchronous}")
        self._thread = ThreadPoolExecutor(1, "group-commit")
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


class DurableDatabase:
    """A database that one process at a time works with: write-ahead log, synchronous=FULL, committed in groups.

    A write that returned is on the disk, whatever kills the process afterwards. Raises RunBusy when another process
    has it open, UsageError when it cannot be made there. After the disk was full every further write raises at once.
    """

    def __init__(self, path: Path, schema: str) -> None:
        self.path = path
        self._broken: StorageFull | None = None
        try:
            make_private(path)
            self._lock = _locked(path.with_name(path.name + ".lock"))
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}") from None
        self._reader = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._reader.execute("PRAGMA journal_mode=WAL")
            self._reader.executescript(schema)
        except sqlite3.DatabaseError as error:
            self._reader.close()
            os.close(self._lock)
            raise _full(path, error) or UsageError(f"{path} is no database of medloupe's, or is damaged") from None
        self._writer = GroupCommit(path, synchronous="FULL")

    async def write(self, statement: str, *rows: Row) -> None:
        """Returns when the rows are on the disk; StorageFull when they cannot be."""
        if self._broken is not None:
            raise self._broken
        try:
            await self._writer.write(statement, list(rows))
        except sqlite3.Error as error:
            if (full := _full(self.path, error)) is None:
                raise
            self._broken = full
            raise full from None

    def read(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return self._reader.execute(statement, parameters).fetchall()

    def close(self) -> None:
        """Finish what is being written, close, and let others in."""
        if self._lock == -1:
            return
        self._writer.close()
        self._reader.close()
        os.close(self._lock)
        self._lock = -1


def _locked(path: Path) -> int:
    """A descriptor that holds the lock and ends with the process, however it ends; RunBusy names who has it."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise RunBusy(
            f"another process{f' ({holder})' if holder else ''} is working on this run; let it finish, or stop it first"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def _full(path: Path, error: sqlite3.Error) -> StorageFull | None:
    """The error for the person when a write failed for want of room (SQLITE_FULL), or on the disk (SQLITE_IOERR)."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if name != "SQLITE_FULL" and not name.startswith("SQLITE_IOERR"):
        return None
    why = "the disk is full" if name == "SQLITE_FULL" else f"the disk cannot be written ({name})"
    return StorageFull(f"{why}: {path.name} in {path.parent}; all until then is kept: make room and run it again")
