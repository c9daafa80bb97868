"""Confidence from verdicts: how often statements checked like this one were right, on labelled images.

`make calibrate` (medloupe.evals.calibrate) fits it: a logistic score of the features, then isotonic regression of the
truth on that score. calibration.json holds the curve, what it was fitted on (a hash of the data) and for what (the
thresholds, the segmenter, the attributes). Where any of those differs there is no calibrated figure, and the answer
says so. Half of the statements that it was fitted on were false: where a model is right more often, it is too low.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

import numpy as np

from medloupe.prompts import knowledge
from medloupe.types import Frozen, Verdict

__all__ = ["FEATURES", "Calibration", "features", "load_calibration", "thresholds_hash"]

FEATURES = ("supported", "refuted", "size", "signed_margin", "quality", "weak", "independent")
"""What `features` gives, in order."""
_UNKNOWN_QUALITY = 0.5
_SIZES = ("long_axis", "short_axis", "area")


class Calibration(Frozen):
    """A fitted curve."""

    data_hash: str
    """sha-256 over the labelled images' names and digests and the planted statements."""
    thresholds: str
    """`thresholds_hash` at the time."""
    segmenter: str
    """Whose outlines were measured."""
    attributes: tuple[str, ...]
    """What was claimed; other claims have no calibrated figure."""
    statements: int
    images: int
    weights: tuple[float, ...]
    """Of FEATURES, then the constant."""
    score: tuple[float, ...]
    """Increasing; the score at which the curve has `probability`, linear in between."""
    probability: tuple[float, ...]
    """Increasing, 0 to 1."""
    brier: float
    """Mean squared error with each image's curve fitted on the other images."""
    ece: float
    """Expected calibration error of the same, in ten bins of equal size."""

    def right(self, attribute: str, verdict: Verdict) -> float | None:
        """Probability that a claim with this verdict is true; None for what the curve was not fitted on."""
        if attribute not in self.attributes or verdict.method != "measured":
            return None
        score = float(np.dot(self.weights, (*features(attribute, verdict), 1.0)))
        return float(np.interp(score, self.score, self.probability))


def features(attribute: str, verdict: Verdict) -> tuple[float, ...]:
    """Numbers of a verdict, in the order of FEATURES.

    signed_margin: how far from the threshold the comparison came out, towards support, cut at 1. A size: logarithm of
    its ratio against the middle of the two thresholds', in units of the latter; a word: share of its band.
    """
    numbers = verdict.numbers
    word = {"supported": 1.0, "refuted": -1.0}.get(verdict.verdict, 0.0)
    return (
        float(word > 0), float(word < 0), float(attribute in _SIZES), _margin(attribute, verdict, word),
        numbers.get("predicted_iou", _UNKNOWN_QUALITY), float("weak outline" in verdict.reason),
        float(verdict.independent),
    )  # fmt: skip


def _margin(attribute: str, verdict: Verdict, word: float) -> float:
    numbers = verdict.numbers
    if attribute in _SIZES and "ratio" in numbers and math.isfinite(numbers["ratio"]):
        middle = math.log(math.sqrt(numbers["supported_ratio"] * numbers["refuted_ratio"]))
        return max(-1.0, min(1.0, 1 - math.log(max(numbers["ratio"], 1.0)) / middle))
    if attribute == "site" and {"site_x", "site_y"} <= set(numbers):
        return word * min(1.0, 2 * max(abs(numbers["site_x"] - 0.5), abs(numbers["site_y"] - 0.5)))
    if attribute == "intensity" and "contrast" in numbers:
        return word * min(1.0, abs(numbers["contrast"]) / 2)
    return word


def thresholds_hash(attributes: Sequence[str]) -> str:
    """sha-256 over the thresholds that decide these attributes: another threshold is another verifier."""
    vocabulary = knowledge("attributes")
    table = {name: vocabulary["attributes"][name].get("thresholds") for name in sorted(attributes)}
    content = json.dumps([table, vocabulary["outline"]], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


@cache
def load_calibration(segmenter: str) -> Calibration | None:
    """The calibration that ships with the package, if it was fitted for these thresholds and this segmenter."""
    file = files("medloupe.agent") / "calibration.json"
    if not file.is_file():
        return None
    found = Calibration.model_validate_json(file.read_text(encoding="utf-8"))
    same = found.segmenter == segmenter and found.thresholds == thresholds_hash(found.attributes)
    return found if same else None
