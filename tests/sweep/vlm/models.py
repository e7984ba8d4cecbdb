"""Small Qwen2.5-VL checkpoints with random weights, large enough that no two tokens are nearly as likely."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import GenerationConfig, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from sweep.items.errors import ImageError

SPECIALS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
TEMPLATE = """\
{% for message in messages %}\
{% if loop.first and message['role'] != 'system' %}\
<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}\
<|im_start|>{{ message['role'] }}\n\
{% if message['content'] is string %}{{ message['content'] }}\
{% else %}{% for part in message['content'] %}\
{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>\
{% elif 'text' in part %}{{ part['text'] }}{% endif %}\
{% endfor %}{% endif %}<|im_end|>\n{% endfor %}\
{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"""
WORDS = "what is the colour shape of this red green blue disc square answer question last image you have seen shown "


def build_tokenizer() -> Qwen2Tokenizer:
    base = Qwen2Tokenizer(vocab={}, merges=[]).backend_tokenizer
    trained = Tokenizer(models.BPE())
    trained.normalizer, trained.pre_tokenizer = base.normalizer, base.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=320, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    trained.train_from_iterator([WORDS * 5], trainer)
    vocabulary = trained.get_vocab()
    merges = [tuple(pair) for pair in json.loads(trained.to_str())["model"]["merges"]]
    numbers = {token: number for number, token in enumerate(sorted(vocabulary, key=vocabulary.__getitem__))}
    numbers |= {token: len(numbers) + place for place, token in enumerate(SPECIALS)}
    return Qwen2Tokenizer(
        vocab=numbers,
        merges=merges,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        extra_special_tokens=list(SPECIALS[1:]),
        chat_template=TEMPLATE,
    )


def build_config(tokenizer: Qwen2Tokenizer, kv_heads: int = 2, context: int = 4096) -> Qwen2_5_VLConfig:
    number = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIALS}
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": kv_heads,
            "max_position_embeddings": context,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
            "bos_token_id": number["<|endoftext|>"],
            "eos_token_id": number["<|im_end|>"],
            "pad_token_id": number["<|endoftext|>"],
        },
        vision_config={
            "depth": 3,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 64,
            "window_size": 56,
            "fullatt_block_indexes": [1],
        },
        image_token_id=number["<|image_pad|>"],
        video_token_id=number["<|video_pad|>"],
        vision_start_token_id=number["<|vision_start|>"],
        vision_end_token_id=number["<|vision_end|>"],
    )


def write_checkpoint(folder: Path, seed: int = 0, kv_heads: int = 2, context: int = 4096) -> Path:
    """A checkpoint whose generation settings would spoil every answer if anything of them were inherited."""
    tokenizer = build_tokenizer()
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(build_config(tokenizer, kv_heads, context))
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.dim() > 1:
                weights.normal_(std=2.0 / weights.shape[-1] ** 0.5 if "patch_embed" not in name else 0.05)
        model.model.language_model.embed_tokens.weight.normal_(std=1.0)
        ends = [tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<|endoftext|>")]
        model.lm_head.weight[ends] *= 1.5  # answers of different lengths
    model.generation_config = GenerationConfig(
        eos_token_id=ends, pad_token_id=ends[1], do_sample=True, temperature=3.0, top_k=7, repetition_penalty=1.4
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    processor = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "min_pixels": 3136,
        "max_pixels": 12845056,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    return folder


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


@dataclass
class MemoryTable:
    """An item table whose images are bytes, or the reason why there are none."""

    questions: list[str]
    all_answers: list[tuple[str, ...]]
    images: list[bytes | str]
    reads: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.questions)

    def question(self, item: int) -> str:
        return self.questions[item]

    def answers(self, item: int) -> tuple[str, ...]:
        return self.all_answers[item]

    def shown_answer(self, item: int) -> str:
        return self.all_answers[item][0]

    def image_label(self, item: int) -> str:
        return f"images/{item}.png"

    def image_bytes(self, item: int) -> bytes:
        self.reads.append(item)
        content = self.images[item]
        if isinstance(content, str):
            raise ImageError(self.image_label(item), content)
        return content

    def image_hash(self, item: int) -> str:
        content = self.images[item]
        if isinstance(content, str):
            raise ImageError(self.image_label(item), content)
        return sha256(content).hexdigest()


def build_table(count: int = 12, seed: int = 0, largest: int = 120) -> MemoryTable:
    """Items of random words; images of random sizes, the last one the same as the first."""
    rng = np.random.default_rng(seed)
    words = WORDS.split()
    images: list[bytes | str] = [
        png(rng.integers(0, 256, (*rng.integers(20, largest, 2), 3), dtype=np.uint8)) for _ in range(count)
    ]
    images[-1] = images[0]
    return MemoryTable(
        questions=[" ".join(rng.choice(words, rng.integers(2, 8))) + "?" for _ in range(count)],
        all_answers=[(*rng.choice(words, 3).tolist(), "two words") for _ in range(count)],
        images=images,
    )
