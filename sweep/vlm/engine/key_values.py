"""Keys and values of prompts: as one packed sequence, and as rows with free columns for what is generated after them.

Both are the `KeyValues` of `language`.

Letters:
    V  key/value heads          S  packed tokens
    B  rows                     Q  new tokens per row
    K  keys (prefix and tail)   D  width of a head
    L  tokens of a prompt
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from selector.arrays import Int64Array
from sweep.vlm.engine.devices import to_device


class PackedKeyValues:
    """Filled by the forward pass over a packed sequence. Per layer [S, 2, V, D]: keys and values of each token."""

    def __init__(self) -> None:
        self.layers: list[Tensor] = []

    def update(self, layer: int, keys_values_T2VD: Tensor) -> Tensor:
        """Take a layer's new states. They attend to themselves alone."""
        if layer != len(self.layers):
            raise ValueError(f"layer {layer} after {len(self.layers)}")
        self.layers.append(keys_values_T2VD)
        return keys_values_T2VD


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
        device = prefixes[0].packed.layers[0].device
        self.prefix_length = max(lengths)
        self._length = self.prefix_length
        lengths_B = to_device(np.asarray(lengths), device)
        self.prefix_mask_BK = torch.arange(self.prefix_length, device=device) < lengths_B[:, None]
        self._layers = _rows(prefixes, self.prefix_length, capacity, device)

    @property
    def tail(self) -> int:
        """Columns of the tail in use."""
        return self._length - self.prefix_length

    def update(self, layer: int, keys_values_T2VD: Tensor) -> Tensor:
        """Write a layer's new states (T = B * Q) behind what is in use.

        Returns:
            All keys and values so far, [B, K, 2, V, D]. A view, so that a step copies nothing.
        """
        whole = self._layers[layer]
        new = keys_values_T2VD.view(len(whole), -1, *keys_values_T2VD.shape[1:])
        end = self._length + new.shape[1]
        whole[:, self._length : end] = new
        return whole[:, :end]

    def advance(self, tokens: int) -> None:
        """The columns just written by all layers are now in use."""
        self._length += tokens

    def rewind(self) -> None:
        """Forget the tail."""
        self._length = self.prefix_length

    def keep(self, rows_B: Tensor) -> None:
        """Only these rows (int64) go on."""
        self._layers = [states[rows_B] for states in self._layers]
        self.prefix_mask_BK = self.prefix_mask_BK[rows_B]


def _rows(prefixes: Sequence[Prefix], length: int, capacity: int, device: torch.device) -> list[Tensor]:
    """Copies of the prefixes: per layer [B, length + capacity, 2, V, D].

    Neighbours of one packed sequence are gathered together. What is beyond a prefix comes from place 0, and is masked
    or overwritten.
    """
    picks = []
    for _, neighbours in itertools.groupby(prefixes, key=lambda prefix: id(prefix.packed)):
        mine = list(neighbours)
        places = np.zeros((len(mine), length + capacity), dtype=np.int64)
        for row, prefix in zip(places, mine, strict=True):
            row[: len(prefix.path)] = prefix.path
        picks.append((mine[0].packed, to_device(places.ravel(), device)))
    layers = []
    for layer, like in enumerate(prefixes[0].packed.layers):
        rows = like.new_empty(len(prefixes) * (length + capacity), *like.shape[1:])
        at = 0
        for packed, picked in picks:
            part = rows[at : at + len(picked)].flatten(1)
            torch.index_select(packed.layers[layer].flatten(1), 0, picked, out=part)
            at += len(picked)
        layers.append(rows.view(len(prefixes), -1, *like.shape[1:]))
    return layers
