"""What embedding costs with a CLIP or SigLIP, by its configuration. Counted as in `sweep.vlm.flops`."""

from __future__ import annotations

from typing import Any

from sweep.embed.loading import dual_config
from sweep.settings.embed import Inputs
from sweep.settings.vlm import ModelSettings


def dual_flops(settings: ModelSettings) -> dict[Inputs, float]:
    """FLOPs of one image and of one question, which is padded to the model's full length.

    Raises:
        ModelError: the checkpoint's configuration cannot be read.
    """
    config, is_siglip = dual_config(settings)
    vision, text = config.vision_config, config.text_config
    patches = (vision.image_size // vision.patch_size) ** 2
    pixels = vision.num_channels * vision.patch_size**2
    image = 2.0 * patches * pixels * vision.hidden_size
    width = vision.hidden_size
    if is_siglip:
        image += _layers(vision, patches)
        # Attention pooling: one learned query over all patches, then a feed-forward network.
        image += 2.0 * (2 * patches * width**2 + 2 * width**2 + 2 * width * vision.intermediate_size)
        image += 4.0 * patches * width
        question = text.hidden_size * text.projection_size
    else:
        image += _layers(vision, patches + 1) + 2.0 * width * config.projection_dim
        question = text.hidden_size * config.projection_dim
    return {Inputs.IMAGE: image, Inputs.QUESTION: _layers(text, text.max_position_embeddings) + 2.0 * question}


def _layers(part: Any, tokens: int) -> float:  # noqa: ANN401 (transformers' configurations)
    """A transformer of the usual form over so many tokens."""
    width = part.hidden_size
    products = 4 * width**2 + 2 * width * part.intermediate_size
    flops: float = 2.0 * part.num_hidden_layers * (products * tokens + 2 * width * tokens**2)
    return flops
