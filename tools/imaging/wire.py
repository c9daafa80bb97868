"""What passes between the loader and its workers: JSON of checked, plain data; pixels lie in shared memory beside it.

A message is its length (4 bytes, big-endian) and UTF-8 JSON. Nothing that a worker says is trusted: it is validated
against these types, and a worker that says anything else counts as crashed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import socket
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_type_hints

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError, create_model

from medloupe.limits import Limits
from medloupe.tools.imaging.frame import Frame, Values
from medloupe.tools.imaging.reading import Read
from medloupe.tools.imaging.slide import Part
from medloupe.tools.imaging.sources import Source
from medloupe.tools.imaging.store import digest_of
from medloupe.types import Frozen

__all__ = [
    "Batch",
    "BrokenWorkerError",
    "Hello",
    "Launch",
    "Replies",
    "Reply",
    "Start",
    "Task",
    "began",
    "pack_read",
    "receive",
    "send",
    "split",
    "starts",
    "unpack_read",
]  # fmt: skip

_LENGTH = struct.Struct("!I")
_STARTED = struct.Struct("!d")
_MAX_MESSAGE = 2**28
_Text = Annotated[str, Field(max_length=1000)]
_Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class BrokenWorkerError(Exception):
    """A worker ended, or said what it must not."""


class Start(Frozen):
    """To the server, first of all."""

    knowledge: dict[str, dict[str, Any]]
    """Tables of medloupe.prompts that reading needs."""


class Launch(Frozen):
    """To the server: make a worker of this number, or end it. A new one's socket and progress pipe come with it."""

    worker: int
    memory_bytes: int = 0
    end: bool = False


class Hello(Frozen):
    """From the server, and from each worker, once it is ready."""

    network: str | None = None


class Task(Frozen):
    """One file to read; `Source` in plain types."""

    path: str
    """The path's bytes as Latin-1: names need not be UTF-8, JSON must be."""
    entry: int | None
    suffix: str
    number: int
    part: Part | None = None

    @classmethod
    def of(cls, source: Source) -> Task:
        """From a source."""
        path, suffix = (os.fsencode(text).decode("latin-1") for text in (source.path, source.suffix))
        return cls(path=path, entry=source.entry, suffix=suffix, number=source.number, part=source.part)

    def source(self) -> Source:
        """The source again."""
        path, suffix = (os.fsdecode(text.encode("latin-1")) for text in (self.path, self.suffix))
        return Source(path=Path(path), entry=self.entry, suffix=suffix, number=self.number, part=self.part)


class Batch(Frozen):
    """To a worker, with the descriptor of the segment to append pixels to."""

    tasks: tuple[Task, ...]
    modality: str | None
    limits: Limits


class _Place(Frozen):
    """Where in the segment a frame's values lie."""

    dtype: Literal["<i2", "<i4", "<f4", "|u1"]
    offset: int = Field(ge=0)
    digest: _Digest


def _facts_of(kind: type, base: type[Frozen], *, without: set[str]) -> Any:
    """A model of a dataclass's fields, so that what a reader adds to one is passed on and checked."""
    hints = get_type_hints(kind)
    fields: dict[str, Any] = {
        f.name: (hints[f.name], ... if f.default is dataclasses.MISSING else f.default)
        for f in dataclasses.fields(kind)
        if f.name not in without
    }
    return create_model(f"{kind.__name__}Facts", __base__=base, **fields)


_FRAME_FACTS = _facts_of(Frame, _Place, without={"values", "digest"})
_READ_FACTS = _facts_of(Read, Frozen, without={"frames"})
if TYPE_CHECKING:  # a type checker cannot follow models that are made as they run
    _FrameFacts: TypeAlias = Any
    _ReadFacts: TypeAlias = Any
else:
    _FrameFacts, _ReadFacts = _FRAME_FACTS, _READ_FACTS


class Reply(Frozen):
    """What one file gave."""

    read: _ReadFacts | None = None
    """None when the file is of no kind that is read, or was rejected."""
    frames: tuple[_FrameFacts, ...] = ()
    rejected: tuple[_Text, _Text] | None = None
    """Code and reason of an InputRejected."""


class Replies(Frozen):
    """From a worker, one a batch: its files' in order, all of them unless it leaves."""

    replies: tuple[Reply, ...]
    leaving: bool = False
    """The worker ends after the last one: what it met may have damaged it."""


# --- frames ---------------------------------------------------------------------------------------------------------


