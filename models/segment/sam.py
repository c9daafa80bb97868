"""SAM ViT-B, ViT-L and ViT-H (Kirillov et al. 2023) and MedSAM (Ma et al. 2024) from a checkpoint file.

Both are the same network, built by segment_anything; they differ in how a picture is put before it. SAM keeps the
aspect, standardises by its training set's mean and pads. MedSAM stretches to a square and scales the grey range to
0..1, and was trained with boxes only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from medloupe.errors import BackendMissing, UsageError
from medloupe.models.segment._weights import INSTALL, device_for, file_sha256, require_torch, state_dict
from medloupe.models.segment.base import Embedding, RGBArray, Segmentation
from medloupe.types import BoundingBox

SIDE = 1024
"""Pixels a side of the network's input."""
KINDS = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
"""The encoder's width tells the size of the network."""


class SAM:
    """Segmenter Protocol over a SAM or MedSAM checkpoint. Thread-safe: the network is only read."""

    name: str
    prompts: frozenset[Literal["box", "points", "text"]]

    def __init__(self, checkpoint: Path, *, style: Literal["sam", "medsam"], device: str = "auto") -> None:
        """Load a .pth file, tensors only; its size is read from its shapes, and every tensor must fit.

        UsageError for a file that is no such checkpoint; BackendMissing without torch or segment_anything.
        """
        if not checkpoint.is_file():
            raise UsageError(f"there is no checkpoint at {checkpoint}")
        self._torch = require_torch(style)
        self._device = device_for(self._torch, device)
        kind, self._net = _network(self._torch, checkpoint)
        self._net.to(self._device)
        self._style = style
        self.name = f"{style}-{kind}-{file_sha256(checkpoint)[:8]}"
        self.prompts = frozenset({"box", "points"}) if style == "sam" else frozenset({"box"})

    def set_image(self, picture: RGBArray) -> Embedding:
        """Encode a (rows, columns, 3) picture; ViT-B takes some 5 to 10 s on two CPU cores."""
        torch, (height, width) = self._torch, picture.shape[:2]
        rows, columns = self._fit(height, width)
        shrink = rows * columns < height * width
        resized = cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR)
        with torch.inference_mode():
            pixels = torch.from_numpy(resized.astype(np.float32)).permute(2, 0, 1)[None].to(self._device)
            if self._style == "sam":
                pixels = self._net.preprocess(pixels)
            else:
                pixels = (pixels - pixels.min()) / (pixels.max() - pixels.min()).clamp(min=1e-8)
            return Embedding(width=width, height=height, data=self._net.image_encoder(pixels))

    def predict(
        self, embedding: Embedding, *, box: BoundingBox | None = None, points: tuple[tuple[float, float], ...] = ()
    ) -> Segmentation:
        """The mask for a box, for foreground points, or for both; ValueError for neither.

        One point alone is ambiguous: of the three masks SAM then offers, the one it trusts most is taken.
        """
        if (box is None and not points) or (points and "points" not in self.prompts):
            raise ValueError(f"{self._style} takes {' or '.join(sorted(self.prompts))}")
        torch, net = self._torch, self._net
        with torch.inference_mode():
            sparse, dense = net.prompt_encoder(
                points=self._points(embedding, points), boxes=self._corners(embedding, box), masks=None
            )
            logits, ious = net.mask_decoder(
                image_embeddings=embedding.data,
                image_pe=net.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=box is None and len(points) == 1,
            )
            size = (embedding.height, embedding.width)
            masks = net.postprocess_masks(logits, self._fit(*size), size) > net.mask_threshold
        best = int(ious[0].argmax())
        iou = float(np.clip(ious[0, best].item(), 0.0, 1.0))
        return Segmentation(mask=masks[0, best].cpu().numpy(), predicted_iou=iou)

    def _fit(self, height: int, width: int) -> tuple[int, int]:
        """(rows, columns) of the resized picture before padding."""
        if self._style == "medsam":
            return SIDE, SIDE
        scale = SIDE / max(height, width)
        return max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)

    def _scaled(self, embedding: Embedding, points: tuple[tuple[float, float], ...]) -> Any:
        rows, columns = self._fit(embedding.height, embedding.width)
        scale = (columns / embedding.width, rows / embedding.height)
        return self._torch.tensor([points], dtype=self._torch.float32, device=self._device) * self._torch.tensor(
            scale, dtype=self._torch.float32, device=self._device
        )

    def _points(self, embedding: Embedding, points: tuple[tuple[float, float], ...]) -> Any:
        if not points:
            return None
        foreground = self._torch.ones((1, len(points)), dtype=self._torch.int, device=self._device)
        return self._scaled(embedding, points), foreground

    def _corners(self, embedding: Embedding, box: BoundingBox | None) -> Any:
        if box is None:
            return None
        return self._scaled(embedding, ((box.x0, box.y0), (box.x1, box.y1))).reshape(1, 4)


def _network(torch: Any, checkpoint: Path) -> tuple[str, Any]:
    """(kind, network in evaluation mode on the CPU)."""
    try:
        from segment_anything import sam_model_registry
    except ImportError as error:
        raise BackendMissing("segment_anything", INSTALL) from error
    state = state_dict(torch, checkpoint, str(checkpoint))
    patches = state.get("image_encoder.patch_embed.proj.weight")
    kind = None if patches is None else KINDS.get(patches.shape[0])
    if kind is None:
        raise UsageError(f"{checkpoint} is not a SAM ViT-B, ViT-L or ViT-H checkpoint")
    network = sam_model_registry[kind]()
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise UsageError(f"{checkpoint} does not fit SAM {kind}: {str(error).splitlines()[1].strip()}") from error
    return kind, network.eval()
