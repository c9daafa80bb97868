"""How the loader and the processes that read for it speak: JSON, with open files beside it, and what the loader says.

A message is its length (4 bytes, big-endian) and UTF-8 JSON. What is said here the loader says, which is believed; the
answers are in wire.py. Both ends load this module, so nothing here may take long to import.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import time
from pathlib import Path
from typing import Any, NamedTuple, Self

from medloupe.limits import Limits
from medloupe.tools.imaging.slide import Part, Stamp
from medloupe.tools.imaging.sources import Source

__all__ = ["LENGTH", "Batch", "Launch", "began", "receive", "send", "starts"]

LENGTH = struct.Struct("!I")
_STARTED = struct.Struct("!d")


class Launch(NamedTuple):
    """To the server: make a worker of this number, or end it. A new one's socket and progress pipe come with it."""

    worker: int
    memory_bytes: int = 0
    end: bool = False


class Batch(NamedTuple):
    """To a worker, with the descriptor of the segment to append pixels to."""

    sources: list[Source]
    modality: str | None
    limits: Limits
    segment_bytes: int
    """A segment that is larger after a file is full: the rest of the batch is left to be given out again."""

    def plain(self) -> list[object]:
        """As JSON holds it. A path's bytes pass as Latin-1: names need not be UTF-8."""
        listed = [
            (
                *(os.fsencode(text).decode("latin-1") for text in (source.path, source.suffix)),
                source.entry,
                source.number,
                None if source.part is None else source.part.model_dump(),
            )
            for source in self.sources
        ]
        return [listed, self.modality, self.limits.model_dump(), self.segment_bytes]

    @classmethod
    def of(cls, said: bytes) -> Self:
        """From JSON."""
        listed, modality, limits, segment_bytes = json.loads(said)
        return cls([_source(*one) for one in listed], modality, Limits(**limits), segment_bytes)


def _source(path: str, suffix: str, entry: int | None, number: int, part: dict[str, Any] | None) -> Source:
    path, suffix = (os.fsdecode(text.encode("latin-1")) for text in (path, suffix))
    asked = None if part is None else _part(part)
    return Source(path=Path(path), entry=entry, suffix=suffix, number=number, part=asked)


def _part(said: dict[str, Any]) -> Part:
    return Part(level=said["level"], box=tuple(said["box"]), stamp=Stamp(**said["stamp"]))


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


def send(channel: socket.socket, message: str, *descriptors: int) -> None:
    """Send one message, and open files with it."""
    body = message.encode()
    data = LENGTH.pack(len(body)) + body
    if descriptors:
        sent = socket.send_fds(channel, [data], list(descriptors))
        data = data[sent:]
    channel.sendall(data)


def receive(channel: socket.socket) -> tuple[bytes, list[int]] | None:
    """The next message and the open files that came with it (trusted senders only); None at the end."""
    data, descriptors, _, _ = socket.recv_fds(channel, LENGTH.size, 2)
    if not data:
        return None
    while len(data) < LENGTH.size:
        data += channel.recv(LENGTH.size - len(data)) or _ended()
    body = bytearray()
    while len(body) < LENGTH.unpack(data)[0]:
        body += channel.recv(min(2**20, LENGTH.unpack(data)[0] - len(body))) or _ended()
    return bytes(body), descriptors


def _ended() -> bytes:
    raise EOFError