def pack_read(read: Read, segment: int) -> Reply:
    """A file's frames, with their values appended to the segment (a file descriptor)."""
    frames = tuple(_pack_frame(frame, segment) for frame in read.frames)
    return Reply(read=_READ_FACTS.model_construct(**_others(read, _READ_FACTS)), frames=frames)


def _pack_frame(frame: Frame, segment: int) -> Any:
    values = np.ascontiguousarray(frame.values, dtype=frame.values.dtype.newbyteorder("<"))
    offset = os.lseek(segment, 0, os.SEEK_END)
    rest = values.data.cast("B")
    while len(rest):
        rest = rest[os.write(segment, rest) :]
    place = {"dtype": values.dtype.str, "offset": offset, "digest": digest_of(values)}
    return _FRAME_FACTS.model_construct(**(_others(frame, _FRAME_FACTS) | place))


def unpack_read(reply: Reply, memory: memoryview) -> Read | None:
    """The frames as read-only views of the segment; BrokenWorkerError when they do not lie in it."""
    if reply.read is None:
        return None
    others = _others(reply.read, _READ_FACTS)
    return Read(frames=[_unpack_frame(facts, memory) for facts in reply.frames], **others)


def _unpack_frame(facts: Any, memory: memoryview) -> Frame:
    draft, kind = facts.draft, np.dtype(facts.dtype)
    shape = (draft.height, draft.width, 3) if draft.values == "RGB" else (draft.height, draft.width)
    count = math.prod(shape)
    if (draft.values == "RGB") != (facts.dtype == "|u1") or facts.offset + count * kind.itemsize > len(memory):
        raise BrokenWorkerError
    values: Values = np.frombuffer(memory, kind, count, facts.offset).reshape(shape)
    return Frame(values=values, **_others(facts, _FRAME_FACTS))


def _others(thing: object, facts: Any) -> dict[str, Any]:
    """The fields that are passed on as they are."""
    left_out = _Place.model_fields if isinstance(thing, Frame) else {"dtype", "offset"}
    return {name: getattr(thing, name) for name in facts.model_fields if name not in left_out}


# --- progress -------------------------------------------------------------------------------------------------------


def began(pipe: int) -> None:
    """Note, for a caller who may have to ask, that a worker begins with the next file."""
    os.write(pipe, _STARTED.pack(time.monotonic()))


def starts(pipe: int) -> list[float]:
    """When a worker began with each file since this was last asked, by the monotonic clock; not waited for."""
    with contextlib.suppress(BlockingIOError):
        said = os.read(pipe, 2**16)
        whole = len(said) - len(said) % _STARTED.size
        return [min(at, time.monotonic()) for (at,) in _STARTED.iter_unpack(said[:whole])]
    return []


# --- messages -------------------------------------------------------------------------------------------------------


def send(channel: socket.socket, message: Frozen, *descriptors: int) -> None:
    """Send one message, and open files with it."""
    body = message.model_dump_json().encode()
    data = _LENGTH.pack(len(body)) + body
    if descriptors:
        sent = socket.send_fds(channel, [data], list(descriptors))
        data = data[sent:]
    channel.sendall(data)


def receive(channel: socket.socket) -> tuple[bytes, list[int]] | None:
    """The next message and the open files that came with it (trusted senders only); None at the end."""
    data, descriptors, _, _ = socket.recv_fds(channel, _LENGTH.size, 2)
    if not data:
        return None
    while len(data) < _LENGTH.size:
        data += channel.recv(_LENGTH.size - len(data)) or _ended()
    body = bytearray()
    while len(body) < _LENGTH.unpack(data)[0]:
        body += channel.recv(min(2**20, _LENGTH.unpack(data)[0] - len(body))) or _ended()
    return bytes(body), descriptors


def _ended() -> bytes:
    raise EOFError


def split(buffer: bytearray, kind: TypeAdapter[Replies | Hello]) -> Replies | Hello | None:
    """Take the first whole message off what a worker has sent so far; None while there is none."""
    if len(buffer) < _LENGTH.size:
        return None
    length = _LENGTH.unpack(buffer[: _LENGTH.size])[0]
    if length > _MAX_MESSAGE:
        raise BrokenWorkerError
    if len(buffer) < _LENGTH.size + length:
        return None
    body = bytes(buffer[_LENGTH.size : _LENGTH.size + length])
    del buffer[: _LENGTH.size + length]
    try:
        return kind.validate_json(body)
    except ValidationError as error:
        raise BrokenWorkerError from error
