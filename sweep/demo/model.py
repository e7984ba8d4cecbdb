"""The demo model: Qwen2.5-VL's own classes in a small size, and its folder on disk."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sweep.demo.drawing import ByteArray
from sweep.demo.tokenizer import MAX_LENGTH, build_tokenizer, write_tokenizer
from sweep.settings.vlm import demo_model_folder
from sweep.vlm.engine.loading import quiet

# A Qwen2_5_VLForConditionalGeneration and its Qwen2_5_VLConfig: transformers types their parts too loosely for use.
DemoModel = Any
ModelConfig = Any

WIDTH, LAYERS, HEADS, KV_HEADS, FEED_FORWARD = 128, 3, 4, 2, 256
VISION_WIDTH, VISION_DEPTH, VISION_HEADS, VISION_FEED_FORWARD = 96, 2, 4, 192
PATCH, MERGE, TEMPORAL = 14, 2, 2
PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's, as in Qwen2.5-VL
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)
MIN_PIXELS, MAX_PIXELS = 784, 784 * 16
DEMO_MODEL_FOLDER = demo_model_folder()

PREPROCESSOR = {
    "image_processor_type": "Qwen2VLImageProcessorPil",
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": list(PIXEL_MEAN),
    "image_std": list(PIXEL_STD),
    "merge_size": MERGE,
    "patch_size": PATCH,
    "resample": 3,
    "rescale_factor": 1 / 255,
    "size": {"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS},
    "temporal_patch_size": TEMPORAL,
}


def demo_model_config() -> ModelConfig:
    """The architecture. Token numbers are those of `build_tokenizer`."""
    from transformers import Qwen2_5_VLConfig

    tokenizer: Any = build_tokenizer()
    number = {token: tokenizer.convert_tokens_to_ids(token) for token in tokenizer.all_special_tokens}
    config: Any = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": WIDTH,
            "intermediate_size": FEED_FORWARD,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "num_key_value_heads": KV_HEADS,
            "max_position_embeddings": MAX_LENGTH,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 6, 6]},
            "bos_token_id": number["<|endoftext|>"],
            "eos_token_id": number["<|im_end|>"],
            "pad_token_id": number["<|endoftext|>"],
            "tie_word_embeddings": True,
            "rms_norm_eps": 1e-6,
        },
        vision_config={
            "depth": VISION_DEPTH,
            "hidden_size": VISION_WIDTH,
            "intermediate_size": VISION_FEED_FORWARD,
            "num_heads": VISION_HEADS,
            "out_hidden_size": WIDTH,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": TEMPORAL,
            "window_size": 112,
            "fullatt_block_indexes": [VISION_DEPTH - 1],
        },
        image_token_id=number["<|image_pad|>"],
        video_token_id=number["<|video_pad|>"],
        vision_start_token_id=number["<|vision_start|>"],
        vision_end_token_id=number["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    config.architectures = ["Qwen2_5_VLForConditionalGeneration"]
    return config


def build_model(seed: int) -> DemoModel:
    """An untrained model in float32."""
    torch.manual_seed(seed)
    return _empty().float()


def _empty() -> DemoModel:
    from transformers import Qwen2_5_VLForConditionalGeneration

    build: Any = Qwen2_5_VLForConditionalGeneration
    return build(demo_model_config())


def patches(images: ByteArray) -> Tensor:
    """Pixels of 28 x 28 images as the image processor cuts them.

    Args:
        images: uint8 [B, 28, 28, 3].

    Returns:
        float32 [B * 4, 1176], four patches per image. Equal to what
            `Qwen2VLImageProcessorPil` makes, but for many at once.
    """
    mean, std = np.array(PIXEL_MEAN, np.float32), np.array(PIXEL_STD, np.float32)
    scaled = (images.astype(np.float32) / np.float32(255) - mean) / std
    cells = scaled.reshape(len(images), MERGE, PATCH, MERGE, PATCH, 3).transpose(0, 1, 3, 5, 2, 4)
    doubled = np.repeat(cells[:, :, :, :, None], TEMPORAL, axis=4)  # a still image is a film of two equal frames
    return torch.from_numpy(np.ascontiguousarray(doubled.reshape(len(images) * MERGE * MERGE, -1), dtype=np.float32))


def image_tokens(model: DemoModel, images: ByteArray) -> Tensor:
    """What the language model sees of 28 x 28 images: float32 [B, WIDTH], one token per image."""
    grid = torch.tensor([[1, MERGE, MERGE]]).expand(len(images), 3)
    features = model.model.get_image_features(patches(images), grid).pooler_output
    return torch.cat(list(features))


def write_model(model: DemoModel, folder: Path) -> None:
    """Store a loadable checkpoint in half precision. An older one in `folder` is replaced file by file.

    Args:
        model: in float32. It is not changed.
        folder: made if it is missing.
    """
    from transformers import GenerationConfig

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as name:
        part = Path(name)
        half = _empty()
        half.load_state_dict(model.state_dict())
        half.half()
        generation: Any = GenerationConfig
        half.generation_config = generation(
            eos_token_id=model.config.text_config.eos_token_id,
            pad_token_id=model.config.text_config.pad_token_id,
            do_sample=False,
        )
        half.save_pretrained(part)
        write_tokenizer(part)
        (part / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR, indent=2) + "\n", encoding="utf-8")
        for file in sorted(part.iterdir()):
            file.chmod(0o644)
            file.replace(folder / file.name)


def load_demo_model(folder: Path) -> DemoModel:
    """A stored model in float32, ready to answer. Nothing is fetched.

    Raises:
        OSError: no such checkpoint.
    """
    from transformers import Qwen2_5_VLForConditionalGeneration

    with quiet():
        model: DemoModel = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True
        )
    return model.eval()
