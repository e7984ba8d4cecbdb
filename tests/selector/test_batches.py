"""Padding, and noise that belongs to queries rather than to batches."""

from __future__ import annotations

import numpy as np
import torch

from selector.batches import EpochNoise
from tests.selector.worlds import group, make_dataset, tensors_of

DATASET = make_dataset(picks=3)


def test_batches_hold_the_ragged_rows_and_point_at_real_candidates_elsewhere() -> None:
    data = tensors_of(DATASET)
    queries = np.array([7, 2, 19, 2])
    batch = data.batch(queries)
    for b, query in enumerate(queries):
        pool = DATASET.pool_items[DATASET.pool_starts[query] : DATASET.pool_starts[query + 1]]
        beams = DATASET.beam_picks[group(DATASET, query)]
        assert batch.cand_mask_BK[b].sum() == len(pool)
        assert np.array_equal(batch.cand_BKD[b, batch.cand_mask_BK[b]].numpy(), DATASET.embeddings[pool])
        assert np.array_equal(batch.beams_BNS[b, batch.beam_mask_BN[b]].numpy(), beams)
        assert np.array_equal(batch.query_BD[b].numpy(), DATASET.embeddings[DATASET.query_items[query]])
        rows = np.arange(len(DATASET.beam_picks))[group(DATASET, query)]
        assert np.array_equal(batch.beam_index_BN[b, batch.beam_mask_BN[b]].numpy(), rows)
        assert (batch.beams_BNS[b, ~batch.beam_mask_BN[b]] == torch.arange(3)).all()
    assert batch.cand_BKD.isfinite().all()
    assert not np.shares_memory(batch.cand_BKD.numpy(), DATASET.embeddings)


def test_in_order_covers_every_query_once() -> None:
    queries = np.random.default_rng(0).permutation(DATASET.queries)
    for size in (1, 4, 25, 99):
        batches = list(tensors_of(DATASET).in_order(queries, size))
        assert torch.cat([batch.queries_B for batch in batches]).tolist() == queries.tolist()
        assert all(len(batch.queries_B) == size for batch in batches[:-1])


def test_masks_belong_to_queries() -> None:
    queries = np.array([3, 8, 14, 20])
    noise = EpochNoise(queries, 2, 400, 0.25, 0, "grpo", 1)
    data = tensors_of(DATASET)
    together = noise.masks(data.batch(noise.order))
    assert together is not None
    assert together.shape == (4, 2, 400)
    assert set(together.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert abs(together.mean().item() - 1) < 0.1
    for row, query in enumerate(noise.order):
        alone = noise.masks(data.batch(np.array([query])))
        assert alone is not None
        assert torch.equal(alone[0], together[row])
    assert not torch.equal(together[0], together[1])
    assert sorted(noise.order) == queries.tolist()
    assert EpochNoise(queries, 2, 8, 0.0, "x").masks(data.batch(queries)) is None


def test_noise_is_determined_by_its_labels() -> None:
    queries = np.arange(20)
    orders = [
        EpochNoise(queries, 1, 4, 0.5, *labels).order.tolist() for labels in [(1, "a", 2), (1, "a", 2), (1, "a", 3)]
    ]
    assert orders[0] == orders[1] != orders[2]
