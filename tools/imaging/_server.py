"""The processes that read untrusted files: a small server that is started once, and the workers that it forks.

The server imports the readers, gives up the network, then forks a worker for each `Launch`: a new worker costs
milliseconds, which is what makes it cheap to kill one. It is started anew, not forked from the caller, which may have
threads and locks. When the caller ends, its socket closes and the server ends with all its workers.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import socket

from pydicom.pixels import get_decoder
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from medloupe.errors import InputRejected
from medloupe.prompts import give
from medloupe.tools.imaging._sandbox import cap_memory, shut_network
from medloupe.tools.imaging.reading import TALKATIVE, read_source
from medloupe.tools.imaging.wire import (
    Batch,
    Hello,
    Launch,
    Replies,
    Reply,
    Start,
    Task,
    began,
    pack_read,
    receive,
    send,
)

__all__ = ["serve"]


def serve(descriptor: int) -> None:
    """Serve the socket of that number until it closes."""
    channel = socket.socket(fileno=descriptor)
    message = receive(channel)
    if message is None:
        return
    give(Start.model_validate_json(message[0]).knowledge)
    _preload()
    gc.enable()
    gc.freeze()  # so that collections in workers do not copy the pages they share
    send(channel, Hello(network=shut_network()))
    workers: dict[int, int] = {}
    while (message := receive(channel)) is not None:
        launch, theirs = Launch.model_validate_json(message[0]), message[1]
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


def _preload() -> None:
    """Have at hand what the first file would wait for, and libraries' logs off for good."""
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    for syntax in (RLELossless, JPEG2000Lossless, JPEGLSLossless):
        get_decoder(syntax)


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
        send(channel, Hello())
        while (message := receive(channel)) is not None:
            batch, (segment,) = Batch.model_validate_json(message[0]), message[1]
            replies = _replies(batch, segment, pipe)
            os.close(segment)
            send(channel, replies)
            if replies.leaving:
                break
    os._exit(0)


def _replies(batch: Batch, segment: int, pipe: int) -> Replies:
    """What the files of a batch gave, up to one after which the worker is not used again."""
    replies: list[Reply] = []
    for task in batch.tasks:
        began(pipe)
        reply, leaving = _answer(task, batch, segment)
        replies.append(reply)
        if leaving:
            return Replies(replies=tuple(replies), leaving=True)
    return Replies.model_construct(replies=tuple(replies))


def _answer(task: Task, batch: Batch, segment: int) -> tuple[Reply, bool]:
    """What reading one file gave, and whether the worker is to end: after anything but a plain rejection."""
    try:
        read = read_source(task.source(), batch.modality, batch.limits)
        return (Reply() if read is None else pack_read(read, segment)), False
    except InputRejected as error:
        return Reply(rejected=(error.code, error.reason)), _met(error, MemoryError)
    except (OSError, ValueError):
        return Reply(rejected=("unreadable", "The file cannot be read.")), True
    except MemoryError:
        return Reply(rejected=("too-large", "The file needs more memory than is allowed.")), True
    except BaseException:  # noqa: BLE001 - a fault of a reader; a panic in Rust is no Exception
        return Reply(rejected=("undecodable", "The file is damaged and cannot be read.")), True


def _met(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__
    return error is not None
