"""Which items are asked, of which candidates, in which split.

Rules, also for queries that a file gives:

- A query and its candidates share no image.
- An image of a validation or test query is never a demonstration, for any query. So what is compared on has not been
  seen in training in any role. Candidates are the items of all other images: of training queries, and of items that
  are no query at all. (This holds for built queries. `sweep.items.shared_images` counts a file's exceptions.)
- Queries and candidates have ground-truth answers.
- Queries of one image are in one split (a file's exceptions are counted there too, and refused unless allowed).

Everything about a query is drawn from (seed, item id), and pools through one random number per item. So more queries,
or items that are held out, change another query's pool only by the items that they take away.

Legend: M items, D width, K candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from selector.arrays import BoolArray, Float32Array, Float64Array, Int8Array, Int64Array
from selector.data.dataset import Split
from selector.data.place import Place, file_label
from selector.data.queries import QueryTable, read_queries
from selector.data.split import assign_splits
from selector.errors import DataError
from selector.seeds import derive_seed, hashed_order
from sweep.settings.collect import BuildSettings, PoolBy

BLOCK = 64  # queries whose similarities to all items are computed together
SLACK = 1e-5  # of a cosine in float32, generously


def build_queries(
    settings: BuildSettings,
    images: Int64Array,
    answered_M: BoolArray,
    unit: Mapping[PoolBy, Float32Array],
    seed: int,
    block: int = BLOCK,
    known: QueryTable | None = None,
) -> QueryTable:
    """Choose queries, splits and pools.

    Args:
        settings: how many, and how.
        images: int64 [M], the image of every item.
        answered_M: bool [M], whether it has ground-truth answers, and so can be asked and shown.
        unit: embeddings of unit length [M, D], for each kind of nearness that the pools need.
        seed: decides the choice of queries and pools. The split has its own.
        block: queries whose similarities are computed together. Changes memory and speed, not the pools.
        known: queries that there are. Then only further training queries are made, which keep to the known split.

    Raises:
        DataError: no item has answers, fewer items than queries, or too few images for the splits.
    """
    if known is None:
        items, split = choose_split(settings, images, answered_M, seed)
        held_out = images[items[split != int(Split.TRAIN)]]
    else:
        held_out = images[known.query_items[known.split != int(Split.TRAIN)]]
        free_M = answered_M & ~np.isin(images, held_out)
        free_M[known.query_items] = False
        items = choose_queries(np.flatnonzero(free_M), settings.count, seed)
        split = np.full(len(items), int(Split.TRAIN), dtype=np.int8)
    candidates_M = answered_M & ~np.isin(images, held_out)
    counts = settings.pool.counts()
    pools: list[Int64Array] = []
    for start in range(0, len(items), block):
        asked = items[start : start + block]
        similar = {kind: unit[kind][asked] @ unit[kind].T for kind in counts}
        for place, item in enumerate(asked.tolist()):
            usable_M = candidates_M & (images != images[item])
            near = {kind: (count, similar[kind][place], unit[kind]) for kind, count in counts.items()}
            pools.append(_pool(settings.pool.size, item, usable_M, near, seed))
    starts = np.concatenate([[0], np.cumsum([len(pool) for pool in pools])]).astype(np.int64)
    return QueryTable(items, np.concatenate(pools).astype(np.int64), starts, split)


def choose_split(
    settings: BuildSettings, images: Int64Array, answered_M: BoolArray, seed: int
) -> tuple[Int64Array, Int8Array]:
    """The queries, int64 [Q], and their splits, int8 [Q]. Arguments and errors as for `build_queries`."""
    if not answered_M.any():
        raise DataError("collect.build: no item has answers, so none can be scored or shown; give items.annotations")
    items = choose_queries(np.flatnonzero(answered_M), settings.count, seed)
    query_images, image_of = np.unique(images[items], return_inverse=True)
    wanted = 2 + (settings.split.test > 0)
    if len(query_images) < wanted:
        raise DataError(
            f"collect.build: {len(items)} queries on {len(query_images)} images cannot be divided into {wanted} splits "
            "that share no image; raise count"
        )
    return items, assign_splits(query_images, settings.split, "collect.build")[image_of]


def choose_queries(items: Int64Array, count: int | None, seed: int) -> Int64Array:
    """The first `count` of the items in a seeded order, ascending. A larger count only adds queries."""
    if count is not None and count > len(items):
        raise DataError(f"collect.build.count: {count} queries, but only {len(items)} items have answers")
    if count is None or count == len(items):
        return items
    return np.sort(items[hashed_order(items, f"query:{seed}:")[:count]])


def _pool(
    size: int,
    item: int,
    usable_M: BoolArray,
    near: Mapping[PoolBy, tuple[int, Float32Array, Float32Array]],
    seed: int,
) -> Int64Array:
    """Candidates in random order, so that a position says nothing. Two draws per item: one chooses, one orders.

    Kind by kind the nearest of those that are left are taken, and at random from the rest. `near` holds for each kind
    how many, the similarities [M] and the embeddings [M, D]. `usable_M` is used up.
    """
    draws = np.random.default_rng(derive_seed(seed, "pool", item)).random((len(usable_M), 2))
    chosen = np.zeros(0, dtype=np.int64)
    for count, similar_M, unit_MD in near.values():
        found = nearest(item, np.flatnonzero(usable_M), count, similar_M, unit_MD)
        usable_M[found] = False
        chosen = np.concatenate([chosen, found])
    wanted = size - len(chosen)
    rest = np.flatnonzero(usable_M) if wanted else chosen[:0]
    if wanted < len(rest):
        rest = rest[np.argpartition(draws[rest, 0], wanted)[:wanted]]
    chosen = np.concatenate([chosen, rest])
    return np.asarray(chosen[np.argsort(draws[chosen, 1])], dtype=np.int64)


def nearest(item: int, among: Int64Array, count: int, similar_M: Float32Array, unit_MD: Float32Array) -> Int64Array:
    """The `count` items of highest cosine to an item, ties by item id.

    Products of matrices may differ in their last bits with what else is in them. So they only say who comes into
    question, and those are compared again one by one.
    """
    if count == 0:
        return among[:0]
    if count < len(among):
        bound = np.partition(similar_M[among], len(among) - count)[len(among) - count]
        among = among[similar_M[among] >= bound - SLACK]
    exact = cosines(item, among, unit_MD)
    return among[np.lexsort((among, -exact))][:count]


def cosines(item: int, others: Int64Array, unit_MD: Float32Array) -> Float64Array:
    """Cosine similarity of an item to others, float64 [len(others)], each computed alone."""
    products: Float64Array = (unit_MD[others].astype(np.float64) * unit_MD[item]).sum(axis=1)
    return products.clip(-1, 1)


def further_queries(queries: QueryTable, known: QueryTable, count: int, seed: int) -> QueryTable:
    """Training queries of a file that are not known yet, `count` of them in a seeded order, as they stand in the file.

    Raises:
        DataError: there are not so many.
    """
    free = np.flatnonzero((queries.split == int(Split.TRAIN)) & ~np.isin(queries.query_items, known.query_items))
    if count > len(free):
        raise DataError(f"{count} further training queries, but the file of queries has only {len(free)}")
    return queries_at(queries, np.sort(free[hashed_order(queries.query_items[free], f"query:{seed}:")[:count]]))


def queries_at(queries: QueryTable, places: Int64Array) -> QueryTable:
    """The queries at these positions, in this order."""
    pools = [queries.pool(int(place)) for place in places]
    return QueryTable(
        query_items=queries.query_items[places],
        pool_items=np.concatenate([np.zeros(0, dtype=np.int64), *pools]),
        pool_starts=np.concatenate([[0], np.cumsum([len(pool) for pool in pools])]).astype(np.int64),
        split=queries.split[places],
    )


def joined(tables: Sequence[QueryTable]) -> QueryTable:
    """Distinct queries in a row."""
    return QueryTable(
        query_items=np.concatenate([table.query_items for table in tables]),
        pool_items=np.concatenate([table.pool_items for table in tables]),
        pool_starts=np.concatenate(
            [[0], np.cumsum(np.concatenate([np.diff(table.pool_starts) for table in tables]))]
        ).astype(np.int64),
        split=np.concatenate([table.split for table in tables]),
    )


def load_queries(path: Path, images: Int64Array, answered_M: BoolArray) -> QueryTable:
    """Queries of a file.

    Raises:
        DataError: not such a file, items that do not exist or have no answers, or a candidate on its query's image.
    """
    place = Place(file_label(path))
    queries = read_queries(path)
    owner = np.repeat(queries.query_items, np.diff(queries.pool_starts))
    for name, items in (("query_item", queries.query_items), ("pool", queries.pool_items)):
        wrong = (items < 0) | (items >= len(images))
        if wrong.any():
            raise place.error(f"item {items[wrong.argmax()]} does not exist; there are {len(images)} items", name)
        wrong = ~answered_M[items]
        if wrong.any():
            raise place.error(f"item {items[wrong.argmax()]} has no answers, so it cannot be scored or shown", name)
    shared = images[queries.pool_items] == images[owner]
    if shared.any():
        row = int(shared.argmax())
        raise Place(place.file, int(owner[row])).error(
            f"candidate {queries.pool_items[row]} shows the query's own image {images[owner[row]]}; "
            "candidates are of other images",
            "pool",
        )
    return queries
