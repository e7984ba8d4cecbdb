"""Qwen2.5-VL in true and small shapes with random weights, built where they are used; and the demo model.

Each comes twice, with the same weights: as the engine uses it, and untouched for transformers' `generate`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
)

from sweep.demo.model import DEMO_MODEL_FOLDER, PREPROCESSOR
from sweep.demo.tokenizer import SPECIALS, build_tokenizer
from sweep.settings.vlm import DEMO_MODEL, ModelSettings, Precision
from sweep.vlm.engine.images import Patching
from sweep.vlm.engine.loading import Loaded, load, prepare_model, quiet


@dataclass(frozen=True)
class Size:
    """Shape of a model, and of the images it is shown (height, width). Published configurations where they have names.

    Attributes:
        sharp: weights so large that no two tokens are nearly as likely: for comparing answers. Else as transformers
            initialises them.
    """

    text: dict[str, Any]
    vision: dict[str, Any]
    image: tuple[int, int]
    tied: bool = True
    sharp: bool = False


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


def tiny(kv_heads: int) -> Size:
    """Three layers of width 64, for comparing answers."""
    tower = {"depth": 3, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "window_size": 56}
    return Size(
        _shape(64, 3, 4, kv_heads, 96, [2, 3, 3]) | {"vocab_size": 1024},
        tower | {"fullatt_block_indexes": [1]},
        (84, 112),
        tied=False,
        sharp=True,
    )


_TOWER = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "window_size": 112}
SIZES = {
    "tiny": tiny(2),
    "small": Size(
        _shape(384, 6, 6, 2, 1024, [8, 12, 12]) | {"vocab_size": 4096},
        {"depth": 6, "hidden_size": 192, "intermediate_size": 512, "num_heads": 4, "fullatt_block_indexes": [2, 5]},
        (224, 280),
    ),
    "3b": Size(_shape(2048, 36, 16, 2, 11_008, [16, 24, 24]) | {"vocab_size": 151_936}, _TOWER, (480, 640)),
    "7b": Size(_shape(3584, 28, 28, 4, 18_944, [16, 24, 24]) | {"vocab_size": 152_064}, _TOWER, (480, 640), tied=False),
}


@dataclass(frozen=True)
class Pair:
    """One set of weights twice: `loaded` for the engine, `plain` (a transformers model) for `generate`."""

    loaded: Loaded
    plain: Any


class NumberTokenizer:
    """Texts as ever, but answers as token numbers: a random model says what its tokenizer has no word for."""

    def __init__(self, inner: Any) -> None:  # noqa: ANN401 - transformers' tokenizers share no useful type
        self._inner = inner

    def __call__(self, *texts: object, **options: object) -> object:
        """Token ids of texts."""
        return self._inner(*texts, **options)

    def decode(self, tokens: Sequence[int], **_: object) -> str:
        """The numbers, without those of special tokens, as `skip_special_tokens` would leave out."""
        special = set(self._inner.all_special_ids)
        return " ".join(str(int(token)) for token in tokens if int(token) not in special)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as above
        return getattr(self._inner, name)


def random_pair(size: Size, device: torch.device, dtype: torch.dtype, seed: int = 0) -> Pair:
    """A model of this shape with random weights, drawn on the device in its own precision; no file is touched."""
    tokenizer: Any = build_tokenizer()
    plain = _build(size, tokenizer, device, dtype, seed)
    processor: Any = Qwen2VLImageProcessorPil(**PREPROCESSOR)
    loaded = Loaded(
        model=prepare_model(copy.deepcopy(plain), plain.device),
        tokenizer=NumberTokenizer(tokenizer),
        patching=Patching.of(processor),
        device=device,
        end_ids=(plain.config.text_config.eos_token_id,),
        context=int(plain.config.text_config.max_position_embeddings),
    )
    return Pair(loaded, plain)


def demo_pair(device: torch.device, precision: Precision) -> Pair:
    """The model that ships."""
    loaded = load(ModelSettings(path=DEMO_MODEL, precision=precision), str(device))
    kind: Any = Qwen2_5_VLForConditionalGeneration
    with quiet():
        plain = kind.from_pretrained(DEMO_MODEL_FOLDER, dtype=loaded.model.dtype, attn_implementation="sdpa")
    return Pair(loaded, plain.to(device).eval())


def _build(size: Size, tokenizer: Any, device: torch.device, dtype: torch.dtype, seed: int) -> Any:  # noqa: ANN401
    number = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIALS}
    ends = {"bos_token_id": number["<|endoftext|>"], "eos_token_id": number["<|im_end|>"]}
    config: Any = Qwen2_5_VLConfig(
        text_config=size.text | ends,
        vision_config=size.vision | {"out_hidden_size": size.text["hidden_size"]},
        image_token_id=number["<|image_pad|>"],
        video_token_id=number["<|video_pad|>"],
        vision_start_token_id=number["<|vision_start|>"],
        vision_end_token_id=number["<|vision_end|>"],
        tie_word_embeddings=size.tied,
    )
    kind: Any = Qwen2_5_VLForConditionalGeneration
    torch.manual_seed(seed)
    with torch.device(device):
        model = kind._from_config(config, dtype=dtype, attn_implementation="sdpa")
    if size.sharp:
        _sharpen(model)
    generation: Any = GenerationConfig
    model.generation_config = generation(
        eos_token_id=ends["eos_token_id"], pad_token_id=ends["bos_token_id"], do_sample=False
    )
    return model.eval().requires_grad_(False)


@torch.no_grad()
def _sharpen(model: Any) -> None:  # noqa: ANN401 - as above
    for name, weights in model.named_parameters():
        if weights.dim() > 1:
            weights.normal_(std=2.0 / weights.shape[-1] ** 0.5 if "patch_embed" not in name else 0.05)
    model.model.language_model.embed_tokens.weight.normal_(std=1.0)
