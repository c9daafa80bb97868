"""The chain in the terminal, as it grows. Plain lines without a TTY, no colour under NO_COLOR, no trust in a text."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.panel import Panel
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from medloupe.agent.budget import Budget
from medloupe.agent.trace import TraceEvent
from medloupe.apps import wording
from medloupe.types import Answer, CheckedClaim, Claim, Observation, Region, Verdict, View

__all__ = ["Terminal", "regions_table", "why"]

_LABEL = 9
"""Columns that a line's label takes."""
_STYLES = {"good": "green", "bad": "red", "open": "yellow", "changed": "blue", "plain": "dim"}


class Terminal:
    """Shows one question after another; use as a context manager around each."""

    def __init__(self, console: Console, caps: Budget) -> None:
        self._console = console
        self._caps = caps
        self._progress: Progress | None = None
        self._looks = self._calls = 0
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        self._looks = self._calls = 0
        self._started = time.monotonic()
        if self._console.is_terminal:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
            self._progress = Progress(*columns, console=self._console, transient=True)
            self._progress.add_task(self._used())
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._progress:
            self._progress.stop()
            self._progress = None

    def show(self, event: TraceEvent) -> None:
        """One step of the chain; steps that a person need not see only move the counters."""
        data = event.data
        match event.event:
            case "open":
                self._open(data)
            case "plan":
                self._plan(data)
            case "look":
                self._look(data)
            case "describe":
                self._describe(Observation.model_validate(data["observation"]))
            case "verdict":
                self._verdict(Claim.model_validate(data["claim"]), Verdict.model_validate(data["verdict"]))
            case "warning":
                self.row("warning", str(data["message"]), "yellow")
            case "call":
                self._calls += 1
        if self._progress:
            self._progress.update(self._progress.task_ids[0], description=self._used())

    def answer(self, answer: Answer, files: Mapping[str, Path]) -> None:
        """The final panel, what was spent, the warnings, the label, and where the files are."""
        self._statements(answer)
        text = Text(wording.clean(answer.answer))
        outcome = wording.headline(answer)
        if sure := wording.confidence_words(answer):
            outcome += f" · {sure}"
        if self._console.is_terminal:
            self._console.print(
                Panel(text, title="Answer", title_align="left", subtitle=outcome, subtitle_align="left")
            )
        else:
            self.row("answer", answer.answer)
            self.row("", outcome)
        for warning in answer.warnings:
            self.row("warning", warning, "yellow")
        spent = ", ".join(f"{name} {used}" for name, used in wording.budget_words(answer.budget))
        self.row("budget", spent, "dim")
        for name, path in files.items():
            self.row(name, str(path), "bold")
        self.line(answer.label, "bold")

    def line(self, text: str, style: str = "") -> None:
        """One line of ours."""
        self._console.print(Text(text, style), soft_wrap=not self._console.is_terminal)

    def row(self, label: str, content: Text | str, style: str = "bold") -> None:
        """A labelled line; on a terminal it wraps beside its label, elsewhere it stays one line of a file."""
        text = content if isinstance(content, Text) else Text(wording.one_line(content))
        if self._console.is_terminal:
            grid = Table.grid()
            grid.add_column(width=_LABEL)
            grid.add_column(overflow="fold")
            grid.add_row(Text(label, style), text)
            self._console.print(grid)
        else:
            self._console.print(Text.assemble((f"{label:<{_LABEL}}", style), text), soft_wrap=True)

    # --- steps ------------------------------------------------------------------------------------------------------

    def _open(self, data: Mapping[str, Any]) -> None:
        facts = wording.study_words(data["study"])
        self.row("study", " · ".join(f"{name} {value}" for name, value in facts), "bold")

    def _plan(self, data: Mapping[str, Any]) -> None:
        words = (
            "; ".join(_action_words(action) for action in data["actions"]) or f"enough: {data.get('reason') or 'done'}"
        )
        self.row("plan", f"{data['planner']}: {words}", "bold")

    def _look(self, data: Mapping[str, Any]) -> None:
        if data.get("view") is None:
            return
        view = View.model_validate(data["view"])
        self._looks += view.kind != "overview"
        region = Region.model_validate(data["region"]) if data.get("region") else None
        words = f"{wording.view_words(view)}, {wording.view_size(view)}"
        if region and region.predicted_iou is not None:
            words += f", outline rated {region.predicted_iou:.2f}"
        self.row("look", words, "cyan")

    def _describe(self, observation: Observation) -> None:
        said = Text.assemble((f"V{observation.view}: ", "dim"))
        if observation.fault:
            said.append(f"no description ({wording.one_line(observation.fault)})", style="yellow")
        else:
            said.append(wording.one_line(observation.text))
        self.row("", said)

    def _verdict(self, claim: Claim, verdict: Verdict) -> None:
        line = self._mark(verdict.verdict)
        line.append(f"{claim.id} {wording.claim_words(claim)}")
        line.append(f"  {wording.one_line(verdict.reason)}", style="dim")
        self.row("check", line, "magenta")

    def _statements(self, answer: Answer) -> None:
        """What was corrected or left out, before the answer that does not say it."""
        for statement in answer.statements:
            if statement.status == "supported":
                continue
            line = self._mark(statement.status)
            line.append(wording.one_line(statement.original or statement.text), style="strike")
            if statement.status == "corrected":
                line.append(f"  now: {wording.one_line(statement.text)}")
            line.append(f"  {wording.one_line(statement.reason)}", style="dim")
            self.row("revise", line, "magenta")

    def _mark(self, status: str) -> Text:
        """Symbol, word and colour."""
        mark = wording.MARKS[status]
        symbol = mark.symbol if _can_show(self._console, mark.symbol) else mark.ascii
        return Text.assemble((f"{symbol} {mark.word:<12} ", _STYLES[mark.tone]))

    def _used(self) -> str:
        return f"looks {self._looks}/{self._caps.looks} · calls {self._calls}/{self._caps.calls}"


