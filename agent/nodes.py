"""The nodes of the reader graph, one a step of `open -> plan -> look -> ... -> answer`. None keeps anything itself."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.types import Send, StreamWriter, interrupt

from medloupe.agent.answer import (
    check_claims,
    confidence,
    prompt_hashes,
    revise_statement,
    study_summary,
    write_answer,
)
from medloupe.agent.budget import Spent
from medloupe.agent.calls import BudgetReached, Emit
from medloupe.agent.claims import claims_of
from medloupe.agent.compose import compose
from medloupe.agent.confidence import load_calibration
from medloupe.agent.describe import Describer, DescribeScene, MeasuredDescriber, VLMDescriber
from medloupe.agent.draft import DraftScene, draft_with_vlm
from medloupe.agent.looks import Look, carry_out, jobs_for, next_region, next_view, person_box
from medloupe.agent.messages import prefix
from medloupe.agent.planner import PlanScene
from medloupe.agent.relook import second_look
from medloupe.agent.resources import Resources
from medloupe.agent.state import Draft, Job, LookTask, ReaderState, Review, VerifyTask, fresh_turn
from medloupe.agent.trace import EventName, TraceEvent
from medloupe.errors import ActionRejected, UsageError
from medloupe.models.vlm.base import VLM, Message, VLMReply, VLMRequest
from medloupe.tools.imaging import load_study
from medloupe.tools.look.actions import Action, Crop, Segment, Zoom
from medloupe.tools.verify import Scene, verify_claim
from medloupe.types import Answer, Measurement, Observation, Region, Study, View

__all__ = ["ReaderNodes"]

_KEPT_FOR_DRAFT = 1
"""Calls held back from looking, so that there is always one left to answer with."""


class _Asker:
    """One node's way to a VLM: within the budget, traced, and its cost added up for the state."""

    def __init__(self, resources: Resources, task: ReaderState | LookTask | VerifyTask, vlm: VLM, emit: Emit) -> None:
        self._calls = resources.calls(task["session"], task["turn"], task["spent"], task["started"])
        self._vlm, self._emit, self._turn = vlm, emit, task["turn"]
        self.spent = Spent()

    async def ask(self, request: VLMRequest) -> VLMReply:
        """The reply; a ModelError is counted as a fault and raised."""
        try:
            reply, cost = await self._calls.ask(self._vlm, request, self._emit, self._turn)
        except BudgetReached:
            raise
        except Exception:
            self.spent += Spent(calls=1, faults=1)
            raise
        self.spent += cost
        return reply


