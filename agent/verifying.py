"""Verification on its own: claims that somebody else made about a study, checked as the reader checks its own."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, Field

from medloupe.agent.answer import check_claims
from medloupe.agent.budget import Spent
from medloupe.agent.claims_file import claims_from_file, claims_from_json
from medloupe.agent.resources import Resources, load_default_segmenter
from medloupe.errors import UserError
from medloupe.models.vlm.base import VLMReply, VLMRequest
from medloupe.tools.imaging import load_study
from medloupe.tools.look import Loupe
from medloupe.tools.verify import Scene, claims_from_text, verify_claim
from medloupe.types import RESEARCH_LABEL, BoundingBox, CheckedClaim, Claim, Frozen, Region, Study, Verdict, View

__all__ = ["Verdicts", "averify_claims", "verify_claims", "verify_tool"]

Claims = Path | Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""A claims.json: its path, its content, or its list of claims."""

_KEYS = {
    "id", "claim", "source_text", "verdict", "reason", "measured", "unit", "method", "independent", "numbers",
}  # fmt: skip
_SURE = 0.85
"""Least mean overlap (IoU) of the outlines of a region that was found, for sentences that name none, to refute anything
there. A clear lone object reaches 0.9; below, another thing may be meant. A judgement, and of no check's own."""
_PROPOSED = 6
"""Regions looked for where a text does not say where."""


class Verdicts(Frozen):
    """verdicts.json."""

    label: str = RESEARCH_LABEL
    verdicts: tuple[CheckedClaim, ...]
    """One a claim, in the claims' order."""
    unparsed: tuple[str, ...] = ()
    """Words of a text that no claim was made of."""
    warnings: tuple[str, ...] = ()

    def as_json(self) -> str:
        """As verdicts.json holds them: `unit` is the unit of `measured`; `claim` spells the claim with its own."""
        shown = {"label", "unparsed", "warnings"}
        return self.model_dump_json(indent=2, include={"verdicts": {"__all__": _KEYS}, **dict.fromkeys(shown, True)})


def verify_claims(
    study: str | Path, claims: Claims | None = None, *, text: str | None = None, **options: Any
) -> Verdicts:
    """As `averify_claims`, for code that runs no event loop."""
    return asyncio.run(averify_claims(study, claims, text=text, **options))


async def averify_claims(
    study: str | Path,
    claims: Claims | None = None,
    *,
    text: str | None = None,
    box: tuple[float, float, float, float] | None = None,
    resources: Resources | None = None,
    modality: str | None = None,
    folder: Path | None = None,
) -> Verdicts:
    """A verdict on every claim about a study.

    Args:
        study: a file or a folder, as for a question.
        claims: a claims.json (see medloupe.agent.claims_file): its path or its content; or else
        text: sentences, whose claims are read from their words. They are about `box` (half-open, full-image pixels) of
            the study's first image, or of the middle one of its largest series; without a box about the whole image,
            and, where exactly one region stands out in it, what only a region has is checked there; refuted only
            where its outlines agree closely, since another thing may be meant.
        resources: models and verifiers; by default no VLM (measured checks only) and LiteMedSAM where it is installed.
        modality: overrides the files' own, a DICOM code.
        folder: where masks lie when `claims` is content; None: there can be none.

    An unknown attribute, value or unit is "undetermined" with the reason. Raises UserError for a study that cannot be
    read and for malformed claims; a model that fails makes a verdict undetermined.
    """
    resources = resources or _measuring()
    loaded = await asyncio.to_thread(load_study, study, resources.store, modality=modality, limits=resources.limits)
    loupe = resources.loupe(loaded.id)
    unparsed: list[str] = []
    regions: list[Region] = []
    if (claims is None) == (text is None):
        raise UserError("give either claims or a text, and not both")
    if text is not None:
        made, regions, unparsed = await asyncio.to_thread(_from_text, text, loaded, loupe, box)
    elif isinstance(claims, Path | str):
        made = await asyncio.to_thread(claims_from_file, Path(claims), loaded)
    else:
        assert claims is not None
        made = await asyncio.to_thread(claims_from_json, claims, loaded, folder)
    verdicts = await _verdicts(made, regions, loupe, resources)
    if text is not None and box is None:
        verdicts = [_tentative(verdict) for verdict in verdicts]
    checked = check_claims(made, {verdict.claim: verdict for verdict in verdicts})
    unfit = dict.fromkeys(line for image in loaded.images for line in resources.unfit(image))
    warnings = (*loaded.warnings, *resources.warnings, *unfit)
    return Verdicts(verdicts=checked, unparsed=tuple(unparsed), warnings=warnings)


def verify_tool(study: str | Path, *, resources: Resources | None = None, modality: str | None = None) -> BaseTool:
    """A LangChain tool that checks sentences, or structured claims, about one study.

    It answers the model with a line a claim and the program with `Verdicts`. What is malformed comes back as a message
    for the model to mend.
    """
    shared = resources or _measuring()

    async def verify(
        text: str | None = None,
        claims: list[dict[str, Any]] | None = None,
        box: tuple[float, float, float, float] | None = None,
    ) -> tuple[str, Verdicts]:
        try:
            found = await averify_claims(study, claims, text=text, box=box, resources=shared, modality=modality)
        except UserError as error:
            raise ToolException(str(error)) from error
        lines = [f"{c.claim}: {c.verdict} ({c.reason})" for c in found.verdicts]
        return "\n".join(lines) or "Nothing in it can be checked.", found

    return StructuredTool.from_function(
        coroutine=verify,
        name="verify",
        description="Check statements about the image against its pixels: supported, refuted or undetermined, and why.",
        args_schema=VerifyArgs,
        response_format="content_and_artifact",
        handle_tool_error=True,
    )


