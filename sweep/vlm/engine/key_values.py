"""Keys and values of prompts: as one packed sequence, and as rows with free columns for what is generated after them.

Both stand in for transformers' `Cache`: the attention layers call `update` and nothing else.

Letters:
    V  key/value heads          S  packed tokens
    B  rows                     Q  new tokens per row
    K  keys (prefix and tail)   D  width of a head
    L  tokens of a prompt
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from selector.arrays import Int64Array
from sweep.vlm.engine.devices import to_device


class PackedKeyValues:
    """Filled by the forward pass over a packed sequence. One [V, S, D] pair per layer."""

    def __init__(self) -> None:
        self.layers: list[tuple[Tensor, Tensor]] = []

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: object) -> tuple[Tensor, Tensor]:
        """What transformers calls with a layer's new states, [1, V, S, D]. They attend to themselves alone."""
        if layer != len(self.layers):
            raise ValueError(f"layer {layer} after {len(self.layers)}")
        self.layers.append((keys[0], values[0]))
        return keys, values


@dataclass(frozen=True, slots=True, eq=False)
class Prefix:
    """Where a prompt's keys and values lie.

    Attributes:
        path: int64 [L], places in the packed sequence.
    """

    packed: PackedKeyValues
    path: Int64Array


class RowKeyValues:
    """Rows of prefixes, each beginning at column 0, and a tail that all rows write into from the same column on.

    Prefixes differ in length: the columns between a prefix and the tail hold what must be masked (`prefix_mask_BK`).
    """

    def __init__(self, prefixes: Sequence[Prefix], capacity: int) -> None:
        lengths = [len(prefix.path) for prefix in prefixes]
        device = prefixes[0].packed.layers[0][0].device
        self.prefix_length = max(lengths)
        self._length = self.prefix_length
        lengths_B = to_device(np.asarray(lengths), device)
        self.prefix_mask_BK = torch.arange(self.prefix_length, device=device) < lengths_B[:, None]
        self._layers = _rows(prefixes, self.prefix_length, capacity, device)

    @property
    def tail(self) -> int:
        """Columns of the tail in use."""
        return self._length - self.prefix_length

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: object) -> tuple[Tensor, Tensor]:
        """Write a layer's new states, [B, V, Q, D], behind what is in use.

        Returns:
            All keys and values so far, [B, V, K, D]. Views, so that a step copies nothing.
        """
        end = self._length + keys.shape[2]
        kept = self._layers[layer]
        for whole, new in zip(kept, (keys, values), strict=True):
            whole[:, :, self._length : end] = new
        return kept[0][:, :, :end], kept[1][:, :, :end]

    def advance(self, tokens: int) -> None:
        """The columns just written by all layers are now in use."""
        self._length += tokens

    def rewind(self) -> None:
        """Forget the tail."""
        self._length = self.prefix_length

    def keep(self, rows_B: Tensor) -> None:
        """Only these rows (int64) go on."""
        self._layers = [(keys[rows_B], values[rows_B]) for keys, values in self._layers]
        self.prefix_mask_BK = self.prefix_mask_BK[rows_B]


def _rows(prefixes: Sequence[Prefix], length: int, capacity: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Copies of the prefixes: per layer keys and values, [B, V, length + capacity, D].

    Rows of one packed sequence are gathered together. What is beyond a shorter prefix comes from place 0 and is masked.
    """
    sources = {id(prefix.packed): prefix.packed for prefix in prefixes}
    picks = []
    for number, packed in sources.items():
        mine = [row for row, prefix in enumerate(prefixes) if id(prefix.packed) == number]
        places = np.zeros((len(mine), length), dtype=np.int64)
        for at, row in enumerate(mine):
            places[at, : len(prefixes[row].path)] = prefixes[row].path
        picks.append((packed, to_device(np.asarray(mine), device), to_device(places, device)))
    layers = []
    for layer, (like, _) in enumerate(prefixes[0].packed.layers):
        shape = (len(prefixes), like.shape[0], length + capacity, like.shape[2])
        pair = (like.new_empty(shape), like.new_empty(shape))
        for packed, rows_B, places_BK in picks:
            for whole, states in zip(pair, packed.layers[layer], strict=True):
                whole[rows_B, :, :length] = states[:, places_BK].transpose(0, 1)
        layers.append(pair)
    return layers
