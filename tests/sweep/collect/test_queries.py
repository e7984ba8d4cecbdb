from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as test_settings
from hypothesis import strategies as st

from selector.data.dataset import Split
from selector.data.embeddings import unit_rows
from selector.data.queries import QueryTable
from selector.errors import DataError
from sweep.collect.queries import build_queries, cosines, load_queries, nearest
from sweep.settings.collect import BuildSettings, PoolBy, PoolSettings
from tests.selector.data.builders import write_queries
from tests.sweep.collect.worlds import embeddings, table


def build(world, seed=0, **values):
    values = {"pool": {"size": 8}, "split": {"val": 0.2, "test": 0.2}} | values
    answered = np.array([len(world.answers(item)) > 0 for item in range(len(world))])
    asked = BuildSettings.model_validate(values)
    return build_queries(asked, world.images, answered, {PoolBy.SIMILARITY: unit_rows(embeddings(world))}, seed)


def as_dict(queries):
    return {int(item): queries.pool(query).tolist() for query, item in enumerate(queries.query_items)}


@given(
    st.integers(12, 60),
    st.integers(6, 60),
    st.sampled_from(["similarity", "random", "mixed"]),
    st.integers(0, 99),
    st.frozensets(st.integers(0, 11), max_size=3),
)
@test_settings(max_examples=60, deadline=None)
def test_no_image_is_shared_where_it_must_not_be(items, images, by, seed, unanswered):
    world = table(items, min(images, items), seed, unanswered=unanswered)
    queries = build(world, seed, pool={"size": 5, "by": by})
    on = world.images
    held_out = on[queries.query_items[queries.split != Split.TRAIN]]
    assert not set(held_out) & set(on[queries.pool_items])
    assert not unanswered & {*queries.query_items.tolist(), *queries.pool_items.tolist()}
    for image in np.unique(on[queries.query_items]):
        assert len(set(queries.split[on[queries.query_items] == image])) == 1
    for query, item in enumerate(queries.query_items):
        pool = queries.pool(query)
        assert on[item] not in on[pool]
        assert len(set(pool.tolist())) == len(pool) <= 5
    assert set(queries.split.tolist()) == {0, 1, 2}


def test_items_without_any_answers():
    with pytest.raises(DataError, match="no item has answers, so none can be scored or shown"):
        build(table(12, unanswered=frozenset(range(12))))


def test_pools_are_as_large_as_there_are_candidates():
    world = table(10)
    queries = build(world, pool={"size": 64}, split={"val": 0.2, "test": 0.2})
    train = (queries.split == Split.TRAIN).sum()
    assert train == 6
    sizes = np.diff(queries.pool_starts)
    assert sizes[queries.split == Split.TRAIN].tolist() == [5] * 6  # the other training items
    assert sizes[queries.split == Split.TEST].tolist() == [6] * 2


def test_nearest_and_random_shares():
    world = table(200)
    unit = unit_rows(embeddings(world)).astype(np.float64)
    cosine = unit @ unit.T

    def nearness(**pool):
        queries = build(world, count=40, pool={"size": 8} | pool)
        held_out = np.isin(world.images, world.images[queries.query_items[queries.split != Split.TRAIN]])
        found = []
        for query, item in enumerate(queries.query_items):
            usable = np.flatnonzero(~held_out & (np.arange(200) != item))
            best = usable[np.argsort(-cosine[item, usable])][:8]
            found.append([int(one) in best[:count] for count in (2, 8) for one in queries.pool(query)])
        return np.array(found).reshape(40, 2, 8).sum(2)

    assert (nearness(by="similarity")[:, 1] == 8).all()
    mixed = nearness(by="mixed", share=0.25)
    assert (mixed[:, 0] == 2).all()
    assert mixed[:, 1].mean() < 4
    assert nearness(by="random")[:, 1].mean() < 2


def test_pool_positions_say_nothing():
    world = table(200)
    queries = build(world, pool={"size": 8, "by": "similarity"})
    unit = unit_rows(embeddings(world))
    items = queries.query_items.tolist()
    places = [int(cosines(item, queries.pool(query), unit).argmax()) for query, item in enumerate(items)]
    assert np.bincount(places, minlength=8).min() > 8  # of 25 expected


def test_more_queries_keep_the_others_and_their_pools_but_for_held_out_items():
    world = table(300)
    few, many = (build(world, count=count, pool={"size": 10, "by": "random"}) for count in (40, 60))
    assert set(few.query_items.tolist()) < set(many.query_items.tolist())
    held_out = set(many.query_items[many.split != Split.TRAIN].tolist())
    before, after = as_dict(few), as_dict(many)
    same = 0
    for item, pool in before.items():
        kept = [one for one in pool if one not in held_out]
        assert [one for one in after[item] if one in kept] == kept
        same += after[item] == pool
    assert same > 10
    other = as_dict(build(world, seed=1, count=40, pool={"size": 10, "by": "random"}))
    assert other.keys() != before.keys()


@given(st.integers(1, 30), st.integers(0, 40), st.integers(0, 99))
@test_settings(max_examples=50, deadline=None)
def test_nearest_is_exact_with_ties_by_item(items, count, seed):
    rng = np.random.default_rng(seed)
    unit = unit_rows(rng.integers(-1, 2, size=(items + 1, 3)).astype(np.float32))  # many equal rows, some zero
    among = np.flatnonzero(rng.random(items + 1) < 0.8)
    exact = cosines(0, among, unit)
    expected = [one for _, one in sorted(zip(-exact, among, strict=True))][:count]
    noisy = unit @ unit[0] + rng.uniform(-1e-6, 1e-6, size=items + 1).astype(np.float32)
    assert nearest(0, among, count, noisy, unit).tolist() == expected


