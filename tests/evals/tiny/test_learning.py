"""What the words are held against: a token itself, a number with those near it."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="torch is not installed")

import torch

from medloupe.evals.tiny.learning import near_numbers


def test_a_number_shares_its_target_with_its_neighbours_and_a_word_with_none() -> None:
    targets = near_numbers({3: 100, 4: 110, 5: 120, 6: 500}, vocabulary=8)
    assert torch.allclose(targets.sum(dim=1), torch.ones(8))
    assert torch.equal(targets[[0, 1, 2, 7]], torch.eye(8)[[0, 1, 2, 7]])
    assert int(targets[4].argmax()) == 4
    assert float(targets[4, 3]) == pytest.approx(float(targets[4, 5]))
    assert float(targets[4, 3]) > 0.1
    assert float(targets[4, 6]) < 1e-6
