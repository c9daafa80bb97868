"""k of n independent samples: the model chooses between the claim and its twin n times, and k must choose alike.

Self-consistency (Wang et al., ICLR 2023; Manakul et al., EMNLP 2023): what a model knows it says again, what it makes
up varies. The places of claim and twin change from draw to draw, so that a model that always takes the first, or always
the last, never reaches k.
"""

from __future__ import annotations

import asyncio
import re

from medloupe.errors import ModelError
from medloupe.models.vlm.base import Message, VLMRequest
from medloupe.prompts import prompt
from medloupe.tools.verify.probe import twin, unknowable
from medloupe.tools.verify.scene import Scene
from medloupe.types import Claim, Evidence, Verdict, VerdictValue, View

__all__ = ["AgreementVerifier"]

_MAX_TOKENS = 64
_CHOICE = re.compile(r"\b(first|second|neither)\b", re.IGNORECASE)


class AgreementVerifier:
    """Has the scene's model choose n times between claim and twin; k alike decide. `independent` as for the probe.

    Off by default (`agreement_samples` 0): it costs n requests for a claim that nothing else decided.
    """

    name = "agreement"

    def __init__(self, samples: int = 5, needed: int = 4, temperature: float = 0.7) -> None:
        """k = needed of n = samples; needed must be more than half, or both could reach it. ValueError otherwise."""
        if not samples / 2 < needed <= samples:
            raise ValueError(f"{needed} of {samples} is no majority")
        self.samples, self.needed, self.temperature = samples, needed, temperature

    async def __call__(self, claim: Claim, scene: Scene) -> Verdict | None:
        """A verdict, or None without a model, a view or a twin, or where a picture cannot show the answer."""
        view, other = scene.view_of(claim), twin(claim)
        if scene.ask is None or scene.picture is None or view is None or other is None:
            return None
        if unknowable(claim, scene.loupe.image(view.image)):
            return None
        votes = await asyncio.gather(*(self._draw(n, claim, other, view, scene) for n in range(1, self.samples + 1)))
        faults = [said for vote, said in votes if vote == "fault"]
        for_it, for_twin = (sum(vote == word for vote, _ in votes) for word in ("claim", "twin"))
        verdict: VerdictValue = "undetermined"
        if max(for_it, for_twin) >= self.needed:
            verdict = "supported" if for_it > for_twin else "refuted"
        reason = f'{for_it} of {self.samples} draws chose it and {for_twin} its twin "{other.sentence()}"'
        if verdict == "undetermined":
            reason += f"; {self.needed} must agree" + (f" ({len(faults)} failed: {faults[0]})" if faults else "")
        return Verdict(
            claim=claim.id, verdict=verdict, reason=reason, method="agreement",
            independent=verdict != "undetermined" and scene.verifier_model not in scene.describers(claim),
            numbers={"for": float(for_it), "against": float(for_twin), "asked": float(self.samples),
                     "faults": float(len(faults))},
            evidence=tuple(Evidence(tool="agreement", version=scene.verifier_model, reply=said) for _, said in votes),
        )  # fmt: skip

    async def _draw(self, number: int, claim: Claim, other: Claim, view: View, scene: Scene) -> tuple[str, str]:
        """What one draw chose ("claim", "twin", "neither", "fault"), and its words. Odd draws name the claim first."""
        assert scene.ask is not None
        claim_first = number % 2 == 1
        first, second = (claim, other) if claim_first else (other, claim)
        try:
            reply = await scene.ask(self._request(number, first, second, view, scene))
        except ModelError as error:
            return "fault", f"{type(error).__name__}: {error}"
        words = {match[1].lower() for match in _CHOICE.finditer(reply.text)}
        if words == {"first"}:
            return ("claim" if claim_first else "twin"), reply.text
        if words == {"second"}:
            return ("twin" if claim_first else "claim"), reply.text
        return "neither", reply.text

    def _request(self, number: int, first: Claim, second: Claim, view: View, scene: Scene) -> VLMRequest:
        assert scene.picture is not None
        template = prompt("agreement")
        said = template.render(first=first.sentence(), second=second.sentence())
        system, question = said.split("\n---\n", maxsplit=1)
        return VLMRequest(
            messages=(Message("system", (system,)), Message("user", (scene.picture(view), question))),
            purpose="probe", max_tokens=_MAX_TOKENS, temperature=self.temperature, draw=number,
            prompt=template.sha256,
        )  # fmt: skip