class VerifyArgs(BaseModel):
    """Arguments of the tool."""

    text: str | None = Field(default=None, description="Sentences to check; or else claims")
    claims: list[dict[str, Any]] | None = Field(
        default=None,
        description='[{"id": "c1", "attribute": "long_axis", "value": 12, "unit": "mm", "region": {"box": [x0, y0, x1, '
        'y1]}}, ...]; boxes in pixels of the full image; no region means the whole image',
    )  # fmt: skip
    box: tuple[float, float, float, float] | None = Field(
        default=None, description="[x0, y0, x1, y1], pixels of the full image: what the text is about"
    )


def _measuring() -> Resources:
    """No VLM; LiteMedSAM where it is installed."""
    segmenter, warnings = load_default_segmenter()
    return Resources(segmenter=segmenter, warnings=warnings)


def _from_text(
    text: str, study: Study, loupe: Loupe, box: tuple[float, float, float, float] | None
) -> tuple[list[Claim], list[Region], list[str]]:
    """The claims of a text, the regions that they can be about, and the words that no claim was made of."""
    series = max(study.series, key=lambda s: len(s.images))
    image = study.images[series.images[len(series.images) // 2]]
    region: Region | None = None
    found: list[Region] = []
    if box is not None:
        try:
            region = Region(id="R1", image=image.index, box=BoundingBox.from_tuple(box), source="claim")
        except ValueError:
            raise UserError("a box needs x1 > x0 and y1 > y0: give x0,y0,x1,y1 in pixels of the full image") from None
    else:
        found = loupe.segment(loupe.overview(image.index), first_id=1, limit=_PROPOSED)
    claims, unparsed = claims_from_text(text, first_id=1, image=image, region=region, view=image.index)
    return claims, found if region is None else [region], unparsed


def _tentative(verdict: Verdict) -> Verdict:
    """A refutation in a region that was found, not named, is none unless its outlines agree: another may be meant."""
    agreement = verdict.numbers.get("agreement")
    sure = agreement is None or agreement >= _SURE
    if verdict.verdict != "refuted" or verdict.method != "measured" or sure:
        return verdict
    reason = f"{verdict.reason}; that is of the region that stands out most, and another may be meant: give a box"
    return verdict.model_copy(update={"verdict": "undetermined", "reason": reason, "independent": False})


async def _verdicts(
    claims: Sequence[Claim], regions: Sequence[Region], loupe: Loupe, resources: Resources
) -> list[Verdict]:
    """One verdict a claim. `Claim.view` is the index of its image, and so is the overview of that image."""
    views, placed = await asyncio.to_thread(_views, claims, loupe, resources.verifier or resources.vlm)
    model = resources.verifier or resources.vlm
    scene = Scene(
        loupe=loupe,
        views=tuple(views),
        regions=tuple(regions),
        claims=tuple(placed),
        ask=_asker(resources) if model else None,
        verifier_model=model.model if model else "",
        verifier_profile=model.profile if model else None,
        picture=resources.picture,
    )
    room = asyncio.Semaphore(resources.concurrency)

    async def check(claim: Claim) -> Verdict:
        async with room:
            return await verify_claim(claim, scene, resources.verifiers)

    return await asyncio.gather(*(check(claim) for claim in placed))


def _views(claims: Sequence[Claim], loupe: Loupe, model: object) -> tuple[list[View], list[Claim]]:
    """An overview of each image that is spoken of, and, where a model is asked, a focal crop of each region."""
    images = sorted({claim.view or 0 for claim in claims})
    overviews = {image: loupe.overview(image, index=image) for image in images}
    views, crops = list(overviews.values()), dict[str, View]()
    placed = []
    for claim in claims:
        region = claim.region
        if region is not None and model is not None and _inside(region, loupe):
            if region.id not in crops:
                index = len(loupe.study.images) + len(crops)
                crops[region.id] = loupe.crop(overviews[region.image], region, index=index)
            claim = claim.model_copy(update={"view": crops[region.id].index})
        placed.append(claim)
    return [*views, *crops.values()], placed


def _inside(region: Region, loupe: Loupe) -> bool:
    image = loupe.image(region.image)
    return region.box.intersection(BoundingBox(x0=0, y0=0, x1=image.width, y1=image.height)) > 0


def _asker(resources: Resources) -> Callable[[VLMRequest], Any]:
    """The verifier's model within the budget of one question."""
    model = resources.verifier or resources.vlm
    assert model is not None
    calls = resources.calls(uuid.uuid4().hex, 0, Spent(), time.time())

    async def ask(request: VLMRequest) -> VLMReply:
        reply, _ = await calls.ask(model, request, lambda _: None, 0)
        return reply

    return ask
