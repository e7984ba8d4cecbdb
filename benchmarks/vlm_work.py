"""Models of true shapes with random weights, and the prompts of an evaluation, for `benchmarks.engine`."""

from __future__ import annotations

import io
import json
import random
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from sweep.demo.model import PREPROCESSOR
from sweep.demo.tokenizer import SPECIALS, build_tokenizer
from sweep.vlm.work import WorkItem

ROWS, SHOTS = 10, (1, 2, 3, 4)


@dataclass(frozen=True)
class Size:
    """Shape of a model, and of the images it is shown (height, width; 0: the demo's own)."""

    text: dict[str, Any]
    vision: dict[str, Any]
    image: tuple[int, int]
    tied: bool = True


def _shape(
    hidden: int, layers: int, heads: int, kv_heads: int, feed_forward: int, section: list[int]
) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": feed_forward,
        "max_position_embeddings": 128_000,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": section},
    }


_TOWER = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "window_size": 112}
SIZES = {
    "small": Size(
        _shape(384, 6, 6, 2, 1024, [8, 12, 12]) | {"vocab_size": 4096},
        {"depth": 6, "hidden_size": 192, "intermediate_size": 512, "num_heads": 4, "fullatt_block_indexes": [2, 5]},
        (224, 280),
    ),
    "3b": Size(_shape(2048, 36, 16, 2, 11_008, [16, 24, 24]) | {"vocab_size": 151_936}, _TOWER, (480, 640)),
    "7b": Size(_shape(3584, 28, 28, 4, 18_944, [16, 24, 24]) | {"vocab_size": 152_064}, _TOWER, (480, 640), tied=False),
}


def write_model(size: Size, folder: Path, device: str) -> None:
    """A checkpoint of this shape with random weights."""
    tokenizer = build_tokenizer()
    number = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIALS}
    ends = {"bos_token_id": number["<|endoftext|>"], "eos_token_id": number["<|im_end|>"]}
    config = Qwen2_5_VLConfig(
        text_config=size.text | ends,
        vision_config=size.vision | {"out_hidden_size": size.text["hidden_size"]},
        image_token_id=number["<|image_pad|>"],
        video_token_id=number["<|video_pad|>"],
        vision_start_token_id=number["<|vision_start|>"],
        vision_end_token_id=number["<|vision_end|>"],
        tie_word_embeddings=size.tied,
    )
    torch.manual_seed(0)
    with torch.device(device):
        model = Qwen2_5_VLForConditionalGeneration(config).to(torch.bfloat16)
    model.generation_config.eos_token_id = ends["eos_token_id"]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    limits = {"shortest_edge": 56 * 56, "longest_edge": 1280 * 28 * 28}
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR | {"size": limits}), encoding="utf-8")


class Table:
    """Items with JPEG images of one size, photograph-like in that neighbouring pixels are alike."""

    def __init__(self, count: int, size: tuple[int, int]) -> None:
        rng = np.random.default_rng(0)
        height, width = size
        self.images = []
        for _ in range(count):
            coarse = rng.integers(0, 256, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
            self.images.append(buffer.getvalue())
        self.hashes = [sha256(image).hexdigest() for image in self.images]

    def question(self, item: int) -> str:
        """As long as usual questions are."""
        return f"What kind of animal is shown next to object number {item}?"

    def answers(self, item: int) -> tuple[str, ...]:
        """One answer."""
        return (f"green {item}",)

    def shown_answer(self, item: int) -> str:
        """That answer."""
        return self.answers(item)[0]

    def image_label(self, item: int) -> str:
        """Its number."""
        return str(item)

    def image_bytes(self, item: int) -> bytes:
        """The JPEG."""
        return self.images[item]

    def image_hash(self, item: int) -> str:
        """Of the JPEG."""
        return self.hashes[item]


def work(queries: int, items: int) -> list[WorkItem]:
    """Ten rows of demonstrations per query, five of them different, 1 to 4 shots each."""
    rng = random.Random(0)
    found = []
    for query in range(queries):
        selections = [tuple(rng.sample(range(queries, items), max(SHOTS))) for _ in range(ROWS // 2)] * 2
        found += [WorkItem(query, selection[:shots]) for selection in selections for shots in SHOTS]
    return found
