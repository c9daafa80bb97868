"""Planted statements: true of a drawn image, their twins false; and the bench on it."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from medloupe.evals.bench_verify import check_subject, missed_bars, part_of, rates, table
from medloupe.evals.planted import Subject, loose_box, plant, subjects
from medloupe.evals.statistics import cluster_interval, spearman_interval


@pytest.fixture
def drawn(tmp_path: Path) -> Subject:
    """A dark ellipse of 80 x 50 px in the upper left of a bright picture, with a little noise."""
    picture = np.full((256, 320), 180, np.uint8)
    mask = np.zeros_like(picture)
    for canvas, value in ((picture, 60), (mask, 255)):
        cv2.ellipse(canvas, (90, 80), (40, 25), 0, 0, 360, value, -1)
    picture = picture + np.random.default_rng(0).integers(0, 12, picture.shape).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    return Subject("drawn", "US", tmp_path / "a.png", (mask > 0,))


def test_the_statements_follow_from_the_mask(drawn: Subject) -> None:
    planted = plant(drawn, np.random.default_rng(1))
    right = {p.claim["attribute"]: p.claim["value"] for p in planted if p.true}
    wrong = {p.claim["attribute"]: p.claim["value"] for p in planted if not p.true}
    assert right["long_axis"] == pytest.approx(81, abs=1) and right["short_axis"] == pytest.approx(51, abs=1)
    assert right["area"] == pytest.approx(math.pi * 40 * 25, rel=0.04)
    assert (right["site"], right["intensity"], right["shape"]) == ("image left", "hypointense", "oval")
    assert (wrong["site"], wrong["intensity"]) == ("image right", "hyperintense")
    assert wrong["shape"] in ("irregular", "round")
    assert max(wrong["long_axis"] / right["long_axis"], right["long_axis"] / wrong["long_axis"]) > 1.49


def test_the_box_is_loose_by_a_tenth_to_a_quarter_and_never_the_mask_itself(drawn: Subject) -> None:
    x0, y0, x1, y1 = loose_box(drawn.regions[0], np.random.default_rng(1))
    assert 50 - 0.25 * 81 <= x0 <= 50 - 0.1 * 80 and 131 + 8 <= x1 <= 131 + 0.25 * 81
    assert 55 - 0.25 * 51 <= y0 <= 55 - 0.1 * 50 and 106 + 5 <= y1 <= 106 + 0.25 * 51
    assert not any("mask" in p.claim.get("region", {}) for p in plant(drawn, np.random.default_rng(1)))


def test_the_milder_readings_of_a_loose_box(drawn: Subject) -> None:
    x0, _, x1, _ = loose_box(drawn.regions[0], np.random.default_rng(1), "total")
    assert 50 - 0.125 * 81 <= x0 <= 50 - 0.05 * 80 and 131 + 4 <= x1 <= 131 + 0.125 * 81
    assert loose_box(drawn.regions[0], np.random.default_rng(1), "none") == (50, 55, 131, 106)


def test_a_part_is_a_fixed_third_of_the_images() -> None:
    parts = [part_of(Path(f"images/{n}.png")) for n in range(300)]
    assert 80 <= parts.count("dev") <= 120 and set(parts) == {"dev", "rest"}
    assert part_of(Path("a/7.png")) == part_of(Path("b/7.png"))


async def test_on_a_plain_picture_every_bar_is_met(drawn: Subject) -> None:
    rows = await check_subject(drawn, None)
    assert len(rows) == 12 and not missed_bars(rows), list(table(rows))
    assert rates(rows).false_refuted[0] == 1.0


async def test_a_verifier_that_always_agrees_misses_the_bars(drawn: Subject) -> None:
    rows = await check_subject(drawn, None)
    agreed = [r._replace(checked=r.checked.model_copy(update={"verdict": "supported"})) for r in rows]
    assert any("false refuted" in missed for missed in missed_bars(agreed))
    turned = [r._replace(true=not r.true) for r in rows]
    assert any(missed.startswith("true refuted") for missed in missed_bars(turned))


async def test_real_images_are_read_and_checked(shared_data: Path) -> None:
    found = list(subjects(shared_data, 1))
    assert {s.data for s in found} >= {"us_breast_lesions_usg", "histo_nuclei_dsb2018", "blood_cells_bccd"}
    rows = await check_subject(next(s for s in found if s.data == "us_breast_lesions_usg"), None)
    assert not any(row.true and row.verdict == "refuted" for row in rows)
    assert not any(not row.true and row.verdict == "supported" for row in rows)


def test_intervals() -> None:
    share, low, high = cluster_interval([True] * 8 + [False] * 2, list("aabbccddee"))
    assert share == 0.8 and low < 0.8 < high
    assert cluster_interval([True] * 4, list("abcd")) == (1.0, pytest.approx(0.3976, abs=1e-3), 1.0)
    assert math.isnan(cluster_interval([], [])[0])
    assert spearman_interval([1, 2, 3, 4, 5], [1, 4, 9, 16, 25])[0] == pytest.approx(1)
    assert math.isnan(spearman_interval([1, 1, 1], [1, 2, 3])[0])
