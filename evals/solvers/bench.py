"""What all cases of a run share: models, ledger and budget; and one case's own store, calls and images."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from medloupe.agent.calls import call_event
from medloupe.agent.planner import Plan, Planner, PlanScene
from medloupe.agent.resources import Resources
from medloupe.agent.trace import TraceEvent
from medloupe.errors import InputRejected, ModelError, ReplyCutOff, ReplyRefused, ReplyUnreadable, UsageError
from medloupe.evals.running.traces import TraceFolder
from medloupe.evals.solvers.outcome import Spending
from medloupe.evals.tasks.case import Case
from medloupe.evals.tasks.images import materialise, remove
from medloupe.graphs.reader import ReaderGraph, make_graph
from medloupe.limits import Limits
from medloupe.models.vlm.base import VLM, VLMReply, VLMRequest
from medloupe.models.vlm.ledger import Ledger, LedgerVLM
from medloupe.tools.imaging import ImageStore, MemoryStore, load_study
from medloupe.tools.look import Loupe
from medloupe.tools.look.actions import Crop, Zoom
from medloupe.tools.look.scan import close_up
from medloupe.types import BoundingBox, Region, View

__all__ = ["Bench", "CaseResources", "FixedPlanner", "Meter", "Opened"]


class Meter:
    """A VLM that counts what one case costs."""

    def __init__(self, vlm: VLM) -> None:
        self.model, self.profile, self._vlm = vlm.model, vlm.profile, vlm
        self.spent = Spending()

    async def __call__(self, request: VLMRequest) -> VLMReply:
        """One call, counted."""
        try:
            reply = await self._vlm(request)
        except (ReplyCutOff, ReplyRefused, ReplyUnreadable):
            self._add(calls=1)
            raise
        except BaseException:
            self._add(calls=1, lost=1)
            raise
        self._add(
            calls=1, prompt_tokens=reply.prompt_tokens, completion_tokens=reply.completion_tokens,
            seconds=reply.latency_s,
        )  # fmt: skip
        return reply

    def _add(self, **more: float) -> None:
        self.spent = Spending(**{name: getattr(self.spent, name) + more.get(name, 0) for name in Spending.model_fields})

    async def close(self) -> None:
        """The model is the run's, and stays open."""


class FixedPlanner:
    """Looks at given boxes and nothing else: for regions that are given, and for controls."""

    name = "fixed"

    def __init__(self, boxes: Sequence[BoundingBox], *, focal: bool = False) -> None:
        """focal: as a focal crop, the box grown by one box-size a side with its outline; else the box itself."""
        self._boxes, self._focal = tuple(boxes), focal

    async def __call__(self, scene: PlanScene) -> Plan:
        """All at once in the first round."""
        if not scene.first_round:
            return Plan(done="every given region was looked at")
        over = scene.overview
        if not self._focal:
            return Plan(actions=tuple(Zoom(view=over.index, box=box) for box in self._boxes))
        regions = tuple(
            Region(id=f"R{scene.next_region + n}", image=over.image, box=box, view=over.index, source="person")
            for n, box in enumerate(self._boxes)
        )
        actions = tuple(self._closer(region, scene) for region in regions)
        return Plan(actions=actions, regions=regions)

    @staticmethod
    def _closer(region: Region, scene: PlanScene) -> Zoom | Crop:
        """The focal crop; for a model of small square pictures the close-up that its own planner would make."""
        over = scene.overview.index
        if scene.profile is None or not scene.profile.finds:
            return Crop(view=over, region=region.id)
        image = scene.loupe.image(region.image)
        return Zoom(view=over, box=close_up(region.box, image.width, image.height), region=region.id)


@dataclass
class CaseResources(Resources):
    """Resources of one case; `fixed` takes the place of the planner."""

    fixed: FixedPlanner | None = None
    drawn: bool = False
    """Phantoms are what it is about; else they are no evidence, and stop the run."""

    def loupe(self, study_id: str) -> Loupe:
        """The study; UsageError when it holds a phantom where real images are asked about."""
        found = super().loupe(study_id)
        if not self.drawn and any(image.phantom for image in found.study.images):
            raise UsageError("an image is a phantom: it is no evidence in a benchmark of real images")
        return found

    def begin(self, fresh: CaseResources) -> None:
        """A new case, with what that one has: an empty store, no session, its own budget and counted models."""
        vars(self).update(vars(fresh))

    def make_planner(self) -> Planner:
        """The fixed one, where there is one."""
        return self.fixed or super().make_planner()


class Reader(NamedTuple):
    """A compiled graph and what it is bound to. One case at a time: compiling takes as long as five calls' own work."""

    graph: ReaderGraph
    resources: CaseResources


@dataclass(frozen=True)
class Bench:
    """What a run works with. Nothing is carried from one case to another but the ledger's replies."""

    folder: Path
    """The release's."""
    resources: Resources
    """The run's models; each case gets its own store."""
    ledger: Ledger | None = None
    """None: every call is sent, and none is recorded."""
    traces: TraceFolder | None = None
    """None: no trace is kept."""
    endpoint: str = ""
    verifier_endpoint: str = ""
    drawn: bool = False
    """The benchmark is made of phantoms."""
    idle: list[Reader] = field(default_factory=list, compare=False)
    """Readers that no case is using."""

    def vlm(self, vlm: VLM | None, epoch: int, *, endpoint: str) -> VLM | None:
        """A model through the ledger."""
        if vlm is None or self.ledger is None:
            return vlm
        return LedgerVLM(vlm, self.ledger, endpoint=endpoint, epoch=epoch)

    def open(self, case: Case, epoch: int) -> Opened:
        """One case's resources; use as a context manager."""
        return Opened(self, case, epoch)


