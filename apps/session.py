"""Sessions: one study, one or more questions, and the files they leave.

    <sessions>/<run>/    store/ (pixels and views), checkpoints.sqlite, trace.jsonl     mode 0700, resumed by its id
    <out>/<run>/         answer.json, trace.jsonl, views/V0.png ..., report.html        what a person is given
                         answer-1.json ... where there were several questions; answer.json is the last

Both grow with the run, so that a killed or failed one leaves what it had done.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from medloupe.agent.checkpoints import open_checkpoints
from medloupe.agent.resources import Resources, resources_from
from medloupe.agent.trace import TraceEvent, TraceWriter, read_trace
from medloupe.apps.figure import PngOf
from medloupe.apps.report import render_report
from medloupe.errors import InputRejected, UsageError
from medloupe.graphs.reader import ReaderGraph, make_graph
from medloupe.settings import Settings
from medloupe.tools.imaging import DiskStore, load_study
from medloupe.types import Answer, Verdict, View

__all__ = ["RunFolder", "Session", "new_run", "study_of"]

_RUN = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")
_STUDY_NOTE = "study"
"""Of a session's folder: the study's path. Private, like the rest of it."""
Watch = Callable[[TraceEvent], None]


def new_run(sessions: Path) -> str:
    """An id for a session, and its folder. Time (UTC) and chance only: no name of a study or a person is in it."""
    while True:
        run = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        try:
            (sessions / run).mkdir(mode=0o700, parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UsageError(f"the sessions folder {sessions} cannot be written: {error.strerror}") from None
        return run


def study_of(sessions: Path, run: str) -> Path | None:
    """Where the study of a session lies, so that a medloupe.toml beside it is not read on resuming; None if unknown."""
    note = sessions / run / _STUDY_NOTE
    known = _RUN.fullmatch(run) and note.is_file()
    return Path(note.read_bytes().decode("utf-8", "surrogateescape")) if known else None


class RunFolder:
    """What a person is given of a run. Made with the first event, so that a rejected study leaves nothing."""

    def __init__(self, path: Path, png_of: PngOf) -> None:
        self.path = path
        self._png_of = png_of
        self._trace: TraceWriter | None = None

    @property
    def files(self) -> dict[str, Path]:
        """What there is, by what it is called in the terminal."""
        names = {"report": "report.html", "answer": "answer.json", "trace": "trace.jsonl"}
        return {name: self.path / file for name, file in names.items() if (self.path / file).exists()}

    def write(self, event: TraceEvent) -> None:
        """Take down one step, and the view it brought."""
        if self._trace is None:
            self._trace = self._start()
        self._trace.write(event)
        if event.event == "look" and event.data.get("view"):
            self._view(View.model_validate(event.data["view"]))

    def finish(self, answers: Sequence[Answer]) -> None:
        """Write the last of the session's answers and its report; of several, each also as answer-1.json and on."""
        answer = answers[-1]
        for number, each in enumerate(answers if len(answers) > 1 else (), start=1):
            _write_whole(self.path / f"answer-{number}.json", answer_json(each))
        for view in answer.views:
            self._view(view)
        _write_whole(self.path / "answer.json", answer_json(answer))
        _write_whole(self.path / "report.html", render_report(answer, self._png_of, earlier=answers[:-1]).encode())

    def close(self) -> None:
        """Close the trace."""
        if self._trace:
            self._trace.close()
            self._trace = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _start(self) -> TraceWriter:
        try:
            (self.path / "views").mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
            trace = self.path / "trace.jsonl"
            trace.unlink(missing_ok=True)
            return TraceWriter(trace)
        except OSError as error:
            raise UsageError(f"the output folder {self.path} cannot be written: {error.strerror}") from None

    def _view(self, view: View) -> None:
        file = self.path / "views" / f"V{view.index}.png"
        if not file.exists():
            _write_whole(file, self._png_of(view.digest))


