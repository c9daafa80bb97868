"""The one retry layer: which failures of an endpoint are worth another attempt, and after how long."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from medloupe.errors import EndpointFault, EndpointUnreachable, ModelError

__all__ = ["RETRIED_STATUSES", "Failure", "RetryPolicy", "retry_after"]

RETRIED_STATUSES = frozenset({408, 409, 429, 500, 502, 503, 504})
"""Not 400, 401, 403, 404 and 422: the same request would fail the same way."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What went wrong in one attempt. Holds no exception of the client's, since those hold the request's headers."""

    reason: str
    """One line, free of secrets."""
    status: int | None = None
    """HTTP status; None when there was no whole answer."""
    wait_s: float | None = None
    """What Retry-After asked for."""

    @property
    def worth_retrying(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status is None or self.status in RETRIED_STATUSES

    def error(self, endpoint: str, attempts: int) -> ModelError:
        """The error for the person."""
        tries = f"{attempts} attempt{'s' if attempts > 1 else ''}"
        if self.status is None:
            return EndpointUnreachable(f"cannot reach {endpoint} ({self.reason}, {tries})")
        return EndpointFault(self.status, f"{endpoint} answered {self.status}: {self.reason} ({tries})")


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often and how patiently."""

    max_attempts: int = 4
    base_s: float = 0.5
    """Longest wait after the first failure; doubled after each further one."""
    longest_s: float = 60.0
    """Longest wait; an endpoint that asks for more is given up at once."""

    def wait(self, failure: Failure, attempt: int) -> float | None:
        """Seconds to wait after the attempt of that number (from 1); None: give up."""
        if attempt >= self.max_attempts or not failure.worth_retrying:
            return None
        if failure.wait_s is not None:
            return failure.wait_s if failure.wait_s <= self.longest_s else None
        backoff: float = self.base_s * 2 ** (attempt - 1)
        return min(backoff, self.longest_s) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds that a Retry-After header asks to wait (RFC 9110 10.2.3: seconds or an HTTP date); None without one."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        return max(float(value), 0.0) if value.replace(".", "", 1).isdigit() else _until(value, now)
    except ValueError:
        return None


def _until(date: str, now: datetime | None) -> float:
    """Seconds until an HTTP date; ValueError when it is none."""
    then = parsedate_to_datetime(date)
    return max((then.replace(tzinfo=then.tzinfo or UTC) - (now or datetime.now(UTC))).total_seconds(), 0.0)
