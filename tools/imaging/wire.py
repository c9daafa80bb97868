"""What workers answer: JSON of plain data, checked here; pixels lie in shared memory beside it.

Nothing that a worker says is trusted: it is validated against these types, and a worker that says anything else counts
as crashed.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_type_hints

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError, create_model

from medloupe.tools.imaging._channel import LENGTH
from medloupe.tools.imaging.frame import Frame, Values
from medloupe.tools.imaging.reading import Read
from medloupe.types import Frozen

__all__ = ["BrokenWorkerError", "Hello", "Replies", "Reply", "split", "unpack_read"]

_MAX_MESSAGE = 2**28
_Text = Annotated[str, Field(max_length=1000)]
_Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class BrokenWorkerError(Exception):
    """A worker ended, or said what it must not."""


class Hello(Frozen):
    """From the server, and from each worker, once it is ready."""

    network: str | None = None


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
    """From a worker, one a batch: its files' in order, all of them unless its segment is full or it leaves."""

    replies: tuple[Reply, ...]
    leaving: bool = False
    """The worker ends after the last one: what it met may have damaged it."""


# --- frames ---------------------------------------------------------------------------------------------------------


def unpack_read(reply: Reply, memory: memoryview) -> Read | None:
    """The frames as read-only views of the segment; BrokenWorkerError when they do not lie in it."""
    if reply.read is None:
        return None
    return Read(frames=[_unpack_frame(facts, memory) for facts in reply.frames], **dict(reply.read))


def _unpack_frame(facts: Any, memory: memoryview) -> Frame:
    draft, kind = facts.draft, np.dtype(facts.dtype)
    shape = (draft.height, draft.width, 3) if draft.values == "RGB" else (draft.height, draft.width)
    count = math.prod(shape)
    if (draft.values == "RGB") != (facts.dtype == "|u1") or facts.offset + count * kind.itemsize > len(memory):
        raise BrokenWorkerError
    values: Values = np.frombuffer(memory, kind, count, facts.offset).reshape(shape)
    return Frame(values=values, **{name: held for name, held in facts if name not in ("dtype", "offset")})


# --- messages -------------------------------------------------------------------------------------------------------


def split(buffer: bytearray, kind: TypeAdapter[Replies | Hello]) -> Replies | Hello | None:
    """Take the first whole message off what a worker has sent so far; None while there is none."""
    if len(buffer) < LENGTH.size:
        return None
    length = LENGTH.unpack(buffer[: LENGTH.size])[0]
    if length > _MAX_MESSAGE:
        raise BrokenWorkerError
    if len(buffer) < LENGTH.size + length:
        return None
    body = bytes(buffer[LENGTH.size : LENGTH.size + length])
    del buffer[: LENGTH.size + length]
    try:
        return kind.validate_json(body)
    except ValidationError as error:
        raise BrokenWorkerError from error
