"""One step of training: what the replies should be, and what the vision tower is told on the way.

The words alone teach a vision tower slowly. While it is trained, linear heads on its last layer are told which cells of
the view are lesion, which attributes the lesion there has, and its size, place and outline in numbers (geometry.py);
they are thrown away afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medloupe.evals.tiny.batches import Batch
from medloupe.evals.tiny.geometry import MEASURES, WEIGHTS
from medloupe.evals.tiny.samples import CELLS, LABELS

__all__ = ["Learner", "fast_in_half", "near_numbers"]

_WEIGHTS = {"words": 2.0, "cells": 1.0, "labels": 2.0, "measures": 2.0}
"""Of each loss."""


def fast_in_half(device: str) -> bool:
    """Whether the device computes in bf16 faster than in fp32; a CPU without instructions for it is 30 times slower."""
    import torch

    if not device.startswith("cpu"):
        return True
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


_SPREAD = 15.0
"""Standard deviation of a number's target, in thousandths of the view's side: one and a half of its steps."""


def near_numbers(numbers: Mapping[int, int], vocabulary: int) -> Any:
    """(vocabulary, vocabulary) targets: a token itself, but a number shares with those near it.

    Numbers are tokens of their own, and nothing but this tells which are near each other.
    """
    import torch

    targets = torch.eye(vocabulary)
    tokens = torch.tensor(list(numbers))
    values = torch.tensor([float(numbers[int(t)]) for t in tokens])
    near = torch.softmax(-0.5 * ((values[:, None] - values) / _SPREAD) ** 2, dim=1)
    targets[tokens[:, None], tokens] = near
    return targets


class Learner:
    """The model with its training heads and the optimisers."""

    def __init__(
        self, model: Any, *, patches: int, numbers: Mapping[int, int], device: str = "cpu", compiled: bool = False
    ) -> None:
        """patches: along a view's side; numbers: what each token that is a number is worth.

        compiled: layers run as kernels that torch.compile makes in the first two minutes, and a step takes two thirds.
        """
        import torch

        from medloupe.evals.tiny.muon import Muon

        self._torch, self.device = torch, device
        self.half = fast_in_half(device)
        self.model = model.to(device)
        # Twice as fast as the fused kernel for a tower of this size on a CPU.
        self.model.model.vision_tower.set_attn_implementation("eager")
        self.compiled = compiled
        if compiled:
            for part in (self.model.model.vision_tower.encoder, self.model.model.language_model):
                part.compile(dynamic=True)
        self._near = near_numbers(numbers, model.config.text_config.vocab_size).to(device)
        width = model.config.vision_config.hidden_size
        self._worth = torch.from_numpy(WEIGHTS).to(device)
        self._classes = [len(values) for values in LABELS.values()]
        self.heads = torch.nn.ModuleDict(
            {
                "cells": torch.nn.Linear(width, (CELLS // patches) ** 2),
                "labels": torch.nn.Linear(width, sum(self._classes)),
                "measures": torch.nn.Linear(width, MEASURES + 2),
            }
        ).to(device)
        named = [*self.model.named_parameters(), *self.heads.named_parameters()]
        inner = [p for name, p in named if p.ndim == 2 and ".layers." in name]
        others = [p for name, p in named if not (p.ndim == 2 and ".layers." in name)]
        # Matrices inside the layers by Muon (Jordan et al., 2024), the others by AdamW: in a short trial it found
        # outlines far sooner than AdamW alone.
        self.optimisers = [
            Muon(inner, lr=1.0, weight_decay=0.05, dtype=torch.bfloat16 if self.half else torch.float32),
            torch.optim.AdamW(others, lr=1.0, betas=(0.9, 0.98), weight_decay=0.01),
        ]

    def step(self, batch: Batch, rate: float) -> dict[str, float]:
        """Learn from one batch at a learning rate; the losses."""
        torch = self._torch
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.zero_grad(set_to_none=True)
        losses = self.losses(batch.to(self.device))
        sum(_WEIGHTS[name] * loss for name, loss in losses.items()).backward()
        torch.nn.utils.clip_grad_norm_([*self.model.parameters(), *self.heads.parameters()], 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        return {name: float(value.detach()) for name, value in losses.items()}

    def losses(self, batch: Batch) -> dict[str, Any]:
        """Cross-entropies of the answers' words, of the cells and of the labels; how far the measures are off."""
        torch = self._torch
        with torch.autocast(self.device.split(":")[0], dtype=torch.bfloat16, enabled=self.half):
            seen, hidden = self._forward(batch)
            chosen = batch.targets >= 0
            logits = self.model.lm_head(hidden[chosen])
            cells = self.heads["cells"](seen)
            labels = self.heads["labels"](seen)
            measures = self.heads["measures"](seen)
        cross = torch.nn.functional.cross_entropy
        words = cross(logits.float(), self._near[batch.targets[chosen]])
        on = torch.nn.functional.binary_cross_entropy_with_logits(cells.float(), batch.cells)
        return {
            "words": words, "cells": on, "labels": self._label_loss(labels.float(), batch),
            "measures": self._measures_loss(measures.float(), batch),
        }  # fmt: skip

    def _forward(self, batch: Batch) -> tuple[Any, Any]:
        """((B, patches, width) of the tower, (S, L, width) of the decoder)."""
        inner = self.model.model
        seen = inner.vision_tower(batch.pixels, output_hidden_states=True).hidden_states[-1]
        embedded = inner.get_input_embeddings()(batch.tokens)
        projected = inner.multi_modal_projector(seen[: len(batch.tokens)])
        embedded = self._torch.cat(
            [embedded[:, :1], projected.to(embedded.dtype), embedded[:, 1 + seen.shape[1] :]], dim=1
        )
        decoded = inner.language_model(
            inputs_embeds=embedded, attention_mask=batch.mask, position_ids=batch.positions, use_cache=False
        )
        return seen, decoded.last_hidden_state

    def _label_loss(self, labels: Any, batch: Batch) -> Any:
        """Mean over lesions and attributes, each lesion counted once however many patches it has."""
        torch = self._torch
        total, start = labels.new_zeros(()), 0
        for column, classes in enumerate(self._classes):
            wanted = batch.labels[..., column]
            known = wanted >= 0
            if bool(known.any()):
                loss = torch.nn.functional.cross_entropy(
                    labels[..., start : start + classes][known], wanted[known], reduction="none"
                )
                total = total + (loss * batch.weights[known]).sum() / batch.weights[known].sum()
            start += classes
        return total / len(self._classes)

    def _measures_loss(self, measures: Any, batch: Batch) -> Any:
        """Mean over lesions of how far their numbers are off: half the square up to 1, then as far as it is."""
        known = batch.measures.isfinite().all(dim=-1)
        if not bool(known.any()):
            return measures.new_zeros(())
        off = self._torch.nn.functional.smooth_l1_loss(measures[known], batch.measures[known], reduction="none")
        weights = batch.weights[known]
        return ((off @ self._worth) * weights).sum() / weights.sum()