class Opened:
    """One case: its images where they can be opened, its own store, its calls counted."""

    def __init__(self, bench: Bench, case: Case, epoch: int) -> None:
        self.case, self._epoch, self._bench = case, epoch, bench
        self._events: list[TraceEvent] = []
        base = bench.resources
        vlm = bench.vlm(base.vlm, epoch, endpoint=bench.endpoint)
        verifier = bench.vlm(base.verifier, epoch, endpoint=bench.verifier_endpoint)
        self.meter = Meter(vlm) if vlm else None
        self._verifier = Meter(verifier) if verifier else None
        self._reader: Reader | None = None

    def resources(self, fixed: FixedPlanner | None = None, *, looks: int | None = None) -> CaseResources:
        """Fresh resources with an empty store. looks: another cap on looks than the run's."""
        base = self._bench.resources
        budget = base.budget if looks is None else base.budget.model_copy(update={"looks": looks})
        return CaseResources(
            store=MemoryStore(), vlm=self.meter, verifier=self._verifier, segmenter=base.segmenter,
            planner=base.planner, budget=budget, verify=base.verify, view_px=base.view_px,
            concurrency=base.concurrency, limits=base.limits, warnings=base.warnings, verifiers=base.verifiers,
            fixed=fixed, drawn=self._bench.drawn,
        )  # fmt: skip

    def reader(self, fixed: FixedPlanner | None = None, *, looks: int | None = None) -> Reader:
        """The graph, on fresh resources with an empty store; once a case. looks: another cap than the run's."""
        idle, fresh = self._bench.idle, self.resources(fixed, looks=looks)
        if idle:
            self._reader = idle.pop()
            self._reader.resources.begin(fresh)
        else:
            self._reader = Reader(make_graph(fresh), fresh)
        return self._reader

    async def ask(self, request: VLMRequest) -> VLMReply:
        """A request outside the graph: counted, recorded, traced. Raises a ModelError."""
        assert self.meter is not None
        try:
            reply = await self.meter(request)
        except ModelError as error:
            self._note(call_event(self.meter, request, 0, None, one_line(error), 0.0))
            raise
        self._note(call_event(self.meter, request, 0, reply, None, reply.latency_s))
        return reply

    def look(self, view: View, store: ImageStore) -> None:
        """Take down a view that was made outside the graph."""
        data = {"view": view.model_dump(mode="json"), "region": None, "measurement": None}
        self.take(TraceEvent(event="look", data=data), store)

    def take(self, event: TraceEvent, store: ImageStore) -> None:
        """Take down a step, and keep the view it brought where pictures are kept."""
        self._note(event)
        traces, view = self._bench.traces, event.data.get("view")
        if traces is not None and traces.images and event.event == "look" and view:
            traces.keep_picture(view["digest"], store.get_png(view["digest"]))

    def _note(self, event: TraceEvent) -> None:
        if self._bench.traces is not None:
            self._events.append(event)

    async def end(self) -> None:
        """Write the case's trace, where one is kept."""
        if self._bench.traces is not None:
            await asyncio.to_thread(self._bench.traces.write, self.case, self._epoch, self._events)

    @property
    def spent(self) -> Spending:
        """By the case, so far."""
        parts = [meter.spent for meter in (self.meter, self._verifier) if meter]
        return Spending(**{name: sum(getattr(p, name) for p in parts) for name in Spending.model_fields})

    @property
    def limits(self) -> Limits:
        """What opening its images may cost."""
        return self._bench.resources.limits

    async def study(self) -> Path:
        """A file or folder that opens as a study: the case's image, or all of them in order."""
        return await asyncio.to_thread(self._materialise)

    def _materialise(self) -> Path:
        folder, images = self._bench.folder, self.case.images
        if len(images) == 1:
            return materialise(folder, images[0], self.scratch, "0")
        together = self.scratch / "study"
        together.mkdir(exist_ok=True)
        for number, image in enumerate(images):
            file = materialise(folder, image, self.scratch, str(number))
            (together / f"{number:03d}{file.suffix}").write_bytes(file.read_bytes())
        return together

    async def image(self, study: Path) -> int | None:
        """Index of the image that is meant in a series; the first of several pictures; None: the study's own choice."""
        if not self.case.sop_instance_uid:
            return 0 if len(self.case.images) > 1 else None
        opened = await asyncio.to_thread(
            load_study, study, MemoryStore(), modality=self.case.modality, limits=self.limits
        )
        wanted = self.case.sop_instance_uid
        found = next((image.index for image in opened.images if image.sop_instance_uid == wanted), None)
        if found is None:
            raise InputRejected("missing-file", "the series does not hold the image that was annotated")
        return found

    def __enter__(self) -> Self:
        self.scratch = Path(tempfile.mkdtemp(prefix="medloupe-case-"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        remove(self.scratch)
        if self._reader is not None and error is None:  # of a case that broke off, something may still be under way
            self._bench.idle.append(self._reader)


def without_vlm(bench: Bench) -> Bench:
    """The same bench, measuring only."""
    return replace(bench, resources=replace(bench.resources, vlm=None, verifier=None), idle=[])


def one_line(error: ModelError | InputRejected) -> str:
    """A fault as it is recorded."""
    return " ".join(str(error).split())[:300]
