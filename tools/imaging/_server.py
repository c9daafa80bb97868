"""The processes that read untrusted files: a small server that is started once, and the workers that it forks.

The server imports the readers, gives up the network, then forks a worker for each `Launch`: a new worker costs
milliseconds, which is what makes it cheap to kill one. It is started anew, not forked from the caller, which may have
threads and locks. When the caller ends, its socket closes and the server ends with all its workers.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import signal
import socket

import numpy as np

from medloupe.errors import InputRejected
from medloupe.prompts import give
from medloupe.tools.imaging._channel import Batch, Launch, began, receive, send
from medloupe.tools.imaging._plain import as_json
from medloupe.tools.imaging._sandbox import cap_memory, shut_network
from medloupe.tools.imaging.frame import Frame
from medloupe.tools.imaging.reading import TALKATIVE, Read, read_source
from medloupe.tools.imaging.sources import Source
from medloupe.tools.imaging.store import digest_of

__all__ = ["serve"]


def serve(descriptor: int) -> None:
    """Serve the socket of that number until it closes."""
    channel = socket.socket(fileno=descriptor)
    message = receive(channel)
    if message is None:
        return
    give(json.loads(message[0]))
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # for good
    gc.enable()
    gc.freeze()  # so that collections in workers do not copy the pages they share
    send(channel, as_json({"network": shut_network()}))
    workers: dict[int, int] = {}
    while (message := receive(channel)) is not None:
        launch, theirs = Launch(*json.loads(message[0])), message[1]
        if launch.end:
            _end(workers.pop(launch.worker, None))
        else:
            workers[launch.worker] = pid = os.fork()
            if not pid:
                channel.close()
                ours, progress = theirs
                _work(ours, progress, launch.memory_bytes)
            for descriptor in theirs:
                os.close(descriptor)
    for pid in workers.values():
        _end(pid)


def _end(pid: int | None) -> None:
    """Until it is waited for here, a child's number is not given to another process."""
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _work(descriptor: int, pipe: int, memory_bytes: int) -> None:
    """A worker's whole life; does not return."""
    with contextlib.suppress(BaseException):  # whatever it is, the other side sees the socket close
        cap_memory(memory_bytes)
        channel = socket.socket(fileno=descriptor)
        send(channel, as_json({}))
        while (message := receive(channel)) is not None:
            batch, (segment,) = Batch.of(message[0]), message[1]
            replies, leaving = _replies(batch, segment, pipe)
            os.close(segment)
            send(channel, f'{{"replies":[{",".join(replies)}],"leaving":{as_json(leaving)}}}')
            if leaving:
                break
    os._exit(0)


def _replies(batch: Batch, segment: int, pipe: int) -> tuple[list[str], bool]:
    """What the files of a batch gave, up to one that fills the segment or after which the worker is not used again, and
    whether it is not."""
    replies: list[str] = []
    for source in batch.sources:
        began(pipe)
        reply, leaving = _answer(source, batch, segment)
        replies.append(reply)
        if leaving or os.fstat(segment).st_size > batch.segment_bytes:
            return replies, leaving
    return replies, False


def _answer(source: Source, batch: Batch, segment: int) -> tuple[str, bool]:
    """What reading one file gave, and whether the worker is to end: after anything but a plain rejection."""
    try:
        read = read_source(source, batch.modality, batch.limits)
        return as_json({} if read is None else _packed(read, segment)), False
    except InputRejected as error:
        return _rejected(error.code, error.reason), _met(error, MemoryError)
    except (OSError, ValueError):
        return _rejected("unreadable", "The file cannot be read."), True
    except MemoryError:
        return _rejected("too-large", "The file needs more memory than is allowed."), True
    except BaseException:  # noqa: BLE001 - a fault of a reader; a panic in Rust is no Exception
        return _rejected("undecodable", "The file is damaged and cannot be read."), True


def _rejected(code: str, reason: str) -> str:
    return as_json({"rejected": (code, reason)})


def _packed(read: Read, segment: int) -> dict[str, object]:
    """A file's frames, with their values appended to the segment (a file descriptor)."""
    facts = {name: held for name, held in vars(read).items() if name != "frames"}
    return {"read": facts, "frames": [_packed_frame(frame, segment) for frame in read.frames]}


def _packed_frame(frame: Frame, segment: int) -> dict[str, object]:
    values = np.ascontiguousarray(frame.values, dtype=frame.values.dtype.newbyteorder("<"))
    offset = os.lseek(segment, 0, os.SEEK_END)
    rest = values.data.cast("B")
    while len(rest):
        rest = rest[os.write(segment, rest) :]
    facts = {name: held for name, held in vars(frame).items() if name != "values"}
    return facts | {"dtype": values.dtype.str, "offset": offset, "digest": digest_of(values)}


def _met(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__
    return error is not None
