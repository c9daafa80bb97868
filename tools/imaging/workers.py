"""Reads untrusted files in worker processes that may crash, hang or fill their memory without harm to the caller.

A load takes up to `Limits.workers` processes from the pool that the whole process shares, hands them batches of files,
and kills one that exceeds its limits; the file it was at is refused, the others are read by its successor. Pixels come
back in anonymous shared memory that the caller makes, seals against every change and maps read-only.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import mmap
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter

from medloupe.errors import InputRejected
from medloupe.limits import Limits
from medloupe.prompts import knowledge
from medloupe.tools.imaging._channel import Batch, Launch, receive, send, starts
from medloupe.tools.imaging.reading import Read
from medloupe.tools.imaging.sources import Source
from medloupe.tools.imaging.wire import BrokenWorkerError, Hello, Replies, Reply, split, unpack_read

__all__ = ["Outcome", "close_pool", "read_all"]

_BATCH_FILES = 32
"""At most: while a batch is handed over, its worker waits."""
_SEGMENT_BYTES = 2**28
"""A segment that is larger after a file is not appended to."""
_KNOWLEDGE = ("dicom_terms", "windows")
"""What the readers look up."""
_START_SECONDS = 60.0
"""For the server to import the readers, and for a worker to be forked."""
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_SERVER = (
    "import sys; sys.path[:] = sys.argv[3:]; import medloupe; medloupe.__path__.append(sys.argv[2]); "
    "from medloupe.tools.imaging._startup import hasten; hasten(); "
    "from medloupe.tools.imaging._server import serve; serve(int(sys.argv[1]))"
)
"""Started without `site`: it is told where to look, and where the folders of an editable install lie."""
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONHOME",
         "PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE")  # fmt: skip
"""Of the environment: what an interpreter needs to start, and so no keys."""
_TUNED = {
    "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore",
    "MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "67108864", "MALLOC_TRIM_THRESHOLD_": "67108864",
}  # fmt: skip
"""One thread; and frames that follow each other reuse memory instead of asking the kernel for new pages."""
_REPLIES: TypeAdapter[Replies | Hello] = TypeAdapter(Replies)
_HELLO: TypeAdapter[Replies | Hello] = TypeAdapter(Hello)


class Outcome(NamedTuple):
    """Of one file."""

    read: Read | None = None
    """None when it is of no kind that is read, or was rejected."""
    rejected: InputRejected | None = None


def read_all(sources: Sequence[Source], modality: str | None, limits: Limits) -> tuple[list[Outcome], list[str]]:
    """Each file's outcome in order, and what is to be said of the workers. Raises InputRejected without workers."""
    pool = _shared_pool()
    load = _Load(pool, sources, modality, limits)
    try:
        outcomes = load.run()
    finally:
        load.close()
    notes = [] if pool.network else ["The kernel does not let the process that reads files give up the network."]
    return outcomes, notes


# --- the pool -------------------------------------------------------------------------------------------------------


class _Worker:
    """One process, as the caller sees it."""

    def __init__(self, number: int, channel: socket.socket, progress: int, memory_bytes: int) -> None:
        self.number = number
        self.channel = channel
        self.progress = progress
        """Read end of a pipe that tells, when asked, which of its files it is at."""
        self.memory_bytes = memory_bytes
        self.heard = bytearray()
        self.ready = False
        self.fresh = True
        """Has answered for no batch yet."""
        self.pending: list[int] = []
        """Places of the files of its batch."""
        self.at = -1
        """Which of them it is at, as far as was asked."""
        self.deadline = time.monotonic() + _START_SECONDS
        self.segment: _Segment | None = None

    def look(self, seconds: float) -> None:
        """Find out which file it is at, and when that one has taken too long."""
        begun = starts(self.progress)
        if begun:
            self.at = min(self.at + len(begun), len(self.pending) - 1)
            self.deadline = begun[-1] + seconds

    def close(self) -> None:
        """Let go of it; the process ends when it sees that."""
        self.channel.close()
        os.close(self.progress)


