"""What a graph works with: models, store, budget. Built by an application; never part of the state."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from medloupe.agent.budget import Budget, Spent
from medloupe.agent.calls import Calls
from medloupe.agent.planner import Planner
from medloupe.agent.planner_grounding import GroundingPlanner
from medloupe.agent.planner_policy import PolicyPlanner
from medloupe.agent.planner_tools import AutoPlanner, ToolCallingPlanner
from medloupe.agent.state import PlannerName
from medloupe.agent.tiny import TinyPlanner
from medloupe.errors import BackendMissing, UsageError
from medloupe.limits import DEFAULT, Limits
from medloupe.models.segment import load_segmenter
from medloupe.models.segment.base import Segmenter
from medloupe.models.vlm import load_vlm
from medloupe.models.vlm.base import VLM, Picture, VLMReply
from medloupe.models.vlm.profiles import profile_for
from medloupe.tools.imaging import ImageStore, MemoryStore
from medloupe.tools.look import Loupe
from medloupe.tools.verify import (
    AgreementVerifier,
    MeasuredVerifier,
    ProbeVerifier,
    RulesVerifier,
    Verifier,
    load_plugins,
)
from medloupe.types import Image, View

if TYPE_CHECKING:
    from medloupe.settings import Settings

__all__ = ["Resources", "load_default_segmenter", "resources_from"]

K = TypeVar("K")
V = TypeVar("V")

_SESSIONS_KEPT = 256
"""Sessions whose replies are remembered in memory; older ones ask again."""


@dataclass
class Resources:
    """Models, store and limits of one graph; safe for many sessions at once."""

    store: ImageStore = field(default_factory=MemoryStore)
    vlm: VLM | None = None
    """Plans, describes and drafts; None: policy planner and measured describer."""
    verifier: VLM | None = None
    """Answers probes; None: the same as `vlm`, and verdicts say so."""
    segmenter: Segmenter | None = None
    planner: PlannerName = "auto"
    budget: Budget = field(default_factory=Budget)
    verify: bool = True
    """False: nothing is checked and the draft is said as it stands. For measuring what verification changes."""
    view_px: int = 512
    """Longest side of a view, pixels."""
    limits: Limits = DEFAULT
    """What opening a study may cost."""
    concurrency: int = 8
    """Branches of a fan-out under way at once."""
    warnings: tuple[str, ...] = ()
    """What is missing here, said in every answer."""
    verifiers: tuple[Verifier, ...] = field(
        default_factory=lambda: (MeasuredVerifier(), RulesVerifier(), ProbeVerifier(), AgreementVerifier())
    )
    """How claims are checked; tools/verify/policy.py says in which order."""

    def __post_init__(self) -> None:
        self._loupes: OrderedDict[str, Loupe] = OrderedDict()
        self._replies: OrderedDict[str, dict[str, asyncio.Future[VLMReply]]] = OrderedDict()
        self._calls: OrderedDict[tuple[str, int], Calls] = OrderedDict()
        self._pictures: OrderedDict[str, Picture] = OrderedDict()

    def loupe(self, study_id: str) -> Loupe:
        """The study, ready to be looked at; UsageError when the store no longer holds it."""
        longest = min(self.view_px, self.vlm.profile.longest) if self.vlm else self.view_px
        try:
            return _remember(
                self._loupes, study_id,
                lambda: Loupe(self.store.get_study(study_id), self.store, self.segmenter, longest=longest), 16,
            )  # fmt: skip
        except KeyError:
            raise UsageError("the session's images are no longer in its store") from None

    def picture(self, view: View) -> Picture:
        """A view as it is sent, from the store: encoded once, when it was made."""
        return _remember(
            self._pictures, view.digest,
            lambda: Picture(
                digest=view.digest, png=self.store.get_png(view.digest), width=view.width, height=view.height
            ), 512,
        )  # fmt: skip

    def calls(self, session: str, turn: int, before: Spent, started: float) -> Calls:
        """The call counter of one question; picks up from what was spent when a session is resumed elsewhere."""
        replies = _remember(self._replies, session, dict, _SESSIONS_KEPT)
        return _remember(
            self._calls, (session, turn), lambda: Calls(self.budget, before, started, replies), _SESSIONS_KEPT
        )

    def make_planner(self) -> Planner:
        """The planner that was asked for; "auto": tools where the model can call them, else grounding, else policy."""
        if self.planner == "policy" or (self.planner == "auto" and self.vlm is None):
            return PolicyPlanner()
        if self.vlm is None:
            raise UsageError(
                f"the {self.planner} planner needs a vision-language model; configure one, or use the policy planner"
            )
        if self.vlm.profile.prompts == "tiny":
            return TinyPlanner()
        if self.planner == "auto":
            return AutoPlanner() if self.vlm.profile.tool_calls else GroundingPlanner()
        return ToolCallingPlanner() if self.planner == "tools" else GroundingPlanner()

    def unfit(self, image: Image) -> tuple[str, ...]:
        """Warnings that what a model will say of an image means nothing."""
        models = {model.model: model.profile for model in (self.vlm, self.verifier) if model is not None}
        return tuple(
            f"{profile.name} was trained on drawn phantoms only and this image is none: what it says means nothing"
            for profile in models.values() if profile.phantoms_only and not image.phantom
        )  # fmt: skip

    def models(self) -> dict[str, str]:
        """Role to model id, as every answer records it."""
        vlm = self.vlm.model if self.vlm else None
        verifier = self.verifier.model if self.verifier else vlm
        return {
            "planner": self.make_planner().name if vlm is None else f"{self.make_planner().name}: {vlm}",
            "describer": vlm or "measured",
            "verifier": f"{self._checks()}: {verifier}" if verifier else self._checks(("measured", "rules")),
            "segmenter": self.segmenter.name if self.segmenter else "none",
        }

    def _checks(self, only: tuple[str, ...] | None = None) -> str:
        return ", ".join(v.name for v in self.verifiers if only is None or v.name in only)

    async def close(self) -> None:
        """Close the models' connections."""
        for model in (self.vlm, self.verifier):
            if model is not None:
                await model.close()


