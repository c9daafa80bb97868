"""The solvers: the agent, the single pass, and the controls that show what looking closer is worth.

All answer the same last request, with the same model, prompts and budget. They differ in what they have looked at:

    agent            the reader graph: plans, looks, describes, verifies, then answers
    single_pass      the whole image, once
    random_crop      the graph, its looks at random places            oracle_crop   ... at the true region
    full_image       ... at the whole image                           uniform_tiles ... at the tiles of a grid
    majority_vote    the single pass, drawn until the agent's tokens are spent; the commonest answer
    blank_image      the single pass on a picture of the mean grey    question_only   ... on no picture
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from medloupe.agent.messages import prefix
from medloupe.agent.trace import TraceEvent
from medloupe.errors import InputRejected, ModelError, ReplyCutOff, ReplyRefused, ReplyUnreadable, UsageError
from medloupe.evals.scorers.radfact import Phrase
from medloupe.evals.scorers.text import normalised
from medloupe.evals.solvers.asking import Evidence, Reply, choose_request, locate_request, read_boxes, read_reply
from medloupe.evals.solvers.bench import Bench, CaseResources, FixedPlanner, Opened, one_line
from medloupe.evals.solvers.described import described, outcome_of, stated
from medloupe.evals.solvers.outcome import Found, Outcome
from medloupe.evals.tasks.case import Case
from medloupe.models.vlm.base import Message
from medloupe.prompts import prompt
from medloupe.tools.imaging import MemoryStore, load_study
from medloupe.tools.look import Loupe
from medloupe.types import Answer, BoundingBox, Image, Mask, View

__all__ = ["MOST_DRAWS", "SOLVERS", "Options", "solve"]

_TEMPERATURE = 0.7
"""Of the draws of `majority_vote`."""
MOST_DRAWS = 256
_PASSING = frozenset({"time-limit", "no-worker"})
"""Codes of InputRejected by which a machine that was busy or paused is told from a file that cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a solver is matched to the agent's effort."""

    looks: int = 4
    """Looks of the crop controls."""
    tokens: int = 0
    """Tokens a case of `majority_vote`; 0: five draws."""
    seed: int = 7


async def solve(bench: Bench, case: Case, solver: str, options: Options, *, epoch: int = 1) -> Outcome:
    """One case. A ModelError, or an image that cannot be read, is an outcome; a full disk or a wrong setting is raised.

    UsageError for a solver that needs a model where there is none.
    """
    run = SOLVERS[solver]
    if bench.resources.vlm is None and solver != "agent" and not solver.endswith(("crop", "image", "tiles")):
        raise UsageError(f"the solver {solver} needs a vision-language model (--vlm)")
    with bench.open(case, epoch) as opened:
        try:
            outcome = await run(opened, options)
        except ReplyRefused as error:
            outcome = Outcome(status="refused", fault=one_line(error))
        except InputRejected as error:
            outcome = Outcome(status="failed", fault=one_line(error), passing=error.code in _PASSING)
        except ModelError as error:
            outcome = Outcome(status="failed", fault=one_line(error))
        await opened.end()
        return outcome.model_copy(update={"spent": opened.spent})


# --- the agent and the controls that look ---------------------------------------------------------------------------


async def _agent(opened: Opened, _: Options) -> Outcome:
    region = opened.case.region
    return await _read(opened, FixedPlanner([region], focal=True) if region else None)


async def _looking(opened: Opened, options: Options, boxes: Callable[[Image], Sequence[BoundingBox]]) -> Outcome:
    """As many looks as are given and none besides, also where a claim would be worth one more."""
    image = await _first_image(opened)
    return await _read(opened, FixedPlanner(boxes(image) if options.looks else ()), looks=options.looks)


async def _random_crop(opened: Opened, options: Options) -> Outcome:
    chance = random.Random(f"{options.seed}/{opened.case.id}")  # noqa: S311 - the same places in every run

    def boxes(image: Image) -> list[BoundingBox]:
        found = []
        for _ in range(options.looks):
            share = chance.uniform(0.2, 0.5)
            width, height = max(image.width * share, 1), max(image.height * share, 1)
            x, y = chance.uniform(0, image.width - width), chance.uniform(0, image.height - height)
            found.append(BoundingBox.from_sides(x, y, width, height))
        return found

    return await _looking(opened, options, boxes)


