"""Two stages: rates that rise and fall in each, and more that is said in the second."""

from __future__ import annotations

import pytest

from medloupe.evals.tiny.plan import Plan


def test_the_rate_rises_then_falls_to_a_hundredth_and_again_to_half_the_peak() -> None:
    plan = Plan(steps=1000, speaking=500, peak=1.0)
    first = [plan.rate(step) for step in range(1000)]
    second = [plan.rate(step) for step in range(1000, plan.total)]
    assert max(first) == pytest.approx(1.0)
    assert first.index(max(first)) in (98, 99, 100)
    assert first[-1] == pytest.approx(0.01, abs=1e-4)
    assert max(second) == pytest.approx(0.5)
    assert second[-1] == pytest.approx(0.005, abs=1e-4)


def test_few_views_are_spoken_of_at_first_and_all_of_them_in_the_second_stage() -> None:
    plan = Plan(steps=10, speaking=2)
    assert [plan.every(step) for step in range(plan.total)] == [3] * 5 + [2] * 5 + [1] * 2


def test_a_run_of_the_first_stage_can_be_gone_on_with_and_no_other() -> None:
    whole = Plan(steps=10, speaking=5)
    assert whole.goes_on_from(Plan(steps=10))
    assert whole.goes_on_from(whole)
    assert not whole.goes_on_from(Plan(steps=10, speaking=4))
    assert not whole.goes_on_from(Plan(steps=9, speaking=5))
    assert not whole.goes_on_from(Plan(steps=10, speaking=5, seed=1))
    assert not Plan(steps=10).goes_on_from(whole)
