"""The one in-memory form of training data: flat columns with offsets, so that ragged pools and groups cost nothing.

Legend: Q queries, M items, D embedding width, S picks per beam. `sum K` and `sum N` run over all pools and groups.
All arrays are plain numpy, C-contiguous and never written after construction: Ray shares them between trials without
a copy, and an in-place write would silently change every other trial's data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from enum import IntEnum, StrEnum

import numpy as np

from selector.arrays import Float32Array, Int8Array, Int64Array
from selector.hashes import array_parts, content_hash


class Split(IntEnum):
    """What a query may be used for: gradients, pruning and epoch choice, or the final comparison only."""

    TRAIN = 0
    VAL = 1
    TEST = 2


class Outcome(StrEnum):
    """Measured columns of a beam. A data set has a column for all of its beams or not at all."""

    CORRECT = "vqa_correct"
    ACC_SCORE = "vqa_acc_score"
    GT_PROB = "vqa_gt_prob"
    REL_SCORE = "vqa_rel_score"
    BEAM_SCORE = "beam_score"
    LOGPROB_SCORE = "logprob_score"


@dataclass(frozen=True)
class Dataset:
    """Queries, their candidate pools and their measured beams.

    Attributes:
        embeddings: float32 [M, D], finite; row = item id.
        query_items: int64 [Q], the query's own row, unique.
        pool_items: int64 [sum K], item ids. The pool of query i is `pool_items[pool_starts[i]:pool_starts[i + 1]]`.
        pool_starts: int64 [Q + 1].
        beam_picks: int64 [sum N, S], positions in the query's pool, distinct within a row.
        beam_starts: int64 [Q + 1].
        outcomes: float32 [sum N] per measured column.
        split: int8 [Q], values of `Split`.
        counts: what reading removed or noticed, by name, for the user to see.
    """

    embeddings: Float32Array
    query_items: Int64Array
    pool_items: Int64Array
    pool_starts: Int64Array
    beam_picks: Int64Array
    beam_starts: Int64Array
    outcomes: dict[Outcome, Float32Array]
    split: Int8Array
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def queries(self) -> int:
        """Number of queries, all splits."""
        return len(self.query_items)

    @property
    def picks(self) -> int:
        """Demonstrations per beam (S)."""
        return int(self.beam_picks.shape[1])

    @property
    def width(self) -> int:
        """Embedding width (D)."""
        return int(self.embeddings.shape[1])

    def indices(self, split: Split) -> Int64Array:
        """Query indices of a split, ascending, int64."""
        return np.flatnonzero(self.split == int(split)).astype(np.int64)

    def fingerprint(self) -> str:
        """SHA-256 over every value that training can see, 64 hex digits. It is equal however the data was stored."""
        return content_hash(self._hashed_parts())

    def _hashed_parts(self) -> Iterator[bytes | memoryview]:
        for item in fields(self):
            if item.name == "counts":
                continue
            value = getattr(self, item.name)
            columns = sorted(value.items()) if isinstance(value, dict) else [(item.name, value)]
            for name, array in columns:
                yield f"{name}:".encode()
                yield from array_parts(array)
