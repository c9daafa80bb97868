"""report.html of a run: one file, plots inside, nothing loaded from anywhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Literal, NamedTuple

from jinja2 import Environment, StrictUndefined

from medloupe.evals.running.run import Run
from medloupe.evals.scorers.rows import Row
from medloupe.evals.scorers.summary import Group, Summary
from medloupe.evals.tasks.catalogue import benchmark
from medloupe.types import RESEARCH_LABEL

__all__ = ["render"]

_WRONG = 50
"""Cases that went wrong which are listed."""
_GROUPS = 40
"""Subgroups that are drawn."""
_INK, _ALARM, _FAINT = "#24589b", "#a6341b", "#9aa3ad"


_MEANINGS = {
    "inspected": "share of the true region that was looked at",
    "recall": "share of the reference's words",
    "f1": "of words",
    "against readers": "accuracy over plausible truths, by the readers' votes",
    "readers against each other": "the ceiling: each reader judged by the others",
    "logical precision": "sentences that the reference entails",
    "logical recall": "sentences of the reference that are entailed",
    "spatial precision": "boxes mostly inside the true ones",
    "spatial recall": "true boxes mostly inside those given",
    "CIDEr": "0 to 10",
    "without verification": "score of the answers before their claims were checked",
    "added by verification": "paired difference",
}


class _Wrong(NamedTuple):
    id: str
    status: str
    said: str
    expected: str


def render(run: Run, summary: Summary) -> str:
    """The page."""
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=True)
    environment.filters["amount"] = _amount
    template = environment.from_string((files("medloupe.evals.running") / "report.html.j2").read_text("utf-8"))
    found = benchmark(summary.benchmark)
    wrong = [row for row in run.ordered if row.status != "scored" or row.right is False or row.value <= 0]
    wrong.sort(key=lambda row: _ORDER.index(row.status))  # what broke first, then what was merely wrong
    plots = {
        "groups": _groups(summary.groups[:_GROUPS], summary.score.value),
        "risk": _risk(summary.risk_coverage), "reliability": _reliability(summary.reliability),
    }  # fmt: skip
    return template.render(
        run=run, summary=summary, title=found.title, cluster=found.cluster, label=RESEARCH_LABEL, plots=plots,
        wrong=[_listed(row) for row in wrong[:_WRONG]], wrong_count=len(wrong), groups_left=summary.groups[_GROUPS:],
        scale=_scale(summary), meanings=_MEANINGS,
    )  # fmt: skip


_ORDER = ("failed", "refused", "unparsed", "abstained", "scored")


def _listed(row: Row) -> _Wrong:
    status = "wrong" if row.status == "scored" and row.right is False else row.status
    return _Wrong(row.id, status, (row.fault or row.answer)[:200], row.expected[:200])


def _scale(summary: Summary) -> dict[str, float]:
    """Where score and interval lie on a bar from the lowest to the highest possible, in percent."""
    least = -1.0 if "attribute average" in summary.headline else 0.0
    return {
        name: round(100 * min(max((value - least) / (1 - least), 0), 1), 2)
        for name, value in (("low", summary.score.low), ("at", summary.score.value), ("high", summary.score.high))
    }


def _amount(value: float) -> str:
    """A number as a person reads it: whole ones in groups of three, others to three figures."""
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:.3g}"


# --- plots ----------------------------------------------------------------------------------------------------------


def _groups(groups: Sequence[Group], score: float) -> str:
    if not groups:
        return ""
    figure, axes = _axes(7.5, 0.7 + 0.26 * len(groups))
    axes.axvline(score, color=_FAINT, linewidth=1, linestyle="--")
    places = range(len(groups), 0, -1)
    for place, group in zip(places, groups, strict=True):
        found = group.figure
        axes.plot([found.low, found.high], [place, place], color=_INK, linewidth=2, solid_capstyle="round")
        axes.plot([found.value], [place], "o", color=_INK, markersize=5)
    axes.set_yticks(list(places), [f"{g.by}: {g.name} (n {g.figure.samples})" for g in groups])
    axes.set_ylim(0.4, len(groups) + 0.6)
    axes.set_xlabel("score with its 95% interval; dashed: all cases")
    return _png(figure)


def _risk(curve: Sequence[tuple[float, float]]) -> str:
    if len(curve) < 2:
        return ""
    figure, axes = _square_plot()
    axes.step([c for c, _ in curve], [r for _, r in curve], where="post", color=_ALARM)
    axes.set(xlabel="coverage, most confident first", ylabel="share wrong", xlim=(0, 1), ylim=(0, 1))
    axes.set_title("Risk against coverage", fontsize=10)
    return _png(figure)


def _reliability(bins: Sequence[tuple[float, float, int]]) -> str:
    if not bins:
        return ""
    figure, axes = _square_plot()
    axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=1, linestyle="--")
    most = max(count for _, _, count in bins)
    sizes = [20 + 180 * count / most for _, _, count in bins]
    axes.plot([c for c, _, _ in bins], [r for _, r, _ in bins], color=_INK, linewidth=1)
    axes.scatter([c for c, _, _ in bins], [r for _, r, _ in bins], s=sizes, color=_INK, alpha=0.6)
    axes.set(xlabel="stated confidence", ylabel="share right", xlim=(0, 1.02), ylim=(-0.02, 1.02))
    axes.set_title("Reliability (dot: how many answers)", fontsize=10)
    return _png(figure)


def _square_plot() -> tuple[Any, Any]:
    """Both axes from 0 to 1. Margins are given: to find them by drawing takes as long as the plot."""
    figure, axes = _axes(4.4, 3.1, layout=None)
    figure.subplots_adjust(left=0.14, right=0.97, bottom=0.17, top=0.9)
    return figure, axes


def _axes(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> tuple[Any, Any]:
    """A figure of its own: pyplot's are global."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
    return figure, axes


def _png(figure: Any) -> str:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=160)
    return base64.b64encode(out.getvalue()).decode("ascii")
