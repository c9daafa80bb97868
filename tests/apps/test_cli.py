from __future__ import annotations

import json
import os
import re
import signal
import stat
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import CANARY, Medloupe
from reader_script import DISC_BOX, ENOUGH, ReaderScript, drafted, zooms

from medloupe.agent.trace import read_trace
from medloupe.models.vlm.loopback import Reply, ScriptedEndpoint
from medloupe.types import RESEARCH_LABEL, Answer

QUESTION = "How large is the round structure?"


def at(endpoint: ScriptedEndpoint) -> tuple[str, ...]:
    """The flags that name an endpoint."""
    return ("--vlm", endpoint.url, "--vlm-model", "scripted")


def only_run(here: Path) -> Path:
    """The one folder that a run left."""
    (run,) = (here / "out").iterdir()
    return run


def one_line(stderr: str) -> str:
    """The error: one line, and no traceback."""
    (line,) = (line for line in stderr.splitlines() if line.startswith("medloupe:"))
    assert "Traceback" not in stderr
    return line


# --- answers --------------------------------------------------------------------------------------------------------


def test_ask_measures_without_a_model_and_leaves_its_files(disc_ct: Path, here: Path, medloupe: Medloupe) -> None:
    ended = medloupe("ask", disc_ct, "Where is the brightest structure, and how large is it?")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    run = only_run(here)
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{4}", run.name)
    answer = Answer.model_validate_json((run / "answer.json").read_text())
    assert not answer.abstained
    assert answer.run == run.name
    assert {f.name for f in (run / "views").iterdir()} == {f"V{view.index}.png" for view in answer.views}
    assert [e.event for e in read_trace(run / "trace.jsonl")][-1] == "answer"
    assert RESEARCH_LABEL in (run / "report.html").read_text()
    assert ended.stdout.splitlines()[0].startswith("study    modality CT")
    assert "check    ✓ supported" in ended.stdout
    assert f"report   out/{run.name}/report.html" in ended.stdout
    assert ended.stdout.splitlines()[-1] == RESEARCH_LABEL


def test_json_goes_to_stdout_alone_and_is_the_file(disc_ct: Path, here: Path, medloupe: Medloupe) -> None:
    ended = medloupe("ask", disc_ct, QUESTION, "--json", "--out", "elsewhere")
    assert ended.returncode == 0
    (run,) = (here / "elsewhere").iterdir()
    assert ended.stdout == (run / "answer.json").read_text()
    assert json.loads(ended.stdout)["schema_version"] == "medloupe.answer/1"
    assert "study    modality CT" in ended.stderr
    assert RESEARCH_LABEL in ended.stderr


def test_a_refuted_draft_is_corrected_and_an_abstention_is_no_failure(
    disc_ct: Path, here: Path, medloupe: Medloupe, endpoint: ScriptedEndpoint, script: ReaderScript
) -> None:
    claim = {"attribute": "long_axis", "value": 60, "unit": "mm", "view": 1}
    script.draft = [
        drafted("The structure measures 60 mm.", claim),
        json.dumps({"answerable": False, "reason": "no idea"}),
    ]
    ended = medloupe("ask", disc_ct, QUESTION, *at(endpoint))
    assert ended.returncode == 0, ended.stderr
    assert "✗ refuted" in ended.stdout
    html = (only_run(here) / "report.html").read_text()
    assert "<del>The structure measures 60 mm.</del>" in html
    abstained = medloupe("ask", disc_ct, QUESTION, *at(endpoint), "--json")
    assert abstained.returncode == 0
    assert json.loads(abstained.stdout)["abstained"] is True


def test_what_is_kept_is_private_and_a_key_is_in_nothing(
    disc_ct: Path, here: Path, tmp_path: Path, medloupe: Medloupe, endpoint: ScriptedEndpoint
) -> None:
    ended = medloupe("ask", disc_ct, QUESTION, *at(endpoint))
    assert endpoint.headers[0]["authorization"] == f"Bearer {CANARY}"
    sessions = tmp_path / "data" / "medloupe" / "sessions"
    written = [f for place in (here, sessions) for f in place.rglob("*") if f.is_file()]
    assert len(written) > 8
    for canary in (CANARY.encode(), b"Canary^Patient", b"CANARY-ID"):
        assert not [f for f in written if canary in f.read_bytes()]
        assert canary.decode() not in ended.stdout + ended.stderr
    for folder in (only_run(here), *sessions.iterdir()):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


