"""Claims of a draft: from its structure where the model gave one, and from its words always."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medloupe.agent.asked import subjects
from medloupe.agent.state import Draft, Drafted, StatedClaim
from medloupe.tools.look import Loupe
from medloupe.tools.measure.vocabulary import findings
from medloupe.tools.verify import claims_from_attributes, claims_from_text
from medloupe.types import Claim, Region, Statement, View

__all__ = ["claims_of"]

_OUR_NAME = re.compile(r"[RV]\d+")
"""Regions and views are named in statements; their names claim nothing."""
_PRONOUN = re.compile(r"(?:it|its|they|their|this|these)\b", re.IGNORECASE)
"""A sentence that begins so speaks of what the one before it spoke of."""
_NO_NAME = {"generic": True}
"""Of a subject that is no known finding: its presence could not be asked about."""


def claims_of(
    draft: Draft, views: Sequence[View], regions: Sequence[Region], overview: View, loupe: Loupe, *, first_id: int,
    question: str = "",
) -> tuple[list[Claim], list[Statement]]:  # fmt: skip
    """The claims of a whole draft, from C`first_id` on, and its statements, which name their claims.

    A statement also claims that there is what it speaks of: a finding, or what the question names.
    """
    scene = _Scene(views, regions, overview, loupe)
    claims: list[Claim] = []
    drafted: list[tuple[Drafted, list[Claim], list[str]]] = []
    for sentence in draft.sentences:
        found, words = scene.claims(sentence, first_id=first_id + len(claims))
        claims += found
        drafted.append((sentence, found, words))
    statements: list[Statement] = []
    named: list[Claim] = []
    for number, (sentence, found, words) in enumerate(drafted, start=1):
        before = named if _PRONOUN.match(sentence.text) else []
        asked = subjects(question, words)
        named = [] if sentence.complete else [*before, *_presences(_spoken_of(found, asked), claims, first_id)]
        probed = {word for subject in asked for word in subject.split()}
        left = (w for w in words if not _OUR_NAME.fullmatch(w) and w.lower() not in probed)
        statements.append(
            Statement(
                id=f"S{number}",
                text=sentence.text,
                views=sentence.views,
                claims=tuple(dict.fromkeys(c.id for c in [*found, *named])),
                unparsed=tuple(dict.fromkeys(left)),
            )
        )
    return claims, statements


def _spoken_of(found: Sequence[Claim], asked: Sequence[str]) -> list[Claim]:
    """Claims whose finding must be there, and one for each thing that the question names."""
    of_findings = [
        claim for claim in found
        if claim.attribute != "presence" and not findings().get(claim.finding, _NO_NAME).get("generic")
    ]  # fmt: skip
    return [*of_findings, *(found[0].model_copy(update={"finding": subject}) for subject in asked if found)]


def _presences(spoken_of: Sequence[Claim], claims: list[Claim], first_id: int) -> list[Claim]:
    """That there is what a sentence speaks of: "the aneurysm measures 9 mm" claims an aneurysm, whatever 9 mm is.

    One claim for a finding in one place, however many sentences speak of it; new ones are added to `claims`.
    """
    there: list[Claim] = []
    for claim in spoken_of:
        known = (
            c
            for c in claims
            if (c.attribute, c.value, c.finding, c.view) == ("presence", True, claim.finding, claim.view)
        )
        presence = next(known, None)
        if presence is None:
            presence = claim.model_copy(
                update={
                    "id": f"C{first_id + len(claims)}", "attribute": "presence", "value": True, "unit": "",
                    "source": "implied",
                }
            )  # fmt: skip
            claims.append(presence)
        there.append(presence)
    return there


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
