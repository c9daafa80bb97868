"""The conditions: what is looked at, with which tools, and how a control is matched to the agent's effort."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from medloupe.agent.budget import Budget
from medloupe.agent.resources import Resources
from medloupe.evals.running.store import RunStore, case_key
from medloupe.evals.solvers.bench import Bench
from medloupe.evals.solvers.outcome import Outcome
from medloupe.evals.solvers.solve import Options, solve
from medloupe.evals.tasks.case import Case

__all__ = ["AGENT", "BUDGET", "CONDITIONS", "SINGLE", "UNVERIFIED", "Condition", "run_case"]

BUDGET = Budget(looks=200, calls=200, tokens=200_000, seconds=6 * 3600.0)
"""Of every condition, a phantom. The calls suffice for 73 tiles of 2048 pixels, close-ups and probes."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One row of the table."""

    name: str
    solver: str
    segment: bool = False
    verify: bool = False


SINGLE, UNVERIFIED, AGENT = "single pass", "agent: zoom, segment", "agent: zoom, segment, verify"
_ZOOM = "agent: zoom"

CONDITIONS: tuple[Condition, ...] = (
    Condition(name=SINGLE, solver="single_pass"),
    Condition(name=_ZOOM, solver="agent"),
    Condition(name=UNVERIFIED, solver="agent", segment=True),
    Condition(name=AGENT, solver="agent", segment=True, verify=True),
    Condition(name="uniform tiles", solver="uniform_tiles"),
    Condition(name="majority vote", solver="majority_vote"),
    Condition(name="random crops", solver="random_crop"),
    Condition(name="oracle crop", solver="oracle_crop"),
    Condition(name="blank image", solver="blank_image"),
    Condition(name="question only", solver="question_only"),
)
"""In the order in which they are run: the controls are matched to what the agent spent before them."""


async def run_case(
    bench: Bench, store: RunStore, case: Case, conditions: Mapping[str, Condition]
) -> tuple[dict[str, Outcome], bool]:
    """(one phantom under every condition, whether any was solved now).

    What is recorded is not solved again; what lost calls is not recorded.
    """
    found: dict[str, Outcome] = {}
    solved = False
    for name, condition in conditions.items():
        if condition.solver == "oracle_crop" and not case.boxes:
            found[name] = Outcome(status="answered", text="There is nothing to point at.")
            continue
        options = _matched(found)
        key = case_key(case.model_dump_json(), name, bench.endpoint, options.looks, options.tokens)
        outcome = store.outcome(key)
        if outcome is None:
            solved = True
            outcome = await solve(_equipped(bench, condition), case, condition.solver, options)
            if not outcome.spent.lost:
                await store.record(key, outcome)
        found[name] = outcome
    return found, solved


def _matched(found: Mapping[str, Outcome]) -> Options:
    """As many looks as the zooming agent had pictures before it, as many tokens as the whole agent spent."""
    looks = found[_ZOOM].spent.calls if _ZOOM in found else 1
    tokens = found[AGENT].spent.tokens if AGENT in found else 0
    return Options(looks=max(looks, 1), tokens=tokens)


def _equipped(bench: Bench, condition: Condition) -> Bench:
    """The bench with no more tools than the condition has."""
    resources: Resources = replace(
        bench.resources, verify=condition.verify,
        segmenter=bench.resources.segmenter if condition.segment else None,
    )  # fmt: skip
    return replace(bench, resources=resources, idle=[])
