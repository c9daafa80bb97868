"""What a solver brings back of one case: everything that scoring needs, and no pixels."""

from __future__ import annotations

from typing import Literal

from medloupe.evals.scorers.radfact import Phrase
from medloupe.settings import Settings
from medloupe.types import BoundingBox, Frozen, Mask, StatedAttribute, VerdictValue

__all__ = ["Found", "Outcome", "Prices", "Spending"]


class Spending(Frozen):
    """What one case cost."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    """Sum of the calls' latencies as they were measured when they were sent; the same when they are replayed."""
    lost: int = 0
    """Calls that ended without a reply, which a later run would send again."""

    @property
    def tokens(self) -> int:
        """Prompt and completion."""
        return self.prompt_tokens + self.completion_tokens


class Prices(Frozen):
    """US dollars a million tokens."""

    prompt: float
    completion: float

    @classmethod
    def of_settings(cls, settings: Settings) -> Prices | None:
        """As set (`price_in`, `price_out`); None unless both are."""
        if settings.price_in is None or settings.price_out is None:
            return None
        return cls(prompt=settings.price_in, completion=settings.price_out)

    def of(self, prompt_tokens: float, completion_tokens: float) -> float:
        """Dollars."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6


class Found(Frozen):
    """A finding that was stated."""

    box: BoundingBox | None
    """Where, in the first image; None: somewhere in it."""
    stated: tuple[StatedAttribute, ...]
    """What was said of it, lengths in mm where the image has a spacing, else in its pixels."""


class Outcome(Frozen):
    """One case, solved or not."""

    status: Literal["answered", "failed", "refused"]
    """"refused": the model or its filter declined; "failed": a tool, the model or the image did."""
    text: str = ""
    """The reply to be scored."""
    before: str | None = None
    """The reply without verification; None where nothing is verified."""
    said: tuple[Phrase, ...] = ()
    """Of a description, its sentences with the places they rest on; () where it came as one text."""
    confidence: float | None = None
    """As the model stated it, 0 to 1."""
    boxes: tuple[BoundingBox, ...] = ()
    """Of the first image."""
    mask: Mask | None = None
    findings: tuple[Found, ...] = ()
    """Of a description: what it says is there."""
    inspected: tuple[BoundingBox, ...] = ()
    """What was looked at of the first image, besides the whole of it."""
    looks: int = 0
    verdicts: tuple[VerdictValue, ...] = ()
    fault: str = ""
    """Why there is no answer; one line."""
    passing: bool = False
    """The fault is the machine's, not the case's (a reader out of time): not recorded, so a later run tries again."""
    spent: Spending = Spending()
    models: dict[str, str] = {}
    prompts: dict[str, str] = {}
