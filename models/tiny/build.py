"""loupe-tiny from nothing: transformers' own LLaVA classes, a tokenizer of whole words, a PIL image processor.

The folder that `save` writes is loaded by transformers, `transformers serve` and whatever else reads LLaVA folders.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medloupe.models.tiny import write_sums
from medloupe.models.tiny.language import pieces, words

__all__ = ["SPECIAL", "TinyConfig", "build_model", "build_processor", "build_tokenizer", "equalise", "save"]

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<image>", "<ask>", "<say>")

CHAT_TEMPLATE = (
    "{{ '<s>' }}{% for message in messages %}{% if message['role'] == 'assistant' %}<say>"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{% endif %}</s>"
    "{% elif message['content'] is string %}<ask>{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% endif %}{% endfor %}"
    "<ask>{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<say>{% endif %}"
)
"""Pictures first, then the question: what the model is trained on."""


@dataclass(frozen=True, kw_only=True)
class TinyConfig:
    """Sizes of the network."""

    view_px: int = 144
    patch_px: int = 12
    vision_width: int = 192
    vision_layers: int = 6
    vision_inner: int = 576
    vision_heads: int = 3
    text_width: int = 192
    text_layers: int = 3
    text_inner: int = 512
    text_heads: int = 3
    longest: int = 4096
    """Tokens of a conversation."""


def build_tokenizer() -> Any:
    """Whole words and stretches of JSON; what is neither is <unk>."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    stretches = pieces()
    vocabulary = list(dict.fromkeys([*SPECIAL, *stretches, *words()]))
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(vocabulary)}, unk_token="<unk>"))  # noqa: S106
    cut = "|".join(re.escape(piece) for piece in stretches)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(rf"{cut}| ?[A-Za-z]+|[0-9]+|."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>",  # noqa: S106
        extra_special_tokens={"image_token": "<image>", "ask_token": "<ask>", "say_token": "<say>"},
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


def build_processor(config: TinyConfig, tokenizer: Any) -> Any:
    """Pictures resized to the view's size by Pillow, grey levels to -1..1."""
    from transformers import LlavaProcessor, SiglipImageProcessorPil

    side = {"height": config.view_px, "width": config.view_px}
    return LlavaProcessor(
        image_processor=SiglipImageProcessorPil(size=side), tokenizer=tokenizer, patch_size=config.patch_px,
        vision_feature_select_strategy="full", chat_template=CHAT_TEMPLATE,
    )  # fmt: skip


def build_model(config: TinyConfig, tokenizer: Any, seed: int = 0) -> Any:
    """LlavaForConditionalGeneration with random weights and positions that know where they are (sine and cosine)."""
    import torch
    from transformers import LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, SiglipVisionConfig

    vision = SiglipVisionConfig(
        hidden_size=config.vision_width, intermediate_size=config.vision_inner, image_size=config.view_px,
        num_hidden_layers=config.vision_layers, num_attention_heads=config.vision_heads, patch_size=config.patch_px,
        vision_use_head=False,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=config.text_width, intermediate_size=config.text_inner,
        num_hidden_layers=config.text_layers, num_attention_heads=config.text_heads,
        num_key_value_heads=config.text_heads,
        max_position_embeddings=config.longest, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=vision, text_config=text, image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
            vision_feature_select_strategy="full", vision_feature_layer=-1,
        )
    )  # fmt: skip
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    with torch.no_grad():
        seen = model.model.vision_tower.embeddings
        seen.position_embedding.weight.copy_(_places(config.view_px // config.patch_px, config.vision_width))
        seen.patch_embedding.weight.copy_(_waves(config.patch_px, config.vision_width))
        noise = torch.Generator().manual_seed(seed)
        for layer in model.model.vision_tower.encoder.layers:
            _mimic(layer.self_attn, config.vision_heads, noise)
    return model


_MATCHING, _VALUES = 0.7, 0.4
"""Of the identity and of noise: in how queries meet keys, and in how values leave (Trockman and Kolter's)."""


def _mimic(attention: Any, heads: int, noise: Any) -> None:
    """First weights as trained attention has them: a patch looks at those like it and near it, and takes from itself.

    Mimetic initialization (Trockman and Kolter, ICML 2023). In trials of 180 steps it found outlines twice as fast.
    """
    import torch

    width = attention.embed_dim
    each = width // heads

    def mixed(share: float, sign: float) -> tuple[Any, Any, Any]:
        noisy = torch.randn(width, width, generator=noise) / math.sqrt(width)
        u, s, v = torch.linalg.svd(share * noisy + sign * share * torch.eye(width))
        return u, s.sqrt(), v

    for head in range(heads):
        u, s, v = mixed(_MATCHING, 1.0)
        rows = slice(head * each, (head + 1) * each)
        attention.q_proj.weight[rows] = (u[:, :each] * s[:each]).T
        attention.k_proj.weight[rows] = v[:each] * s[:each, None]
    u, s, v = mixed(_VALUES, -1.0)
    attention.v_proj.weight.copy_(v * s[:, None])
    attention.out_proj.weight.copy_(u * s)
    for part in (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj):
        part.bias.zero_()


_LOUDNESS = 0.5
"""Standard deviation of every wave at the start, that of the positions."""


def equalise(model: Any, pixels: Any) -> None:
    """Make every wave of the patches equally loud over some (n, 3, side, side) pictures, and its mean 0.

    The mean brightness varies a hundred times more than what is fine, and drowns texture and edges behind the first
    normalisation (data-driven first weights as in Mishkin and Matas, ICLR 2016).
    """
    import torch

    waves = model.model.vision_tower.embeddings.patch_embedding
    with torch.no_grad():
        waves.bias.zero_()
        heard = waves(pixels).permute(1, 0, 2, 3).flatten(1)
        gain = _LOUDNESS / heard.std(dim=1).clamp(min=1e-3)
        waves.weight.mul_(gain[:, None, None, None])
        waves.bias.copy_(-heard.mean(dim=1) * gain)


def _places(side: int, width: int) -> Any:
    """(side * side, width) sines and cosines of row and column (as in MoCo v3: Chen, Xie and He, ICCV 2021)."""
    import torch

    rates = 1.0 / 10000.0 ** (torch.arange(width // 4) / (width // 4))
    steps = torch.arange(side).float()[:, None] * rates
    wave = torch.cat([steps.sin(), steps.cos()], dim=1)
    rows = wave[:, None, :].expand(side, side, width // 2)
    columns = wave[None, :, :].expand(side, side, width // 2)
    return torch.cat([rows, columns], dim=2).reshape(side * side, width) * 0.5


_COLOUR = 24
"""Waves of each of the two colour differences; the others are of the brightness."""


def _waves(side: int, width: int) -> Any:
    """(width, 3, side, side) first weights of the patches: cosine waves (DCT-II), slow ones first.

    Trained like any other weight.
    """
    import torch

    at = (torch.arange(side) + 0.5) * math.pi / side
    order = sorted(((u, v) for u in range(side) for v in range(side)), key=lambda w: (w[0] + w[1], w))
    mixes = [((1, 1, 1), width - 2 * _COLOUR), ((1, 0, -1), _COLOUR), ((-0.5, 1, -0.5), _COLOUR)]
    weights = []
    for mix, count in mixes:
        for u, v in order[:count]:
            wave = torch.outer((u * at).cos(), (v * at).cos())
            weights.append(torch.tensor(mix)[:, None, None] * wave / (3 * side))
    found = torch.zeros(width, 3, side, side)
    found[: len(weights)] = torch.stack(weights)
    return found


def save(model: Any, processor: Any, folder: Path) -> None:
    """Write config, weights (fp16 safetensors), tokenizer, image processor and chat template, and their sha-256."""
    import copy

    import torch

    half = copy.deepcopy(model).to(torch.float16)
    half.save_pretrained(folder)
    processor.save_pretrained(folder)
    write_sums(folder)