class _Pool:
    """The server and its idle workers. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._idle: list[_Worker] = []
        self._busy = 0
        self._numbers = count()
        ours, theirs = socket.socketpair()
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, and our own words
                [sys.executable, "-S", "-c", _SERVER, str(theirs.fileno()), *_folders()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=kept | _TUNED,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # a Ctrl-C in a terminal is the caller's to answer
            )
        self._channel = ours
        self._send(json.dumps({name: knowledge(name) for name in _KNOWLEDGE}))
        self.network = self._greeted()

    def _greeted(self) -> str | None:
        self._channel.settimeout(_START_SECONDS)
        try:
            message = receive(self._channel)
            if message is None:
                raise EOFError
            return Hello.model_validate_json(message[0]).network
        except (OSError, EOFError) as error:
            self.close()
            raise InputRejected("no-worker", "The process that reads files could not be started.") from error

    def take(self, limits: Limits, *, wait: bool) -> _Worker | None:
        """An idle worker, or a new one; None when as many as allowed are busy and `wait` is false."""
        with self._changed:
            while self._busy >= limits.workers:
                if not wait:
                    return None
                self._changed.wait()
            self._busy += 1
            for worker in reversed(self._idle):
                if worker.memory_bytes == limits.memory_bytes:
                    self._idle.remove(worker)
                    return worker
            while self._idle:
                self._end(self._idle.pop())
            return self._launch(limits.memory_bytes)

    def give_back(self, worker: _Worker, *, usable: bool) -> None:
        """After use; one that is not usable is killed."""
        with self._changed:
            self._busy -= 1
            if usable:
                self._idle.append(worker)
            else:
                self._end(worker)
            self._changed.notify_all()

    def replace(self, worker: _Worker) -> _Worker:
        """A fresh worker for one that is not to be used again, which is killed."""
        with self._changed:
            self._end(worker)
            return self._launch(worker.memory_bytes)

    def alive(self) -> bool:
        """Whether the server still runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """End every process."""
        with self._changed:
            for worker in self._idle:
                worker.close()
            self._channel.close()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _launch(self, memory_bytes: int) -> _Worker:
        number = next(self._numbers)
        ours, theirs = socket.socketpair()
        progress, noted = os.pipe()
        os.set_blocking(progress, False)
        with theirs:
            self._send(json.dumps(Launch(number, memory_bytes)), theirs.fileno(), noted)
        os.close(noted)
        ours.setblocking(False)
        return _Worker(number, ours, progress, memory_bytes)

    def _end(self, worker: _Worker) -> None:
        worker.close()
        self._send(json.dumps(Launch(worker.number, end=True)))

    def _send(self, message: str, *descriptors: int) -> None:
        try:
            send(self._channel, message, *descriptors)
        except OSError:  # the server is gone, and its workers with it: whoever waits for one sees its socket close
            self._process.kill()


def _folders() -> list[str]:
    """Where medloupe's packages lie, and where every other is looked for: never in the current folder."""
    ours = [str(Path(sys.modules[name].__path__[0]).parent) for name in ("medloupe.tools", "medloupe")]
    return [*ours[:1], *(str(Path(path).absolute()) for path in sys.path if path), *ours[1:]]


_shared: list[_Pool] = []
_shared_lock = threading.Lock()


def _shared_pool() -> _Pool:
    with _shared_lock:
        if _shared and not _shared[0].alive():
            _shared.pop().close()
        if not _shared:
            _shared.append(_Pool())
        return _shared[0]


def _forget() -> None:
    """In a forked child the pool is still the parent's."""
    global _shared_lock
    _shared.clear()
    _shared_lock = threading.Lock()


@atexit.register
def close_pool() -> None:
    """End the worker processes; the next load starts new ones. No load may be going on."""
    while _shared:
        _shared.pop().close()


os.register_at_fork(after_in_child=_forget)


# --- shared memory --------------------------------------------------------------------------------------------------