@given(st.integers(0, 9999), st.sampled_from([1, 2, 7, 64]), st.integers(1, 30), st.booleans())
@test_settings(max_examples=30, deadline=None)
def test_a_mixed_pool_is_that_of_brute_force_in_blocks_of_any_size(seed, block, size, whole_numbers):
    """By image, then by question, then at random. Items on one image tie in their image, ties go by item id."""
    rng = np.random.default_rng(seed)
    items, on_image = 90, 2 if seed % 2 else 1
    images, answered = np.arange(items) // on_image, rng.random(items) < 0.9
    made = rng.integers(-1, 2, size=(2, items, 3)) if whole_numbers else rng.normal(size=(2, items, 8))
    made[0] = made[0][images]
    unit = dict(zip((PoolBy.IMAGE, PoolBy.QUESTION), map(unit_rows, made.astype(np.float32)), strict=True))
    shares = {"image": 0.5, "question": 0.2, "random": 0.3}
    asked = BuildSettings.model_validate({"count": 40, "pool": {"size": size, "shares": shares}})
    counts = asked.pool.counts()
    found = build_queries(asked, images, answered, unit, seed, block)
    held_out = np.isin(images, images[found.query_items[found.split != Split.TRAIN]])
    for query, item in enumerate(found.query_items.tolist()):
        left = [one for one in range(items) if answered[one] and not held_out[one] and images[one] != images[item]]
        pool, expected = set(found.pool(query).tolist()), set()
        assert len(pool) == min(size, len(left)) and pool <= set(left)
        for kind, rows in unit.items():
            exact = {one: -float(rows[one].astype(np.float64) @ rows[item].astype(np.float64)) for one in left}
            near = sorted(left, key=lambda one: (round(exact[one], 12), one))[: counts.get(kind, 0)]
            expected |= set(near)
            left = [one for one in left if one not in near]
        assert expected <= pool
    again = build_queries(asked, images, answered, unit, seed)
    assert np.array_equal(found.pool_items, again.pool_items)


@pytest.mark.parametrize(
    ("pool", "counts"),
    [
        ({}, {"similarity": 24}),
        ({"by": "random"}, {}),
        ({"by": "question", "size": 5}, {"question": 5}),
        ({"shares": {"random": 0.25, "image": 0.5, "question": 0.25}}, {"image": 32, "question": 16}),
        ({"size": 5, "shares": {"similarity": 0.3, "image": 0.3, "question": 0.4}}, None),
    ],
)
def test_counts_of_a_pool(pool, counts):
    asked = PoolSettings.model_validate(pool)
    found = {str(kind): count for kind, count in asked.counts().items()}
    assert found == counts if counts is not None else sum(found.values()) == asked.size


@pytest.mark.parametrize(
    ("pool", "reason"),
    [
        ({"shares": {"image": 0.5}}, "add up to 0.5"),
        ({"by": "image", "shares": {"image": 1}}, "shares are for by: mixed"),
        ({"share": 0.5, "shares": {"image": 1}}, "both given"),
    ],
)
def test_shares_that_mean_nothing_are_refused(pool, reason):
    with pytest.raises(ValueError, match=reason):
        PoolSettings.model_validate(pool)


def test_impossible_requests_are_refused():
    with pytest.raises(DataError, match=r"count: 61 queries, but only 60 items"):
        build(table(60), count=61)
    with pytest.raises(DataError, match=r"on 2 images cannot be divided into 3 splits"):
        build(table(60, images=2))


def query_file(folder, pools, items=(0, 1, 2), split=(0, 1, 2)):
    starts = np.cumsum([0, *(len(pool) for pool in pools)]).astype(np.int64)
    flat = np.array([one for pool in pools for one in pool], dtype=np.int64)
    queries = QueryTable(np.array(items, dtype=np.int64), flat, starts, np.array(split, dtype=np.int8))
    write_queries(queries, folder / "queries.parquet")
    return folder / "queries.parquet"


IMAGES = np.array([0, 1, 2, 2, 4, 5])
ANSWERED = np.array([True] * 5 + [False])


def test_queries_of_a_file(tmp_path):
    found = load_queries(query_file(tmp_path, [[1, 2], [4], [4, 0]]), IMAGES, ANSWERED)
    assert as_dict(found) == {0: [1, 2], 1: [4], 2: [4, 0]}


@pytest.mark.parametrize(
    ("pools", "items", "expected"),
    [
        ([[1], [2], [6]], (0, 1, 2), "pool: item 6 does not exist; there are 6 items"),
        ([[1], [2], [-1]], (0, 1, 2), "pool: item -1 does not exist"),
        ([[1], [2], [0]], (0, 1, 9), "query_item: item 9 does not exist"),
        ([[1], [2], [0]], (0, 1, 5), "query_item: item 5 has no answers"),
        ([[1], [5], [0]], (0, 1, 2), "pool: item 5 has no answers"),
        ([[1], [2], [3]], (0, 1, 2), "query 2: pool: candidate 3 shows the query's own image 2"),
        ([[1], [1], [0]], (0, 1, 2), "query 1: pool: candidate 1 shows the query's own image 1"),
    ],
)
def test_unusable_files_are_refused(tmp_path, pools, items, expected):
    with pytest.raises(DataError, match=r"queries\.parquet") as caught:
        load_queries(query_file(tmp_path, pools, items), IMAGES, ANSWERED)
    assert expected in str(caught.value)
