"""Muon by batches of matrices: the updates of torch's own, in fp32."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="torch is not installed")

import torch

from medloupe.evals.tiny.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(24, 24), (24, 72), (72, 24)], ids=["square", "wide", "tall"])
def test_two_updates_are_those_of_torch_up_to_its_bf16(shape) -> None:
    torch.manual_seed(0)
    first = torch.randn(shape)
    gradients = [torch.randn(shape) for _ in range(2)]
    ours, theirs = (torch.nn.Parameter(first.clone()) for _ in range(2))
    for matrix, optimiser in (
        (ours, Muon([ours], lr=0.1, weight_decay=0.05)),
        (theirs, torch.optim.Muon([theirs], lr=0.1, weight_decay=0.05, adjust_lr_fn="match_rms_adamw")),
    ):
        for gradient in gradients:
            matrix.grad = gradient.clone()
            optimiser.step()
    moved = (theirs - first).norm()
    assert (ours - theirs).norm() < 0.03 * moved


def test_singular_values_are_drawn_near_one() -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(2, 32, 64)))
    assert float(values.min()) > 0.6
    assert float(values.max()) < 1.3


def test_alike_matrices_are_updated_each_by_its_own_gradient_and_idle_ones_stay() -> None:
    torch.manual_seed(0)
    one, two, idle = (torch.nn.Parameter(torch.zeros(8, 16)) for _ in range(3))
    one.grad, two.grad = torch.eye(8, 16), -torch.eye(8, 16)
    Muon([one, two, idle], lr=1.0).step()
    assert torch.allclose(one, -two)
    assert float(one.detach().diagonal().max()) < 0
    assert not idle.detach().any()