def _remember(cache: OrderedDict[K, V], key: K, make: Callable[[], V], most: int) -> V:
    """The cached value, made on first use; the least recently used goes when there are more than `most`."""
    if key not in cache:
        cache[key] = make()
        if len(cache) > most:
            cache.popitem(last=False)
    cache.move_to_end(key)
    return cache[key]


def load_default_segmenter() -> tuple[Segmenter | None, tuple[str, ...]]:
    """LiteMedSAM where it is installed, else None and the warning that says so."""
    try:
        return load_segmenter("litemedsam"), ()
    except BackendMissing as error:
        return None, (f"no segmenter: outlines come from grey levels alone ({error})",)


def resources_from(settings: Settings, *, store: ImageStore) -> Resources:
    """What the settings name, loaded. Segmenter "auto" is LiteMedSAM where it is installed, else none, and is said."""
    named = settings.segmenter
    segmenter, missing = load_default_segmenter() if named == "auto" else (load_segmenter(named), ())
    warnings = [*missing]
    vlm = _vlm(settings, settings.vlm, settings.vlm_model, settings.key()) if settings.vlm else None
    verifier = None
    if settings.verifier_vlm or settings.verifier_model:
        verifier = _vlm(
            settings,
            settings.verifier_vlm or settings.vlm,
            settings.verifier_model or settings.vlm_model,
            settings.verifier_key(),
        )
    if vlm is None:
        warnings.append("no vision-language model is configured: medloupe measures, and cannot name what it sees")
    verifiers, unloadable = _verifiers(settings)
    warnings += unloadable
    return Resources(
        store=store,
        verifiers=verifiers,
        vlm=vlm,
        verifier=verifier,
        segmenter=segmenter,
        planner=settings.planner,
        budget=Budget(
            looks=settings.max_looks, calls=settings.max_calls, tokens=settings.max_tokens, seconds=settings.max_seconds
        ),
        view_px=settings.view_px,
        limits=settings.limits(),
        warnings=tuple(warnings),
    )


def _verifiers(settings: Settings) -> tuple[tuple[Verifier, ...], tuple[str, ...]]:
    """Our own as the settings say, other packages' as they are installed; and what could not be loaded."""
    second = load_segmenter(settings.second_segmenter) if settings.second_segmenter != "none" else None
    ours: list[Verifier] = [MeasuredVerifier(second), RulesVerifier(), ProbeVerifier(settings.probe_orders)]
    if settings.agreement_samples:
        ours.append(AgreementVerifier(settings.agreement_samples, settings.agreement_needed))
    others = load_plugins()
    return (*ours, *others.verifiers), others.warnings


def _vlm(settings: Settings, where: str | None, model: str | None, key: str | None) -> VLM:
    if not where:
        raise UsageError("a verifier model is named, but neither it nor the describer has an endpoint")
    profile = profile_for(model or Path(where).name, convention=settings.box_convention)
    return load_vlm(
        where, model, api_key=key, profile=profile, timeout_s=settings.timeout_s,
        max_attempts=settings.max_attempts, retry_base_s=settings.retry_base_s,
    )  # fmt: skip
