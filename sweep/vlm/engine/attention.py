"""Two attention functions for transformers' Qwen2.5-VL. Both are exact, and both consist of torch's own sdpa calls.

`PREFIX_TREE` (language model). Prompts that share beginnings lie in one packed sequence, each token once. A segment is
the part of a prompt that is new. It attends to its path: the tokens of its prompt, wherever they lie. Segments are
gathered into a few padded blocks, one sdpa call each. In decoding, the heads that share keys become query rows, so that
keys are never repeated.

`FLASH_WINDOWS` (vision tower). Segments of equal length become one batch. Window attention is then one call per layer
instead of one per window. The word "flash" in its name makes transformers hand over all windows at once.

Without a layout both do what transformers does. Sources: scaled dot-product attention (Vaswani et al. 2017), grouped
queries (Ainslie et al. 2023), shared prefixes (Zheng et al. 2024, SGLang), vision windows (Bai et al. 2025).

Letters:
    B  batch                    S  packed tokens
    H  heads                    Q  queries
    V  key/value heads          K  keys
    G  heads per key/value head (H = V * G)
    D  width of a head          L  tokens of a window
    E  segments of a block      W  segments of one length
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

PREFIX_TREE = "sweep_prefix_tree"
FLASH_WINDOWS = "sweep_flash_windows"


@dataclass(frozen=True, slots=True)
class Block:
    """Padded segments that are computed by one call.

    Attributes:
        queries_EQ: int64, packed places of the queries. Padding repeats any place.
        keys_EK: int64, packed places of the keys.
        mask_EQK: float, 0 or -inf, [E, 1, Q, K]. None means plain causal attention: no keys are shared.
        into_EQ: int64, where the result goes. Padding goes to place S, which is cut off.
    """

    queries_EQ: Tensor
    keys_EK: Tensor
    mask_EQK: Tensor | None
    into_EQ: Tensor


@dataclass(frozen=True, slots=True)
class PackedLayout:
    """How the tokens of one packed sequence attend to each other."""

    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class TailLayout:
    """A few new tokens per row after a cached prefix. The mask is float, 0 or -inf, [B, 1, G * Q, K]."""

    mask_BQK: Tensor


def prefix_tree_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    layout: PackedLayout | TailLayout | None = None,
    **options: Any,  # noqa: ANN401 - transformers passes what other attention functions want
) -> tuple[Tensor, None]:
    """Attention of the language model: query [B, H, Q, D], key and value [B, V, K, D] -> [B, Q, H, D]."""
    if isinstance(layout, PackedLayout):
        return _packed(query[0], key[0], value[0], layout, scaling).unsqueeze(0), None
    if isinstance(layout, TailLayout):
        return _tail(query, key, value, layout, scaling), None
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    result: tuple[Tensor, None] = sdpa_attention_forward(
        module, query, key, value, attention_mask, scaling=scaling, **options
    )
    return result


def _packed(q_HSD: Tensor, k_VSD: Tensor, v_VSD: Tensor, layout: PackedLayout, scaling: float | None) -> Tensor:
    """Every segment against its own path: [S, H, D]."""
    heads, packed, width = q_HSD.shape
    groups = heads // k_VSD.shape[0]
    result_SHD = q_HSD.new_empty(packed + 1, heads, width)  # the last row takes what padding computes
    for block in layout.blocks:
        q_EHQD = _gathered(q_HSD, block.queries_EQ)
        k_EVKD, v_EVKD = _gathered(k_VSD, block.keys_EK), _gathered(v_VSD, block.keys_EK)
        # Keys are repeated per head. With a mask, sdpa's own grouping (`enable_gqa`) would take its slow kernel.
        out_EHQD = scaled_dot_product_attention(
            q_EHQD,
            k_EVKD.repeat_interleave(groups, dim=1) if groups > 1 else k_EVKD,
            v_EVKD.repeat_interleave(groups, dim=1) if groups > 1 else v_EVKD,
            attn_mask=block.mask_EQK,
            is_causal=block.mask_EQK is None,
            scale=scaling,
        )
        result_SHD[block.into_EQ] = out_EHQD.transpose(1, 2)
    return result_SHD[:packed]


def _gathered(states_HSD: Tensor, places_EQ: Tensor) -> Tensor:
    """States at the given places: [E, H, Q, D]."""
    return states_HSD[:, places_EQ].transpose(0, 1)


def _tail(q_BHQD: Tensor, k_BVKD: Tensor, v_BVKD: Tensor, layout: TailLayout, scaling: float | None) -> Tensor:
    """New tokens against the whole row: [B, Q, H, D].

    The G heads of one key/value head stand side by side, so a reshape alone turns them into G * Q query rows. The same
    mask applies to all of them. Keys and values, by far the largest tensors of a step, are read once and never copied.
    """
    rows, heads, queries, width = q_BHQD.shape
    grouped = q_BHQD.reshape(rows, k_BVKD.shape[1], -1, width)  # [B, V, G * Q, D]
    out = scaled_dot_product_attention(grouped, k_BVKD, v_BVKD, attn_mask=layout.mask_BQK, scale=scaling)
    return out.reshape(rows, heads, queries, width).transpose(1, 2).contiguous()


@dataclass(frozen=True, slots=True)
class Windows:
    """Segments of one length.

    Attributes:
        length: L.
        starts: int64 [W], packed places of their first tokens.
        row: the first of them if they lie one after the other without a gap, else None.
    """

    length: int
    starts: Tensor
    row: int | None


@dataclass(frozen=True, slots=True)
class VisionLayout:
    """Segments of the two kinds of layers: `whole` images, and `windows` within them.

    The model passes a layer's cumulative bounds and not its kind. `bounds` is the very tensor that layers with whole
    images are given, so identity tells the kind without a look at the device.
    """

    bounds: Tensor
    whole: tuple[Windows, ...]
    windows: tuple[Windows, ...]


def windows_of(bounds: list[int], device: torch.device) -> tuple[Windows, ...]:
    """Segments between cumulative bounds, grouped by length. Windows at an image's edge are shorter than the others."""
    lengths: dict[int, list[int]] = {}
    for start, end in itertools.pairwise(bounds):
        lengths.setdefault(end - start, []).append(start)
    found = []
    for length, starts in lengths.items():
        adjacent = all(after - before == length for before, after in itertools.pairwise(starts))
        found.append(Windows(length, torch.tensor(starts, device=device), starts[0] if adjacent else None))
    return tuple(found)