async def _full_image(opened: Opened, options: Options) -> Outcome:
    def boxes(image: Image) -> list[BoundingBox]:
        # One pixel less each time: the graph does not look twice at the same pixels.
        most = max(1, min(options.looks, min(image.width, image.height) - 1))
        return [BoundingBox(x0=0, y0=0, x1=image.width - n, y1=image.height) for n in range(1, most + 1)]

    return await _looking(opened, options, boxes)


async def _uniform_tiles(opened: Opened, options: Options) -> Outcome:
    def boxes(image: Image) -> list[BoundingBox]:
        rows = max(1, math.isqrt(options.looks))  # all of the image in just so many tiles: five are two above three
        counts = [options.looks // rows + (row >= rows - options.looks % rows) for row in range(rows)]
        places = [(r, c, count) for r, count in enumerate(counts) for c in range(count)]
        high = image.height / rows
        return [
            BoundingBox.from_sides(c * image.width / count, r * high, image.width / count, high)
            for r, c, count in places
        ]

    return await _looking(opened, options, boxes)


async def _oracle_crop(opened: Opened, options: Options) -> Outcome:  # noqa: ARG001 - the solvers' signature
    boxes = opened.case.boxes or ((opened.case.region,) if opened.case.region else ())
    if not boxes:
        raise InputRejected("no-truth", "the release does not say where to look, so there is no oracle")
    return await _read(opened, FixedPlanner(boxes, focal=True))


async def _first_image(opened: Opened) -> Image:
    path = await opened.study()
    study = await asyncio.to_thread(
        load_study, path, MemoryStore(), modality=opened.case.modality, limits=opened.limits
    )
    return study.images[await opened.image(path) or 0]


async def _read(opened: Opened, fixed: FixedPlanner | None, *, looks: int | None = None) -> Outcome:
    """The graph, and the last request on what it saw and checked."""
    case = opened.case
    study = await opened.study()
    graph, resources = opened.reader(fixed, looks=looks)
    image = await opened.image(study)
    inputs: Any = {"study": str(study), "question": case.question, "modality": case.modality, "image": image}
    state: dict[str, Any] = {}
    chunk: Any  # by mode: the state, or what a node wrote
    async for mode, chunk in graph.astream(inputs, stream_mode=["values", "custom"]):
        if mode == "values":
            state = chunk
        else:
            opened.take(TraceEvent.model_validate(chunk), resources.store)
    answer: Answer = state["answer"]
    evidence = _evidence(state, resources)
    outcome = await _answered(opened, resources.loupe(state["study_id"]), evidence, answer)
    first = answer.views[0].image
    return outcome.model_copy(
        update={
            "inspected": tuple(v.box for v in answer.views if v.image == first and v.kind in ("zoom", "crop")),
            "looks": len([v for v in answer.views if v.kind not in ("overview",)]),
            "verdicts": tuple(claim.verdict for claim in answer.claims),
            "models": answer.models, "prompts": answer.prompts,
        }
    )  # fmt: skip


async def _answered(opened: Opened, loupe: Loupe, evidence: Evidence, answer: Answer) -> Outcome:
    case, vlm = opened.case, opened.meter
    own = vlm is not None and vlm.profile.prompts == "tiny"  # it reads no other request: what it said is the answer
    if case.kind in ("boxes", "mask"):
        looked = tuple(f.box for f in stated(answer) if f.box) if own else tuple(r.box for r in answer.regions)
        boxes = await _located(opened, evidence) if vlm and not own else looked
        return await _placed(loupe, case, boxes, evidence)
    if case.kind == "caption" or vlm is None or own:
        said = " ".join(s.original or s.text for s in answer.statements)
        return Outcome(
            status="answered", text="" if answer.abstained else answer.answer, before=said, said=_phrases(answer),
            confidence=answer.confidence, findings=stated(answer),
        )  # fmt: skip
    reply = before = await _chosen(opened, evidence.without_checks())
    if any(s.status in ("refuted", "corrected") for s in evidence.checked):
        reply = await _chosen(opened, evidence)
    return Outcome(status="answered", text=reply.text, before=before.text, confidence=reply.confidence)


def _phrases(answer: Answer) -> tuple[Phrase, ...]:
    """The answer's statements, each with the places that its claims, else its views, are about."""
    image = answer.views[0].image
    regions = {region.id: region for region in answer.regions}
    claimed = {claim.id: claim.region for claim in answer.claims}
    looked = {view.index: regions[view.region] for view in answer.views if view.region in regions}
    found = []
    for statement in answer.statements:
        if statement.status in ("supported", "corrected"):
            places = [claimed[c] for c in statement.claims if claimed.get(c)]
            places = places or [looked[v] for v in statement.views if v in looked]
            boxes = dict.fromkeys(place.box for place in places if place and place.image == image)
            found.append(Phrase(statement.text, tuple(boxes)))
    return tuple(found)


async def _chosen(opened: Opened, evidence: Evidence, *, temperature: float = 0.0, draw: int = 0) -> Reply:
    reply = await opened.ask(choose_request(opened.case, evidence, temperature=temperature, draw=draw))
    return read_reply(reply.text)


async def _located(opened: Opened, evidence: Evidence) -> tuple[BoundingBox, ...]:
    vlm = opened.meter
    assert vlm is not None and evidence.overview is not None
    reply = await opened.ask(locate_request(opened.case, evidence, vlm.profile))
    return read_boxes(reply.text, vlm.profile, evidence.overview)


async def _placed(loupe: Loupe, case: Case, boxes: tuple[BoundingBox, ...], evidence: Evidence) -> Outcome:
    """Boxes, and where an outline is asked for, what the segmenter outlines in them. No box is no mask: it scores 0."""
    if case.kind == "boxes" or not boxes:
        return Outcome(status="answered", boxes=boxes)
    assert evidence.overview is not None
    image = evidence.overview.image
    found = [await asyncio.to_thread(loupe.outline, image, box) for box in boxes]
    outlines = [outline[0].to_array() for outline in found if outline is not None]
    mask = Mask.from_array(np.logical_or.reduce(outlines)) if outlines else None
    return Outcome(status="answered", boxes=boxes, mask=mask)


def _evidence(state: dict[str, Any], resources: CaseResources) -> Evidence:
    answer: Answer = state["answer"]
    study = resources.loupe(state["study_id"]).study
    overview = next(view for view in answer.views if view.index == state["overview"])
    return Evidence(
        prefix=prefix(study.images[overview.image], overview, resources.picture), picture=resources.picture,
        overview=overview, views=[v for v in answer.views if v.index != overview.index],
        observations=answer.observations, checked=[s for s in answer.statements if s.status != "unchecked"],
    )  # fmt: skip


# --- one look, or none ----------------------------------------------------------------------------------------------


async def _single_pass(opened: Opened, _: Options) -> Outcome:
    study = await opened.study()
    return await _at_once(opened, study, await opened.image(study) or 0)


async def _at_once(opened: Opened, study: Path, first: int) -> Outcome:
    loupe, evidence = await _whole(opened, study, first)
    if _describes(opened):
        return outcome_of([await described(opened, loupe, evidence)])
    if opened.case.kind in ("boxes", "mask"):
        return await _placed(loupe, opened.case, await _located(opened, evidence), evidence)
    reply = await _chosen(opened, evidence)
    return Outcome(status="answered", text=reply.text, confidence=reply.confidence)


async def _whole(opened: Opened, path: Path, first: int) -> tuple[Loupe, Evidence]:
    """All images whole; of a region to be described, its focal crop too (the region is the question)."""
    resources = opened.resources()
    study = await asyncio.to_thread(
        load_study, path, resources.store, modality=opened.case.modality, limits=resources.limits
    )
    loupe = resources.loupe(study.id)
    over = await asyncio.to_thread(loupe.overview, first)
    views: list[View] = []
    if len(opened.case.images) > 1:
        rest = [image.index for image in study.images if image.index != first]
        views = [await asyncio.to_thread(loupe.overview, n, index=1 + place) for place, n in enumerate(rest)]
    if region := opened.case.region:
        views.append(await asyncio.to_thread(loupe.zoom, over, region.grow(), index=1 + len(views)))
    for view in (over, *views):
        opened.look(view, resources.store)
    before = prefix(study.images[first], over, resources.picture)
    return loupe, Evidence(prefix=before, picture=resources.picture, overview=over, views=views)


async def _majority_vote(opened: Opened, options: Options) -> Outcome:
    if opened.case.kind in ("boxes", "mask"):
        raise UsageError("majority_vote counts answers, and boxes cannot be counted; use single_pass")
    study = await opened.study()
    loupe, evidence = await _whole(opened, study, await opened.image(study) or 0)
    if _describes(opened):
        return await _described_again(opened, loupe, evidence, options)
    replies: list[Reply] = []
    while len(replies) < MOST_DRAWS:
        replies.append(await _chosen(opened, evidence, temperature=_TEMPERATURE, draw=len(replies)))
        if (opened.spent.tokens >= options.tokens) if options.tokens else len(replies) >= 5:
            break
    votes = Counter(normalised(reply.text) for reply in replies)
    winner, count = max(votes.items(), key=lambda vote: vote[1])  # the first of equals
    chosen = next(reply for reply in replies if normalised(reply.text) == winner)
    return Outcome(status="answered", text=chosen.text, confidence=count / len(replies))


async def _described_again(opened: Opened, loupe: Loupe, evidence: Evidence, options: Options) -> Outcome:
    """Descriptions until the tokens are spent; the commonest presence, and the commonest value of each attribute.

    A draw that cannot be read has no vote.
    """
    drawn: list[Found | None] = []
    for draw in range(MOST_DRAWS):
        with contextlib.suppress(ReplyUnreadable, ReplyCutOff):
            drawn.append(await described(opened, loupe, evidence, temperature=_TEMPERATURE, draw=draw))
        if (opened.spent.tokens >= options.tokens) if options.tokens else draw >= 4:
            break
    if not drawn:
        raise ReplyUnreadable("none of the draws could be read")
    return outcome_of(drawn)


def _describes(opened: Opened) -> bool:
    """The model reads no question; it describes what it is shown, in its own prompts."""
    return opened.case.kind == "caption" and opened.meter is not None and opened.meter.profile.prompts == "tiny"


async def _blank_image(opened: Opened, _: Options) -> Outcome:
    """A picture of the same size, all of one grey."""
    image = await _first_image(opened)
    blank = np.full((image.height, image.width), 128, np.uint8)
    path = opened.scratch / "blank.png"
    await asyncio.to_thread(cv2.imwrite, str(path), blank)
    return await _at_once(opened, path, 0)


async def _question_only(opened: Opened, _: Options) -> Outcome:
    if opened.case.kind in ("boxes", "mask"):
        raise UsageError("question_only has no picture to find a place on; use blank_image")

    if _describes(opened):
        return outcome_of([await described(opened, None, None)])

    def no_picture(view: View) -> Any:
        raise AssertionError(f"V{view.index} is shown to nobody")

    system = Message(role="system", parts=(prompt("system").render(),))
    reply = await _chosen(opened, Evidence(prefix=(system,), picture=no_picture))
    return Outcome(status="answered", text=reply.text, confidence=reply.confidence)


SOLVERS: dict[str, Callable[[Opened, Options], Awaitable[Outcome]]] = {
    "agent": _agent, "single_pass": _single_pass, "random_crop": _random_crop, "full_image": _full_image,
    "oracle_crop": _oracle_crop, "uniform_tiles": _uniform_tiles, "majority_vote": _majority_vote,
    "blank_image": _blank_image, "question_only": _question_only,
}  # fmt: skip