class Session:
    """One session, open: models loaded, checkpoints at hand. Use as an async context manager.

    `study` is None for a session that is resumed. Raises UserError when either cannot be opened.
    """

    def __init__(
        self, settings: Settings, *, study: Path | None = None, run: str | None = None, image: int | None = None
    ) -> None:
        if (study is None) == (run is None):
            raise UsageError("give a study to start a session, or the id of a session to resume, and not both")
        self.settings = settings
        self.study = study
        self.image = image
        self.run = run or ""
        self.answers: list[Answer] = []
        self._opened = False
        self._stack = AsyncExitStack()
        self._folders = ExitStack()

    @property
    def home(self) -> Path:
        """The session's own folder."""
        return self.settings.sessions / self.run

    async def __aenter__(self) -> Self:
        try:
            if self.study:
                self._begin(self.study)
            else:
                self._resume()
            self.store = DiskStore(self.home / "store")
            if self.study:
                self._check_study(self.study)
            self.resources: Resources = resources_from(self.settings, store=self.store)
            self._stack.push_async_callback(self.resources.close)
            self.resources.make_planner()  # a planner that cannot work here is said before anything is looked at
            saver = await self._stack.enter_async_context(open_checkpoints(self.home / "checkpoints.sqlite"))
            self._graph: ReaderGraph = make_graph(self.resources, checkpointer=saver)
            self._trace = self._folders.enter_context(TraceWriter(self.home / "trace.jsonl"))
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._folders.close()
        await self._stack.aclose()
        if not self._opened and self.study and self.run:
            shutil.rmtree(self.home, ignore_errors=True)

    async def ask(self, question: str, watch: Watch, folder: RunFolder | None = None) -> Answer:
        """Ask one question. Every step goes to `watch`, to the session's trace and to `folder` as it happens.

        Raises UserError and ModelError; what was done until then is kept.
        """
        inputs: dict[str, Any] = {"question": question}
        if self.study and not self._opened:
            inputs |= {"study": str(self.study), "modality": self.settings.modality, "image": self.image}
        config = {
            "configurable": {"thread_id": self.run},
            "recursion_limit": self.resources.budget.recursion_limit(),
        }
        answer: Answer | None = None
        stream = self._graph.astream(inputs, config=config, stream_mode="custom", durability="sync")  # type: ignore[call-overload] # TypedDicts of langgraph
        async for chunk in stream:
            event = TraceEvent.model_validate(chunk)
            self._opened = True
            self._trace.write(event)
            if folder:
                folder.write(event)
            watch(event)
            if event.event == "answer":
                answer = Answer.model_validate(event.data["answer"])
        if answer is None:
            raise RuntimeError("the graph ended without an answer")
        self.answers.append(answer)
        if folder:
            folder.finish(self.answers)
        return answer

    def save(self, out: Path) -> RunFolder:
        """Write the whole out folder of this session below `out`."""
        if not self.answers:
            raise UsageError("there is no answer to save yet")
        with RunFolder(out / self.run, self.store.get_png) as folder:
            for event in read_trace(self.home / "trace.jsonl"):
                folder.write(event)
            folder.finish(self.answers)
        return folder

    def verdict(self, claim: str) -> Verdict | None:
        """The verdict on a claim with all its evidence, from the session's trace; None for an unknown claim."""
        for event in reversed(read_trace(self.home / "trace.jsonl")):
            if event.event == "verdict" and event.data["verdict"]["claim"] == claim:
                return Verdict.model_validate(event.data["verdict"])
        return None

    def _begin(self, study: Path) -> None:
        if not study.exists():
            raise InputRejected("not-found", "There is no such file or folder.")
        self.run = new_run(self.settings.sessions)
        _write_whole(self.home / _STUDY_NOTE, str(study.absolute()).encode("utf-8", "surrogateescape"))

    def _resume(self) -> None:
        if not _RUN.fullmatch(self.run):
            raise UsageError("a session's id looks like 20261122-145301-ab12")
        trace = self.home / "trace.jsonl"
        if not trace.is_file():
            raise UsageError(f"there is no session {self.run} in {self.settings.sessions}")
        _mend(trace)
        events = read_trace(trace)
        self.answers = [Answer.model_validate(e.data["answer"]) for e in events if e.event == "answer"]
        self._opened = any(e.event == "open" for e in events)
        if not self._opened:
            raise UsageError(f"session {self.run} stopped before its study was opened; ask again with the study")

    def _check_study(self, study: Path) -> None:
        """A single file is read before models are loaded: nobody wants to wait for those to hear that it is empty."""
        if study.is_file():
            load_study(study, self.store, modality=self.settings.modality, limits=self.settings.limits())


def answer_json(answer: Answer) -> bytes:
    """answer.json, byte for byte; also what `--json` prints."""
    return (answer.model_dump_json(indent=2) + "\n").encode()


def _write_whole(path: Path, content: bytes) -> None:
    """The file is there whole or not at all."""
    half = path.with_name(f".{path.name}.{os.getpid()}")
    half.write_bytes(content)
    half.replace(path)


def _mend(trace: Path) -> None:
    """Drop a last line that a kill cut off, so that what follows starts on a line of its own."""
    content = trace.read_bytes()
    if content and not content.endswith(b"\n"):
        trace.write_bytes(content[: content.rfind(b"\n") + 1])
