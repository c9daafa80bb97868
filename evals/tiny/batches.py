"""Views and their turns as one training batch: the picture is encoded once, and each turn sees it and nothing else.

Some of the views are spoken of (plan.py says of how many one); of the others, those that show a lesion well only teach
the vision tower what it sees, which it learns more slowly than the words.

A row is `<s>`, the picture's tokens, then every turn of the view one after another. A turn's tokens attend to the
picture and to their own turn, and stand at the positions that they have when the turn is asked alone: packing changes
nothing for the model but the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from medloupe.evals.tiny.geometry import MEASURES, PLACE
from medloupe.evals.tiny.samples import CELLS, LABELS, ViewSample, samples_of
from medloupe.models.tiny.language import LOOK_CLOSER

__all__ = ["Batch", "Packer", "batch_of"]


@dataclass(frozen=True)
class Batch:
    """Arrays of one step, or tensors on a device: B views, and S rows of L tokens about the first S of them."""

    pixels: Any
    """(B, 3, side, side) -1..1."""
    tokens: Any
    """(S, L) ids, S <= B."""
    positions: Any
    """(S, L)."""
    mask: Any
    """(S, 1, L, L): True where a token may look."""
    targets: Any
    """(S, L): the next token where it is part of an answer, else -100."""
    cells: Any
    """(B, patches, cells of a patch) 0 or 1: what is lesion."""
    labels: Any
    """(B, patches, len(LABELS)): the lesion's value at a patch, -100 where there is none or it cannot be seen."""
    measures: Any
    """(B, patches, MEASURES + 2): the lesion's numbers (geometry.py) and its middle seen from the patch; else NaN."""
    weights: Any
    """(B, patches): 1 / patches of that lesion."""

    def to(self, device: str) -> Batch:
        """As tensors on a device."""
        import torch

        return Batch(*(torch.as_tensor(getattr(self, name)).to(device) for name in self.__dataclass_fields__))


class Packer:
    """Makes batches for one tokenizer and one size of view and patch."""

    def __init__(self, tokenizer: Any, view_px: int, patch_px: int) -> None:
        self.view_px, self._side = view_px, view_px // patch_px
        self._ask, self._say, self._end, self._image, self._start, self._pad = (
            tokenizer.convert_tokens_to_ids(t) for t in ("<ask>", "<say>", "</s>", "<image>", "<s>", "<pad>")
        )
        self._ids = cache(lambda text: tuple(tokenizer(text, add_special_tokens=False)["input_ids"]))

    def __call__(self, spoken: Sequence[ViewSample], silent: Sequence[ViewSample] = ()) -> Batch:
        """The batch of some views, of which only the first are spoken of."""
        samples = [*spoken, *silent]
        rows = [self._row(sample) for sample in spoken]
        longest = max(len(row[0]) for row in rows)
        shape = (len(rows), longest)
        tokens, positions = np.full(shape, self._pad), np.zeros(shape, np.int64)
        turn, targets = np.full(shape, -1), np.full(shape, -100)
        for n, row in enumerate(rows):
            for table, values in zip((tokens, positions, turn, targets), row, strict=True):
                table[n, : len(values)] = values
        causal = np.tri(longest, dtype=bool)
        own = (turn[:, None, :] == turn[:, :, None]) | (turn[:, None, :] == 0)
        # In one order in memory, as from another process: torch adds up differently for another.
        pictures = np.stack([s.picture for s in samples]).transpose(0, 3, 1, 2).astype(np.float32, order="C")
        aux = [self._aux(sample) for sample in samples]
        return Batch(
            pictures / np.float32(127.5) - 1, tokens, positions, (own & causal)[:, None], targets,
            *(np.stack(part) for part in zip(*aux, strict=True)),
        )  # fmt: skip

    def _row(self, sample: ViewSample) -> tuple[list[int], list[int], list[int], list[int]]:
        """(tokens, positions, turn, targets) of one view."""
        count = self._side**2
        tokens, positions = [self._start, *[self._image] * count], list(range(count + 1))
        turn, targets = [0] * (count + 1), [-100] * (count + 1)
        for number, said in enumerate(sample.turns, start=1):
            ask = [self._ask, *self._ids(said.ask), self._say]
            say = [*self._ids(said.say), self._end]
            tokens += ask + say
            positions += range(count + 1, count + 1 + len(ask) + len(say))
            turn += [number] * (len(ask) + len(say))
            targets += [-100] * (len(ask) - 1) + say + [-100]
        return tokens, positions, turn, targets

    def _aux(self, sample: ViewSample) -> tuple[Any, Any, Any, Any]:
        """(cells, labels, measures, weights) of one view, patch by patch."""
        each = CELLS // self._side
        cells = sample.cells.reshape(self._side, each, self._side, each).transpose(0, 2, 1, 3)
        patches = cells.reshape(self._side**2, each * each)
        owner = patches.max(axis=1).astype(np.int64)
        table = np.concatenate([np.full((1, len(LABELS)), -100), np.where(sample.labels < 0, -100, sample.labels)])
        for number, share in enumerate(sample.shares, start=1):
            if share < LOOK_CLOSER:
                table[number] = -100
        count = np.bincount(owner, minlength=len(table))
        weights = (1 / np.maximum(count[owner], 1)).astype(np.float32)
        return (patches > 0).astype(np.float32), table[owner], self._measures(sample, owner), weights

    def _measures(self, sample: ViewSample, owner: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """(patches, MEASURES + 2) of one view; owner: 1 + the number of each patch's lesion."""
        table = np.concatenate([np.full((1, MEASURES), np.nan, np.float32), sample.measures])
        middles = np.concatenate([np.full((1, 2), np.nan, np.float32), sample.middles])
        places = (np.arange(self._side, dtype=np.float32) + 0.5) / self._side
        own = np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 2)
        away = (middles[owner] - own) / np.float32(PLACE)
        return np.concatenate([table[owner], away], axis=1)


def batch_of(step: int, scenes: int, packer: Packer, *, every: int = 2, split: str = "train") -> Batch:
    """Step n's batch: the views of `scenes` phantoms, the same whenever and wherever it is made.

    every: of how many views one is spoken of.
    """
    views = [
        s for n in range(step * scenes, (step + 1) * scenes) for s in samples_of(n, packer.view_px, split) if s.turns
    ]
    silent = [
        s for n, s in enumerate(views) if (n - step) % every and s.lesion is not None and not s.closer
    ]  # fmt: skip
    return packer(views[step % every :: every], silent)
