"""Attention of the engine. It is exact, and consists of torch's own sdpa calls.

`PackedLayout` (language model, prompts). Prompts that share beginnings lie in one packed sequence, each token once. A
segment is the part of a prompt that is new. It attends to its path: the tokens of its prompt, wherever they lie.
Segments are gathered into a few padded blocks, one call each.

`TailLayout` (language model, new tokens). The heads that share keys become query rows, so that keys are never repeated.

`windows_attention` (vision tower). Segments of equal length become one batch: one call per layer instead of one per
window.

Sources: scaled dot-product attention (Vaswani et al. 2017), grouped queries (Ainslie et al. 2023), shared prefixes
(Zheng et al. 2024, SGLang), vision windows (Bai et al. 2025).

Letters:
    B  batch                    S  packed tokens
    H  heads                    Q  queries
    V  key/value heads          K  keys
    G  heads per key/value head (H = V * G)
    D  width of a head          L  tokens of a window
    E  segments of a block      W  segments of one length
    T  queries of all blocks
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import embedding, scaled_dot_product_attention


@dataclass(frozen=True, slots=True)
class Block:
    """Padded segments that are computed by one call.

    Attributes:
        queries_EQ: int64, which queries. Padding repeats any of them.
        keys_EK: int64, packed places of the keys.
        mask_EQK: float, 0 or -inf, [E, 1, Q, K]. None means plain causal attention: no keys are shared.
    """

    queries_EQ: Tensor
    keys_EK: Tensor
    mask_EQK: Tensor | None


@dataclass(frozen=True, slots=True)
class PackedLayout:
    """How tokens of one packed sequence attend to each other.

    Attributes:
        results_T: int64, where the result of each query lies among those of all blocks, padding included.
    """

    blocks: tuple[Block, ...]
    results_T: Tensor

    def attend(self, queries_THD: Tensor, keys_values: Tensor, scaling: float) -> Tensor:
        """Every query against its own path: keys and values [S, 2, V, D] -> [T, H * D]."""
        heads, width = queries_THD.shape[1:]
        found = []
        for block in self.blocks:
            # Rows of a table, with all heads of a token side by side: `embedding` copies them in long pieces.
            q_EQHD = embedding(block.queries_EQ, queries_THD.flatten(1)).view(*block.queries_EQ.shape, heads, width)
            both = embedding(block.keys_EK, keys_values.flatten(1)).view(*block.keys_EK.shape, *keys_values.shape[1:])
            k_EVKD, v_EVKD = both.permute(2, 0, 3, 1, 4)
            out_EQHD = _grouped(q_EQHD.transpose(1, 2), k_EVKD, v_EVKD, block.mask_EQK, scaling)
            found.append(out_EQHD.reshape(-1, heads * width))
        return embedding(self.results_T, torch.cat(found))


def _grouped(q_EHQD: Tensor, k_EVKD: Tensor, v_EVKD: Tensor, mask_EQK: Tensor | None, scaling: float) -> Tensor:
    """Heads that share keys: [E, Q, H, D]. With a mask, sdpa's own grouping (`enable_gqa`) takes a slow kernel."""

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        causal = mask_EQK is None
        return scaled_dot_product_attention(q, k, v, mask_EQK, is_causal=causal, scale=scaling).transpose(1, 2)

    groups = q_EHQD.shape[1] // k_EVKD.shape[1]
    if groups == 1:
        return attend(q_EHQD, k_EVKD, v_EVKD)
    if q_EHQD.device.type != "cpu":  # one call
        return attend(q_EHQD, *(states.repeat_interleave(groups, dim=1) for states in (k_EVKD, v_EVKD)))
    sizes = ((q_EHQD, groups), (k_EVKD, 1), (v_EVKD, 1))
    parts = zip(*(torch.split(states, size, dim=1) for states, size in sizes), strict=True)
    # One call per key head, and no copy.
    return torch.cat(
        [attend(q, k.expand(-1, groups, -1, -1), v.expand(-1, groups, -1, -1)) for q, k, v in parts], dim=2
    )


@dataclass(frozen=True, slots=True)
class TailLayout:
    """A few new tokens per row after a cached prefix. The mask is float, 0 or -inf, [B, 1, G * Q, K]."""

    mask_BQK: Tensor

    def attend(self, queries_THD: Tensor, keys_values: Tensor, scaling: float) -> Tensor:
        """New tokens against the whole row: keys and values [B, K, 2, V, D] -> [B * Q, H * D].

        The G heads of one key/value head become G * Q query rows. The same mask applies to all of them. Keys and
        values, by far the largest tensors of a step, are read once and never copied.
        """
        k_BVKD, v_BVKD = keys_values.permute(2, 0, 3, 1, 4)
        rows, key_heads, _, width = k_BVKD.shape
        heads = queries_THD.shape[1]
        q_BVGQD = queries_THD.view(rows, -1, key_heads, heads // key_heads, width).permute(0, 2, 3, 1, 4)
        out = scaled_dot_product_attention(
            q_BVGQD.flatten(2, 3), k_BVKD, v_BVKD, attn_mask=self.mask_BQK, scale=scaling
        )
        return out.view_as(q_BVGQD).permute(0, 3, 1, 2, 4).reshape(-1, heads * width)


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


def windows_attention(states_S3HD: Tensor, windows: tuple[Windows, ...], scaling: float) -> Tensor:
    """Attention of the vision tower within segments: queries, keys and values [S, 3, H, D] -> [S, H * D]."""
    packed, _, heads, width = states_S3HD.shape
    result_SX = states_S3HD.new_empty(packed, heads * width)
    for group in windows:
        count = len(group.starts)
        span = slice(group.row, (group.row or 0) + count * group.length)
        places = (group.starts[:, None] + torch.arange(group.length, device=group.starts.device)).flatten()
        # Windows in a row are a view, others are gathered.
        inside = embedding(places, states_S3HD.flatten(1)) if group.row is None else states_S3HD[span]
        q, k, v = inside.view(count, group.length, 3, heads, width).permute(2, 0, 3, 1, 4)
        out_WHLD = scaled_dot_product_attention(q, k, v, scale=scaling)
        out = out_WHLD.transpose(1, 2).reshape(-1, heads * width)
        if group.row is None:
            result_SX.index_copy_(0, places, out)
        else:
            result_SX[span] = out
    return result_SX
