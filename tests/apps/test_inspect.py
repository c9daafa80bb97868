"""`medloupe inspect` and `medloupe deidentify`, as commands."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from command import Medloupe
from reader_script import write_ct

from medloupe.types import RESEARCH_LABEL


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three slices of one series, a picture, and one file that is cut off."""
    root = tmp_path / "scans"
    root.mkdir()
    for n in range(3):
        path = write_ct(root / f"Ganter_{n}.dcm", np.full((60, 80), 100.0 * n))
        ds = pydicom.dcmread(path)
        ds.SeriesInstanceUID, ds.StudyInstanceUID = "1.2.3.4", "1.2.3"
        ds.ImagePositionPatient = [0, 0, 2.5 * n]
        ds.save_as(path)
    cv2.imwrite(str(root / "photo.png"), np.full((40, 30, 3), 90, np.uint8))
    (root / "cut.dcm").write_bytes((root / "Ganter_0.dcm").read_bytes()[:-50])
    return root


def test_a_person_reads_series_warnings_and_what_was_rejected(folder: Path, medloupe: Medloupe) -> None:
    ended = medloupe("inspect", folder)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    ct = next(line for line in lines if " CT " in line)
    for part in ("3", "80 × 60", "0.5 × 0.5", "2.5", "axial", "HU", "Explicit VR Little Endian"):
        assert part in ct
    assert any(line.startswith("warning ") for line in lines)
    assert any(line.startswith("rejected  cut.dcm  [truncated]") for line in lines)
    assert lines[-1] == RESEARCH_LABEL


def test_a_program_reads_json_and_nothing_else_on_stdout(folder: Path, medloupe: Medloupe) -> None:
    ended = medloupe("inspect", folder, "--json")
    assert ended.returncode == 0
    assert ended.stderr == ""
    found = json.loads(ended.stdout)
    assert found["schema_version"] == "medloupe.inspect/1"
    ct = found["series"][0]
    assert (ct["modality"], ct["images"], ct["spacing_mm"], ct["slice_step_mm"]) == ("CT", 3, [0.5, 0.5], 2.5)
    assert (ct["orientation"], ct["sizes"]) == ("axial", [{"width": 80, "height": 60, "images": 3}])
    assert found["rejected"] == [
        {"file": "cut.dcm", "code": "truncated", "reason": found["rejected"][0]["reason"]}
    ]  # fmt: skip
    assert "Ganter" not in ended.stdout
    assert "1.2.3" not in ended.stdout
    assert "CANARY" not in ended.stdout.upper()


def test_spacing_reads_across_then_down_as_pixels_do_and_the_commonest_is_given(
    tmp_path: Path, medloupe: Medloupe
) -> None:
    (tmp_path / "scans").mkdir()
    for n, spacing in enumerate(([2, 2], [0.9, 0.8], [0.9, 0.8])):  # between rows, between columns
        path = write_ct(tmp_path / "scans" / f"{n}.dcm", np.full((50, 40), 100.0))
        ds = pydicom.dcmread(path)
        ds.SeriesInstanceUID, ds.StudyInstanceUID, ds.PixelSpacing = "1.2.3.4", "1.2.3", spacing
        ds.save_as(path)
    assert "40 × 50  0.8 × 0.9, ..." in medloupe("inspect", tmp_path / "scans").stdout
    (series,) = json.loads(medloupe("inspect", tmp_path / "scans", "--json").stdout)["series"]
    assert (series["spacing_mm"], series["spacing_varies"]) == ([0.9, 0.8], True)
    assert series["spacing_source"] == "PixelSpacing"


def test_the_contact_sheet_shows_a_row_a_series(folder: Path, here: Path, medloupe: Medloupe) -> None:
    ended = medloupe("inspect", folder, "--json", "--out", "sheets")
    assert json.loads(ended.stdout)["contact_sheet"] == {"path": "sheets/contact-sheet.png", "shown": 4}
    sheet = cv2.imread(str(here / "sheets" / "contact-sheet.png"))
    assert sheet.shape == (2 * 192, 3 * 192, 3)
    assert sheet[96, 96].max() < sheet[96, 96 + 192].max() < sheet[96, 96 + 384].max()  # 0, 100 and 200 HU
    assert sheet[192 + 96, 96].tolist() == [90, 90, 90]
    assert not sheet[192 + 96, 96 + 192].any()


def test_a_study_without_an_image_is_2_and_one_line(tmp_path: Path, medloupe: Medloupe) -> None:
    (tmp_path / "note.txt").write_text("hello")
    for study, code in ((tmp_path / "note.txt", "not-an-image"), (tmp_path / "absent", "not-found")):
        ended = medloupe("inspect", study, "--json")
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.startswith("medloupe: ")
        assert ended.stderr.rstrip().endswith(f"[{code}]")


def test_deidentify_copies_says_what_it_left_out_and_warns(folder: Path, here: Path, medloupe: Medloupe) -> None:
    ended = medloupe("deidentify", folder, "copy")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[0].startswith("3 files copied to copy (PS3.15 Basic Profile")
    assert "left out  cut.dcm  [truncated]" in ended.stdout
    assert "left out  photo.png  [not-dicom]" in ended.stdout
    assert "not anonymous" in ended.stderr
    assert sorted(p.name for p in (here / "copy").iterdir()) == ["00001.dcm", "00002.dcm", "00003.dcm"]
    assert all(b"Canary" not in p.read_bytes() for p in (here / "copy").iterdir())
    again = medloupe("deidentify", folder, "copy")
    assert (again.returncode, again.stdout) == (2, "")
    assert medloupe("deidentify", folder, folder / "inside").returncode == 2
