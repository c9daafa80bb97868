"""loupe-tiny before training, as a folder."""

from __future__ import annotations

from pathlib import Path

from medloupe.models.tiny.build import TinyConfig, build_model, build_processor, build_tokenizer, save


def save_speaking_model(folder: Path) -> Path:
    """Random weights, made to look at their pictures and to end their replies; the folder again."""
    import torch

    from medloupe.models.torchvision_shim import prepare_torch

    prepare_torch()
    tokenizer = build_tokenizer()
    model = build_model(TinyConfig(), tokenizer)
    with torch.no_grad():
        for weight in model.model.multi_modal_projector.parameters():
            weight.mul_(10.0)
    model.generation_config.exponential_decay_length_penalty = (8, 3.0)
    save(model, build_processor(TinyConfig(), tokenizer), folder)
    return folder
