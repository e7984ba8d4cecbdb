"""The vision tower of Qwen2.5-VL: patches of images -> features that the language model reads.

It has the weights and the arithmetic of transformers' `Qwen2_5_VisionTransformerPretrainedModel` (Bai et al. 2025,
section 2.1). Most layers attend within windows, a few within an image. In the end 2 x 2 patches become one token.

Letters:
    P  patches                  H  heads
    D  width of a head          C  width of the hidden states
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding

from sweep.vlm.engine.attention import Windows, windows_attention, windows_of
from sweep.vlm.engine.layers import add_gated, add_product, turn
from sweep.vlm.engine.loading import Loaded


def vision_features(loaded: Loaded, patches: Tensor, grid_thw: Tensor) -> Sequence[Tensor]:
    """Features of several images.

    Bounds and positions are computed here, on the CPU, with transformers' own functions. Left to the model, they would
    be read back from the device in the middle of the forward pass, which waits for all work before it.

    Args:
        loaded: the model.
        patches: float32 [P, 3 * temporal * patch^2], all images' one after the other.
        grid_thw: int64 [images, 3] on the CPU: frames, rows and columns of patches.

    Returns:
        Features of each image, [tokens, width of the language model].
    """
    from transformers.vision_utils import get_vision_cu_seqlens, get_vision_position_ids, get_vision_window_index

    tower, device = loaded.model.model.visual, loaded.device
    config = tower.config
    merged = config.spatial_merge_size**2  # patches of a token
    order, bounds = get_vision_window_index(grid_thw, config.spatial_merge_size, config.window_size, config.patch_size)
    whole = windows_of(get_vision_cu_seqlens(grid_thw).tolist(), device)
    windows = windows_of(bounds.tolist(), device)
    # Patches are reordered so that each window's lie side by side. At the end tokens are brought back.
    places_P = (order[:, None] * merged + torch.arange(merged)).flatten()
    positions = get_vision_position_ids(grid_thw, config.spatial_merge_size)[places_P].to(device)
    hidden_PC = embedding(places_P.to(device), tower.patch_embed(patches))
    cos, sin = tower.rotary_pos_emb(hidden_PC, positions)
    half = cos.shape[-1] // 2  # the second half repeats the first
    angles = (cos[:, None, None, :half], sin[:, None, None, :half])
    for number, block in enumerate(tower.blocks):
        _block(block, hidden_PC, angles, whole if number in config.fullatt_block_indexes else windows)
    features = embedding(order.argsort().to(device), tower.merger(hidden_PC))
    return torch.split(features, (grid_thw.prod(-1) // merged).tolist())


def _block(
    block: Any,  # noqa: ANN401 - transformers types its parts too loosely to be of use
    hidden_PC: Tensor,
    angles: tuple[Tensor, Tensor],
    windows: tuple[Windows, ...],
) -> None:
    """One layer, in place."""
    attention = block.attn
    states = attention.qkv(block.norm1(hidden_PC))
    states_P3HD = states.view(len(states), 3, attention.num_heads, -1)
    turn(states_P3HD[:, :2], *angles)
    add_product(hidden_PC, windows_attention(states_P3HD, windows, attention.scaling), attention.proj)
    add_gated(hidden_PC, block.norm2(hidden_PC), block.mlp)
