"""What a solver brings back of one case: everything that scoring needs, and no pixels."""

from __future__ import annotations

from typing import Literal

from medloupe.types import BoundingBox, Frozen, Mask, VerdictValue

__all__ = ["Outcome", "Spending"]


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


class Outcome(Frozen):
    """One case, solved or not."""

    status: Literal["answered", "failed", "refused"]
    """"refused": the model or its filter declined; "failed": a tool, the model or the image did."""
    text: str = ""
    """The reply to be scored."""
    before: str | None = None
    """The reply without verification; None where nothing is verified."""
    confidence: float | None = None
    """As the model stated it, 0 to 1."""
    boxes: tuple[BoundingBox, ...] = ()
    """Of the first image."""
    mask: Mask | None = None
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
