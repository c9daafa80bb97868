"""A whole slide through the commands, measured only: from the file to the answer, and on resuming."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from command import Medloupe

from medloupe.types import Answer, BoundingBox

RADIUS, CENTRE = 1200, (5200, 2400)
MM = 0.0005


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    """8,000 x 6,000 pixels of 0.5 micrometres, one dark disc, three levels; no level but the full one is as large."""
    full = np.full((6000, 8000, 3), 236, np.uint8)
    cv2.circle(full, CENTRE, RADIUS, (140, 60, 130), -1)
    full += np.random.default_rng(0).integers(0, 8, (6000, 8000, 1), np.uint8)
    how = {"tile": (256, 256), "photometric": "rgb", "compression": "jpeg"}
    path = tmp_path / "slide.tif"
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        writer.write(full, subifds=2, resolution=(10 / MM, 10 / MM), resolutionunit="CENTIMETER", **how)
        for step in (4, 16):
            writer.write(
                cv2.resize(full, (8000 // step, 6000 // step), interpolation=cv2.INTER_AREA), subfiletype=1, **how
            )
    return path


def test_inspect_shows_levels_tiles_and_spacing(slide: Path, here: Path, medloupe: Medloupe) -> None:
    ended = medloupe("inspect", slide, "--out", here / "sheet")
    assert ended.returncode == 0, ended.stderr
    for part in ("8000 × 6000", "0.0005 × 0.0005", "level 2: 500 × 375, tiles of 256 × 256"):
        assert part in ended.stdout
    sheet = cv2.imread(str(here / "sheet" / "contact-sheet.png"))
    x, y = round(2 + CENTRE[0] / 8000 * 188), round(24 + CENTRE[1] / 8000 * 188)
    assert sheet[y, x].tolist() == pytest.approx([134, 64, 144], abs=8), "blue, green, red of the disc"
    found = json.loads(medloupe("inspect", slide, "--json").stdout)
    assert [level["width"] for level in found["series"][0]["levels"]] == [8000, 2000, 500]


def test_ask_measures_in_millimetres_and_full_size_pixels(slide: Path, here: Path, medloupe: Medloupe) -> None:
    ended = medloupe("ask", slide, "Where is the darkest structure, and how large is it?")
    assert ended.returncode == 0, ended.stderr
    (run,) = (here / "out").iterdir()
    answer = Answer.model_validate_json((run / "answer.json").read_text())
    assert not answer.abstained
    x, y = CENTRE
    disc = BoundingBox(x0=x - RADIUS, y0=y - RADIUS, x1=x + RADIUS, y1=y + RADIUS)
    region = max(answer.regions, key=lambda r: r.box.iou(disc))
    assert region.box.iou(disc) > 0.85
    measured = next(m for m in answer.measurements if m.region == region.id)
    axis = measured.get("long_axis")
    assert axis is not None and axis.unit == "mm"
    assert axis.value == pytest.approx(2 * RADIUS * MM, rel=0.05)
    assert "of full size" in axis.method
    assert {c.verdict for c in answer.claims if c.attribute == "long_axis"} == {"supported"}
    assert max(f.stat().st_size for f in run.iterdir()) < 2**21, "masks stay small"


def test_a_resumed_session_says_that_the_slide_has_gone(slide: Path, here: Path, medloupe: Medloupe) -> None:
    medloupe("ask", slide, "How large is the darkest structure?")
    (run,) = (here / "out").iterdir()
    slide.unlink()
    ended = medloupe("chat", "--session", run.name, stdin="Is it round?\n")
    assert "Traceback" not in ended.stderr + ended.stdout
    assert "no longer where it was opened" in ended.stderr + ended.stdout
