from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.vlm.engine.engine import Engine
from sweep.vlm.engine.tower import vision_features
from sweep.vlm.engine.vision import ENTRY_BYTES, FeatureCache
from sweep.vlm.work import WorkItem
from tests.sweep.vlm.conftest import Make
from tests.sweep.vlm.engine.test_prefill import assert_close
from tests.sweep.vlm.models import MemoryTable
from tests.sweep.vlm.plain import Plain


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7)), min_size=1, max_size=5), st.integers(0, 1000))
@torch.inference_mode()
def test_grouped_windows_are_transformers_windows_alone_or_batched(
    engine: Engine, plain: Plain, sizes: list[tuple[int, int]], seed: int
) -> None:
    torch.manual_seed(seed)
    grid = torch.tensor([(1, 2 * rows, 2 * columns) for rows, columns in sizes])
    counts = grid.prod(-1).tolist()
    patches = torch.randn(sum(counts), 1176)
    batched = vision_features(engine.loaded, patches, grid)
    for at, (part, one) in enumerate(zip(patches.split(counts), grid, strict=True)):
        (alone,) = vision_features(engine.loaded, part, one[None])
        (expected,) = plain.model.model.get_image_features(part, one[None]).pooler_output
        assert_close(alone, expected)
        assert_close(batched[at], expected)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 400)), max_size=60), st.integers(0, 8000))
def test_cache_keeps_the_latest_within_its_bound(uses: list[tuple[int, int]], bound: int) -> None:
    cache, order = FeatureCache(bound), dict[str, int]()
    for number, size in uses:
        key = f"{number} {size}"
        found = cache.get(key)
        assert (found is not None) == (key in order)
        if found is None:
            cache.put(key, torch.zeros(size), (1, size))
        if ENTRY_BYTES + 4 * size <= bound:
            order.pop(key, None)
            order[key] = ENTRY_BYTES + 4 * size
        while sum(order.values()) > bound:
            del order[next(iter(order))]
        assert cache.bytes == sum(order.values()) <= bound
        assert all(one in cache for one in order)
        assert cache.grid(key) == ((1, size) if key in order else None)


def test_evicted_features_are_computed_again(make: Make, table: MemoryTable) -> None:
    items = [WorkItem(query, (query + 1,)) for query in range(5)]
    expected = Engine(make(), "cpu").answer(table, items)
    engine = Engine(make(batching={"vision_cache_gb": 1e-5, "prefill_tokens": 1}), "cpu")
    assert [engine.answer(table, items), engine.answer(table, items)] == [expected, expected]
    statistics = engine.statistics
    assert statistics.vision_evictions > 0
    assert statistics.vision_misses > 6
    assert statistics.images_decoded > 6


@torch.inference_mode()
def test_cached_features_hold_no_more_than_their_own_memory(make: Make, table: MemoryTable) -> None:
    engine = Engine(make(), "cpu")
    engine.answer(table, [WorkItem(0, (1, 2, 3))])
    for key in list(engine._cache._entries):
        features = engine._cache.get(key)
        assert features is not None
        assert features.untyped_storage().nbytes() == features.nbytes


def test_pixels_are_dropped_when_they_are_used(make: Make, table: MemoryTable) -> None:
    engine = Engine(make(), "cpu")
    engine.answer(table, [WorkItem(0, (1, 2, 3))])
    assert not engine._store._pixels
    assert not engine._store._sources
    assert not engine._vision._grids


def test_a_cache_that_keeps_nothing_costs_no_memory_per_image(make: Make, table: MemoryTable) -> None:
    engine = Engine(make(batching={"vision_cache_gb": 0}), "cpu")
    engine.answer(table, [WorkItem(query) for query in range(len(table))])
    assert engine._cache.bytes == 0 and not engine._cache._entries
    assert not engine._vision._grids


@pytest.mark.parametrize("threads", [1, 4])
def test_images_of_items_with_the_same_picture_are_decoded_once(make: Make, table: MemoryTable, threads: int) -> None:
    engine = Engine(make(batching={"image_threads": threads}), "cpu")
    engine.answer(table, [WorkItem(0, (11, 1)), WorkItem(11), WorkItem(2, (0,))])
    assert engine.statistics.images_decoded == 3
    assert np.isclose(engine.statistics.vision_misses, 3)
