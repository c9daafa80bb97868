"""A LLaVA-shaped model folder made on the spot: random weights, transformers' own classes, 1 million parameters."""

from __future__ import annotations

from pathlib import Path

WORDS = """
a an the is are in of on and or no not with this that image region view nodule mass lesion cyst round oval
irregular smooth dark bright left right upper lower central small large lung breast skin brain what do you see
describe it one two three four five mm . , ? :
"""

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }} : "
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }} {% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}assistant : {% endif %}"
)


def make_tiny_llava(folder: Path) -> Path:
    """Write config, safetensors, tokenizer, image processor and chat template; the folder again."""
    from medloupe.models.torchvision_shim import prepare_torch

    prepare_torch()
    import torch
    from transformers import (
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        SiglipImageProcessor,
        SiglipVisionConfig,
    )

    tokenizer = _tokenizer()
    vision = SiglipVisionConfig(
        hidden_size=96, intermediate_size=192, num_hidden_layers=2, num_attention_heads=4, image_size=64, patch_size=16
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    # Random weights hardly look at the picture: made loud, different pictures get different replies.
    with torch.no_grad():
        for weight in model.model.multi_modal_projector.parameters():
            weight.mul_(40.0)
    # Random weights never end a reply: its end gets likelier from the twelfth token on.
    model.generation_config.exponential_decay_length_penalty = (12, 3.0)
    processor = LlavaProcessor(
        image_processor=SiglipImageProcessor(size={"height": 64, "width": 64}),
        tokenizer=tokenizer,
        patch_size=16,
        vision_feature_select_strategy="full",
        chat_template=CHAT_TEMPLATE,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "<s>", "</s>", "<pad>", "<image>", "user", "assistant", "system", "tool", *WORDS.split()]
    words = list(dict.fromkeys(words))
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"},
    )
