"""The language model over packed prompts, or over a few new tokens after cached ones.

It has the weights and the arithmetic of transformers' `Qwen2_5_VLTextModel` (Bai et al. 2025), with two differences.
In the last layer nobody reads the state of any token of a prompt but the last one, so only that one is computed: the
others get the keys and values that decoding reads. And passes over memory are saved (`layers`).

Letters:
    B  rows                     Q  tokens per row
    T  tokens (B * Q)           C  width of the hidden states
    H  heads                    V  key/value heads
    D  width of a head          P  prompts
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sweep.vlm.engine.layers import add_gated, add_product, turn


class KeyValues(Protocol):
    """Where the keys and values of the layers go."""

    def update(self, layer: int, keys_values_T2VD: Tensor) -> Tensor:
        """Take the new ones of a layer. Returns all that its queries may attend to, as the layout expects it."""


class Layout(Protocol):
    """Who attends to whom."""

    def attend(self, queries_THD: Tensor, keys_values: Tensor, scaling: float) -> Tensor:
        """Attention [T, H * D] of the queries to what `KeyValues.update` has returned."""


@dataclass(frozen=True, slots=True)
class Ends:
    """What is read of packed prompts: the state of each one's last token, whose place is in `places_P`."""

    places_P: Tensor
    layout: Layout


class Language(nn.Module):
    """Takes the place of a `Qwen2_5_VLTextModel`, with its weights."""

    def __init__(self, inner: Any) -> None:  # noqa: ANN401 - transformers types its parts too loosely to be of use
        super().__init__()
        self.embed_tokens, self.layers = inner.embed_tokens, inner.layers
        self.rotary_emb, self.norm = inner.rotary_emb, inner.norm

    def forward(
        self,
        inputs_embeds: Tensor,
        position_ids: Tensor,
        past_key_values: KeyValues,
        layout: Layout,
        ends: Ends | None = None,
    ) -> Tensor:
        """Last hidden states, [T, C] or, with `ends`, [P, C].

        Args:
            inputs_embeds: [B, Q, C]. Their memory is used for what comes out.
            position_ids: int64 [3, B, Q].
            past_key_values: takes the keys and values.
            layout: who attends to whom.
            ends: for packed prompts.
        """
        hidden_TC = inputs_embeds.flatten(0, 1)
        cos, sin = self.rotary_emb(inputs_embeds, position_ids)
        half = cos.shape[-1] // 2  # the second half repeats the first
        angles = torch.stack([cos[..., :half], sin[..., :half]]).view(2, -1, 1, half)
        for number, layer in enumerate(self.layers):
            asked_P = None
            if ends is not None and number + 1 == len(self.layers):
                layout, asked_P = ends.layout, ends.places_P
            hidden_TC = _layer(layer, number, hidden_TC, angles, past_key_values, layout, asked_P)
        normed: Tensor = self.norm(hidden_TC)
        return normed


def _layer(
    layer: Any,  # noqa: ANN401 - as above
    number: int,
    hidden_TC: Tensor,
    angles: Tensor,
    states: KeyValues,
    layout: Layout,
    asked_P: Tensor | None,
) -> Tensor:
    """Hidden states after a layer, of all tokens or of those that are asked for. Those before it are overwritten."""
    attention = layer.self_attn
    normed_TC = layer.input_layernorm(hidden_TC)
    new = torch.cat([attention.k_proj(normed_TC), attention.v_proj(normed_TC)], dim=-1)
    new_T2VD = new.view(len(new), 2, -1, attention.head_dim)
    turn(new_T2VD[:, 0], *angles)
    keys_values = states.update(number, new_T2VD)
    if asked_P is not None:
        hidden_TC, normed_TC, angles = hidden_TC[asked_P], normed_TC[asked_P], angles[:, asked_P]
    queries_THD = attention.q_proj(normed_TC).view(len(normed_TC), -1, attention.head_dim)
    turn(queries_THD, *angles)
    add_product(hidden_TC, layout.attend(queries_THD, keys_values, attention.scaling), attention.o_proj)
    add_gated(hidden_TC, layer.post_attention_layernorm(hidden_TC), layer.mlp)
    return hidden_TC
