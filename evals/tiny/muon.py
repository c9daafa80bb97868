"""Muon (Jordan et al., 2024), for matrices inside layers: momentum, made orthogonal by Newton-Schulz iterations.

torch.optim.Muon does the same, matrix by matrix and in bf16, which a CPU without bf16 instructions emulates: five of
six seconds of a step there. Here matrices of one shape are taken together, in the precision that the device is fast in.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch

__all__ = ["Muon"]

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration, from Jordan et al."""
_ITERATIONS = 5
_LIKE_ADAMW = 0.2
"""Root mean square of an update over sqrt(longer side): AdamW's learning rates hold (Liu et al., Moonlight, 2025)."""


class Muon(torch.optim.Optimizer):
    """Updates matrices by their orthogonalised Nesterov momentum."""

    def __init__(
        self, matrices: Iterable[Any], *, lr: float, momentum: float = 0.95, weight_decay: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:  # fmt: skip
        """dtype: of the Newton-Schulz iterations; bf16 suffices where it is fast."""
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """One update of every matrix that has a gradient."""
        del closure
        for group in self.param_groups:
            alike: dict[Any, list[Any]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    alike[matrix.shape].append(matrix)
            for shape, matrices in alike.items():
                updates = torch.stack([self._momentum(m, group["momentum"]) for m in matrices])
                scale = group["lr"] * _LIKE_ADAMW * max(shape) ** 0.5
                for matrix, update in zip(matrices, orthogonal(updates.to(self._dtype)), strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update.to(matrix.dtype), alpha=scale)

    def _momentum(self, matrix: Any, share: float) -> Any:
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        kept = state["momentum_buffer"]
        kept.lerp_(matrix.grad, 1 - share)
        return matrix.grad.lerp(kept, share)


def orthogonal(matrices: Any) -> Any:
    """(n, rows, columns) with singular values drawn near 1 and the same singular vectors."""
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.transpose(1, 2) if tall else x
