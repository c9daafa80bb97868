"""Where pixels live: under a digest of their content, in memory or on disk, never in graph state."""

from __future__ import annotations

import hashlib
import io
import os
import re
import tempfile
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from blake3 import blake3

from medloupe.tools.imaging.frame import Values
from medloupe.tools.imaging.slide import Pyramid
from medloupe.types import Study

__all__ = ["DiskStore", "ImageStore", "MemoryStore", "digest_of"]

_DIGEST = re.compile(r"[0-9a-f]{64}")


@runtime_checkable
class ImageStore(Protocol):
    """Content-addressed. Every `get` raises KeyError for what is absent; arrays come back read-only."""

    def put(self, values: Values, *, digest: str | None = None) -> str:
        """Keep an image's values; their digest (BLAKE3 over type, shape and bytes).

        A caller who names the digest gives the array away: it is kept as it is, not copied, and must never change.
        """
        ...

    def get(self, digest: str) -> Values:
        """An image's values, read-only."""
        ...

    def put_pyramid(self, digest: str, pyramid: Pyramid) -> None:
        """Keep where a slide's pixels lie, under its image's digest; what was kept there goes."""
        ...

    def get_pyramid(self, digest: str) -> Pyramid:
        """Where a slide's pixels lie."""
        ...

    def put_png(self, png: bytes) -> str:
        """Keep an encoded view; the sha-256 of its bytes."""
        ...

    def get_png(self, digest: str) -> bytes:
        """An encoded view, byte for byte what was kept."""
        ...

    def put_study(self, study: Study) -> None:
        """Keep a study under its id."""
        ...

    def get_study(self, id: str) -> Study:  # noqa: A002 - Study.id
        """A study."""
        ...


def digest_of(values: Values) -> str:
    """BLAKE3 over little-endian type, shape and C-ordered bytes: the same numbers, the same digest on any machine.

    As strong as sha-256 and, where every slice of a study is hashed, a third of its time (docs/adr/0005).
    """
    plain = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    digest = blake3(f"{plain.dtype.str}{plain.shape}".encode())
    digest.update(plain.data.cast("B"))
    return digest.hexdigest()


def _locked(values: Values, digest: str | None) -> Values:
    """A read-only copy, or the values themselves where they come with their digest."""
    kept = values if digest else np.array(values, order="C")
    kept.flags.writeable = False
    return kept


class MemoryStore:
    """Everything in memory, for as long as the process lives. Thread-safe."""

    def __init__(self) -> None:
        self._values: dict[str, Values] = {}
        self._pyramids: dict[str, Pyramid] = {}
        self._png: dict[str, bytes] = {}
        self._studies: dict[str, Study] = {}

    def put(self, values: Values, *, digest: str | None = None) -> str:
        """Keep an image's values."""
        key = digest or digest_of(values)
        if key not in self._values:
            self._values[key] = _locked(values, digest)
        return key

    def get(self, digest: str) -> Values:
        """An image's values, read-only."""
        return self._values[digest]

    def put_pyramid(self, digest: str, pyramid: Pyramid) -> None:
        """Keep where a slide's pixels lie."""
        self._pyramids[digest] = pyramid

    def get_pyramid(self, digest: str) -> Pyramid:
        """Where a slide's pixels lie."""
        return self._pyramids[digest]

    def put_png(self, png: bytes) -> str:
        """Keep an encoded view."""
        digest = hashlib.sha256(png).hexdigest()
        self._png[digest] = png
        return digest

    def get_png(self, digest: str) -> bytes:
        """An encoded view."""
        return self._png[digest]

    def put_study(self, study: Study) -> None:
        """Keep a study."""
        self._studies[study.id] = study

    def get_study(self, id: str) -> Study:  # noqa: A002 - Study.id
        """A study."""
        return self._studies[id]


class DiskStore:
    """On disk under `root`, folders mode 0700 and files 0600, so that a resumed session finds what it had seen.

    Files are written whole or not at all, checked against their digest when read, and hold no pickle. A small
    least-recently-used cache stands in front of the values. Thread-safe; several processes may share a root.
    """

    def __init__(self, root: str | Path, *, cache_bytes: int = 2**28) -> None:
        self.root = Path(root)
        self._cache: OrderedDict[str, Values] = OrderedDict()
        self._cache_bytes = cache_bytes
        self._lock = threading.Lock()
        for folder in (self.root, *(self.root / name for name in ("values", "slides", "views", "studies"))):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)

    def put(self, values: Values, *, digest: str | None = None) -> str:
        """Keep an image's values."""
        key = digest or digest_of(values)
        kept = _locked(values, digest)
        path = self._path("values", key, ".npy")
        if not path.exists():
            buffer = io.BytesIO()
            np.save(buffer, kept, allow_pickle=False)
            _write(path, buffer.getbuffer())
        self._remember(key, kept)
        return key

    def get(self, digest: str) -> Values:
        """An image's values, read-only."""
        with self._lock:
            if digest in self._cache:
                self._cache.move_to_end(digest)
                return self._cache[digest]
        data = self._read("values", digest, ".npy")
        try:
            values: Values = np.load(io.BytesIO(data), allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise KeyError(digest) from error
        if digest_of(values) != digest:
            raise KeyError(digest)
        self._remember(digest, _locked(values, digest))
        return values

    def put_pyramid(self, digest: str, pyramid: Pyramid) -> None:
        """Keep where a slide's pixels lie: its file is not copied."""
        _write(self._path("slides", digest, ".json"), pyramid.model_dump_json().encode())

    def get_pyramid(self, digest: str) -> Pyramid:
        """Where a slide's pixels lie."""
        return Pyramid.model_validate_json(self._read("slides", digest, ".json"))

    def put_png(self, png: bytes) -> str:
        """Keep an encoded view."""
        digest = hashlib.sha256(png).hexdigest()
        path = self._path("views", digest, ".png")
        if not path.exists():
            _write(path, png)
        return digest

    def get_png(self, digest: str) -> bytes:
        """An encoded view."""
        png = self._read("views", digest, ".png")
        if hashlib.sha256(png).hexdigest() != digest:
            raise KeyError(digest)
        return png

    def put_study(self, study: Study) -> None:
        """Keep a study."""
        _write(self._path("studies", study.id, ".json"), study.model_dump_json().encode())

    def get_study(self, id: str) -> Study:  # noqa: A002 - Study.id
        """A study."""
        return Study.model_validate_json(self._read("studies", id, ".json"))

    def _path(self, folder: str, digest: str, suffix: str) -> Path:
        if not _DIGEST.fullmatch(digest):  # so that no name leads out of the root
            raise KeyError(digest)
        return self.root / folder / f"{digest}{suffix}"

    def _read(self, folder: str, digest: str, suffix: str) -> bytes:
        try:
            return self._path(folder, digest, suffix).read_bytes()
        except FileNotFoundError as error:
            raise KeyError(digest) from error

    def _remember(self, digest: str, values: Values) -> None:
        with self._lock:
            self._cache[digest] = values
            self._cache.move_to_end(digest)
            held = sum(v.nbytes for v in self._cache.values())
            while held > self._cache_bytes and len(self._cache) > 1:
                held -= self._cache.popitem(last=False)[1].nbytes


def _write(path: Path, data: bytes | memoryview) -> None:
    """Whole or not at all: into a temporary file (mode 0600) beside it, then renamed over it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
