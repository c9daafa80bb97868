"""Bombs, wrong headers and mutants: a study or InputRejected, in time, and nothing wrong without a warning."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from medloupe.errors import InputRejected
from medloupe.evals.fuzz import load_mutants
from medloupe.evals.hostile import BOMBS, WRONG, plain_ct
from medloupe.tools.imaging import MemoryStore, load_study

REFUSED = ("too-large", "undecodable", "no-image", "hostile-archive", "truncated", "unknown-format", "unsupported")


def test_there_are_enough() -> None:
    assert len(BOMBS) >= 12
    assert len(WRONG) >= 40


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_time(name: str, tmp_path: Path, store: MemoryStore) -> None:
    path = tmp_path / name
    plain_ct().save_as(path, enforce_file_format=True)
    load_study(path, MemoryStore())  # starts the pool, whose time is not the bomb's
    path.write_bytes(BOMBS[name]())
    assert path.stat().st_size < 2**25
    begun = time.perf_counter()
    with pytest.raises(InputRejected) as caught:
        load_study(path, store)
    assert time.perf_counter() - begun < 3
    assert caught.value.code in REFUSED


def test_the_file_that_the_wrong_ones_are_made_of_is_right(tmp_path: Path, store: MemoryStore) -> None:
    plain_ct().save_as(tmp_path / "ct.dcm", enforce_file_format=True)
    study = load_study(tmp_path / "ct.dcm", store)
    assert (study.images[0].values, study.warnings) == ("HU", ())


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.filterwarnings("ignore")  # pydicom says that it writes what is wrong
def test_what_is_wrong_is_refused_or_said(name: str, tmp_path: Path, store: MemoryStore) -> None:
    (tmp_path / "wrong.dcm").write_bytes(WRONG[name]())
    try:
        study = load_study(tmp_path / "wrong.dcm", store)
    except InputRejected:
        return
    assert study.warnings


def test_mutants_give_a_study_or_a_rejection() -> None:
    tally = load_mutants(500)
    assert tally.untyped == []
    assert tally.longest_s < 10
    assert tally.growth < 50 * 2**20
    assert tally.outcomes.total() == 500
    assert tally.outcomes["loaded"] + tally.outcomes["loaded with warnings"] > 20, "the mutants reach the pixels"
