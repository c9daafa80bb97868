"""What the describers said, as claims."""

from __future__ import annotations

from medloupe.tools.verify.claims import claims_from_attributes, claims_from_text
from medloupe.tools.verify.scene import Scene
from medloupe.types import Claim, Observation

__all__ = ["claims_said"]


def claims_said(observation: Observation, scene: Scene) -> list[Claim]:
    """The claims of one observation, about its region and view. A fault says nothing."""
    if observation.fault is not None:
        return []
    region = next((r for r in scene.regions if r.id == observation.region), None)
    view = scene.view(observation.view)
    image = scene.loupe.image(view.image if view else 0)
    said, _ = claims_from_text(observation.text, first_id=1, image=image, region=region, view=observation.view)
    return said + claims_from_attributes(
        observation.attributes, first_id=1, region=region, view=observation.view, source_text=observation.text
    )
