"""Confidence: fitted to labelled statements, and used only where it was fitted."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from medloupe.agent.answer import confidence
from medloupe.agent.confidence import FEATURES, Calibration, features, load_calibration, thresholds_hash
from medloupe.evals.bench_verify import Row, _dump
from medloupe.evals.calibrate import calibrate, calibration_error, fit, main, read_rows
from medloupe.types import CheckedClaim, Claim, Statement, Verdict


def checked(number: int, ratio: float, verdict: str) -> CheckedClaim:
    return CheckedClaim(
        id=f"c{number}", claim="it", source_text="it", attribute="long_axis", value=1.0, verdict=verdict,
        reason="as measured", measured=1.0, unit="px", method="measured", independent=True,
        numbers={"ratio": ratio, "supported_ratio": 1.2, "refuted_ratio": 1.25, "predicted_iou": 0.9},
    )  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """600 statements on 60 images: of the supported nine in ten are true, of the refuted one in ten."""
    rng = np.random.default_rng(0)
    made = []
    for n in range(600):
        supported = rng.random() < 0.5
        ratio = rng.uniform(1.0, 1.2) if supported else rng.uniform(1.25, 2.0)
        claim = checked(n, ratio, "supported" if supported else "refuted")
        made.append(Row("made", f"{n % 60}.png", bool(rng.random() < (0.9 if supported else 0.1)), claim))
    return made


def verdict(ratio: float, word: str, method: str = "measured") -> Verdict:
    numbers = {"ratio": ratio, "supported_ratio": 1.2, "refuted_ratio": 1.25, "predicted_iou": 0.9}
    return Verdict(
        claim="C1", verdict=word, reason="as measured", method=method, measured=1.0, numbers=numbers, independent=True
    )


def test_the_curve_gives_back_the_rates_it_was_fitted_on(rows: list[Row]) -> None:
    curve, held, true = calibrate(rows, "threshold")
    assert curve.right("long_axis", verdict(1.05, "supported")) == pytest.approx(0.9, abs=0.06)
    assert curve.right("long_axis", verdict(1.6, "refuted")) == pytest.approx(0.1, abs=0.06)
    assert curve.ece < 0.08 and curve.brier == pytest.approx(0.09, abs=0.03)
    assert calibration_error(held, true) == pytest.approx(curve.ece, abs=1e-4)
    assert list(curve.probability) == sorted(curve.probability) and list(curve.score) == sorted(curve.score)


def test_the_data_hash_is_the_datas(rows: list[Row]) -> None:
    first, again, fewer = (calibrate(r, "threshold")[0].data_hash for r in (rows, rows[::-1], rows[:-1]))
    assert first == again != fewer


def test_it_is_monotone_in_the_margin_and_blind_to_nothing() -> None:
    near, far = (features("long_axis", verdict(r, "supported")) for r in (1.19, 1.0))
    assert far[FEATURES.index("signed_margin")] > near[FEATURES.index("signed_margin")]
    assert features("shape", verdict(1.0, "refuted"))[FEATURES.index("signed_margin")] == -1


def test_a_fit_knows_more_than_the_base_rate() -> None:
    x = np.column_stack([np.linspace(-1, 1, 200), np.ones(200)])
    true = (np.linspace(-1, 1, 200) > 0).astype(float)
    fitted = fit(x, true)
    assert fitted(np.array([[0.9, 1.0]]))[0] > 0.9 and fitted(np.array([[-0.9, 1.0]]))[0] < 0.1


CLAIM = Claim(id="C1", attribute="long_axis", value=1.0, unit="px", source="parsed", source_text="it")
SAID = Statement(id="S1", text="It is 1 px.", claims=("C1",), said=("C1",), status="supported")


def test_an_answer_is_calibrated_where_the_curve_covers_every_claim(rows: list[Row]) -> None:
    curve = calibrate(rows, "threshold")[0]
    sure, basis = confidence([SAID], [CLAIM], {"C1": verdict(1.0, "supported")}, curve)
    assert sure == pytest.approx(0.9, abs=0.06) and basis.startswith("calibrated on 600 statements")
    corrected = SAID.model_copy(update={"status": "corrected"})
    assert confidence([corrected], [CLAIM], {"C1": verdict(1.6, "refuted")}, curve)[0] == pytest.approx(0.9, abs=0.06)
    for found in (verdict(1.0, "supported", "probe"), verdict(1.0, "supported")):
        claim = CLAIM if found.method == "probe" else CLAIM.model_copy(update={"attribute": "margin"})
        sure, basis = confidence([SAID], [claim], {"C1": found}, curve)
        assert sure is None and basis.startswith("not calibrated: ")
    assert "not calibrated" in confidence([SAID], [CLAIM], {"C1": verdict(1.0, "supported")})[1]


def test_the_command_fits_and_draws(rows: list[Row], tmp_path: Path) -> None:
    _dump(rows, tmp_path / "rows.jsonl")
    assert [r.checked.id for r in read_rows(tmp_path / "rows.jsonl")] == [r.checked.id for r in rows]
    arguments = ["--rows", "rows.jsonl", "--out", "curve.json", "--plot", "plot.png", "--segmenter", "none"]
    arguments = [str(tmp_path / a) if "." in a else a for a in arguments]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "600 statements on 60 images" in result.output
    curve = Calibration.model_validate_json((tmp_path / "curve.json").read_text())
    assert curve.thresholds == thresholds_hash(["long_axis"]) and curve.segmenter == "threshold"
    assert (tmp_path / "plot.png").read_bytes()[:4] == b"\x89PNG"


def test_what_ships_fits_the_thresholds_of_today_and_its_own_segmenter_only() -> None:
    shipped = Calibration.model_validate_json((files("medloupe.agent") / "calibration.json").read_text("utf-8"))
    assert shipped.thresholds == thresholds_hash(shipped.attributes), "thresholds changed: run make calibrate"
    assert load_calibration(shipped.segmenter) == shipped
    assert load_calibration("threshold") is None
    assert len(shipped.data_hash) == 64 and len(shipped.weights) == len(FEATURES) + 1
    assert list(shipped.probability) == sorted(shipped.probability)
