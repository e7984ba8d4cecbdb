"""Rendered prompts -> rows of numbers: token ids with images spread out, and explicit three-dimensional positions.

Positions are computed here and never left to the model: what transformers derives by itself depends on which arguments
it was given last (`model.model.rope_deltas`). The rule is Qwen2-VL's multimodal rotary embedding (Wang et al. 2024,
section 2.1). Text advances all three directions together. An image's tokens share one time and count rows and columns
from there. What follows goes on after the larger of the two. A prompt's positions do not depend on what follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from selector.arrays import Int64Array
from sweep.vlm.engine.packing import TokenRow

Grid = tuple[int, int]  # rows and columns of tokens that an image becomes


def multimodal_positions(pieces: Sequence[int | Grid]) -> Int64Array:
    """Positions of a prompt that is text of so many tokens (int) and images (rows, columns): int64 [3, L]."""
    parts, here = [], 0
    for piece in pieces:
        if isinstance(piece, int):
            parts.append(np.broadcast_to(np.arange(here, here + piece), (3, piece)))
            here += piece
        else:
            rows, columns = piece
            place = np.indices((1, rows, columns)).reshape(3, -1)
            parts.append(place + here)
            here += max(rows, columns)
    return np.concatenate(parts, axis=1).astype(np.int64)


class PromptEncoder:
    """Tokenises prompts and spreads their images out."""

    def __init__(self, tokenizer: Any, image_token: int) -> None:  # noqa: ANN401 - transformers' tokenizers
        self._tokenizer = tokenizer
        self._image_token = image_token

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts as they are. Special tokens spelled out in them count as such."""
        if not texts:
            return []
        ids: list[list[int]] = self._tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return ids

    def plain_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts in which nothing is special."""
        if not texts:
            return []
        tokenized = self._tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)
        ids: list[list[int]] = tokenized["input_ids"]
        return ids

    def row(
        self, ids: Sequence[int], images: Sequence[str], grids: Mapping[str, Grid], numbers: dict[str, int]
    ) -> TokenRow:
        """The model's view of a tokenised prompt.

        Args:
            ids: with one image token per image.
            images: their keys, in order.
            grids: by key.
            numbers: by key, a running number. New keys are added.
        """
        tokens = np.asarray(ids, dtype=np.int64)
        places = np.flatnonzero(tokens == self._image_token)
        if len(places) != len(images):
            raise ValueError(f"a prompt of {len(images)} images has {len(places)} image tokens")
        pieces: list[int | Grid] = []
        symbols = tokens.copy()
        repeats = np.ones(len(tokens), dtype=np.int64)
        starts, before, spread = [], 0, 0
        for key, place in zip(images, places.tolist(), strict=True):
            rows, columns = grids[key]
            pieces += [place - before, (rows, columns)]
            symbols[place] = -1 - numbers.setdefault(key, len(numbers))
            repeats[place] = rows * columns
            starts.append((key, place + spread))
            before, spread = place + 1, spread + rows * columns - 1
        pieces.append(len(tokens) - before)
        return TokenRow(
            tokens=np.repeat(tokens, repeats),
            symbols=np.repeat(symbols, repeats),
            positions=multimodal_positions(pieces),
            images=tuple(starts),
        )
