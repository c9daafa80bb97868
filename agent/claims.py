"""Claims of a draft: from its structure where the model gave one, and from its words always."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medloupe.agent.state import Draft, Drafted, StatedClaim
from medloupe.tools.look import Loupe
from medloupe.tools.verify import claims_from_attributes, claims_from_text
from medloupe.types import Claim, Region, Statement, View

__all__ = ["claims_of"]

_OUR_NAME = re.compile(r"[RV]\d+")
"""Regions and views are named in statements; their names claim nothing."""


def claims_of(
    draft: Draft, views: Sequence[View], regions: Sequence[Region], overview: View, loupe: Loupe, *, first_id: int
) -> tuple[list[Claim], list[Statement]]:
    """The claims of a whole draft, from C`first_id` on, and its statements, which name their claims."""
    claims: list[Claim] = []
    statements: list[Statement] = []
    scene = _Scene(views, regions, overview, loupe)
    for number, sentence in enumerate(draft.sentences, start=1):
        found, words = scene.claims(sentence, first_id=first_id + len(claims))
        claims += found
        statements.append(
            Statement(
                id=f"S{number}",
                text=sentence.text,
                views=sentence.views,
                claims=tuple(c.id for c in found),
                unparsed=tuple(dict.fromkeys(word for word in words if not _OUR_NAME.fullmatch(word))),
            )
        )
    return claims, statements


class _Scene:
    """Where claims can be: the views and the regions they were made for."""

    def __init__(self, views: Sequence[View], regions: Sequence[Region], overview: View, loupe: Loupe) -> None:
        self._views = {view.index: view for view in views}
        self._regions = {region.id: region for region in regions}
        self._overview = overview
        self._loupe = loupe

    def claims(self, sentence: Drafted, *, first_id: int) -> tuple[list[Claim], list[str]]:
        """Structured claims, then what only the words say."""
        claims: list[Claim] = []
        for stated in sentence.stated:
            view = self._view_of(sentence, stated)
            claims += claims_from_attributes(
                [stated.stated], first_id=first_id + len(claims), region=self._region(view),
                view=view.index, source_text=sentence.text,
            )  # fmt: skip
        if sentence.complete:
            return claims, []
        view = self._view_of(sentence, None)
        parsed, words = claims_from_text(
            sentence.text, first_id=first_id, image=self._loupe.image(view.image),
            region=self._region(view), view=view.index,
        )  # fmt: skip
        for claim in parsed:
            if not any(_same(claim, known) for known in claims):
                claims.append(claim.model_copy(update={"id": f"C{first_id + len(claims)}"}))
        return claims, words

    def _view_of(self, sentence: Drafted, stated: StatedClaim | None) -> View:
        """The view that is said to show it: the claim's own, else the sentence's first, else the overview."""
        cited = [stated.view] if stated and stated.view is not None else list(sentence.views)
        return next((self._views[v] for v in cited if v in self._views), self._overview)

    def _region(self, view: View) -> Region | None:
        """The region a view was made for; a zoom without one is its own region; the whole image is none."""
        if view.region is not None:
            return self._regions.get(view.region)
        if view.kind in ("overview", "slice", "compare", "window"):
            return None
        return Region(id=f"V{view.index}", image=view.image, box=view.box, view=view.index, source="claim")


def _same(parsed: Claim, structured: Claim) -> bool:
    """The words say again what the structure said: one attribute of one thing, or of a thing that one leaves open."""
    if parsed.attribute != structured.attribute:
        return False
    return not (parsed.finding and structured.finding) or parsed.finding == structured.finding
