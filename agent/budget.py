"""Hard caps on one question, and what was spent."""

from __future__ import annotations

from pydantic import Field

from medloupe.types import Frozen

__all__ = ["Budget", "Spent"]


class Budget(Frozen):
    """Caps for one question; at a cap the answer is given with what there is, and says so."""

    looks: int = Field(default=8, ge=0)
    """Views made besides the overview."""
    calls: int = Field(default=40, ge=0)
    """VLM requests sent (a repeated request is not sent again and not counted)."""
    tokens: int = Field(default=200_000, ge=0)
    """Prompt and completion tokens, as the endpoint reports them."""
    seconds: float = Field(default=600.0, gt=0)
    """Wall clock from the question to the last look or probe."""
    depth: int = Field(default=4, ge=1)
    """Nested zooms."""
    repeats: int = Field(default=1, ge=1)
    """How often the same crop may be looked at."""
    plans: int = Field(default=4, ge=1)
    """Rounds of planning."""

    def recursion_limit(self) -> int:
        """Supersteps a question can need, with room: LangGraph's own default of 10,007 is no limit."""
        return 3 * (self.plans + 2) + 20


class Spent(Frozen):
    """What one question has used so far."""

    looks: int = 0
    calls: int = 0
    tokens: int = 0
    plans: int = 0
    faults: int = 0
    """VLM requests that failed after every attempt."""
    seconds: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(**{name: getattr(self, name) + getattr(other, name) for name in type(self).model_fields})

    def reached(self, budget: Budget) -> str | None:
        """The first cap that leaves no room, in words; None while there is room."""
        for name, used, cap in (
            ("looks", self.looks, budget.looks),
            ("model calls", self.calls, budget.calls),
            ("tokens", self.tokens, budget.tokens),
            ("seconds", self.seconds, budget.seconds),
        ):
            if used >= cap:
                return f"the cap of {cap:g} {name} was reached"
        return None
