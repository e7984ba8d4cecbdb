"""Which questions are asked, and which items may be shown before them.

Legend: Q questions, K candidates (padded with NONE), M items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selector.arrays import Int64Array
from selector.data import Dataset
from selector.errors import DataError
from selector.seeds import hashed_order
from sweep.items import ItemTable
from sweep.settings.evaluation import SplitName

NONE = -1
Images = Sequence[object]


@dataclass(frozen=True)
class Questions:
    """The questions of one split, in the order in which racing asks them.

    Attributes:
        split: where they come from.
        queries_Q: int64, query indices of the data set.
        items_Q: int64, their item ids.
        clusters_Q: int64, equal for questions about one image.
        pools_QK: int64, item ids that may be shown. NONE after the last one. A pool may be empty.
        excluded: candidates taken out of the pools because they are the question itself or share its image.
    """

    split: SplitName
    queries_Q: Int64Array
    items_Q: Int64Array
    clusters_Q: Int64Array
    pools_QK: Int64Array
    excluded: int

    def __len__(self) -> int:
        return len(self.queries_Q)

    @property
    def sizes_Q(self) -> Int64Array:  # noqa: N802 (shape suffix)
        """Candidates of each question."""
        return np.asarray((self.pools_QK != NONE).sum(axis=1), dtype=np.int64)


def choose_questions(
    dataset: Dataset, split: SplitName, samples: int | None, seed: int, images: Images | None = None
) -> Questions:
    """Draw the questions of a split.

    The order is that of a hash of seed and item id, and depends on nothing else. So n questions are the first n of
    more. Rows, trials and other questions of the data may come and go.

    Args:
        dataset: all splits.
        split: to draw from.
        samples: the most questions. None: all.
        seed: decides the order.
        images: the image of every item, length M. Any hashable, equal for one image, None where there is none.
            None as a whole: images are not known, and every question stands for itself.

    Raises:
        DataError: the split is empty, or `images` is shorter than the item table.
    """
    if images is not None and len(images) < len(dataset.embeddings):
        raise DataError(f"images are known for {len(images)} items, but the data has {len(dataset.embeddings)} items")
    queries = dataset.indices(split.in_data)
    if not len(queries):
        raise DataError(f"the {split} split has no queries to evaluate on; give it a share in data.split")
    queries_Q = queries[hashed_order(dataset.query_items[queries], f"evaluation/{seed}/")][:samples]
    items_Q = dataset.query_items[queries_Q]
    codes_M = _codes(images, len(dataset.embeddings))
    pools = [dataset.pool_items[dataset.pool_starts[query] : dataset.pool_starts[query + 1]] for query in queries_Q]
    kept = [pool[(pool != item) & (codes_M[pool] != codes_M[item])] for pool, item in zip(pools, items_Q, strict=True)]
    pools_QK = np.full((len(kept), max(len(pool) for pool in kept)), NONE, dtype=np.int64)
    for row_K, pool in zip(pools_QK, kept, strict=True):
        row_K[: len(pool)] = pool
    excluded = sum(len(pool) for pool in pools) - sum(len(pool) for pool in kept)
    return Questions(split, queries_Q, items_Q, codes_M[items_Q], pools_QK, excluded)


def _codes(images: Images | None, items: int) -> Int64Array:
    """A number per item, equal where the image is."""
    if images is None:
        return np.arange(items, dtype=np.int64)
    known: dict[object, int] = {}
    codes = [
        items + position if image is None else known.setdefault(image, position)
        for position, image in enumerate(images)
    ]
    return np.array(codes, dtype=np.int64)


def images_of(table: ItemTable) -> list[int]:
    """The image of every item, for `choose_questions`."""
    return [table.image_id(item) for item in range(len(table))]
