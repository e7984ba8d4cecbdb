"""Where all randomness starts: seeds, streams and orders that depend on labels alone.

Nothing is drawn from a generator that keeps running. So a trial that goes on after a crash draws what it would have
drawn. More queries or trials change nothing for the others.

New code uses `derive_seed`. The other three join labels in another way, or have another range. Stored splits, grids and
demo data depend on their values, so they stay as they are.
"""

from __future__ import annotations

import hashlib

import numpy as np

from selector.arrays import Int64Array


def derive_seed(*labels: object) -> int:
    """A seed in [0, 2^63) from labels such as (seed, "grpo", epoch)."""
    return int.from_bytes(_digest("/".join(map(str, labels)))[:8], "little") >> 1


def derive_seed32(*labels: str | int) -> int:
    """A seed in [0, 2^32), as Optuna's samplers take it."""
    return int.from_bytes(_digest(":".join(map(str, labels)))[:4], "big")


def random_stream(seed: int, number: int) -> np.random.Generator:
    """One of the independent streams of a seed, each for one part of made data."""
    return np.random.default_rng([seed, number])


def hashed_order(items: Int64Array, prefix: str) -> Int64Array:
    """Positions of the items in a random order, int64 [N].

    Items are ranked by a hash of prefix and item. So an item's rank among others depends on neither their order nor
    their number, nor on a version of numpy.

    Args:
        items: int64 [N], distinct.
        prefix: purpose and seed. It ends with a separator, since 1 and 23 are not 12 and 3.
    """
    ranks = [_digest(f"{prefix}{item}") for item in items.tolist()]
    return np.array(sorted(range(len(ranks)), key=ranks.__getitem__), dtype=np.int64)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
