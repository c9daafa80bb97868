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
    study_summary,
    unchecked_answer,
    write_answer,
)
from medloupe.agent.asked import relevance
from medloupe.agent.budget import Spent
from medloupe.agent.calls import BudgetReached, Emit
from medloupe.agent.claims import claims_of
from medloupe.agent.compose import beyond_measuring, compose
from medloupe.agent.confidence import load_calibration
from medloupe.agent.describe import Describer, DescribeScene, MeasuredDescriber, VLMDescriber
from medloupe.agent.draft import DraftScene, draft_with_vlm
from medloupe.agent.looks import Look, carry_out
from medloupe.agent.messages import prefix
from medloupe.agent.planner import Plan
from medloupe.agent.planning import jobs_of, no_more_looks, plan_scene
from medloupe.agent.relook import second_look
from medloupe.agent.resources import Resources
from medloupe.agent.review import read_review, review_jobs
from medloupe.agent.revise import revise
from medloupe.agent.state import Draft, LookTask, ReaderState, VerifyTask, fresh_turn, kept_observations, view_of
from medloupe.agent.tiny import TinyDescriber, tiny_draft
from medloupe.agent.trace import EventName, TraceEvent
from medloupe.errors import ActionRejected, UsageError
from medloupe.models.vlm.base import VLM, Message, VLMReply, VLMRequest
from medloupe.tools.imaging import load_study
from medloupe.tools.verify import Scene, verify_claim
from medloupe.types import Answer, Measurement, Observation, Study, View

__all__ = ["ReaderNodes"]