@dataclass
class _Segment:
    """Anonymous memory that one worker appends pixels to, and what it said of them."""

    descriptor: int = field(default_factory=lambda: os.memfd_create("medloupe", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
    replies: list[tuple[int, Reply]] = field(default_factory=list)

    def size(self) -> int:
        return os.fstat(self.descriptor).st_size

    def close(self) -> None:
        os.close(self.descriptor)

    def mapped(self) -> memoryview:
        """Sealed, then mapped; its writer must be idle or dead. BrokenWorkerError when someone could still write."""
        try:
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _SEALS)
        except OSError as error:
            raise BrokenWorkerError from error
        if not self.size():
            return memoryview(b"")
        return memoryview(mmap.mmap(self.descriptor, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ))


# --- one load -------------------------------------------------------------------------------------------------------


class _Load:
    """Reads the files of one study; used once, by one thread."""

    def __init__(self, pool: _Pool, sources: Sequence[Source], modality: str | None, limits: Limits) -> None:
        self._pool, self._sources, self._modality, self._limits = pool, sources, modality, limits
        self._batches = deque(_batched(sources, limits.workers))
        self._outcomes: list[Outcome | None] = [None] * len(sources)
        self._segments: list[_Segment] = []
        self._selector = selectors.DefaultSelector()
        self._workers: list[_Worker] = []

    def run(self) -> list[Outcome]:
        """Every file's outcome."""
        wanted = min(self._limits.workers, len(self._batches))
        while len(self._workers) < wanted and (worker := self._pool.take(self._limits, wait=not self._workers)):
            self._workers.append(worker)
            self._start(worker)
        while any(worker.pending for worker in self._workers):
            waited = min(worker.deadline for worker in self._workers if worker.pending) - time.monotonic()
            for key, _ in self._selector.select(max(0.0, waited)):
                self._hear(key.data)
            for worker in list(self._workers):
                self._check_clock(worker)
        for worker in self._workers:
            self._seal(worker)
        return [outcome or Outcome() for outcome in self._outcomes]

    def close(self) -> None:
        """Hand the workers back."""
        self._selector.close()
        for worker in self._workers:
            self._pool.give_back(worker, usable=not worker.pending)
        for segment in self._segments:
            segment.close()

    def _start(self, worker: _Worker) -> None:
        self._selector.register(worker.channel, selectors.EVENT_READ, worker)
        self._next(worker)

    def _check_clock(self, worker: _Worker) -> None:
        if worker.pending and time.monotonic() > worker.deadline:
            worker.look(self._limits.seconds)
            if time.monotonic() > worker.deadline:
                self._lost(worker, InputRejected("time-limit", "Reading the file takes longer than is allowed."))

    def _next(self, worker: _Worker) -> None:
        """Give it a batch, if there is one left."""
        if not self._batches:
            return
        if worker.segment is not None and worker.segment.size() > _SEGMENT_BYTES:
            self._seal(worker)
        if worker.segment is None:
            worker.segment = _Segment()
            self._segments.append(worker.segment)
        worker.pending, worker.at = self._batches.popleft(), -1
        sources = [self._sources[place] for place in worker.pending]
        batch = Batch(sources, self._modality, self._limits, _SEGMENT_BYTES)
        worker.deadline = time.monotonic() + (self._limits.seconds if worker.ready else _START_SECONDS)
        try:
            send(worker.channel, json.dumps(batch.plain()), worker.segment.descriptor)
        except OSError:
            self._ended(worker)

    def _hear(self, worker: _Worker) -> None:
        """Take in what a worker says."""
        try:
            heard = worker.channel.recv(2**20)
            if not heard:
                raise BrokenWorkerError
            worker.heard += heard
            while (said := split(worker.heard, _REPLIES if worker.ready else _HELLO)) is not None:
                worker.ready = True
                worker.deadline = time.monotonic() + self._limits.seconds
                if isinstance(said, Replies):
                    self._noted(worker, said)
        except (OSError, BrokenWorkerError):
            self._ended(worker)

    def _noted(self, worker: _Worker, said: Replies) -> None:
        done = len(said.replies)
        if worker.segment is None or not 0 < done <= len(worker.pending):
            raise BrokenWorkerError
        starts(worker.progress)  # of this batch: no longer of interest
        worker.fresh = False
        answered, worker.pending = worker.pending[:done], worker.pending[done:]
        for place, reply in zip(answered, said.replies, strict=True):
            if reply.rejected is not None:
                self._outcomes[place] = Outcome(rejected=InputRejected(*reply.rejected))
            worker.segment.replies.append((place, reply))
        if said.leaving:
            self._replace(worker)
        else:
            if worker.pending:  # its segment is full
                self._batches.appendleft(worker.pending)
                worker.pending = []
            self._next(worker)

    def _ended(self, worker: _Worker) -> None:
        """A worker crashed: over its file if it had seen no other, else that file is read again by itself."""
        if not worker.ready:
            raise InputRejected("no-worker", "The process that reads files could not be started.")
        worker.look(self._limits.seconds)
        if worker.fresh and worker.at <= 0:
            self._lost(worker, _crashed())
        else:
            at = max(0, worker.at)
            suspect, others = worker.pending[at : at + 1], worker.pending[:at] + worker.pending[at + 1 :]
            worker.pending = []
            self._batches.extendleft(batch for batch in (others, suspect) if batch)  # the suspect is read next
            self._replace(worker)

    def _lost(self, worker: _Worker, rejected: InputRejected) -> None:
        """Refuse the file that a worker was at, and go on without it."""
        if worker.pending:
            self._outcomes[worker.pending.pop(max(0, worker.at))] = Outcome(rejected=rejected)
        self._replace(worker)

    def _replace(self, worker: _Worker) -> None:
        """Another worker in its place, for the files that it has not answered for."""
        if worker.pending:
            self._batches.appendleft(worker.pending)
        worker.pending = []
        self._seal(worker)
        self._selector.unregister(worker.channel)
        self._workers.remove(worker)
        self._workers.append(self._pool.replace(worker))
        self._start(self._workers[-1])

    def _seal(self, worker: _Worker) -> None:
        """Turn what a worker said of its segment into frames. One that said what is not so counts as crashed."""
        segment, worker.segment = worker.segment, None
        if segment is None:
            return
        try:
            memory = segment.mapped()
        except BrokenWorkerError:
            memory = memoryview(b"")
        for place, reply in segment.replies:
            if reply.rejected is None:
                try:
                    self._outcomes[place] = Outcome(read=unpack_read(reply, memory))
                except BrokenWorkerError:
                    self._outcomes[place] = Outcome(rejected=_crashed())


def _crashed() -> InputRejected:
    return InputRejected("crashed", "The file made the process that reads it end.")


def _batched(sources: Sequence[Source], workers: int) -> list[list[int]]:
    """Places of files in batches: large, so that they cost little, and small at the end, so that no worker waits."""
    batches: list[list[int]] = []
    start = 0
    while start < len(sources):
        size = max(1, min(_BATCH_FILES, (len(sources) - start) // (2 * workers)))
        batches.append(list(range(start, min(start + size, len(sources)))))
        start += size
    return batches
