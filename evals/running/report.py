"""report.html of a run: one file, plots inside, nothing loaded from anywhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from medloupe.evals.running.run import Run
from medloupe.evals.scorers.summary import Group, Summary
from medloupe.evals.tasks.catalogue import benchmark
from medloupe.types import RESEARCH_LABEL

__all__ = ["render"]

_WRONG = 50
"""Cases that went wrong which are listed."""
_GROUPS = 40
"""Subgroups that are drawn."""


def render(run: Run, summary: Summary) -> str:
    """The page."""
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, autoescape=True)
    template = environment.from_string((files("medloupe.evals.running") / "report.html.j2").read_text("utf-8"))
    found = benchmark(summary.benchmark)
    wrong = [row for row in run.ordered if row.status != "scored" or row.right is False or row.value <= 0]
    return template.render(
        run=run, summary=summary, title=found.title, cluster=found.cluster, label=RESEARCH_LABEL, wrong=wrong[:_WRONG],
        plots={"groups": _groups(summary.groups[:_GROUPS]), "risk": _risk(summary.risk_coverage)},
    )  # fmt: skip


def _groups(groups: Sequence[Group]) -> str:
    if not groups:
        return ""
    figure, axes = _axes(7, 0.6 + 0.28 * len(groups))
    places = range(len(groups), 0, -1)
    for place, group in zip(places, groups, strict=True):
        found = group.figure
        axes.plot([found.low, found.high], [place, place], color="#3465a4")
        axes.plot([found.value], [place], "o", color="#3465a4")
    axes.set_yticks(list(places), [f"{g.by}: {g.name} ({g.figure.samples})" for g in groups])
    axes.set_xlabel("score, 95% interval")
    return _png(figure)


def _risk(curve: Sequence[tuple[float, float]]) -> str:
    if len(curve) < 2:
        return ""
    figure, axes = _axes(5, 3)
    axes.step([c for c, _ in curve], [r for _, r in curve], where="post", color="#a40000")
    axes.set_xlabel("coverage, most confident first")
    axes.set_ylabel("share wrong")
    axes.set_ylim(0, 1)
    return _png(figure)


def _axes(width: float, height: float) -> tuple[Any, Any]:
    """A figure of its own: pyplot's are global."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _png(figure: Any) -> str:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110)
    return base64.b64encode(out.getvalue()).decode("ascii")
