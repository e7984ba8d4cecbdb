"""Dividing queries into train, val and test by their item ids alone.

Queries are ranked by a hash of seed and item id (`selector.seeds.hashed_order`). When queries are added, most of the
others keep their split.
"""

from __future__ import annotations

import math

import numpy as np

from selector.arrays import Int8Array, Int64Array
from selector.data.dataset import Split
from selector.data.place import Place
from selector.data.settings import SplitSettings
from selector.seeds import hashed_order


def assign_splits(
    query_items: Int64Array, settings: SplitSettings, file: str = "data", groups: Int64Array | None = None
) -> Int8Array:
    """Assign every query a split, in exact sizes unless groups are given.

    Args:
        query_items: int64 [Q], unique.
        settings: the seed, and shares that are rounded to the nearest size (at least one query where above 0).
        file: prefix of the error.
        groups: int64 [Q], equal for queries that have to be in one split, such as those on one image. All of them get
            the split of the one that is ranked first. A query that is alone in its group keeps the split that it has
            without groups.

    Returns:
        int8 [Q], values of `Split`.

    Raises:
        DataError: `val` is 0, or there are too few queries for one in each split that has a share.
    """
    total = len(query_items)
    if settings.val == 0:
        raise Place(file).error("split.val is 0, but trials are compared on validation queries; use a share above 0")
    wanted = 3 if settings.test > 0 else 2
    if total < wanted:
        names = "train, val and test" if settings.test > 0 else "train and val"
        raise Place(file).error(f"has {total} usable queries; {names} need at least one each")
    val, test = split_sizes(total, settings)
    order = hashed_order(query_items, f"split:{settings.seed}:")
    split = np.full(total, int(Split.TRAIN), dtype=np.int8)
    split[order[:test]] = int(Split.TEST)
    split[order[test : test + val]] = int(Split.VAL)
    if groups is None:
        return split
    _, first, group_of = np.unique(groups[order], return_index=True, return_inverse=True)
    split[order] = split[order][first][group_of]
    return split


def split_sizes(total: int, settings: SplitSettings) -> tuple[int, int]:
    """Numbers of validation and test queries among `total`, leaving at least one for training."""
    val, test = (max(1, math.floor(total * share + 0.5)) if share > 0 else 0 for share in (settings.val, settings.test))
    while val + test >= total:  # rounding up both shares of a very small total
        val, test = (val - 1, test) if val >= test else (val, test - 1)
    return val, test
