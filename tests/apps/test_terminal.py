from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from sample_answer import HOSTILE, sample

from medloupe.agent.budget import Budget
from medloupe.agent.trace import EventName, TraceEvent
from medloupe.apps import wording
from medloupe.apps.terminal import Terminal, regions_table, why
from medloupe.tools.imaging import MemoryStore
from medloupe.types import RESEARCH_LABEL, Answer, Claim, Verdict


@pytest.fixture(scope="module")
def answer() -> Answer:
    return sample(MemoryStore())[1]


def event(name: EventName, **data: object) -> TraceEvent:
    return TraceEvent(event=name, data=data)


def chain(answer: Answer) -> list[TraceEvent]:
    """What a run of that answer emits."""
    claim = Claim(
        id="C1", attribute="long_axis", value=71.0, unit="mm", finding="R1", source="parsed", source_text="71 mm"
    )
    verdict = Verdict(claim="C1", verdict="refuted", reason="measured 43.9 mm", method="measured")
    return [
        event("open", study=answer.study, warnings=[]),
        event("look", view=answer.views[0].model_dump(mode="json"), region=None, measurement=None),
        event("plan", planner="policy", round=1, actions=[{"action": "crop", "view": 0, "region": "R1"}], done=False),
        event("look", view=answer.views[1].model_dump(mode="json"), region=answer.regions[0].model_dump(mode="json")),
        event("call", purpose="describe"),
        event("describe", observation=answer.observations[1].model_dump(mode="json")),
        event("describe", observation=answer.observations[3].model_dump(mode="json")),
        event("verdict", claim=claim.model_dump(mode="json"), verdict=verdict.model_dump(mode="json")),
        event("warning", message="something was left out"),
    ]


def shown(answer: Answer, console: Console) -> str:
    with Terminal(console, Budget()) as terminal:
        for step in chain(answer):
            terminal.show(step)
    terminal.answer(answer, {"report": Path("out/x/report.html")})
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_off_a_terminal_each_step_is_one_plain_line(answer: Answer) -> None:
    output = shown(answer, Console(file=io.StringIO(), width=80))
    lines = output.splitlines()
    assert "\x1b" not in output
    assert lines[0].startswith("study    modality MR · size 484 × 300 px · pixel 0.7231 × 0.7231 mm (PixelSpacing)")
    assert lines[1] == "look     V0, overview, 484 × 300 px (350 × 217 mm)"
    assert lines[2] == "plan     policy: crop R1 on V0"
    assert lines[3] == "look     V1, crop of R1 on V0, 180 × 186 px (130 × 135 mm), outline rated 0.90"
    assert lines[5] == "         V4: no description (the endpoint replied 503 four times)"
    assert lines[6] == "check    ✗ refuted      C1 R1: long axis 71 mm  measured 43.9 mm"
    assert lines[7] == "warning  something was left out"
    assert "         Answered, 1 corrected, 1 not confirmed and left out, 1 refuted and left out · conf" in output
    assert "confidence 0.91 (calibrated on 600" in output
    assert lines[-2:] == ["report   out/x/report.html", RESEARCH_LABEL]
    assert any(line.startswith("answer   R1 measures 43.9 mm") for line in lines)
    assert any(line.startswith("budget   looks 4 of 8, calls 9 of 40") for line in lines)
    assert any(line.startswith("revise   ≠ corrected") and "now: R1 measures 43.9 mm" in line for line in lines)


def test_model_text_drives_neither_the_terminal_nor_rich(answer: Answer) -> None:
    hostile = answer.model_copy(
        update={"answer": f"[bold]{HOSTILE}[/bold] [link=http://x]y[/link]", "warnings": (HOSTILE,)}
    )
    output = shown(hostile, Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None))
    assert "[bold]<script>" in output
    assert "[2J" in output
    assert "\x1b[2J" not in output
    assert "\u202e" not in output


def test_a_terminal_shows_colour_and_no_color_turns_it_off(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    coloured = shown(answer, Console(file=io.StringIO(), width=120, force_terminal=True))
    monkeypatch.setenv("NO_COLOR", "1")
    plain = shown(answer, Console(file=io.StringIO(), width=120, force_terminal=True))
    assert "\x1b[31m✗" in coloured
    assert "\x1b[31m" not in plain
    for output in (coloured, plain):  # never colour alone
        assert "refuted" in output
        assert "looks 1/8 · calls 1/40" in output


def test_marks_have_a_shape_where_the_encoding_has_no_symbol(answer: Answer) -> None:
    class Narrow(io.StringIO):
        encoding = "ascii"

    output = shown(answer, Console(file=Narrow(), width=80))
    assert "check    x refuted" in output


def test_regions_and_why_tell_what_is_known(answer: Answer) -> None:
    console = Console(file=io.StringIO(), width=200)
    console.print(regions_table(answer))
    assert isinstance(console.file, io.StringIO)
    table = console.file.getvalue()
    assert "V1 crop" in table
    assert "43.4 mm" in table
    assert "no description: the endpoint replied 503 four times" in table
    facts = dict(why(answer.claims[0]))
    assert facts["verdict"] == "✗ refuted"
    assert (facts["stated"], facts["measured"]) == ("71 mm", "43.9 mm")
    assert facts["tolerance"] == "1.25"
    assert facts["region"] == "R1, box 122, 108, 182, 170 on image 1"


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (True, "", "yes"), (31.24, "mm", "31.2 mm"), (2406.4, "mm2", "2,406 mm²"), (3.0, "", "3"),
        (0.98321, "1/1", "0.983"),
        (-1000.0, "HU", "-1,000 HU"), (float("nan"), "mm", "nan mm"), ("left", "", "left"), ("a\x1b[2Jb", "", "a [2Jb"),
    ],
)  # fmt: skip
def test_amounts_name_their_unit(value: object, unit: str, said: str) -> None:
    assert wording.amount(value, unit) == said


def test_every_status_has_its_own_symbol_word_and_ascii_form() -> None:
    marks = wording.MARKS.values()
    assert set(wording.MARKS) == {"supported", "refuted", "undetermined", "corrected", "unchecked"}
    for form in ("symbol", "ascii", "word"):
        assert len({getattr(mark, form) for mark in marks}) == len(wording.MARKS)
