"""What a Qwen2.5-VL costs by its configuration: weights, FLOPs and memory of keys and values. Pure arithmetic.

A FLOP is one multiplication or one addition, so a product with n weights costs 2 n. Counted are all matrix products and
attention; norms, activations and rotary positions are left out (below 1 %). Attention counts every pair of a query and
a key that it may see, as the kernels compute it: a prompt that shares nothing costs the whole square.

The architecture is that of Bai et al. 2025, "Qwen2.5-VL Technical Report", section 2.1. A test counts a real model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sweep.vlm.checkpoint import CONFIG, ModelError


@dataclass(frozen=True)
class TextShape:
    """The language model. `width` is that of the hidden state, `inner` that of the gated feed-forward network."""

    width: int
    inner: int
    layers: int
    heads: int
    key_heads: int
    head_width: int
    vocabulary: int
    tied: bool

    @property
    def layer_weights(self) -> int:
        """Weights of all layers, without embeddings and norms."""
        attention = 2 * self.width * self.head_width * (self.heads + self.key_heads)
        return self.layers * (attention + 3 * self.width * self.inner)

    @property
    def head_weights(self) -> int:
        """Weights that turn a hidden state into the scores of all tokens."""
        return self.width * self.vocabulary

    @property
    def weights(self) -> int:
        """All matrices, the table of embeddings included."""
        return self.layer_weights + self.head_weights * (1 if self.tied else 2)

    def key_value_bytes(self, size: int) -> int:
        """Bytes that keys and values of one token take, with numbers of `size` bytes."""
        return 2 * self.layers * self.key_heads * self.head_width * size

    def products(self, tokens: float, ends: float = 0.0) -> float:
        """FLOPs of the products with weights.

        Args:
            tokens: that go through the layers.
            ends: of them, those whose next token is asked for.
        """
        return 2.0 * (self.layer_weights * tokens + self.head_weights * ends)

    def prefill(self, tokens: float, prompts: float) -> float:
        """FLOPs of the products with weights while prompts are read, without scores of tokens.

        In the last layer the engine needs keys and values of all tokens, and the rest of each prompt's last one alone.

        Args:
            tokens: that are computed, of all prompts together.
            prompts: how many there are.
        """
        layer = self.layer_weights / self.layers
        keys_values = 2 * self.width * self.key_heads * self.head_width
        return 2.0 * ((self.layer_weights - layer + keys_values) * tokens + (layer - keys_values) * prompts)

    def attention(self, pairs: float) -> float:
        """FLOPs of attention, in all layers, over so many pairs of a query and a key."""
        return 4.0 * self.layers * self.heads * self.head_width * pairs


@dataclass(frozen=True)
class VisionShape:
    """The vision tower. `merge` patches per side become one token. `window` is counted in patches per side."""

    width: int
    inner: int
    layers: int
    whole_layers: int
    patch_values: int
    patch: int
    merge: int
    window: int
    out: int

    @property
    def patch_weights(self) -> int:
        """Weights that every patch meets."""
        return self.patch_values * self.width + self.layers * (4 * self.width**2 + 3 * self.width * self.inner)

    @property
    def merger_weights(self) -> int:
        """Weights that every token of the language model meets."""
        merged = self.width * self.merge**2
        return merged * merged + merged * self.out

    @property
    def weights(self) -> int:
        """All matrices."""
        return self.patch_weights + self.merger_weights

    @property
    def token_side(self) -> int:
        """Pixels per side of one token."""
        return self.patch * self.merge

    def products(self, patches: float) -> float:
        """FLOPs of the products with weights."""
        return 2.0 * (self.patch_weights * patches + self.merger_weights * patches / self.merge**2)

    def image(self, rows: int, columns: int) -> float:
        """FLOPs of one image of so many rows and columns of tokens, attention included."""
        patches = rows * columns * self.merge**2
        inside = (
            self.merge**4 * _squares(rows, self.window // self.merge) * _squares(columns, self.window // self.merge)
        )
        pairs = (self.layers - self.whole_layers) * inside + self.whole_layers * patches**2
        return self.products(patches) + 4.0 * self.width * pairs


@dataclass(frozen=True)
class VlmShape:
    """Both parts of a Qwen2.5-VL."""

    vision: VisionShape
    text: TextShape

    @property
    def weights(self) -> int:
        """All matrices of the checkpoint."""
        return self.vision.weights + self.text.weights

    @classmethod
    def of(cls, config: Mapping[str, Any], source: object = CONFIG) -> VlmShape:
        """Read a `config.json`, of either form: the language model's numbers in `text_config`, or at the top.

        Raises:
            ModelError: a number is missing. `source` is named.
        """
        text, vision = config.get("text_config") or config, config.get("vision_config") or {}
        try:
            heads, width = text["num_attention_heads"], text["hidden_size"]
            side = vision["patch_size"]
            return cls(
                VisionShape(
                    width=vision["hidden_size"],
                    inner=vision["intermediate_size"],
                    layers=vision["depth"],
                    whole_layers=len({*vision["fullatt_block_indexes"]} & {*range(vision["depth"])}),
                    patch_values=vision.get("in_channels", 3) * vision["temporal_patch_size"] * side**2,
                    patch=side,
                    merge=vision["spatial_merge_size"],
                    window=vision["window_size"] // side,
                    out=vision["out_hidden_size"],
                ),
                TextShape(
                    width=width,
                    inner=text["intermediate_size"],
                    layers=text["num_hidden_layers"],
                    heads=heads,
                    key_heads=text["num_key_value_heads"],
                    head_width=text.get("head_dim") or width // heads,
                    vocabulary=text["vocab_size"],
                    tied=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))),
                ),
            )
        except (KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
            raise ModelError(f"{source}: does not describe a Qwen2.5-VL ({type(error).__name__}: {error})") from None


def _squares(length: int, side: int) -> int:
    """Sum of squares of the parts into which windows of a side cut a length."""
    whole, rest = divmod(length, side)
    return whole * side**2 + rest**2
