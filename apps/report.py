"""report.html: one self-contained file that shows an answer and everything it stands on.

Every text in it may come from a model or a file, so the template escapes all of it, and the page forbids itself scripts
and every fetch (Content-Security-Policy). Pictures are the very PNGs that were sent, as data URIs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from jinja2 import Environment, StrictUndefined, Template

from medloupe.apps import wording
from medloupe.apps.figure import SMALL, Figure, LineStyle, PngOf, figure, line_style
from medloupe.types import Answer, CheckedClaim, Measurement, Observation, Region, Statement, View

__all__ = ["render_report"]


@dataclass(frozen=True, kw_only=True)
class Look:
    """One card of the chain: a view, or a region that got no view of its own."""

    anchor: str
    title: str
    view: View | None
    region: Region | None
    style: LineStyle | None
    """Of the region."""
    figure: Figure | None
    observations: tuple[Observation, ...]
    measurement: Measurement | None
    claims: tuple[CheckedClaim, ...]
    """Made of this view, or of its region."""


@dataclass(frozen=True, kw_only=True)
class LegendEntry:
    """One region beside the overview."""

    region: Region
    words: str
    """Its size, and which image it is on when that is not the overview's."""
    tally: tuple[tuple[str, int], ...]
    """How many of its claims got which verdict."""


def render_report(answer: Answer, png_of: PngOf, *, earlier: Sequence[Answer] = ()) -> str:
    """The report of one answer as HTML. `earlier`: the session's answers before it."""
    styles = {region.id: line_style(place) for place, region in enumerate(answer.regions)}
    drawn = [(region, styles[region.id]) for region in answer.regions]
    overview = next((view for view in reversed(answer.views) if view.kind == "overview"), None)
    return _template().render(
        answer=answer,
        overview=overview,
        main_figure=figure(overview, drawn, png_of) if overview else None,
        looks=[*_viewed(answer, overview, drawn, png_of), *_unviewed(answer, styles)],
        legend=[_legend(answer, region, overview) for region in answer.regions],
        styles=styles,
        kept=[s for s in answer.statements if _is_said(s, answer)],
        dropped=[s for s in answer.statements if not _is_said(s, answer)],
        on_overview=_of_view(answer, overview) if overview else (),
        anchors=_anchors(answer, overview),
        earlier=earlier,
    )


def _viewed(answer: Answer, overview: View | None, drawn: list[tuple[Region, LineStyle]], png_of: PngOf) -> list[Look]:
    """A card for each view besides the main overview, in the order they were taken."""
    looks, measured = [], set[str]()
    for view in answer.views:
        if view is overview:
            continue
        of_region = next(((region, style) for region, style in drawn if region.id == view.region), None)
        region, style = of_region or (None, None)
        # A crop already shows its region's contour: what the model saw is shown as it is.
        overlay = drawn if view.kind in ("overview", "slice") else []
        measurement = _measurement(answer, region) if region and region.id not in measured else None
        claims = [
            c for c in answer.claims if c.view == view.index or (region and c.region and c.region.id == region.id)
        ]
        looks.append(
            Look(
                anchor=f"V{view.index}",
                title=wording.view_words(view),
                view=view,
                region=region,
                style=style,
                figure=figure(view, overlay, png_of, label_height=SMALL),
                observations=_of_view(answer, view),
                measurement=measurement,
                claims=tuple(claims),
            )
        )
        if measurement:
            measured.add(measurement.region)
    return looks


def _unviewed(answer: Answer, styles: dict[str, LineStyle]) -> list[Look]:
    """A card for each region that was measured or claimed about, but never shown on its own."""
    shown = {view.region for view in answer.views}
    looks = []
    for region in answer.regions:
        claims = tuple(c for c in answer.claims if c.region and c.region.id == region.id)
        measurement = _measurement(answer, region)
        if region.id in shown or not (claims or measurement):
            continue
        looks.append(
            Look(
                anchor=region.id,
                title=f"{region.id}, not shown on its own",
                view=None,
                region=region,
                style=styles[region.id],
                figure=None,
                observations=(),
                measurement=measurement,
                claims=claims,
            )
        )
    return looks


def _legend(answer: Answer, region: Region, overview: View | None) -> LegendEntry:
    measurement = _measurement(answer, region)
    axes = [measurement.get(name) for name in ("long_axis", "short_axis")] if measurement else []
    words = " × ".join(wording.amount(q.value, q.unit) for q in axes if q)
    if overview is None or region.image != overview.image:
        words = f"{words} on image {region.image + 1}".strip()
    verdicts = [c.verdict for c in answer.claims if c.region and c.region.id == region.id]
    tally = tuple((v, verdicts.count(v)) for v in ("supported", "refuted", "undetermined") if v in verdicts)
    return LegendEntry(region=region, words=words or "not measured", tally=tally)


def _of_view(answer: Answer, view: View) -> tuple[Observation, ...]:
    return tuple(o for o in answer.observations if o.view == view.index)


def _measurement(answer: Answer, region: Region) -> Measurement | None:
    """The last one made of that region."""
    return next((m for m in reversed(answer.measurements) if m.region == region.id), None)


def _anchors(answer: Answer, overview: View | None) -> dict[str, str]:
    """Where in the page a region is best seen."""
    anchors = {region.id: region.id for region in answer.regions}
    for view in reversed(answer.views):
        if view.region and view is not overview:
            anchors[view.region] = f"V{view.index}"
    return anchors


def _is_said(statement: Statement, answer: Answer) -> bool:
    """Whether the answer says it; an answer that abstains says nothing."""
    return not answer.abstained and statement.status in ("supported", "corrected")


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        amount=wording.amount,
        clean=wording.clean,
        oneline=wording.one_line,
        size=wording.view_size,
        words=wording.claim_words,
    )
    environment.globals.update(
        marks=wording.MARKS,
        headline=wording.headline,
        confidence=wording.confidence_words,
        study_words=wording.study_words,
        budget_words=wording.budget_words,
        quantities=wording.quantities,
    )
    return environment.from_string((files("medloupe.apps") / "report.html.j2").read_text("utf-8"))
