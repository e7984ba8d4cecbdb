"""Prompts that begin alike, laid into one sequence in which every shared token stands once.

Sorted prompts need no tree of nodes. What a prompt shares with all before it, is what it shares with the one directly
before it: the longest common prefix (LCP). The new rest is its segment. Its path says where its tokens lie, segment by
segment through those before it. Example, tokens as letters:

    prompts   abc   abde   x        packed    abcdex (6 tokens instead of 8)
    shared    0     2      0        paths     012   0134   5

Sources: sorted suffixes and their LCPs (Manber and Myers 1993), radix trees over prompts (SGLang, Zheng et al. 2024).

Letters:
    L  tokens of a prompt       S  packed tokens
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selector.arrays import Int64Array


@dataclass(frozen=True, slots=True, eq=False)
class TokenRow:
    """A prompt as numbers.

    Attributes:
        tokens: int64 [L], the model's token ids, image tokens repeated.
        symbols: int64 [L], equal where two prompts agree: token ids, and a negative number per different image.
        positions: int64 [3, L], time, row and column.
        images: (key, place of its first token) of its images, in order.
    """

    tokens: Int64Array
    symbols: Int64Array
    positions: Int64Array
    images: tuple[tuple[str, int], ...]

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def key(self) -> bytes:
        """Equal for equal prompts. Sorting by it brings common beginnings together."""
        return self.symbols.astype(">i8").tobytes()

    @property
    def next_position(self) -> int:
        """Where the first generated token stands, in all three directions."""
        return int(self.positions.max()) + 1


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Prompts in one sequence.

    Attributes:
        tokens: int64 [S].
        positions: int64 [3, S].
        shared: per prompt, how many of its tokens were there already.
        paths: per prompt, int64 [L], places of its tokens. The last `L - shared` are its own segment.
        images: keys of the images, in the order of their tokens.
    """

    tokens: Int64Array
    positions: Int64Array
    shared: tuple[int, ...]
    paths: tuple[Int64Array, ...]
    images: tuple[str, ...]

    @property
    def saved(self) -> int:
        """Tokens that did not have to be computed again."""
        return sum(self.shared)


def common_prefix(left: Int64Array, right: Int64Array) -> int:
    """Length of the longest common prefix of two symbol rows, int64 [L] each."""
    shorter = min(len(left), len(right))
    different = left[:shorter] != right[:shorter]
    return int(different.argmax()) if different.any() else shorter


def pack(rows: Sequence[TokenRow]) -> Packed:
    """Lay different prompts, sorted by `key`, into one sequence."""
    shared, paths, length = [], [], 0
    before: TokenRow | None = None
    path: Int64Array = np.empty(0, dtype=np.int64)
    for row in rows:
        common = 0 if before is None else common_prefix(before.symbols, row.symbols)
        own = len(row) - common
        path = np.concatenate([path[:common], np.arange(length, length + own)])
        shared.append(common)
        paths.append(path)
        length += own
        before = row
    return Packed(
        tokens=np.concatenate([row.tokens[common:] for row, common in zip(rows, shared, strict=True)]),
        positions=np.concatenate([row.positions[:, common:] for row, common in zip(rows, shared, strict=True)], axis=1),
        shared=tuple(shared),
        paths=tuple(paths),
        images=tuple(
            key for row, common in zip(rows, shared, strict=True) for key, start in row.images if start >= common
        ),
    )


def batch_size(rows: Sequence[TokenRow], limit: int) -> int:
    """How many of the first rows (sorted by `key`) make the next batch of at most `limit` packed tokens.

    At least one. If not all fit, the batch ends in the last half of its tokens, where the least is shared across the
    cut: what is shared across has to be computed again.
    """
    total, cuts = 0, []  # of a cut: packed tokens before it, tokens shared across it, rows before it
    for number, row in enumerate(rows):
        common = 0 if number == 0 else common_prefix(rows[number - 1].symbols, row.symbols)
        if number:
            cuts.append((total, common, number))
        total += len(row) - common
        if number and total > limit:
            # The least shared wins, the later cut among equals. One row that is too long by itself makes a batch alone.
            late = [(common, -number) for at, common, number in cuts if at * 2 >= limit] or [(0, -cuts[-1][2])]
            return -min(late)[1]
    return len(rows)


def packed_length(rows: Sequence[TokenRow]) -> int:
    """Packed tokens of rows sorted by `key`."""
    pairs = itertools.pairwise(rows)
    return sum(map(len, rows)) - sum(common_prefix(before.symbols, row.symbols) for before, row in pairs)
