"""What `medloupe ask` and `medloupe chat` do once the command line is read. Everything heavy is imported here."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from medloupe.apps.chat import Chat
from medloupe.apps.session import RunFolder, Session, answer_json
from medloupe.apps.terminal import Terminal
from medloupe.errors import InputRejected, MedloupeError
from medloupe.settings import Settings

__all__ = ["INTERRUPTED", "Say", "run_ask", "run_chat"]

INTERRUPTED = 130
Say = Callable[[str], None]
"""Prints one line of error on stderr."""


def run_ask(settings: Settings, study: Path, question: str, *, image: int | None, as_json: bool, say: Say) -> int:
    """One question; returns the exit code. Failed or stopped, the partial trace stays and the error says where."""
    console = Console(stderr=as_json, highlight=False, markup=False, emoji=False)
    with asyncio.Runner() as runner:
        session, folder = Session(settings, study=study, image=image), None
        try:
            runner.run(session.__aenter__())
            folder = RunFolder(settings.out / session.run, session.store.get_png)
            with folder, Terminal(console, session.resources.budget) as terminal:
                answer = runner.run(session.ask(question, terminal.show, folder))
        except KeyboardInterrupt:
            _leave(f"interrupted{_kept(folder)}", say)
        except MedloupeError as error:
            about = f"{study}: " if isinstance(error, InputRejected) else ""
            say(f"{about}{error}{_kept(folder)}")
            return error.exit_code
        finally:
            runner.run(session.__aexit__())
    terminal.answer(answer, {"report": folder.path / "report.html", "folder": folder.path})
    if as_json:
        sys.stdout.buffer.write(answer_json(answer))
        sys.stdout.flush()
    return 0


def run_chat(settings: Settings, study: Path | None, run: str | None, *, say: Say) -> int:
    """A conversation; returns the exit code."""
    console = Console(highlight=False, markup=False, emoji=False)
    with asyncio.Runner() as runner:
        session = Session(settings, study=study, run=run)
        try:
            runner.run(session.__aenter__())
            return Chat(session, runner, console, say).run()
        except KeyboardInterrupt:
            _leave(f"interrupted; resume with: medloupe chat --session {session.run}", say)
        finally:
            runner.run(session.__aexit__())


def _kept(folder: RunFolder | None) -> str:
    """Where the partial trace is, if there is one."""
    trace = folder.files.get("trace") if folder else None
    return f" (what was done until then: {trace})" if trace else ""


def _leave(message: str, say: Say) -> NoReturn:
    """End now. An ordinary exit would wait for the threads that still segment or generate, minutes perhaps.

    Every line of the traces is flushed, and the checkpoints are as safe as after a kill.
    """
    say(message)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(INTERRUPTED)
