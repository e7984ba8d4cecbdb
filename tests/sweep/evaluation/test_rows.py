"""Questions that stay the same, and selections that are what their rows say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.data import Split
from selector.errors import DataError
from sweep.evaluation.questions import NONE, choose_questions
from sweep.evaluation.rows import (
    RowKind,
    Selections,
    build_panel,
    select_nothing,
    select_randomly,
    select_similar,
    select_with,
)
from sweep.settings.evaluation import EvaluationSettings, SplitName
from tests.sweep.evaluation.worlds import dataset, held_out, selector, trial

SHOTS = 4


def shown(selections: Selections, shots: int, draw: int = 0) -> list[tuple[int, ...]]:
    return [selections.demonstrations(draw, place, shots) for place in range(selections.picks_DQS.shape[1])]


# Questions ----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 30), st.integers(0, 3))
@settings(max_examples=20, deadline=None)
def test_fewer_questions_are_the_first_of_more(samples: int, seed: int) -> None:
    few = choose_questions(dataset(), SplitName.TRAIN, samples, seed)
    many = choose_questions(dataset(), SplitName.TRAIN, None, seed)
    assert np.array_equal(few.items_Q, many.items_Q[:samples])
    assert set(many.queries_Q) == set(dataset().indices(Split.TRAIN))


def test_another_seed_asks_in_another_order() -> None:
    first, second = (choose_questions(dataset(), SplitName.TRAIN, None, seed) for seed in (0, 1))
    assert not np.array_equal(first.items_Q, second.items_Q)


def test_the_order_does_not_depend_on_other_questions() -> None:
    """Moving half of the test questions elsewhere leaves the others in their order."""
    split = dataset().split.copy()
    split[dataset().indices(Split.TEST)[::2]] = Split.VAL
    fewer = choose_questions(replace(dataset(), split=split), SplitName.TEST, None, 0).items_Q
    assert 0 < len(fewer) < len(held_out())
    assert np.array_equal(fewer, [item for item in held_out().items_Q if item in set(fewer)])


def test_pools_are_the_data_sets() -> None:
    questions = held_out()
    assert questions.excluded == 0 and questions.split is SplitName.TEST
    for place, query in enumerate(questions.queries_Q):
        pool = dataset().pool_items[dataset().pool_starts[query] : dataset().pool_starts[query + 1]]
        assert np.array_equal(questions.pools_QK[place, : len(pool)], pool)
        assert (questions.pools_QK[place, len(pool) :] == NONE).all()
        assert questions.sizes_Q[place] == len(pool)
    assert len(set(questions.clusters_Q)) == len(questions)


def test_candidates_that_share_the_questions_image_are_left_out_and_counted() -> None:
    plain = held_out()
    images: list[str | None] = [f"image {item}" for item in range(len(dataset().embeddings))]
    first, second = plain.items_Q[:2]
    twins = plain.pools_QK[0, [1, 3]]
    for item in (second, *twins):
        images[item] = images[first]
    images[plain.items_Q[2]] = images[plain.items_Q[3]] = None
    questions = choose_questions(dataset(), SplitName.TEST, None, 0, images)
    assert questions.sizes_Q[0] == plain.sizes_Q[0] - 2
    assert not set(twins) & set(questions.pools_QK[0])
    also = int(np.isin(plain.pools_QK[1], twins).sum())
    assert questions.excluded == 2 + also
    assert questions.clusters_Q[0] == questions.clusters_Q[1]
    assert questions.clusters_Q[2] != questions.clusters_Q[3], "items without an image share none"
    for selections in (
        select_randomly(questions, SHOTS, 2, 0),
        select_similar(questions, dataset(), SHOTS),
        select_with(trial(0), selector(0), questions, dataset(), SHOTS),
    ):
        assert not set(twins) & set(selections.picks_DQS[:, 0].ravel())


def test_what_cannot_be_asked_is_said() -> None:
    nothing = replace(dataset(), split=np.zeros_like(dataset().split))
    with pytest.raises(DataError, match="the test split has no queries"):
        choose_questions(nothing, SplitName.TEST, None, 0)
    with pytest.raises(DataError, match="images are known for 2 items"):
        choose_questions(dataset(), SplitName.TEST, None, 0, ["a", "b"])


# Selections ---------------------------------------------------------------------------------------------------------


def test_a_selector_shows_the_first_picks_of_one_unroll() -> None:
    questions, model = held_out(), selector(1)
    selections = select_with(trial(1), model, questions, dataset(), SHOTS)
    for shots in range(1, SHOTS):
        longer = shown(selections, shots + 1)
        assert all(prompt == more[:-1] for prompt, more in zip(shown(selections, shots), longer, strict=True))
    for place in (0, 5):
        pool = questions.pools_QK[place, : questions.sizes_Q[place]]
        picks = model.select(
            torch.from_numpy(dataset().embeddings[questions.items_Q[place]]),
            torch.from_numpy(dataset().embeddings[pool]),
            SHOTS,
        )
        assert shown(selections, SHOTS)[place] == tuple(pool[picks.numpy()])


def test_similarity_shows_the_nearest_last() -> None:
    questions = held_out()
    selections = select_similar(questions, dataset(), SHOTS)
    unit = dataset().embeddings / np.linalg.norm(dataset().embeddings, axis=1, keepdims=True)
    for place, prompt in enumerate(shown(selections, SHOTS)):
        pool = questions.pools_QK[place, : questions.sizes_Q[place]]
        cosine = unit[pool] @ unit[questions.items_Q[place]]
        assert list(prompt) == pool[np.argsort(cosine)[-SHOTS:]].tolist(), "ascending: nearest next to the question"
    for shots in range(1, SHOTS):
        longer = shown(selections, shots + 1)
        assert all(prompt == more[1:] for prompt, more in zip(shown(selections, shots), longer, strict=True))


def test_random_draws_are_uniform_distinct_and_a_questions_own() -> None:
    questions = held_out()
    selections = select_randomly(questions, SHOTS, 3, 0)
    assert selections.picks_DQS.shape == (3, len(questions), SHOTS)
    for draw in range(3):
        for place, prompt in enumerate(shown(selections, SHOTS, draw)):
            assert len(set(prompt)) == SHOTS and set(prompt) <= set(questions.pools_QK[place])
    assert not np.array_equal(selections.picks_DQS[0], selections.picks_DQS[1])
    fewer = choose_questions(dataset(), SplitName.TEST, 5, 0)
    assert np.array_equal(select_randomly(fewer, SHOTS, 3, 0).picks_DQS, selections.picks_DQS[:, :5])
    assert np.array_equal(select_randomly(questions, SHOTS, 2, 0).picks_DQS, selections.picks_DQS[:2])
    assert not np.array_equal(select_randomly(questions, SHOTS, 3, 1).picks_DQS, selections.picks_DQS)
    many = select_randomly(fewer, 1, 2000, 0).picks_DQS[:, 0, 0]
    counts = np.array([(many == item).sum() for item in fewer.pools_QK[0, : fewer.sizes_Q[0]]])
    expected = 2000 / fewer.sizes_Q[0]
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)


def test_a_pool_that_is_too_small_is_shown_whole() -> None:
    pools_QK = held_out().pools_QK.copy()
    for place, size in enumerate((0, 1, 3)):
        pools_QK[place, size:] = NONE
    questions = replace(held_out(), pools_QK=pools_QK)
    for selections in (
        select_randomly(questions, SHOTS, 1, 0),
        select_similar(questions, dataset(), SHOTS),
        select_with(trial(0), selector(0), questions, dataset(), SHOTS),
    ):
        prompts = shown(selections, SHOTS)
        assert [len(prompt) for prompt in prompts[:4]] == [0, 1, 3, 4]
        for place, size in enumerate((0, 1, 3)):
            assert set(prompts[place]) == set(pools_QK[place, :size])
        assert [len(prompt) for prompt in shown(selections, 2)[:4]] == [0, 1, 2, 2]


def test_a_panel_has_the_references_first() -> None:
    policies = [(trial(number), selector(number)) for number in (3, 1)]
    panel = build_panel(dataset(), held_out(), iter(policies), EvaluationSettings(shots=2, random_draws=2))
    names = [selections.row.name for selections in panel.selections]
    assert names == ["no demonstrations", "random", "similarity", "trial 3", "trial 1"]
    assert panel.selections[1].picks_DQS.shape[0] == 2
    assert set(shown(panel.selections[0], 2)) == {()}
    without = build_panel(dataset(), held_out(), [], EvaluationSettings(no_demonstrations=False))
    assert [selections.row.kind for selections in without.selections] == [RowKind.RANDOM, RowKind.SIMILARITY]


def test_fingerprints_tell_what_is_shown() -> None:
    questions = held_out()
    one, same = (select_with(trial(number), selector(1), questions, dataset(), SHOTS) for number in (1, 2))
    assert one.fingerprint() == same.fingerprint()
    assert one.fingerprint() != replace(one, nearest_last=True).fingerprint()
    assert one.fingerprint() != select_nothing(questions, SHOTS).fingerprint()
    assert one.fingerprint() != select_with(trial(3), selector(3), questions, dataset(), SHOTS).fingerprint()