# --- bad input and usage ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], None),
        (["nonsense"], "No such command 'nonsense'"),
        (["ask"], "Missing argument 'STUDY'"),
        (["ask", "scan.dcm"], "Missing argument 'QUESTION'"),
        (["ask", "scan.dcm", " "], "there is no question"),
        (["ask", "scan.dcm", "q", "--max-looks", "many"], "'many' is not a valid integer"),
        (["ask", "scan.dcm", "q", "--max-looks", "-3"], "--max-looks"),
        (["ask", "scan.dcm", "q", "--planner", "magic"], "'magic' is not one of"),
        (["ask", "scan.dcm", "q", "--planner", "tools"], "needs a vision-language model"),
        (["ask", "scan.dcm", "q", "--segmenter", "magic"], "no segmenter 'magic'"),
        (["ask", "scan.dcm", "q", "--vlm", "http://127.0.0.1:9/v1"], "vlm_model must name the model"),
        (["ask", "scan.dcm", "q", "--vlm", "no-such-folder"], "neither an http(s) URL nor a model folder"),
        (["ask", "missing.dcm", "q"], "no such file or folder"),
        (["chat"], "give a STUDY to start a session"),
        (["chat", "scan.dcm", "--session", "20200101-000000-0000"], "not both"),
        (["chat", "--session", "20200101-000000-0000"], "there is no session 20200101-000000-0000"),
        (["chat", "--session", "../../etc"], "a session's id looks like"),
    ],
)
def test_usage_errors_are_one_line_and_2(
    arguments: list[str], said: str | None, disc_ct: Path, here: Path, medloupe: Medloupe
) -> None:
    (here / "scan.dcm").write_bytes(disc_ct.read_bytes())
    ended = medloupe(*arguments)
    if said is None:
        assert (ended.returncode, ended.stdout[:6]) == (0, "Usage:")
        return
    assert ended.returncode == 2, ended.stderr
    assert said in one_line(ended.stderr)
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stdout == ""
    assert not (here / "out").exists()


@pytest.mark.parametrize("content", [b"", b"this is no DICOM", b"\x89PNG\r\n\x1a\n cut", None])
def test_what_is_no_study_leaves_nothing(content: bytes | None, here: Path, tmp_path: Path, medloupe: Medloupe) -> None:
    if content is None:
        (here / "bad.dcm").mkdir()
    else:
        (here / "bad.dcm").write_bytes(content)
    ended = medloupe("ask", "bad.dcm", QUESTION, "--json")
    assert ended.returncode == 2
    assert one_line(ended.stderr)
    assert ended.stdout == ""
    assert not (here / "out").exists()
    assert not list((tmp_path / "data").rglob("*-*-*"))


def test_tracing_services_and_a_key_in_a_file_stop_it(here: Path, disc_ct: Path, medloupe: Medloupe) -> None:
    traced = medloupe("ask", disc_ct, QUESTION, LANGSMITH_TRACING="true")
    assert traced.returncode == 2
    assert "LANGSMITH_TRACING is on" in one_line(traced.stderr)
    (here / "medloupe.toml").write_text(f'api_key = "{CANARY}"')
    keyed = medloupe("ask", disc_ct, QUESTION)
    assert keyed.returncode == 2
    assert '"api_key" does not belong in a file' in one_line(keyed.stderr)
    assert CANARY not in keyed.stderr


def test_a_studys_own_settings_are_left_out_and_said(disc_ct: Path, here: Path, medloupe: Medloupe) -> None:
    (here / "scan.dcm").write_bytes(disc_ct.read_bytes())
    (here / "medloupe.toml").write_text("max_looks = 0")
    ended = medloupe("ask", "scan.dcm", QUESTION, "--json")
    assert json.loads(ended.stdout)["budget"]["caps"]["looks"] == 8
    assert "lies in the study's folder and was not read" in ended.stderr


# --- model and endpoint failures -------------------------------------------------------------------------------------


def test_an_unreachable_endpoint_is_3_and_keeps_the_trace(disc_ct: Path, here: Path, medloupe: Medloupe) -> None:
    flags = ("--vlm", "http://127.0.0.1:9/v1", "--vlm-model", "m", "--json")
    ended = medloupe("ask", disc_ct, QUESTION, *flags)
    assert ended.returncode == 3, ended.stderr
    assert ended.stdout == ""
    run = only_run(here)
    assert f"(what was done until then: out/{run.name}/trace.jsonl)" in one_line(ended.stderr)
    assert [event.event for event in read_trace(run / "trace.jsonl")][:2] == ["open", "look"]
    assert (run / "views" / "V0.png").exists()
    assert not (run / "answer.json").exists()


