"""The trace is readable as it grows, and after a kill."""

from __future__ import annotations

from pathlib import Path

import pytest

from medloupe.agent.trace import TraceEvent, TraceWriter, read_trace


def test_events_come_back_in_order(tmp_path: Path) -> None:
    with TraceWriter(tmp_path / "trace.jsonl") as trace:
        trace.write(TraceEvent(event="open", data={"study": {"images": 1}}))
        trace.write(TraceEvent(event="warning", turn=1, data={"message": "no spacing"}))
    events = read_trace(tmp_path / "trace.jsonl")
    assert [(e.event, e.turn) for e in events] == [("open", 0), ("warning", 1)]


def test_every_line_is_on_disk_before_the_writer_is_closed(tmp_path: Path) -> None:
    trace = TraceWriter(tmp_path / "trace.jsonl")
    trace.write(TraceEvent(event="warning", data={"message": "here already"}))
    assert read_trace(tmp_path / "trace.jsonl")[0].data["message"] == "here already"
    trace.close()


def test_a_last_line_cut_off_by_a_kill_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    with TraceWriter(path) as trace:
        trace.write(TraceEvent(event="warning", data={"message": "whole"}))
        trace.write(TraceEvent(event="warning", data={"message": "cut"}))
    path.write_bytes(path.read_bytes()[:-10])
    assert [e.data["message"] for e in read_trace(path)] == ["whole"]


def test_a_second_turn_is_appended(tmp_path: Path) -> None:
    for turn in (0, 1):
        with TraceWriter(tmp_path / "trace.jsonl") as trace:
            trace.write(TraceEvent(event="open", turn=turn))
    assert [e.turn for e in read_trace(tmp_path / "trace.jsonl")] == [0, 1]


def test_another_file_is_not_taken_for_a_trace(tmp_path: Path) -> None:
    (tmp_path / "trace.jsonl").write_text('{"event": "open"}\n')
    with pytest.raises(ValueError, match=r"not a medloupe\.trace/1"):
        read_trace(tmp_path / "trace.jsonl")
