"""The Dice bench: its parts, and the whole on two made pictures through its command line."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from medloupe.evals import bench_segment
from medloupe.models.segment import available_segmenters


def test_dice():
    a = np.zeros((4, 4), bool)
    b = a.copy()
    a[:2], b[1:3] = True, True
    assert bench_segment.dice(a, b) == pytest.approx(0.5)
    assert bench_segment.dice(a, a) == 1 and bench_segment.dice(a, ~a) == 0
    assert bench_segment.dice(a & ~a, a & ~a) == 1


def test_the_truth_is_the_largest_component_of_a_colour_coded_mask(tmp_path):
    make_set(tmp_path)
    ((file, truth), *_) = bench_segment.cases(tmp_path)
    assert file.name == "0.png" and truth.sum() == pytest.approx(np.pi * 30**2, rel=0.05)


def test_absent_data_is_exit_2(tmp_path):
    result = CliRunner().invoke(bench_segment.main, ["--data", str(tmp_path)])
    assert result.exit_code == 2 and "absent" in result.output


@pytest.mark.parametrize(("bar", "code", "word"), [(0.9, 0, "met"), (1.01, 1, "MISSED")])
def test_it_prints_both_columns_and_fails_below_a_bar(tmp_path, monkeypatch, bar, code, word):
    if not next(s for s in available_segmenters() if s.name == "litemedsam").available:
        pytest.skip("litemedsam is not installed")
    make_set(tmp_path / "discs")
    monkeypatch.setattr(bench_segment, "BARS", {"discs": bar})
    result = CliRunner().invoke(bench_segment.main, ["--data", str(tmp_path)])
    assert result.exit_code == code, result.output
    line = next(line for line in result.output.splitlines() if line.startswith("discs"))
    assert line.split()[1] == "1" and word in line and float(line.split()[3]) > 0.9


def make_set(folder: Path) -> None:
    """One disc, with a smaller one beside it in another colour, as the shared sets lay them out."""
    folder.mkdir(exist_ok=True)
    picture, mask = np.full((256, 256, 3), 70, np.uint8), np.zeros((256, 256, 3), np.uint8)
    for centre, radius, colour in (((100, 120), 30, (0, 255, 0)), ((200, 60), 12, (0, 0, 255))):
        cv2.circle(picture, centre, radius, (170, 170, 170), -1)
        cv2.circle(mask, centre, radius, colour, -1)
    picture += np.random.default_rng(0).integers(0, 12, picture.shape, dtype=np.uint8)
    cv2.imwrite(str(folder / "0.png"), picture)
    cv2.imwrite(str(folder / "0_mask.png"), mask)
    manifest = {"items": [{"file": "0.png", "masks": [{"file": "0_mask.png"}]}]}
    (folder / "MANIFEST.json").write_text(json.dumps(manifest), encoding="utf-8")