def regions_table(answer: Answer) -> Table:
    """Every view and region of a session so far."""
    table = Table("view", "region", "what it covers", "long axis", "said of it", title="Views and regions")
    said = {o.view: o for o in answer.observations}
    shown = set()
    for view in answer.views:
        observation = said.get(view.index)
        words = (
            "" if observation is None else wording.one_line(observation.text or f"no description: {observation.fault}")
        )
        table.add_row(
            f"V{view.index} {view.kind}",
            view.region or "",
            wording.view_size(view),
            _long_axis(answer, view.region),
            Text(words),
        )
        shown.add(view.region)
    for region in answer.regions:
        if region.id not in shown:
            box = ", ".join(f"{edge:.0f}" for edge in region.box.as_tuple())
            table.add_row("", region.id, f"box {box} on image {region.image + 1}", _long_axis(answer, region.id), "")
    return table


def why(claim: CheckedClaim) -> Iterable[tuple[str, str]]:
    """Everything known about one claim, as (name, value)."""
    yield "claim", wording.claim_words(claim)
    yield "said", wording.one_line(claim.source_text)
    yield "verdict", f"{wording.MARKS[claim.verdict].symbol} {wording.MARKS[claim.verdict].word}"
    yield "reason", wording.one_line(claim.reason)
    yield "stated", wording.amount(claim.value, claim.stated_unit)
    if claim.measured is not None:
        yield "measured", wording.amount(claim.measured, claim.unit)
    how = ", independent of the describer" if claim.independent else ""
    yield "method", f"{wording.one_line(claim.method)}{how}"
    for name, number in claim.numbers.items():
        yield name.replace("_", " "), wording.amount(number)
    if claim.region:
        box = ", ".join(f"{edge:.0f}" for edge in claim.region.box.as_tuple())
        yield "region", f"{claim.region.id}, box {box} on image {claim.region.image + 1}"
    if claim.view is not None:
        yield "view", f"V{claim.view}"


def _long_axis(answer: Answer, region: str | None) -> str:
    measurement = next((m for m in reversed(answer.measurements) if m.region == region), None)
    axis = measurement.get("long_axis") if measurement else None
    return wording.amount(axis.value, axis.unit) if axis else ""


def _action_words(action: Mapping[str, Any]) -> str:
    """ "crop R1 on V0"; boxes are shown with the look itself."""
    words = [str(action.get("action", "look"))]
    if action.get("region"):
        words.append(str(action["region"]))
    if action.get("label"):
        words.append(f'"{action["label"]}"')
    if action.get("action") == "slice":
        words.append(f"{action.get('plane') or ''} {action.get('index')} of series {action.get('series')}".strip())
    if action.get("view") is not None:
        words.append(f"on V{action['view']}")
    if action.get("other") is not None:
        words.append(f"with V{action['other']}")
    return " ".join(words)


def _can_show(console: Console, symbol: str) -> bool:
    try:
        symbol.encode(console.encoding)
    except UnicodeEncodeError:
        return False
    return True
