"""`medloupe chat`: questions of one study in turn, which remembers the views already taken."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from medloupe.apps import wording
from medloupe.apps.session import Session
from medloupe.apps.terminal import Terminal, regions_table, why
from medloupe.errors import MedloupeError, UsageError
from medloupe.types import RESEARCH_LABEL

__all__ = ["Chat"]

HELP = (
    ("/regions", "the views and regions so far"),
    ("/why C3", "what a claim stands on"),
    ("/save [DIR]", "write every answer so far, trace.jsonl, views and report.html"),
    ("/help", "this list"),
    ("/quit", "leave; the session can be resumed"),
)


class Chat:
    """One conversation at the prompt. `run` returns the exit code: that of the last question."""

    def __init__(
        self, session: Session, runner: asyncio.Runner, console: Console, report: Callable[[str], None]
    ) -> None:
        self._session, self._runner, self._console, self._report = session, runner, console, report
        self._terminal = Terminal(console, session.resources.budget)
        self._commands: dict[str, Callable[[str], None]] = {
            "/regions": self._regions,
            "/why": self._why,
            "/save": self._save,
            "/help": self._help,
        }

    def run(self) -> int:
        """Until /quit or the end of the input; KeyboardInterrupt at the prompt is the caller's."""
        self._terminal.line(f"session {self._session.run}. Ask, or /help. {RESEARCH_LABEL}")
        code = 0
        while (line := self._read()) is not None:
            text = line.strip()
            if text in ("/quit", "/exit"):
                break
            if text:
                code = self._carry_out(text)
        self._terminal.line(f"resume with: medloupe chat --session {self._session.run}")
        return code

    def _carry_out(self, text: str) -> int:
        try:
            if not text.startswith("/"):
                return self._ask(text)
            name, _, rest = text.partition(" ")
            command = self._commands.get(name)
            if command is None:
                raise UsageError(f"there is no command {name}; /help lists them")
            command(rest.strip())
        except MedloupeError as error:
            self._report(str(error))
            return error.exit_code
        return 0

    def _ask(self, question: str) -> int:
        try:
            with self._terminal:
                answer = self._runner.run(self._session.ask(question, self._terminal.show))
        except KeyboardInterrupt:
            self._report("question stopped; what was seen until then is kept")
            return 130
        self._terminal.answer(answer, {})
        return 0

    def _regions(self, _: str) -> None:
        if not self._session.answers:
            raise UsageError("nothing was looked at yet; ask something first")
        self._console.print(regions_table(self._session.answers[-1]))

    def _why(self, claim: str) -> None:
        known = {c.id: c for answer in self._session.answers for c in answer.claims}
        checked = known.get(claim.upper())
        if checked is None:
            raise UsageError(f"there is no claim {claim!r}; there are {', '.join(known) or 'none yet'}")
        table = Table.grid(padding=(0, 2))
        for name, value in why(checked):
            table.add_row(Text(name, style="bold"), Text(value))
        verdict = self._session.verdict(checked.id)
        for evidence in verdict.evidence if verdict else ():
            place = f" in {evidence.region.id}" if evidence.region else ""
            table.add_row(Text("evidence", style="bold"), Text(f"{evidence.tool} {evidence.version}{place}"))
            for quantity in evidence.quantities:
                words = f"{quantity.name.replace('_', ' ')} {wording.amount(quantity.value, quantity.unit)}"
                table.add_row("", Text(f"{words} ({quantity.method})"))
            if evidence.reply:
                table.add_row("", Text(f"“{wording.one_line(evidence.reply)}”"))
        self._console.print(table)

    def _save(self, folder: str) -> None:
        out = Path(folder).expanduser() if folder else self._session.settings.out
        saved = self._session.save(out)
        for name, path in saved.files.items():
            self._terminal.line(f"{name:<8} {path}")

    def _help(self, _: str) -> None:
        table = Table.grid(padding=(0, 3))
        for name, words in HELP:
            table.add_row(name, words)
        self._console.print(table)

    def _read(self) -> str | None:
        """The next line; None at the end of the input."""
        if sys.stdin.isatty():
            try:
                return input("> ")
            except EOFError:
                return None
        line = sys.stdin.readline()
        return line or None