class _Asker:
    """One node's way to a VLM: within the budget, traced, and its cost added up for the state."""

    def __init__(self, resources: Resources, task: ReaderState | LookTask | VerifyTask, vlm: VLM, emit: Emit) -> None:
        self._calls = resources.calls(task["session"], task["turn"], task["spent"], task["started"])
        self._calls.started = task["started"]  # a review starts the clock anew
        self._vlm, self._emit, self._turn = vlm, emit, task["turn"]
        self.spent = Spent()
        self.reached = ""

    async def ask(self, request: VLMRequest) -> VLMReply:
        """The reply; a ModelError is counted as a fault and raised."""
        try:
            reply, cost = await self._calls.ask(self._vlm, request, self._emit, self._turn)
        except BudgetReached as error:
            self.reached = str(error)
            self.spent += Spent(calls=1, faults=1) if error.sent else Spent()
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
        question = _checked(state.get("question"))
        known = state.get("study_id")
        turn = state["turn"] + 1 if known else 0
        emit = _emitter(writer)
        update = fresh_turn(turn, question)
        if known is None:
            study = await self._load(state)
            update["session"] = str(config.get("configurable", {}).get("thread_id") or uuid.uuid4().hex)
            update |= {"study_id": study.id, "opened": state["study"], "excluded": [], "next_view": 0, "next_claim": 1}
        elif state.get("study") not in (None, state.get("opened")):
            raise UsageError("a session holds one study; start another session for another study")
        else:
            study = self._resources.loupe(known).study
        given = update.get("next_view", state.get("next_view", 0))
        overview, new = await self._overview(study, state.get("image"), state.get("views", []), given)
        shown = study.images[overview.image]
        update["warnings"] = [
            *study.warnings, *self._resources.warnings, *_partly(study, overview.image), *self._resources.unfit(shown),
        ]  # fmt: skip
        update |= {"overview": overview.index, "views": [overview] if new else [], "next_view": given + new}
        emit(_event("open", turn, study=study_summary(study, overview.image), warnings=update["warnings"]))
        if new:
            emit(_event("look", turn, view=overview, region=None, measurement=None))
        return update

    async def _load(self, state: ReaderState) -> Study:
        path = state.get("study")
        if not path:
            raise UsageError("there is no study")
        return await asyncio.to_thread(
            load_study, Path(path), self._resources.store, modality=state.get("modality"), limits=self._resources.limits
        )

    async def _overview(self, study: Study, image: int | None, views: Sequence[View], index: int) -> tuple[View, bool]:
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
        return await asyncio.to_thread(loupe.overview, image, index=index), True

    # --- plan -------------------------------------------------------------------------------------------------------

    async def plan(self, state: ReaderState, writer: StreamWriter) -> dict[str, Any]:
        """Decide where to look next; at a cap, or when enough was seen, go on to the draft."""
        emit, turn = _emitter(writer), state["turn"]
        planner = self._resources.make_planner()
        stop = no_more_looks(state, self._resources)
        if stop:
            about = {"planner": planner.name, "round": state["spent"].plans, "actions": []}
            emit(_event("plan", turn, **about, done=True, reason=stop))
            return {"jobs": [], "plan_done": stop, "warnings": [stop]}
        shown = self._resources.loupe(state["study_id"]).image(view_of(state["views"], state["overview"]).image)
        if self._resources.vlm is None and beyond_measuring(state["question"], shown):
            return {"jobs": [], "plan_done": "the question asks for more than measuring can tell"}
        asker = self._asker(state, emit)
        scene = plan_scene(state, self._resources, asker.ask if asker else None)
        try:
            plan = await planner(scene)
        except BudgetReached as error:
            plan = Plan(done=str(error), warnings=(str(error),))
        jobs, regions, warnings = await jobs_of(plan, scene, state, self._resources)
        actions = [job.action for job in jobs]
        about = {"planner": planner.name, "round": state["spent"].plans, "actions": actions}
        emit(_event("plan", turn, **about, done=not jobs, reason=plan.done))
        for message in warnings:
            emit(_event("warning", turn, message=message))
        return {
            "jobs": jobs,
            "plan_done": "" if jobs else plan.done or "nothing to look at",
            "next_view": state["next_view"] + len(jobs),
            "regions": regions,
            "warnings": warnings,
            "spent": Spent(plans=1, looks=len(jobs)) + _spent(asker),
        }

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
        twin = next((v for v in state["views"] if look.view is not None and v.digest == look.view.digest), None)
        if twin is not None:
            message = f"V{job.view} would show the same pixels as V{twin.index} and was not looked at again"
            emit(_event("warning", turn, message=message))
            return {"warnings": [message]}
        emit(_event("look", turn, view=look.view, region=look.region, measurement=look.measurement))
        asker = self._asker(state, emit)
        observation = await self._describe(state, look, describer, asker)
        emit(_event("describe", turn, observation=observation))
        return {
            "views": [look.view] if look.view else [],
            "regions": [look.region] if look.region else [],
            "measurements": [look.measurement] if look.measurement else [],
            "observations": [observation],
            "warnings": [*([look.warning] if look.warning else []), *_reached(asker)],
            "spent": _spent(asker),
        }

    async def _describe(self, task: LookTask, look: Look, describer: Describer, asker: _Asker | None) -> Observation:
        """What the view shows. A measurement alone (no view) is said of the region's last view, and called M, not O."""
        overview = view_of(task["views"], task["overview"])
        of_region = [v for v in task["views"] if look.region is not None and v.region == look.region.id]
        view = look.view or (of_region or [overview])[-1]
        scene = DescribeScene(
            view=view,
            overview=overview,
            image=self._resources.loupe(task["study_id"]).image(view.image),
            region=look.region,
            measurement=look.measurement,
            prefix=self._prefix(task["study_id"], overview),
            picture=self._resources.picture,
            ask=asker.ask if asker else None,
        )
        if look.view is not None:
            return await describer(scene)
        measured = await MeasuredDescriber()(scene)
        region = look.region.id if look.region else None
        return measured.model_copy(update={"id": f"M{task['job'].view}", "region": region})

    # --- review (a person) ------------------------------------------------------------------------------------------

    async def review(self, state: ReaderState) -> dict[str, Any]:
        """Stop for a person, who may add, move or exclude regions; what is added or moved is looked at next."""
        regions = state.get("regions", [])
        shown = [region.model_dump(mode="json", exclude={"mask"}) for region in regions]
        loupe = self._resources.loupe(state["study_id"])
        asked: dict[str, object] = {"regions": shown, "overview": state["overview"]}
        # A malformed reply is asked for again, with what was wrong: raised, it would stay in the checkpoint.
        while True:
            try:
                said = read_review(interrupt(asked), regions)
                jobs = review_jobs(said, state, loupe)
                break
            except UsageError as error:
                asked = {**asked, "error": str(error)}
        return {
            "jobs": jobs,
            "next_view": state["next_view"] + len(jobs),
            "reviewed": True,
            "excluded": list(dict.fromkeys([*state.get("excluded", []), *said.exclude, *said.move])),
            "regions": [job.region for job in jobs if job.region],
            "started": time.time(),  # the person's time is not the question's
        }

    # --- draft, claims, verify --------------------------------------------------------------------------------------

    async def draft(self, state: ReaderState, writer: StreamWriter) -> dict[str, Any]:
        """What would be said, from the chain of observations."""
        emit, turn = _emitter(writer), state["turn"]
        asker = self._asker(state, emit)
        stop = no_more_looks(state, self._resources)
        warnings = [] if state["plan_done"] or not stop else [stop]
        if asker is None:
            image = view_of(state["views"], state["overview"]).image
            shown = self._resources.loupe(state["study_id"]).study.images[image]
            draft, notes = compose(state["question"], kept_observations(state), shown)
            warnings += notes
        else:
            draft = await self._vlm_draft(state, asker)
        emit(_event("draft", turn, statements=draft.sentences, answerable=draft.answerable))
        return {"draft": draft, "warnings": [*warnings, *_reached(asker)], "spent": _spent(asker)}

    async def _vlm_draft(self, state: ReaderState, asker: _Asker) -> Draft:
        if self._resources.vlm is not None and self._resources.vlm.profile.prompts == "tiny":
            return tiny_draft(kept_observations(state))
        overview = view_of(state["views"], state["overview"])
        scene = DraftScene(
            question=state["question"],
            overview=overview,
            views=[v for v in state["views"] if v.region not in state.get("excluded", []) or v.region is None],
            observations=kept_observations(state),
            prefix=self._prefix(state["study_id"], overview),
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
        loupe = self._resources.loupe(state["study_id"])
        overview = view_of(state["views"], state["overview"])
        first = state["next_claim"]
        regions = state.get("regions", [])
        claims, statements = claims_of(
            draft, state["views"], regions, overview, loupe, first_id=first, question=state["question"]
        )
        unparsed = list(dict.fromkeys(word for statement in statements for word in statement.unparsed))
        _emitter(writer)(_event("claims", state["turn"], claims=claims, unparsed=unparsed))
        return {
            "claims": claims, "next_claim": first + len(claims), "statements": statements, "unparsed": unparsed,
        }  # fmt: skip

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
            verifier_profile=verifier.profile if verifier else None,
            picture=self._resources.picture,
        )
        verdict = await verify_claim(claim, scene, self._resources.verifiers)
        emit(_event("verdict", state["turn"], claim=claim, verdict=verdict))
        return {"verdicts": [verdict], "warnings": _reached(asker), "spent": _spent(asker)}

    # --- revise, answer ---------------------------------------------------------------------------------------------

    async def revise(self, state: ReaderState, writer: StreamWriter) -> dict[str, Any]:
        """Correct or drop what was refuted; with verification off everything stays as it was drafted."""
        if not self._resources.verify:
            return {"jobs": [], "warnings": ["verification was switched off: nothing in this answer was checked"]}
        verdicts = {v.claim: v for v in state.get("verdicts", [])}
        claims = state.get("claims", [])
        if self._resources.vlm is not None and not state.get("recheck"):  # once a question, and only where it may help
            again = second_look(
                claims, verdicts, state["views"], self._resources.loupe(state["study_id"]),
                first_view=state["next_view"], budget=self._resources.budget,
                spent=state["spent"].model_copy(update={"seconds": time.time() - state["started"]}),
            )  # fmt: skip
            if again.jobs:
                given = state["next_view"] + len(again.jobs)
                spent = Spent(looks=len(again.jobs))
                return {"jobs": again.jobs, "recheck": again.recheck, "spent": spent, "next_view": given}
        statements = revise(state["statements"], claims, verdicts)
        _emitter(writer)(_event("revise", state["turn"], statements=statements))
        return {"statements": statements, "jobs": []}

    async def answer(self, state: ReaderState, writer: StreamWriter) -> dict[str, Any]:
        """Put the answer together."""
        draft, resources = state["draft"], self._resources
        assert draft is not None
        verdicts = {v.claim: v for v in state.get("verdicts", [])}
        refusal = "" if draft.answerable else draft.reason
        claims, loupe = state.get("claims", []), resources.loupe(state["study_id"])
        overview = loupe.study.images[view_of(state["views"], state["overview"]).image]
        if resources.verify:
            question, statements = state["question"], state["statements"]
            text, abstained = write_answer(question, statements, claims, verdicts, overview, refusal)
        else:
            text, abstained = unchecked_answer(state["statements"], refusal)
        sure, basis = confidence(state["statements"], claims, verdicts, load_calibration(loupe.outliner))
        spent = state["spent"].model_copy(update={"seconds": round(time.time() - state["started"], 3)})
        answer = Answer(
            run=state["session"], turn=state["turn"], question=state["question"], answer=text, abstained=abstained,
            confidence=None if abstained else sure, confidence_basis=basis,
            statements=tuple(state["statements"]),
            study=study_summary(loupe.study, overview.index),
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
        return "plan" if not no_more_looks(state, self._resources) else "draft"

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
        task = {**shared, "regions": state.get("regions", []), "observations": kept_observations(state)}
        claims = state.get("claims", []) if self._resources.verify else []
        shown = self._resources.loupe(state["study_id"]).study.images[view_of(state["views"], state["overview"]).image]
        chosen = relevance(state["question"], claims, shown)  # near a cap on calls, what was asked for goes first
        if again := state.get("recheck"):
            made = {view.index for view in state["views"]}
            chosen = [c.model_copy(update={"view": again[c.id]}) for c in chosen if again.get(c.id) in made]
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
        if vlm is None:
            return MeasuredDescriber()
        return TinyDescriber(vlm.model) if vlm.profile.prompts == "tiny" else VLMDescriber(vlm.model)

    def _prefix(self, study_id: str, overview: View) -> tuple[Message, ...]:
        study = self._resources.loupe(study_id).study
        return prefix(study.images[overview.image], overview, self._resources.picture)


def _spent(asker: _Asker | None) -> Spent:
    return asker.spent if asker else Spent()


def _reached(asker: _Asker | None) -> list[str]:
    """The cap that a call met, as a warning."""
    return [asker.reached] if asker and asker.reached else []


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


def _checked(question: str | None) -> str:
    question = (question or "").strip()
    if not question:
        raise UsageError("there is no question")
    try:
        question.encode()
    except UnicodeEncodeError:
        raise UsageError("the question holds bytes that are no text") from None
    return question


def _partly(study: Study, image: int) -> list[str]:
    """That a question of a series starts from one of its images."""
    series = study.series[study.images[image].series]
    if len(series.images) == 1:
        return []
    place = series.images.index(image) + 1
    number = len(series.images)
    return [f"the question starts from image {place} of {number}; others are seen only where the planner goes"]


def _latest(measurements: Sequence[Measurement]) -> list[Measurement]:
    """The last measurement of each region."""
    return list({m.region: m for m in measurements}.values())
