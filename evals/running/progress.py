"""How far a run is: rate, cost, and time left, from the cases that this process solved itself."""

from __future__ import annotations

import time
from collections.abc import Callable

from medloupe.evals.running.run import Run
from medloupe.evals.scorers.rows import Row
from medloupe.evals.solvers.outcome import Prices

__all__ = ["Progress"]


class Progress:
    """One line at most once a second; give it to `evaluate` as on_row."""

    def __init__(self, run: Run, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._run, self._say, self._clock = run, say, clock
        self._prices = Prices.of_settings(run.settings)
        self._total = len(run.cases) * run.spec.epochs
        self._begin = self._said = clock()
        self._prompt = self._completion = 0

    def __call__(self, row: Row) -> None:
        """One more case."""
        self._prompt += row.tokens - row.completion_tokens
        self._completion += row.completion_tokens
        if self._clock() - self._said >= 1:
            self._said = self._clock()
            self._say(self.line())

    def end(self) -> None:
        """The last word."""
        self._say(self.line())

    def line(self) -> str:
        """Cases, rate, time left, calls, tokens, cost; cases of the record count for the cost and not for the rate."""
        done, seconds = len(self._run.rows), max(self._clock() - self._begin, 1e-3)
        rate = (done - self._run.replayed) / seconds
        left = f"{_time((self._total - done) / rate)} left" if rate and done < self._total else ""
        sent, replayed = self._run.store_counts
        tokens = f"{self._prompt + self._completion} tokens"
        cost = f"{self._prices.of(self._prompt, self._completion):.2f} USD" if self._prices else "cost unknown"
        parts = [f"{done}/{self._total} cases", f"{rate:.1f}/s", left]
        calls = f"{sent} calls sent, {replayed} from the record"
        return f"{', '.join(part for part in parts if part)}; {calls}; {tokens}, {cost}"


def _time(seconds: float) -> str:
    """As a person says it: "48 s", "5 min", "3.2 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
