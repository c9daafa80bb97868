"""What a verifier may look at, and what it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from medloupe.models.vlm.base import Picture, VLMReply, VLMRequest
from medloupe.models.vlm.profiles import ModelProfile
from medloupe.tools.look import Loupe
from medloupe.types import Claim, Image, Observation, Region, Verdict, View

__all__ = ["MEASURED", "Scene", "Verifier"]

MEASURED = "measured"
"""Observation.describer of the describer that only says what it measures."""


@dataclass(frozen=True)
class Scene:
    """The study as far as it has been looked at. Read-only; verifiers get nothing else."""

    loupe: Loupe
    views: tuple[View, ...] = ()
    regions: tuple[Region, ...] = ()
    observations: tuple[Observation, ...] = ()
    claims: tuple[Claim, ...] = ()
    """Everything that is about to be said, for contradictions."""
    ask: Callable[[VLMRequest], Awaitable[VLMReply]] | None = None
    """The verifier's model for probes; None when there is none."""
    verifier_model: str = ""
    """Its id."""
    verifier_profile: ModelProfile | None = None
    """How it is spoken to."""
    picture: Callable[[View], Picture] | None = None
    """A view as it was sent; needed for probes."""

    def view(self, index: int | None) -> View | None:
        """The view of that index; None when there is none."""
        return next((v for v in self.views if v.index == index), None)

    def region_of(self, claim: Claim) -> Region | None:
        """Where a claim is to be checked: its own region, its view's, or the only one there is."""
        if claim.region is not None:
            return claim.region
        view = self.view(claim.view)
        if view is not None and view.region is not None:
            return next((r for r in self.regions if r.id == view.region), None)
        if view is not None and view.kind != "overview":
            return None
        return self.regions[0] if len(self.regions) == 1 else None

    def view_of(self, claim: Claim) -> View | None:
        """The view a claim is asked of: the one it cites, else the first made for its region, else the overview."""
        if claim.view is not None:
            return self.view(claim.view)
        region = claim.region.id if claim.region else None
        of_region = (v for v in self.views if region is not None and v.region == region)
        return next(of_region, None) or next(iter(self.views), None)

    def image_of(self, claim: Claim, region: Region | None) -> Image:
        """The image that a claim speaks of."""
        view = self.view(claim.view)
        index = region.image if region else view.image if view else 0
        return self.loupe.image(index)

    def describers(self, claim: Claim) -> frozenset[str]:
        """Who may have said it: the describers of the claim's region or view, else of everything."""
        region, view = claim.region.id if claim.region else None, claim.view
        near = {
            o.describer
            for o in self.observations
            if (region and o.region == region) or (view is not None and o.view == view)
        }
        return frozenset(near or {o.describer for o in self.observations})


class Verifier(Protocol):
    """One way to check a claim. tests/verify/test_verifiers.py is the suite that every one passes."""

    name: str
    """"measured", "rules", "probe", "agreement", or a plug-in's own."""

    async def __call__(self, claim: Claim, scene: Scene) -> Verdict | None:
        """A verdict with the claim's id, or None when this is not its kind of claim.

        It changes nothing in the scene and may run beside others. Faults are "undetermined" with their reason; a
        verdict that is undetermined is never independent.
        """
        ...