def flash_windows_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    cu_seq_lens_q: Tensor,
    scaling: float | None = None,
    layout: VisionLayout | None = None,
    **options: Any,  # noqa: ANN401 - as above
) -> tuple[Tensor, None]:
    """Attention of the vision tower within segments: query, key, value [1, H, S, D] -> [1, S, H, D]."""
    if layout is None:
        windows = windows_of(cu_seq_lens_q.tolist(), query.device)
    else:
        windows = layout.whole if cu_seq_lens_q is layout.bounds else layout.windows
    _, heads, packed, width = query.shape
    result_SHD = query.new_empty(packed, heads, width)
    for group in windows:
        count = len(group.starts)
        if group.row is not None:  # a view instead of a gathering
            span = slice(group.row, group.row + count * group.length)
            shape = (heads, count, group.length, width)
            q, k, v = (states[0, :, span].reshape(shape).transpose(0, 1) for states in (query, key, value))
            out_WHLD = scaled_dot_product_attention(q, k, v, scale=scaling)
            result_SHD[span] = out_WHLD.transpose(1, 2).reshape(-1, heads, width)
        else:
            places = group.starts[:, None] + torch.arange(group.length, device=query.device)
            q, k, v = (_gathered(states[0], places) for states in (query, key, value))
            result_SHD[places] = scaled_dot_product_attention(q, k, v, scale=scaling).transpose(1, 2)
    return result_SHD.unsqueeze(0), None


def register_attention() -> None:
    """Make both functions known to transformers by their names. Doing so again changes nothing."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(PREFIX_TREE, prefix_tree_attention)
    AttentionMaskInterface.register(PREFIX_TREE, sdpa_mask)
    AttentionInterface.register(FLASH_WINDOWS, flash_windows_attention)
