"""loupe-tiny behind `medloupe serve-tiny`, in a process of its own, for as long as a block lasts."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from medloupe.errors import BackendMissing, ModelError
from medloupe.models.tiny import NAME

__all__ = ["ServedTiny"]

_STARTS_S = 300.0
"""Longest wait: torch and transformers are imported, which takes a busy machine minutes."""
_ENDS_S = 20.0


class ServedTiny:
    """The server; use as a context manager. Its words say on what device it is, in which dtype, by which processor."""

    def __init__(self, folder: Path, *, device: str = "auto") -> None:
        self._folder, self._device = folder, device
        self._process: subprocess.Popen[bytes] | None = None
        self.model = folder.resolve().name
        """What it calls its model."""
        self.url = ""
        """Base URL for a client, once entered."""
        self.said = ""
        """What it said until it was ready."""

    @property
    def placed(self) -> str:
        """Device, dtype and image processor, in its words."""
        found = re.search(rf"^{NAME} on (.*)$", self.said, re.MULTILINE)
        return found[1] if found else ""

    def __enter__(self) -> Self:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [
            sys.executable, "-m", "medloupe", "serve-tiny", "--folder", str(self._folder), "--port", str(port),
            "--device", self._device,
        ]  # fmt: skip
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log)  # noqa: S603 - our own module
        self.url = f"http://127.0.0.1:{port}/v1"
        try:
            self._wait(f"http://127.0.0.1:{port}/health")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _wait(self, health: str) -> None:
        import httpx2

        until = time.monotonic() + _STARTS_S
        with httpx2.Client(trust_env=False) as client:
            while time.monotonic() < until:
                assert self._process is not None
                if self._process.poll() is not None:
                    raise BackendMissing(f"the server of {NAME} ({self._words().strip()[-300:]})", "medloupe[local]")
                try:
                    if client.get(health).status_code == 200:
                        self.said = self._words()
                        return
                except httpx2.TransportError:  # it does not listen yet
                    pass
                time.sleep(0.1)
        raise ModelError(f"the server of {NAME} did not start within {_STARTS_S:.0f} s")

    def _words(self) -> str:
        self._log.seek(0)
        return self._log.read().decode("utf-8", "replace")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(_ENDS_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._log.close()
