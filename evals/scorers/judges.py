"""Who judges texts: without a model by words, by the verifier's model, or by another package's judges.

    [project.entry-points."medloupe.judges"]
    mine = "my_package:make_judges"

`make_judges(vlm)` is called with the verifier's model (None where there is none) and returns a Judges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points

from medloupe.errors import UsageError
from medloupe.evals.scorers.attributes import CaptionJudge, VLMCaptionJudge, WordJudge
from medloupe.evals.scorers.radfact import EntailmentJudge, VLMEntailmentJudge, WordEntailmentJudge
from medloupe.models.vlm.base import VLM

__all__ = ["GROUP", "WORDS", "Judges", "judge_names", "load_judges"]

GROUP = "medloupe.judges"


@dataclass(frozen=True)
class Judges:
    """Both judges of a run."""

    caption: CaptionJudge
    """Of attribute verification."""
    entailment: EntailmentJudge
    """Of RadFact."""


WORDS = Judges(WordJudge(), WordEntailmentJudge())
"""Without a model."""


def judge_names() -> list[str]:
    """What `--judge` takes; nothing is imported."""
    return ["words", "vlm", *sorted(point.name for point in entry_points(group=GROUP))]


def load_judges(name: str, vlm: VLM | None) -> Judges:
    """The judges of that name. UsageError for an unknown one, for one that cannot be loaded, and without a model."""
    if name == "words":
        return WORDS
    if name == "vlm":
        if vlm is None:
            raise UsageError('the judge "vlm" needs a vision-language model (--vlm)')
        return Judges(VLMCaptionJudge(vlm), VLMEntailmentJudge(vlm))
    point = next((point for point in entry_points(group=GROUP) if point.name == name), None)
    if point is None:
        raise UsageError(f"there is no judge {name!r}; there are {', '.join(judge_names())}")
    try:
        make: Callable[[VLM | None], Judges] = point.load()
    except Exception as error:  # noqa: BLE001 - somebody else's code: what it raises is not ours to know
        raise UsageError(f"the judge {name!r} ({point.value}) cannot be loaded: {type(error).__name__}") from None
    return make(vlm)