class ReaderNodes:
    """The nodes, bound to the resources they work with."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    # --- open -------------------------------------------------------------------------------------------------------

    async def open(self, state: ReaderState, config: RunnableConfig, writer: StreamWriter) -> dict[str, Any]:
        """Load the study on the first turn; reset what belongs to one question on every turn."""
        question = (state.get("question") or "").strip()
        if not question:
            raise UsageError("there is no question")
        known = state.get("study_id")
        turn = state["turn"] + 1 if known else 0
        emit = _emitter(writer)
        update = fresh_turn(turn, question)
        if known is None:
            study = await self._load(state)
            update["session"] = str(config.get("configurable", {}).get("thread_id") or uuid.uuid4().hex)
            update |= {"study_id": study.id, "opened": state["study"], "excluded": []}
        elif state.get("study") not in (None, state.get("opened")):
            raise UsageError("a session holds one study; start another session for another study")
        else:
            study = self._resources.loupe(known).study
        update["warnings"] = [*study.warnings, *self._resources.warnings]
        image = state.get("image")
        overview, new = await self._overview(study, image, state.get("views", []))
        update |= {"overview": overview.index, "views": [overview] if new else []}
        emit(_event("open", turn, study=study_summary(study, overview.image), warnings=update["warnings"]))
        if new:
            emit(_event("look", turn, view=overview, region=None, measurement=None))
        return update

    async def _load(self, state: ReaderState) -> Study:
        path = state.get("study")
        if not path:
            raise UsageError("there is no study")
        return await asyncio.to_thread(load_study, Path(path), self._resources.store, modality=state.get("modality"))

    async def _overview(self, study: Study, image: int | None, views: Sequence[View]) -> tuple[View, bool]:
        """The overview of the image asked for (default: the middle of the largest series), and whether it is new."""
        if image is None:
            series = max(study.series, key=lambda s: len(s.images))
            image = series.images[len(series.images) // 2]
        elif not 0 <= image < len(study.images):
            raise UsageError(f"there is no image {image}; the study has {len(study.images)}, counted from 0")
        known = next((v for v in views if v.kind == "overview" and v.image == image), None)
        if known is not None:
            return known, False
        loupe = self._resources.loupe(study.id)
        return await asyncio.to_thread(loupe.overview, image, index=next_view(views)), True

    # --- plan -------------------------------------------------------------------------------------------------------

    async def plan(self, state: ReaderState, writer: StreamWriter) -> dict[str, Any]:
        """Decide where to look next; at a cap, or when enough was seen, go on to the draft."""
        emit, turn = _emitter(writer), state["turn"]
        planner = self._resources.make_planner()
        stop = self._no_more_looks(state)
        if stop:
            emit(
                _event(
                    "plan", turn, planner=planner.name, round=state["spent"].plans, actions=[], done=True, reason=stop
                )
            )
            return {"jobs": [], "plan_done": stop, "warnings": [stop]}
        asker = self._asker(state, emit)
        scene = self._plan_scene(state, asker)
        try:
            plan = await planner(scene)
        except BudgetReached as error:
            return {
                "jobs": [],
                "plan_done": str(error),
                "warnings": [str(error)],
                "spent": asker.spent if asker else Spent(),
            }
        left = scene.looks_left
        regions = [*state.get("regions", []), *plan.regions]
        actions, proposed = await self._expand(plan.actions, scene, regions)
        jobs = jobs_for(
            actions[:left], first_view=next_view(state["views"], state.get("jobs", ())),
            first_region=next_region([*regions, *proposed]), views=state["views"], regions=[*regions, *proposed],
        )  # fmt: skip
        warnings = [*plan.warnings]
        if len(actions) > left:
            warnings.append(
                f"{len(actions) - left} looks left out: the cap of {self._resources.budget.looks} looks was reached"
            )
        done = plan.done if not jobs else ""
        emit(
            _event("plan", turn, planner=planner.name, round=state["spent"].plans, done=not jobs, reason=plan.done,
                   actions=[job.action for job in jobs])
        )  # fmt: skip
        for message in warnings:
            emit(_event("warning", turn, message=message))
        spent = Spent(plans=1, looks=len(jobs)) + (asker.spent if asker else Spent())
        return {
            "jobs": jobs, "plan_done": done or ("" if jobs else "nothing to look at"), "warnings": warnings,
            "regions": [*plan.regions, *proposed], "spent": spent,
        }  # fmt: skip

    def _no_more_looks(self, state: ReaderState) -> str:
        """Why no further look can be made; "" while there is room."""
        budget, spent = self._resources.budget, state["spent"]
        now = spent.model_copy(update={"seconds": time.time() - state["started"]})
        if self._resources.vlm is not None and spent.calls >= budget.calls - _KEPT_FOR_DRAFT:
            return f"the cap of {budget.calls} model calls was reached"
        if spent.plans >= budget.plans:
            return f"the cap of {budget.plans} rounds of planning was reached"
        return now.reached(budget) or ""

    def _plan_scene(self, state: ReaderState, asker: _Asker | None) -> PlanScene:
        resources, budget = self._resources, self._resources.budget
        loupe = resources.loupe(state["study_id"])
        looks_left = budget.looks - state["spent"].looks
        if resources.vlm is not None:  # one call to plan, one for each look's description, one to answer
            looks_left = max(1, min(looks_left, budget.calls - state["spent"].calls - 1 - _KEPT_FOR_DRAFT))
        return PlanScene(
            question=state["question"],
            overview=_view(state["views"], state["overview"]),
            views=state["views"],
            regions=state.get("regions", []),
            observations=_kept(state),
            loupe=loupe,
            looks_left=looks_left,
            depth=budget.depth,
            repeats=budget.repeats,
            next_region=next_region(state.get("regions", [])),
            first_round=state["spent"].plans == 0,
            profile=resources.vlm.profile if resources.vlm else None,
            ask=asker.ask if asker else None,
            prefix=self._prefix(state["study_id"], state["views"], state["overview"]),
            picture=resources.picture,
        )

    async def _expand(
        self, actions: Sequence[Action], scene: PlanScene, regions: Sequence[Region]
    ) -> tuple[list[Action], list[Region]]:
        """`segment` with neither box nor points becomes one focal crop for each region that it proposes."""
        expanded: list[Action] = []
        proposed: list[Region] = []
        for action in actions:
            if not (isinstance(action, Segment) and action.box is None and not action.points):
                expanded.append(action)
                continue
            found = await asyncio.to_thread(
                scene.loupe.segment, scene.view(action.view),
                first_id=next_region([*regions, *proposed]), limit=scene.looks_left,
            )  # fmt: skip
            proposed += found
            expanded += [Crop(view=action.view, region=region.id) for region in found]
        return expanded, proposed

    # --- look -------------------------------------------------------------------------------------------------------

    async def look(self, state: LookTask, writer: StreamWriter) -> dict[str, Any]:
        """One branch a region: make the view from full-resolution pixels, then have it described."""
        emit, turn, job = _emitter(writer), state["turn"], state["job"]
        loupe = self._resources.loupe(state["study_id"])
        describer = self._describer()
        measured = isinstance(describer, MeasuredDescriber)
        try:
            look = await asyncio.to_thread(carry_out, job, loupe, state["views"], measure=measured)
        except ActionRejected as error:
            message = f"a look could not be made: {error}"
            emit(_event("warning", turn, message=message))
            return {"warnings": [message]}
        if look.warning:
            emit(_event("warning", turn, message=look.warning))
        emit(_event("look", turn, view=look.view, region=look.region, measurement=look.measurement))
        asker = self._asker(state, emit)
        observation = await self._describe(state, look, describer, asker)
        emit(_event("describe", turn, observation=observation))
        return {
            "views": [look.view] if look.view else [],
            "regions": [look.region] if look.region else [],
            "measurements": [look.measurement] if look.measurement else [],
            "observations": [observation],
            "warnings": [look.warning] if look.warning else [],
            "spent": asker.spent if asker else Spent(),
        }

    async def _describe(self, task: LookTask, look: Look, describer: Describer, asker: _Asker | None) -> Observation:
        overview = _view(task["views"], task["overview"])
        if look.view is None:  # a measurement alone: its numbers are the description
            describer, asker = MeasuredDescriber(), None
        view = look.view or overview
        scene = DescribeScene(
            view=view,
            overview=overview,
            image=self._resources.loupe(task["study_id"]).study.images[view.image],
            region=look.region,
            measurement=look.measurement,
            prefix=self._prefix(task["study_id"], task["views"], task["overview"]),
            picture=self._resources.picture,
            ask=asker.ask if asker else None,
        )
        observation = await describer(scene)
        if look.view is None and look.region is not None:
            return observation.model_copy(update={"id": f"O{task['job'].view}", "region": look.region.id})
        return observation

    # --- review (a person) ------------------------------------------------------------------------------------------

    async def review(self, state: ReaderState) -> dict[str, Any]:
        """Stop for a person, who may add, move or exclude regions; what is added or moved is looked at next."""
        shown = [region.model_dump(mode="json", exclude={"mask"}) for region in state.get("regions", [])]
        said = Review.model_validate(interrupt({"regions": shown, "overview": state["overview"]}) or {})
        views = state["views"]
        overview = _view(views, state["overview"])
        jobs: list[Job] = []
        number, view = next_region(state.get("regions", [])), next_view(views, state.get("jobs", ()))
        boxes = [*((None, box) for box in said.add), *said.move.items()]
        for offset, (identity, corners) in enumerate(boxes):
            image = overview.image
            box = person_box(corners, self._resources.loupe(state["study_id"]).study, image)
            region = Region(id=identity or f"R{number}", image=image, box=box, view=overview.index, source="person")
            number += identity is None
            jobs.append(Job(action=Zoom(view=overview.index, box=box), view=view + offset, region=region))
        excluded = list(dict.fromkeys([*state.get("excluded", []), *said.exclude]))
        return {"jobs": jobs, "reviewed": True, "excluded": excluded, "regions": [j.region for j in jobs if j.region]}

    # --- draft, claims, verify --------------------------------------------------------------------------------------

    async def draft(self, state: ReaderState, writer: StreamWriter) -> dict[str, Any]:
        """What would be said, from the chain of observations."""
        emit, turn = _emitter(writer), state["turn"]
        asker = self._asker(state, emit)
        warnings: list[str] = []
        if asker is None:
            images = self._resources.loupe(state["study_id"]).study.images
            shown = images[_view(state["views"], state["overview"]).image]
            draft, warnings = compose(state["question"], _kept(state), shown)
        else:
            draft = await self._vlm_draft(state, asker)
        emit(_event("draft", turn, statements=draft.sentences, answerable=draft.answerable))
        return {"draft": draft, "warnings": warnings, "spent": asker.spent if asker else Spent()}

    async def _vlm_draft(self, state: ReaderState, asker: _Asker) -> Draft:
        scene = DraftScene(
            question=state["question"],
            overview=_view(state["views"], state["overview"]),
            views=[v for v in state["views"] if v.region not in state.get("excluded", []) or v.region is None],
            observations=_kept(state),
            prefix=self._prefix(state["study_id"], state["views"], state["overview"]),
            picture=self._resources.picture,
            ask=asker.ask,
        )
        try:
            return await draft_with_vlm(scene)
        except BudgetReached as error:
            return Draft(answerable=False, reason=str(error))

    async def claims(self, state: ReaderState, writer: StreamWriter) -> dict[str, Any]:
        """Every checkable thing that the draft says, from its structure and from its words."""
        draft = state["draft"]
        assert draft is not None
        study = self._resources.loupe(state["study_id"]).study
        overview = _view(state["views"], state["overview"])
        claims, statements, unparsed = claims_of(draft, state["views"], state.get("regions", []), overview, study)
        _emitter(writer)(_event("claims", state["turn"], claims=claims, unparsed=unparsed))
        return {"claims": claims, "statements": statements, "unparsed": unparsed}

    async def verify(self, state: VerifyTask, writer: StreamWriter) -> dict[str, Any]:
        """One branch a claim: independent checks, one verdict."""
        emit, claim = _emitter(writer), state["claim"]
        verifier = self._resources.verifier or self._resources.vlm
        asker = None if verifier is None else _Asker(self._resources, state, verifier, emit)
        scene = Scene(
            loupe=self._resources.loupe(state["study_id"]),
            views=tuple(state["views"]),
            regions=tuple(state["regions"]),
            observations=tuple(state["observations"]),
            claims=tuple(state["claims"]),
            ask=asker.ask if asker else None,
            verifier_model=verifier.model if verifier else "",
            picture=self._resources.picture,
        )
        verdict = await verify_claim(claim, scene, self._resources.verifiers)
        emit(_event("verdict", state["turn"], claim=claim, verdict=verdict))
        return {"verdicts": [verdict], "spent": asker.spent if asker else Spent()}

    # --- revise, answer ---------------------------------------------------------------------------------------------

    async def revise(self, state: ReaderState, writer: StreamWriter) -> dict[str, Any]:
        """Correct or drop what was refuted; with verification off everything stays as it was drafted."""
        if not self._resources.verify:
            return {"jobs": [], "warnings": ["verification was switched off: nothing in this answer was checked"]}
        verdicts = {v.claim: v for v in state.get("verdicts", [])}
        claims = {claim.id: claim for claim in state.get("claims", [])}
        if self._resources.vlm is not None and not state.get("recheck"):  # once a question, and only where it may help
            again = second_look(
                list(claims.values()), verdicts, state["views"], self._resources.loupe(state["study_id"]).study,
                first_view=next_view(state["views"], state.get("jobs", ())), budget=self._resources.budget,
                spent=state["spent"].model_copy(update={"seconds": time.time() - state["started"]}),
            )  # fmt: skip
            if again.jobs:
                return {"jobs": again.jobs, "recheck": again.recheck, "spent": Spent(looks=len(again.jobs))}
        statements = [
            revise_statement(statement, [claims[identity] for identity in statement.claims], verdicts)
            for statement in state["statements"]
        ]
        _emitter(writer)(_event("revise", state["turn"], statements=statements))
        return {"statements": statements, "jobs": []}

    async def answer(self, state: ReaderState, writer: StreamWriter) -> dict[str, Any]:
        """Put the answer together."""
        draft, resources = state["draft"], self._resources
        assert draft is not None
        verdicts = {v.claim: v for v in state.get("verdicts", [])}
        refusal = "" if draft.answerable else draft.reason
        text, abstained = write_answer(state["statements"], refusal, checked=resources.verify)
        claims, loupe = state.get("claims", []), resources.loupe(state["study_id"])
        sure, basis = confidence(state["statements"], claims, verdicts, load_calibration(loupe.outliner))
        spent = state["spent"].model_copy(update={"seconds": round(time.time() - state["started"], 3)})
        answer = Answer(
            run=state["session"], turn=state["turn"], question=state["question"], answer=text, abstained=abstained,
            confidence=None if abstained else sure, confidence_basis=basis,
            statements=tuple(state["statements"]),
            study=study_summary(loupe.study, _view(state["views"], state["overview"]).image),
            views=tuple(state["views"]), regions=tuple(state.get("regions", [])),
            observations=tuple(state.get("observations", [])),
            measurements=tuple(_latest(state.get("measurements", []))),
            claims=check_claims([c for c in claims if c.id in verdicts], verdicts),
            unparsed=tuple(state.get("unparsed", [])),
            budget={"caps": resources.budget.model_dump(), "spent": spent.model_dump()},
            models=resources.models(), prompts=prompt_hashes(), warnings=tuple(state.get("warnings", [])),
        )  # fmt: skip
        _emitter(writer)(_event("answer", state["turn"], answer=answer))
        return {"answer": answer}

    # --- edges ------------------------------------------------------------------------------------------------------

    def after_plan(self, state: ReaderState) -> list[Send] | str:
        """Fan out to the looks that were planned; else draft."""
        return self._sends(state) or "draft"

    def after_plan_reviewed(self, state: ReaderState) -> list[Send] | str:
        """As `after_plan`, but a person sees the regions before the draft."""
        return self._sends(state) or "review"

    def after_look(self, state: ReaderState) -> list[Send] | str:
        """Plan again while there is room for a look: a spent budget needs no further plan. After a review, draft.

        A second look belongs to claims already drafted: they are verified on it; nothing is planned or drafted anew.
        """
        if state.get("recheck"):
            return self._checks(state)
        if state.get("reviewed"):
            return "draft"
        return "plan" if not self._no_more_looks(state) else "draft"

    def after_look_reviewed(self, state: ReaderState) -> list[Send] | str:
        """As `after_look`, with the review before the draft."""
        following = self.after_look(state)
        return "review" if following == "draft" and not state.get("reviewed") else following

    def after_claims(self, state: ReaderState) -> list[Send] | str:
        """Fan out to the checks, one a claim; with nothing claimed, straight to the revision."""
        return self._checks(state)

    def after_revise(self, state: ReaderState) -> list[Send] | str:
        """One more look where `revise` asked for one; else answer."""
        return self._sends(state) or "answer"

    def _checks(self, state: ReaderState) -> list[Send] | str:
        """Every claim; after a second look those it was made for, on the view it made."""
        shared = {key: state[key] for key in ("session", "study_id", "turn", "views", "spent", "started", "overview")}
        task = {**shared, "regions": state.get("regions", []), "observations": _kept(state)}
        claims = state.get("claims", []) if self._resources.verify else []
        chosen = claims
        if again := state.get("recheck"):
            made = {view.index for view in state["views"]}
            chosen = [c.model_copy(update={"view": again[c.id]}) for c in claims if again.get(c.id) in made]
        return [Send("verify", {**task, "claim": claim, "claims": claims}) for claim in chosen] or "revise"

    def _sends(self, state: ReaderState) -> list[Send]:
        shared = {key: state[key] for key in ("session", "study_id", "turn", "views", "spent", "started", "overview")}
        return [Send("look", {**shared, "regions": [], "job": job}) for job in state.get("jobs", [])]

    # --- shared -----------------------------------------------------------------------------------------------------

    def _asker(self, task: ReaderState | LookTask | VerifyTask, emit: Emit) -> _Asker | None:
        vlm = self._resources.vlm
        return None if vlm is None else _Asker(self._resources, task, vlm, emit)

    def _describer(self) -> Describer:
        vlm = self._resources.vlm
        return MeasuredDescriber() if vlm is None else VLMDescriber(vlm.model)

    def _prefix(self, study_id: str, views: Sequence[View], overview: int) -> tuple[Message, ...]:
        view = _view(views, overview)
        return prefix(self._resources.loupe(study_id).study.images[view.image], view, self._resources.picture)


def _emitter(writer: StreamWriter) -> Emit:
    return lambda event: writer(event.model_dump(mode="json"))


def _event(name: EventName, turn: int, /, **data: object) -> TraceEvent:
    return TraceEvent(event=name, turn=turn, data=cast(dict[str, Any], _plain(data)))


def _plain(value: object) -> object:
    """JSON-plain, as a trace holds it."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _view(views: Sequence[View], index: int) -> View:
    return next(view for view in views if view.index == index)


def _kept(state: ReaderState) -> list[Observation]:
    """Observations, less those of regions that a person excluded."""
    excluded = set(state.get("excluded", []))
    return [o for o in state.get("observations", []) if o.region is None or o.region not in excluded]


def _latest(measurements: Sequence[Measurement]) -> list[Measurement]:
    """The last measurement of each region."""
    return list({m.region: m for m in measurements}.values())
