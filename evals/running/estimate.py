"""What a run would cost, before a cent is spent: bounds from the caps, and what recorded cases have really taken."""

from __future__ import annotations

from medloupe.evals.running.run import Run
from medloupe.evals.scorers.rows import MOST_SENTENCES
from medloupe.evals.solvers.outcome import Prices, Spending
from medloupe.evals.solvers.solve import MOST_DRAWS
from medloupe.evals.tasks.case import Case
from medloupe.types import Frozen

__all__ = ["UNPRICED", "Estimate", "estimate"]

_LAST = 2
"""Requests after the graph: the answer without verification's word, and with it."""


UNPRICED = "cost unknown: give --price-in and --price-out, US dollars a million tokens"
"""Where no price is set."""


class Estimate(Frozen):
    """Of the cases that are still to be solved."""

    cases: int
    recorded: int
    """Solved before: they take no call."""
    most_calls: int
    most_tokens: int
    most_dollars: float | None
    """At the dearer of the two prices; None where they are not known."""
    expected_calls: float | None
    """From the recorded cases of this run; None where there are none."""
    expected_tokens: float | None
    expected_dollars: float | None

    def text(self) -> str:
        """As a person reads it."""
        left = self.cases - self.recorded
        lines = [
            f"{self.cases} cases, {self.recorded} of them recorded: {left} to be solved",
            f"at most {self.most_calls} calls, {self.most_tokens} tokens{_dollars(self.most_dollars)} (the caps)",
        ]
        if self.expected_calls is None:
            lines.append("expected: unknown until some cases are recorded; --limit 20 records the first twenty")
        else:
            lines.append(
                f"expected from the recorded cases: {self.expected_calls:.0f} calls, {self.expected_tokens:.0f} tokens"
                f"{_dollars(self.expected_dollars)}"
            )
        return "\n".join([*lines, UNPRICED] if self.most_dollars is None else lines)


def _dollars(amount: float | None) -> str:
    return "" if amount is None else f", {amount:.2f} USD"


def estimate(run: Run) -> Estimate:
    """Nothing is sent; no model is loaded."""
    prices = Prices.of_settings(run.settings)
    epochs = range(1, run.spec.epochs + 1)
    found = [run.store.outcome(run.key(case, epoch)) for case in run.cases.values() for epoch in epochs]
    known = [outcome.spent for outcome in found if outcome is not None]
    left = len(found) - len(known)
    settings = run.settings
    asks = settings.vlm is not None
    calls = left * _most_calls(run) * asks
    tokens = left * (settings.max_tokens if run.spec.solver != "question_only" else 2000) * asks
    mean = Spending(
        calls=round(sum(s.calls for s in known) / len(known)) if known else 0,
        prompt_tokens=round(sum(s.prompt_tokens for s in known) / len(known)) if known else 0,
        completion_tokens=round(sum(s.completion_tokens for s in known) / len(known)) if known else 0,
    )
    return Estimate(
        cases=len(found), recorded=len(known), most_calls=calls, most_tokens=tokens,
        most_dollars=tokens * max(prices.prompt, prices.completion) / 1e6 if prices else None,
        expected_calls=left * mean.calls if known else None, expected_tokens=left * mean.tokens if known else None,
        expected_dollars=left * prices.of(mean.prompt_tokens, mean.completion_tokens) if known and prices else None,
    )  # fmt: skip


def _most_calls(run: Run) -> int:
    """Calls that one case may take, judge included."""
    judged = max((_judged(case) for case in run.cases.values()), default=0) if run.spec.judge != "words" else 0
    one = run.spec.solver in ("single_pass", "blank_image", "question_only")
    votes = MOST_DRAWS if run.spec.tokens or run.spec.like else 5
    return judged + (1 if one else votes if run.spec.solver == "majority_vote" else run.settings.max_calls + 1 + _LAST)


def _judged(case: Case) -> int:
    """Requests to a judge: each attribute with and without verification, each sentence of both texts."""
    return 2 * len(case.attributes) + (len(case.reference) + MOST_SENTENCES if case.reference else 0)
