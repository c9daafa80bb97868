"""What the vision tower is told of a lesion in numbers: known answers for outlines that are known."""

from __future__ import annotations

import numpy as np
import pytest

from medloupe.evals.phantoms.lesion import Lesion, Outline
from medloupe.evals.tiny.geometry import MEASURES, RADII, WEIGHTS, measures_of
from medloupe.evals.tiny.samples import MEASURED, samples_of

pytest.importorskip("tokenizers", reason="transformers is not installed")


def drawn(**changes: object) -> Lesion:
    given = {"finding": "nodule", "x": 50.0, "y": 60.0, "long_axis": 40.0, "outline": Outline("round")} | changes
    return Lesion(**given)  # type: ignore[arg-type] # of a Lesion's fields


def test_a_round_lesion_is_as_wide_as_long_and_as_far_in_every_direction() -> None:
    size, slenderness, solidity, _, *radii = measures_of(drawn(), 80.0)
    assert size == pytest.approx((np.log2(0.5) + 1.2) / 0.6, abs=1e-5)
    assert slenderness * 0.2 + 0.75 == pytest.approx(0.98, abs=0.03)
    assert solidity * 0.12 + 0.85 == pytest.approx(1.0, abs=0.01)
    assert np.array(radii) * 0.25 + 0.75 == pytest.approx(np.ones(RADII), abs=0.06)


def test_an_ovals_radii_are_longest_along_its_long_axis_and_turn_with_it() -> None:
    oval = Outline("oval", aspect=0.6)
    lying, upright = (measures_of(drawn(outline=oval, angle=a), 80.0) for a in (0.0, np.pi / 2))
    assert lying[1] * 0.2 + 0.75 == pytest.approx(0.6, abs=0.03)
    assert lying[1] == pytest.approx(upright[1], abs=0.02)
    right, down = 4, 4 + RADII // 4
    assert lying[right] > lying[down] + 1 and upright[down] > upright[right] + 1
    assert lying[right] == pytest.approx(upright[down], abs=0.1)


def test_lobes_and_a_soft_edge_are_told() -> None:
    plain, lobed = (
        measures_of(drawn(outline=o), 80.0) for o in (Outline("round"), Outline("lobulated", solidity=0.86))
    )
    assert lobed[2] * 0.12 + 0.85 == pytest.approx(0.86, abs=0.01)
    assert np.std(lobed[4:]) > 3 * np.std(plain[4:])
    assert measures_of(drawn(edge=6.0), 80.0)[3] > plain[3] + 1


def test_only_what_a_view_shows_whole_is_told_and_each_number_has_a_weight() -> None:
    views = [view for n in range(8) for view in samples_of(n, 144)]
    told = [row for view in views for row in view.measures if np.isfinite(row).all()]
    assert len(told) > 20 and len(WEIGHTS) == MEASURES + 2
    assert np.abs(told).max() < 6, "each number is spread over a few units"
    for view in views:
        for share, row in zip(view.shares, view.measures, strict=False):
            assert share >= MEASURED or np.isnan(row).all()
