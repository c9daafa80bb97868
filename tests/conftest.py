"""What every test may ask for."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

_SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def shared_data() -> Path:
    """Real, openly licensed images that lie next to the repository; skips where they are absent."""
    if not _SHARED_DATA.is_dir():
        pytest.skip("shared data is absent")
    return _SHARED_DATA


# --- skips ----------------------------------------------------------------------------------------------------------


def _skips(config: pytest.Config) -> Counter[str]:
    """How many tests were skipped, by reason."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    reports = reporter.stats.get("skipped", []) if reporter else []
    return Counter(report.longrepr[2].removeprefix("Skipped: ") for report in reports)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """STRICT=1: a skip is a failure. A machine that lacks something must not look like one that passed."""
    if os.environ.get("STRICT") == "1" and _skips(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The last words of a run: what was not tried, and why."""
    skips = _skips(config)
    strict = os.environ.get("STRICT") == "1"
    terminalreporter.section(f"skips: {skips.total()}{', which STRICT=1 makes a failure' if strict and skips else ''}")
    for reason, count in skips.most_common():
        terminalreporter.line(f"{count:5d}  {reason}")
