"""What a training run is: how many steps, at which rate, and of how many views it speaks."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Plan", "cosine"]

_WARM = 150
"""Steps of the rise, at most a tenth of the stage."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run is; two runs of one plan are the same run.

    Two stages. In the first the vision tower learns what it sees, and few views are spoken of. In the second, which is
    optional, every view is: seeing is learned by then, and saying it is not. A run of the first stage alone can be gone
    on with into the second.
    """

    steps: int
    """Of the first stage."""
    speaking: int = 0
    """Of the second stage."""
    scenes: int = 4
    """Phantoms a step, eight views each."""
    peak: float = 1.5e-3
    """Highest learning rate; half of it in the second stage."""
    seed: int = 0
    """Of the first weights."""

    @property
    def total(self) -> int:
        """Steps of both stages."""
        return self.steps + self.speaking

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        if step < self.steps:
            return cosine(step, self.steps, self.peak)
        return cosine(step - self.steps, self.speaking, self.peak / 2)

    def every(self, step: int) -> int:
        """Of how many views one is spoken of at a step."""
        if step >= self.steps:
            return 1
        return 3 if step < self.steps // 2 else 2

    def goes_on_from(self, other: Plan) -> bool:
        """Whether the other plan's steps are the first of this one."""
        first = (other.steps, other.scenes, other.peak, other.seed) == (self.steps, self.scenes, self.peak, self.seed)
        return first and other.speaking in (0, self.speaking)


def cosine(step: int, steps: int, peak: float) -> float:
    """Learning rate: a linear rise, then half a cosine down to a hundredth."""
    warm = min(_WARM, steps // 10)
    if step < warm:
        return peak * (step + 1) / warm
    share = min((step - warm) / max(steps - warm, 1), 1.0)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))
