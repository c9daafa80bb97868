"""What a statement becomes when a measurement refutes it."""

from __future__ import annotations

import numpy as np
import pytest
from drawn import image_of

from medloupe.tools.verify import claims_from_text, correct
from medloupe.types import Verdict

IMAGE = image_of(np.zeros((9, 9)))

CASES: list[tuple[str, str, float | str, str | None]] = [
    ("A 12 mm nodule.", "long_axis", 23.4, "A 23 mm (measured) nodule."),
    ("The nodule is 1.2 cm long.", "long_axis", 2.34, "The nodule is 2.3 cm (measured) long."),
    ("The lesion measures 12 x 8 mm.", "short_axis", 17.2, "The lesion measures 12 x 17 (measured) mm."),
    ("A 2-3 cm mass.", "long_axis", 6.1, "A 6.1 cm (measured) mass."),
    ("A sub-centimetre nodule.", "long_axis", 2.3, "A 2.3 cm (measured) nodule."),
    ("An irregular mass.", "shape", "round", "A round (measured) mass."),
    ("A round mass.", "shape", "oval", "An oval (measured) mass."),
    ("The lesion is hypoechoic.", "intensity", "hyperintense", "The lesion is hyperintense (measured)."),
    ("It lies on the left side of the image.", "site", "image right", "It lies on the image right (measured)."),
    ("The nodule is not round.", "shape", "round", None),
    ("Round, and again round.", "shape", "oval", None),
    ("Three nodules.", "count", 5.0, None),
    ("The mass measures 45 HU.", "density", -80.0, "The mass measures -80 HU (measured)."),
]


@pytest.mark.parametrize(("text", "attribute", "measured", "expected"), CASES, ids=[c[0] for c in CASES])
def test_the_wrong_value_is_replaced(text: str, attribute: str, measured: float | str, expected: str | None) -> None:
    claims, _ = claims_from_text(text, first_id=1, image=IMAGE, region=None, view=None)
    claim = next(c for c in claims if c.attribute == attribute)
    verdict = Verdict(claim=claim.id, verdict="refuted", reason="r", measured=measured, method="measured")
    assert correct(claim, verdict, text) == expected


@pytest.mark.parametrize(
    ("verdict", "method"), [("supported", "measured"), ("undetermined", "measured"), ("refuted", "probe")]
)
def test_only_a_measured_refutation_corrects(verdict: str, method: str) -> None:
    claims, _ = claims_from_text("A 12 mm nodule.", first_id=1, image=IMAGE, region=None, view=None)
    found = Verdict.model_validate(
        {"claim": "C1", "verdict": verdict, "reason": "r", "measured": 23.0, "method": method}
    )
    assert correct(claims[0], found) is None
