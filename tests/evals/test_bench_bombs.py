"""The bombs' bench sees what a worker takes, and what is no bomb."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from medloupe.evals.bench_bombs import explode
from medloupe.evals.hostile import BOMBS, plain_ct

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def test_a_bombs_memory_and_time_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "bomb.dcm.gz"
    path.write_bytes(BOMBS["gzip_dicom.dcm.gz"]())
    outcome = explode(path)
    assert outcome.holds()
    assert outcome.code == "too-large"
    assert 2**26 < outcome.resident < outcome.address_space < 2**30, "64 MiB are inflated before the ratio is asked"


def test_a_file_that_is_opened_misses_the_bars(tmp_path: Path) -> None:
    plain_ct().save_as(tmp_path / "a.dcm", enforce_file_format=True)
    outcome = explode(tmp_path / "a.dcm")
    assert outcome.code == "OPENED"
    assert not outcome.holds()
