"""k of n: a probe drawn again and again, until claim or twin leads by k, or n draws are used up.

A draw is a probe's pair, a statement and its hallucinated twin each judged yes or no, and counts only if one of them is
affirmed and the other denied: whoever says yes to everything, or no, never gets anywhere. What a model knows it says
again, what it makes up varies (self-consistency: Wang et al., ICLR 2023; Manakul et al., EMNLP 2023). Draws are taken
one after another and stop as soon as one side leads by k: Wald's sequential probability ratio test (1945).
A model that errs in a share e of its answers, each by itself, is then wrong about 1 in 1 + ((1 - e) / e)^(2 k) times.

The draws are samples of one model: what it always gets wrong, it gets wrong in every one of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from medloupe.errors import ActionRejected
from medloupe.tools.verify.probe import Answer, Question, ask, question_request, twin, unknowable
from medloupe.tools.verify.scene import Scene
from medloupe.types import Claim, Evidence, Verdict, VerdictValue, View

__all__ = ["AgreementVerifier"]

_WIDER = (0.0, 0.15, 0.3)
"""Of its size, added on each side of what a draw is shown: the same thing, never quite the same picture."""
_HABIT = 4
"""So many draws that all end in the same tie are a habit, and no further one is taken. A model that errs in 30% of its
answers says yes to both four times running in 2 of 1,000."""


class _Draw(NamedTuple):
    """One pair of answers."""

    claim: Answer
    twin: Answer

    @property
    def vote(self) -> int:
        """1 for the claim, -1 for its twin, 0 for neither."""
        yes, other = self.claim.yes, self.twin.yes
        return 0 if yes is None or other is None else int(yes) - int(other)

    @property
    def fault(self) -> str:
        """Why an answer did not come; "" when both did."""
        return self.claim.fault or self.twin.fault


class AgreementVerifier:
    """Draws pairs until one side leads by `needed`, at most `samples` of them; two requests each.

    `independent` as for the probe: only where the model that is asked described nothing here.
    """

    name = "agreement"

    def __init__(self, samples: int = 15, needed: int = 2, temperature: float = 0.7) -> None:
        """n = samples, k = needed, the lead that decides. ValueError where n draws can never bring it."""
        if not 1 <= needed <= samples:
            raise ValueError(f"{samples} draws can never bring a lead of {needed}")
        self.samples, self.needed, self.temperature = samples, needed, temperature

    async def __call__(self, claim: Claim, scene: Scene) -> Verdict | None:
        """A verdict, or None without a model, a view or a twin, or where a picture cannot show the answer."""
        view, other = scene.view_of(claim), twin(claim)
        if scene.ask is None or scene.picture is None or view is None or other is None:
            return None
        if unknowable(claim, scene.loupe.image(view.image)):
            return None
        shown = await asyncio.to_thread(_views, view, scene)
        draws: list[_Draw] = []
        while (more := self._still_needed(draws)) > 0:
            numbers = range(len(draws) + 1, len(draws) + 1 + more)
            draws += await asyncio.gather(
                *(self._draw(n, claim, other, shown[(n - 1) // 2 % len(shown)], scene) for n in numbers)
            )
        return self._verdict(claim, other, draws, scene)

    def _still_needed(self, draws: Sequence[_Draw]) -> int:
        """How many draws are taken at once: as many as it takes at the least to decide; 0 when no more are."""
        lead = abs(sum(draw.vote for draw in draws))
        least, left = self.needed - lead, self.samples - len(draws)
        if least > left or any(draw.fault for draw in draws) or _habit(draws):
            return 0
        return least

    async def _draw(self, number: int, claim: Claim, other: Claim, view: View, scene: Scene) -> _Draw:
        """Odd draws ask both cold, even ones each after the other was named."""
        cold = number % 2 == 1
        asked = (Question(claim, None if cold else other), Question(other, None if cold else claim))
        requests = (
            replace(question_request(question, view, scene), temperature=self.temperature, draw=number)
            for question in asked
        )
        return _Draw(*await asyncio.gather(*(ask(request, scene) for request in requests)))

    def _verdict(self, claim: Claim, other: Claim, draws: Sequence[_Draw], scene: Scene) -> Verdict:
        votes = [draw.vote for draw in draws]
        lead, fault = sum(votes), next((draw.fault for draw in draws if draw.fault), "")
        verdict: VerdictValue = "undetermined"
        if abs(lead) >= self.needed and not fault:
            verdict = "supported" if lead > 0 else "refuted"
        independent = verdict != "undetermined" and scene.verifier_model not in scene.describers(claim)
        reason = (
            f"of {len(draws)} draws {votes.count(1)} affirmed it and denied its twin, and {votes.count(-1)} the reverse"
        )
        if fault:
            reason += f"; the verifier's model failed ({fault})"
        elif verdict == "undetermined":
            why = "none of them told the two apart" if _habit(draws) else f"a lead of {self.needed} is needed"
            reason += f"; {why}"
        elif not independent:
            reason += "; the describer's own model, asked again"
        return Verdict(
            claim=claim.id, verdict=verdict, reason=reason, method="agreement", independent=independent,
            numbers={"for": float(votes.count(1)), "against": float(votes.count(-1)), "asked": 2.0 * len(draws),
                     "needed": float(self.needed), "faults": float(sum(bool(draw.fault) for draw in draws))},
            evidence=tuple(
                Evidence(tool="agreement", version=scene.verifier_model, reply=f"{c.sentence()}? {a.reply or a.fault}")
                for draw in draws for c, a in zip((claim, other), draw, strict=True)
            ),
        )  # fmt: skip


def _habit(draws: Sequence[_Draw]) -> bool:
    """Whether all of the first few draws are one and the same tie."""
    said = {(draw.claim.yes, draw.twin.yes) for draw in draws}
    return len(draws) >= _HABIT and len(said) == 1 and draws[0].vote == 0


def _views(view: View, scene: Scene) -> list[View]:
    """What the draws are shown in turn: the view, and where it is part of an image somewhat more of that around it."""
    if view.overlay == "pair" or view.kind not in ("zoom", "crop"):
        return [view]
    views = [view]
    for share in _WIDER[1:]:
        try:
            wider = view.box.grow(share)
            views.append(scene.loupe.zoom(view, wider, index=view.index, region=view.region))
        except ActionRejected:
            continue
    return views
