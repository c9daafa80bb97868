"""loupe-tiny's folder: transformers' own classes, small, its words whole, its files checked."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("tokenizers", reason="transformers is not installed")

from medloupe.errors import BackendMissing, ModelError, ReplyCutOff
from medloupe.models.tiny import packaged, write_sums
from medloupe.models.tiny.build import TinyConfig, build_model, build_processor, build_tokenizer, equalise, save
from medloupe.models.tiny.language import Place, asking, description, location, statement
from medloupe.models.vlm import LocalVLM


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The model before training."""
    from medloupe.models.torchvision_shim import prepare_torch

    prepare_torch()
    found = tmp_path_factory.mktemp("tiny") / "loupe-tiny"
    tokenizer = build_tokenizer()
    save(build_model(TinyConfig(), tokenizer), build_processor(TinyConfig(), tokenizer), found)
    return found


REPLIES = (
    description(
        "nodule", {"density": "part-solid", "margin": "spiculated", "shape": "irregular"}, size=0.43, site="central"
    ),
    description("mass", None),
    description("lesion", {}, site="image left", closer=True),
    location([(0.1, 0.2, 0.35, 0.4), (0, 0, 1, 1)], "opacity"),
    location([], "mass"),
)
ASKED = (
    asking("describe", "CT", Place(310, 540, 120)),
    asking("locate", "DX"),
    asking("probe", "OT", Place(0, 0, 1000), statement("nodule", "margin", "well-defined")),
    asking("probe", "US", Place(0, 0, 1000), statement("", "long_axis", 430, "px")),
    asking("probe", "DMS", Place(0, 0, 1000), statement("lesion", "presence", False)),
)


@pytest.mark.parametrize("text", [*REPLIES, *ASKED])
def test_what_it_says_and_reads_survives_the_tokenizer_in_few_tokens(text: str) -> None:
    tokenizer = build_tokenizer()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert tokenizer.unk_token_id not in ids
    assert len(ids) <= 40


def test_the_folder_is_small_and_loads_with_transformers_own_classes(folder) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    assert sum(p.stat().st_size for p in folder.iterdir()) < 25e6
    model = AutoModelForImageTextToText.from_pretrained(folder)
    processor = AutoProcessor.from_pretrained(folder)
    assert type(model).__name__ == "LlavaForConditionalGeneration"
    assert type(processor.image_processor).__name__ == "SiglipImageProcessorPil"


async def test_the_local_client_runs_it(folder, ask) -> None:
    vlm = LocalVLM(folder)
    assert vlm.profile.name == "loupe-tiny"
    with pytest.raises(ReplyCutOff):  # untrained, it never ends a reply
        await asyncio.wait_for(vlm(ask(ASKED[0], max_tokens=4)), 60)
    await vlm.close()


def test_a_file_that_is_not_what_was_shipped_is_refused(folder, tmp_path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert packaged(tmp_path) == tmp_path
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError, match=r"model\.safetensors is not the file"):
        packaged(tmp_path)
    write_sums(tmp_path)
    assert packaged(tmp_path) == tmp_path


def test_a_package_without_weights_says_how_to_get_them(tmp_path) -> None:
    with pytest.raises(BackendMissing, match="make train-tiny"):
        packaged(tmp_path)


def test_a_patch_first_looks_at_those_like_it_and_waves_are_made_equally_loud() -> None:
    import torch

    config = TinyConfig(vision_layers=1, text_layers=1)
    model = build_model(config, build_tokenizer())
    attention = model.model.vision_tower.encoder.layers[0].self_attn
    each = config.vision_width // config.vision_heads
    for head in range(config.vision_heads):
        rows = slice(head * each, (head + 1) * each)
        meets = (attention.q_proj.weight[rows].T @ attention.k_proj.weight[rows]).detach()
        assert float(meets.diagonal().mean()) > 10 * float(meets.mean().abs())
    pixels = torch.rand(4, 3, config.view_px, config.view_px, generator=torch.Generator().manual_seed(0)) * 2 - 1
    equalise(model, pixels)
    heard = model.model.vision_tower.embeddings.patch_embedding(pixels).detach().permute(1, 0, 2, 3).flatten(1)
    assert torch.allclose(heard.std(dim=1), torch.full((config.vision_width,), 0.5), atol=1e-3)
    assert float(heard.mean(dim=1).abs().max()) < 1e-3