@pytest.mark.parametrize("status", [500, 401])
def test_an_endpoint_fault_is_3_and_one_line(
    status: int, disc_ct: Path, medloupe: Medloupe, endpoint: ScriptedEndpoint, script: ReaderScript
) -> None:
    script.plan = [Reply(status=status, error="first line\nsecond \x1b[31mline")]
    ended = medloupe("ask", disc_ct, QUESTION, *at(endpoint))
    assert ended.returncode == 3
    line = one_line(ended.stderr)
    assert str(status) in line
    assert "\x1b" not in ended.stderr
    assert CANARY not in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_ctrl_c_is_130_and_keeps_the_trace(
    disc_ct: Path, here: Path, environment: dict[str, str], endpoint: ScriptedEndpoint, script: ReaderScript
) -> None:
    script.plan = [Reply(fault="stall")]
    command = [sys.executable, "-m", "medloupe", "ask", str(disc_ct), QUESTION, *at(endpoint)]
    process = subprocess.Popen(
        command, cwd=here, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 30
    while not endpoint.bodies and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == 130
    run = only_run(here)
    assert one_line(stderr) == f"medloupe: interrupted (what was done until then: out/{run.name}/trace.jsonl)"
    assert [event.event for event in read_trace(run / "trace.jsonl")] == ["open", "look"]


# --- chat ------------------------------------------------------------------------------------------------------------


def test_chat_remembers_its_views_and_goes_on_by_its_id(
    disc_ct: Path, here: Path, medloupe: Medloupe, endpoint: ScriptedEndpoint, script: ReaderScript
) -> None:
    claim = {"attribute": "long_axis", "value": 20, "unit": "mm", "view": 1}
    script.plan = [zooms(DISC_BOX), ENOUGH]
    script.draft = [drafted("It measures 20 mm.", claim)]
    first = medloupe(
        "chat", disc_ct, *at(endpoint), stdin=f"{QUESTION}\n/regions\n/why c1\n/save kept\n/why C77\n/nonsense\n"
    )
    assert first.returncode == 2  # of the last line
    errors = first.stderr.splitlines()
    assert errors[0].startswith("medloupe: there is no claim 'C77'; there are C1")
    assert errors[1].startswith("medloupe: there is no command /nonsense")
    run = re.search(r"^session (\S+)\.", first.stdout, re.MULTILINE)
    assert run
    assert f"resume with: medloupe chat --session {run[1]}" in first.stdout
    assert "V1 zoom" in first.stdout
    assert re.search(r"^reason +\S", first.stdout, re.MULTILINE)
    assert re.search(r"^evidence +measure", first.stdout, re.MULTILINE)
    assert (here / "kept" / run[1] / "report.html").exists()

    second = medloupe("chat", "--session", run[1], *at(endpoint), stdin="And now?\n/regions\n/save\n")
    assert second.returncode == 0, second.stderr
    saved = here / "out" / run[1]
    answer = Answer.model_validate_json((saved / "answer.json").read_text())
    assert (answer.turn, answer.question) == (1, "And now?")
    assert [view.index for view in answer.views][:2] == [0, 1]
    assert {event.turn for event in read_trace(saved / "trace.jsonl")} == {0, 1}
    assert "Earlier in this session" in (saved / "report.html").read_text()
    assert sum(event.event == "open" for event in read_trace(saved / "trace.jsonl")) == 2


def test_a_session_of_ask_can_be_gone_on_with_and_a_cut_trace_is_mended(
    disc_ct: Path, here: Path, tmp_path: Path, medloupe: Medloupe
) -> None:
    medloupe("ask", disc_ct, "Where is the brightest structure?")
    run = only_run(here).name
    trace = tmp_path / "data" / "medloupe" / "sessions" / run / "trace.jsonl"
    with trace.open("a") as file:
        file.write('{"event": "lo')
    ended = medloupe("chat", "--session", run, stdin="How large is it?\n")
    assert ended.returncode == 0, ended.stderr
    assert [e.data["answer"]["turn"] for e in read_trace(trace) if e.event == "answer"] == [0, 1]


def test_a_failed_question_does_not_end_the_chat(
    disc_ct: Path, medloupe: Medloupe, endpoint: ScriptedEndpoint, script: ReaderScript
) -> None:
    script.plan = [Reply(status=401, error="no"), ENOUGH]
    ended = medloupe("chat", disc_ct, *at(endpoint), stdin=f"{QUESTION}\n{QUESTION}\n")
    assert "401" in one_line(ended.stderr)
    assert ended.returncode == 0
    assert "answer   " in ended.stdout


def test_ctrl_c_in_a_question_stops_that_question_only(
    disc_ct: Path, here: Path, environment: dict[str, str], endpoint: ScriptedEndpoint, script: ReaderScript
) -> None:
    script.plan = [Reply(fault="stall"), ENOUGH]
    command = [sys.executable, "-m", "medloupe", "chat", str(disc_ct), *at(endpoint)]
    process = subprocess.Popen(
        command,
        cwd=here,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    process.stdin.write(f"{QUESTION}\n")
    process.stdin.flush()
    deadline = time.monotonic() + 30
    while not endpoint.bodies and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(f"{QUESTION}\n", timeout=30)
    assert "question stopped" in one_line(stderr)
    assert "answer   " in stdout
    assert process.returncode == 0


def test_ctrl_c_at_the_prompt_is_130(disc_ct: Path, here: Path, environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "medloupe", "chat", str(disc_ct)], cwd=here, env=environment | {"PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    assert process.stdout.readline().startswith("session ")
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == 130
    assert one_line(stderr).startswith("medloupe: interrupted; resume with: medloupe chat --session ")


# --- lists, help, bugs -----------------------------------------------------------------------------------------------


def test_models_lists_what_is_here_and_asks_only_when_told(medloupe: Medloupe, endpoint: ScriptedEndpoint) -> None:
    listed = json.loads(medloupe("models", *at(endpoint), "--json").stdout)
    assert {"none", "litemedsam"} <= {segmenter["name"] for segmenter in listed["segmenters"]}
    assert listed["vlm"]["at"] == endpoint.url
    assert "serves" not in listed["vlm"]
    assert CANARY not in json.dumps(listed)
    checked = json.loads(medloupe("models", *at(endpoint), "--check", "--json").stdout)
    assert checked["vlm"]["serves"] == ["scripted"] and checked["vlm"]["served"]
    gone = medloupe("models", "--vlm", "http://127.0.0.1:9/v1", "--vlm-model", "m", "--check")
    assert gone.returncode == 3
    assert "cannot be reached" in one_line(gone.stderr)
    assert "none configured" in medloupe("models").stdout


def test_tools_lists_look_tools_with_schemas_and_verifiers(medloupe: Medloupe) -> None:
    listed = json.loads(medloupe("tools", "--json").stdout)
    assert {tool["name"] for tool in listed["look"]} == {
        "zoom",
        "crop",
        "window",
        "slice",
        "segment",
        "measure",
        "compare",
    }
    assert all(tool["schema"]["properties"] for tool in listed["look"])
    assert [v["name"] for v in listed["verify"]] == ["measured", "rules", "probe", "agreement"]
    assert "zoom" in medloupe("tools").stdout


def test_help_answers_in_under_half_a_second_without_anything_heavy(
    here: Path, environment: dict[str, str], medloupe: Medloupe
) -> None:
    took = []
    for _ in range(3):
        begin = time.perf_counter()
        assert medloupe("--help").returncode == 0
        took.append(time.perf_counter() - begin)
    assert statistics.median(took) < 0.5
    code = "import sys; from medloupe.apps import cli; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=here, env=environment, capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "transformers", "langgraph", "numpy", "pydantic", "rich"} & set(loaded)


def test_a_bug_of_ours_is_one_line_and_1(here: Path, environment: dict[str, str]) -> None:
    code = (
        "from medloupe.apps import cli\n"
        "@cli.cli.command()\ndef broken():\n    raise ZeroDivisionError('one\\ntwo')\n"
        "import sys; sys.argv = ['medloupe', 'broken']\ncli.main()"
    )
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert (
        ended.stderr == "medloupe: internal error: ZeroDivisionError: one two (MEDLOUPE_DEBUG=1 shows the traceback)\n"
    )
    debug = environment | {"MEDLOUPE_DEBUG": "1"}
    shown = subprocess.run(command, cwd=here, env=debug, capture_output=True, text=True, check=False)
    assert "Traceback" in shown.stderr


def test_a_reader_of_our_output_that_leaves_is_no_error(disc_ct: Path, here: Path, environment: dict[str, str]) -> None:
    command = f"'{sys.executable}' -m medloupe ask '{disc_ct}' '{QUESTION}' --json | head -c 1"
    ended = subprocess.run(["bash", "-c", command], cwd=here, env=environment, capture_output=True, check=False)  # noqa: S607
    assert ended.stdout == b"{"
    assert b"Traceback" not in ended.stderr
    assert b"BrokenPipe" not in ended.stderr
    assert os.listdir(here / "out")  # noqa: PTH208
