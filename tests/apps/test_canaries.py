"""What identifies a patient leaves the file nowhere: 500 files with canaries in every VR, through every exit.

SOPInstanceUID and SeriesInstanceUID stay in the study, which the session's own store keeps (mode 0700) so that results
can be tied to their images; nothing else may hold them.
"""

from __future__ import annotations

import logging
import re
import sqlite3
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from canaries import BLOBS, CANARIES, NUMBERS, TRACES, WORD, by_vr, write_canaries
from reader_script import ReaderScript, drafted, zooms

from medloupe.apps.ask import run_ask
from medloupe.errors import InputRejected, MedloupeError
from medloupe.models.vlm.loopback import ScriptedEndpoint
from medloupe.settings import load_settings
from medloupe.tools.imaging import MemoryStore, load_study
from medloupe.tools.imaging.sources import Source

ASKED = 25
UIDS = {"sop_instance_uid", "uid"}


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go during the test."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def traces(content: str | bytes) -> set[str]:
    """The canaries in something that left."""
    data = content.encode() if isinstance(content, str) else content
    found = {trace for trace in TRACES if trace.encode() in data or trace.encode("utf-16-le") in data}
    # Four characters turn up in any long base64: an age counts as a word only.
    return found | ({CANARIES["AS"]} if re.search(rb"\b" + CANARIES["AS"].encode() + rb"\b", data) else set())


def files_below(*roots: Path) -> Iterator[Path]:
    for root in roots:
        yield from (path for path in sorted(root.rglob("*")) if path.is_file())


def test_every_vr_is_planted_and_the_search_would_find_it(tmp_path: Path) -> None:
    vrs = {vr for kinds in by_vr() for vr in kinds.split(" or ")}
    assert vrs == {*CANARIES, *NUMBERS, *BLOBS, "SQ", "AT"}
    path = write_canaries(tmp_path, 1)[0]
    data = path.read_bytes()
    assert data.count(WORD.encode()) > 80
    assert max(len(keywords) for vr, keywords in by_vr().items() if vr != "SQ") < 500 * 3  # the whole dictionary
    assert {"18370714", "031415.926", "797Y", "31415926", "271828182", "577215664901532"} <= traces(data)


def test_500_files_through_the_loader(
    tmp_path: Path, scratch: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    paths = write_canaries(folder, 500)
    assert len(paths) == 500
    caplog.clear()
    caplog.set_level(logging.DEBUG)
    capfd.readouterr()
    errors: list[str] = []

    def reject(_: Source, error: InputRejected) -> None:
        errors.append("".join(traceback.format_exception(error)) + error.reason + error.code)

    study = load_study(folder, MemoryStore(), on_rejected=reject)
    assert len(study.images) + len(errors) == 500
    assert len(errors) >= 50
    said = study.model_dump_json(exclude={"images": {"__all__": UIDS}, "series": {"__all__": UIDS}})
    out = capfd.readouterr()
    for left in (said, "".join(errors), caplog.text, out.out, out.err, *study.warnings):
        assert traces(left) == set()
    for path in files_below(scratch):
        assert traces(path.read_bytes()) == set()
    for path in paths[3:120:10]:  # refused by itself
        with pytest.raises(InputRejected) as refused:
            load_study(path, MemoryStore())
        assert traces("".join(traceback.format_exception(refused.value))) == set()


def test_25_files_through_a_whole_question(
    tmp_path: Path, scratch: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    paths = write_canaries(folder, ASKED, each=40)
    caplog.clear()
    caplog.set_level(logging.DEBUG)
    script = ReaderScript(plan=[zooms((150, 200, 480, 560))], draft=[drafted("There is a round structure.")])
    codes, said = [], []
    with ScriptedEndpoint(script) as endpoint:
        settings = load_settings(
            vlm=endpoint.url, vlm_model="scripted", segmenter="none", max_looks=1, retry_base_s=0.01,
            sessions=tmp_path / "sessions", out=tmp_path / "out",
        )  # fmt: skip
        for path in paths:
            study = tmp_path / "study"
            study.unlink(missing_ok=True)
            study.symlink_to(path)  # the path that a person types is theirs; the file's own name is planted
            try:
                codes.append(run_ask(settings, study, "How large is it?", image=None, as_json=True, say=said.append))
            except MedloupeError as error:
                codes.append(error.exit_code)
                said.append("".join(traceback.format_exception(error)))
        sent = b"\n".join([*endpoint.bodies, repr(endpoint.headers).encode()])
    assert set(codes) == {0, 2}
    assert codes.count(0) >= 20
    assert len(endpoint.bodies) >= 2 * codes.count(0)
    out = capfd.readouterr()
    for left in (sent, caplog.text, out.out, out.err, *said):
        assert traces(left) == set()
    kept = [*files_below(tmp_path / "sessions", tmp_path / "out", scratch)]
    names = {path.name for path in kept}
    assert {"answer.json", "report.html", "trace.jsonl", "checkpoints.sqlite", "V0.png"} <= names
    for path in kept:
        if path.parent.name != "studies":
            assert traces(path.read_bytes()) == set(), path
    assert WORD not in " ".join(map(str, kept))
    for path in kept:
        if path.parent.name == "studies":  # the UIDs, and nothing else
            assert traces(path.read_bytes()) <= {"577215664901532"}
        if path.suffix == ".sqlite":
            with sqlite3.connect(path) as base:
                assert traces("\n".join(base.iterdump())) == set()
