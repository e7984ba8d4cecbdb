"""The order of measured beams: against slow loops, and moved by nothing but the order of scores."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.data.dataset import Outcome, Split
from selector.order import (
    measure_order,
    order_agreement,
    pick_ranks,
    places,
    preferred_reward,
)
from selector.settings import ValidationSettings
from tests.selector.worlds import group, make_dataset, some_model, tensors_of

DATASET = make_dataset(queries=40)
VALIDATION = ValidationSettings()
Groups = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 2), st.sampled_from([0.0, 0.3, 1.0, 1.9])), min_size=1, max_size=9
)
INCREASING: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "colder": lambda x: x / 0.01,
    "warmer": lambda x: x / 1e3,
    "shifted": lambda x: 3 * x - 7,
    "exp": torch.exp,
    "cube": lambda x: x**3,
    "log": lambda x: torch.log(x + 2),
}


@settings(deadline=None)
@given(made=Groups)
def test_against_slow_loops(made: list[tuple[int, int, float]]) -> None:
    ranks, rewards = [one[:2] for one in made], [one[2] for one in made]
    place_N, reward_N = places(np.array(ranks)), np.array(rewards, dtype=np.float32)
    first = [reward for rank, reward in zip(ranks, rewards, strict=True) if rank == min(ranks)]
    assert preferred_reward(place_N, reward_N) == pytest.approx(sum(first) / len(first), abs=1e-6)
    pairs = [
        1.0 if ranks[a] < ranks[b] else 0.5 if ranks[a] == ranks[b] else 0.0
        for a, b in itertools.permutations(range(len(made)), 2)
        if rewards[a] > rewards[b]
    ]
    found = order_agreement(place_N, reward_N)
    assert math.isnan(found) if not pairs else found == pytest.approx(sum(pairs) / len(pairs))


@pytest.mark.parametrize("change", INCREASING.values(), ids=INCREASING)
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_increasing_change_of_scores_moves_a_rank(change: Callable[[torch.Tensor], torch.Tensor], seed: int) -> None:
    """Not even one that differs from step to step, and equal scores stay equal."""
    draw = torch.Generator().manual_seed(seed)
    beams = torch.stack([torch.randperm(6, generator=draw)[:2] for _ in range(4)])[None]
    scores = torch.randint(-8, 9, (1, 4, 2, 6), generator=draw).double() / 8
    scores[:, :, 1] = scores[:, :, 1].scatter(2, beams[:, :, :1], -torch.inf)
    finite = scores.isfinite()
    changed = torch.where(finite, change(scores.masked_fill(~finite, 0.0)), scores)
    changed[:, :, 0] = torch.where(finite[:, :, 0], 5 * changed[:, :, 0], changed[:, :, 0])
    assert torch.equal(pick_ranks(changed, beams), pick_ranks(scores, beams))


def test_a_policy_prefers_its_greedy_selection_to_every_other_beam() -> None:
    """Small pools, so that groups hold what `select` gives."""
    dataset = make_dataset(queries=40, pools=(3, 3), groups=(4, 6))
    model = some_model(dataset)
    found = measure_order(model, tensors_of(dataset), VALIDATION, Split.TRAIN)
    rewards = dataset.outcomes[Outcome.CORRECT] + dataset.outcomes[Outcome.ACC_SCORE]
    embeddings = torch.from_numpy(dataset.embeddings)
    checked = 0
    for place, query in enumerate(dataset.indices(Split.TRAIN)):
        pool = dataset.pool_items[dataset.pool_starts[query] : dataset.pool_starts[query + 1]]
        picks = model.select(embeddings[dataset.query_items[query]], embeddings[torch.from_numpy(pool)], dataset.picks)
        own = group(dataset, int(query))
        same = (dataset.beam_picks[own] == picks.numpy()).all(axis=1)
        if same.any():
            assert found.preferred_Q[place] == pytest.approx(rewards[own][same].mean())
            checked += 1
    assert checked > 5


def test_without_a_policy_all_beams_are_equal() -> None:
    found = measure_order(None, tensors_of(DATASET), VALIDATION, Split.TRAIN)
    rewards = DATASET.outcomes[Outcome.CORRECT] + DATASET.outcomes[Outcome.ACC_SCORE]
    queries = DATASET.indices(Split.TRAIN)
    assert found.preferred_Q == pytest.approx([rewards[group(DATASET, int(query))].mean() for query in queries])
    assert set(found.agreement_Q[~np.isnan(found.agreement_Q)]) == {0.5}
    informative = [np.ptp(rewards[group(DATASET, int(query))]) > 1e-6 for query in queries]
    assert np.array_equal(np.isnan(found.agreement_Q), ~np.array(informative)) and not all(informative)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_batches_and_padding_change_nothing(batch_size: int) -> None:
    model = some_model(DATASET)
    whole = measure_order(model, tensors_of(DATASET), VALIDATION)
    parts = measure_order(model, tensors_of(DATASET), VALIDATION.replace(batch_size=batch_size))
    assert np.array_equal(whole.preferred_Q, parts.preferred_Q)
    assert np.array_equal(whole.agreement_Q, parts.agreement_Q, equal_nan=True)
