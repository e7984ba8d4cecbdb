"""The validation metric against a slow loop, and its independence of everything a trial can sample."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from selector.data.dataset import Dataset, Outcome, Split
from selector.errors import DataError
from selector.model import PointerSelector
from selector.rewards import compute_rewards
from selector.settings import RewardMode, ValidationSettings
from selector.training import Training
from selector.validation import NONE, Evaluator
from tests.selector.worlds import (
    evaluator,
    group,
    make_dataset,
    make_settings,
    replace_columns,
    shake,
    some_model,
    tensors_of,
)

DATASET = make_dataset(queries=40)


@torch.no_grad()
def slow_query(
    model: PointerSelector, dataset: Dataset, query: int
) -> tuple[list[float], list[float], float, list[int]]:
    """Log-probability of every beam, rewards, entropy of one pick and greedy picks of one query, pick by pick."""
    pool = dataset.pool_items[dataset.pool_starts[query] : dataset.pool_starts[query + 1]]
    cand = torch.from_numpy(dataset.embeddings[pool])[None]
    state = torch.from_numpy(dataset.embeddings[dataset.query_items[query]])[None]
    encoding = model.encode(state, cand, torch.ones(1, len(pool), dtype=torch.bool))
    log_probs, entropies = [], []
    for beam in dataset.beam_picks[group(dataset, query)]:
        steps = model.step_log_probs(encoding, torch.from_numpy(beam.copy())[None, None])[0, 0].double()
        log_probs.append(sum(steps[s, pick].item() for s, pick in enumerate(beam)))
        entropies += [-sum(math.exp(x) * x for x in row.tolist() if x > -math.inf) for row in steps]
    outcomes = {name: values[group(dataset, query)] for name, values in dataset.outcomes.items()}
    rewards = [float(h) + float(s) for h, s in zip(outcomes[Outcome.CORRECT], outcomes[Outcome.ACC_SCORE], strict=True)]
    return log_probs, rewards, sum(entropies) / len(entropies), model.unroll(encoding, dataset.picks)[0].tolist()


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(value - max(values)) for value in values]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("tau", [0.25, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_listwise_against_a_slow_loop(tau: float, seed: int) -> None:
    model = some_model(DATASET, seed)
    found = evaluator(DATASET, metric="listwise", tau=tau, batch_size=4)(model)
    losses, rewards, entropies, picks = [], [], [], []
    for query in DATASET.indices(Split.VAL):
        log_probs, reward, entropy, greedy = slow_query(model, DATASET, int(query))
        policy = softmax(log_probs)
        rewards.append(sum(p * r for p, r in zip(policy, reward, strict=True)))
        entropies.append(entropy)
        picks.append(greedy)
        if max(reward) - min(reward) > 1e-6:
            target = softmax([r / tau for r in reward])
            losses.append(-sum(t * math.log(p) for t, p in zip(target, policy, strict=True)))
    assert 0 < len(losses) < len(rewards)
    assert found.loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert found.reward == pytest.approx(np.mean(rewards), rel=1e-5)
    assert found.entropy == pytest.approx(np.mean(entropies), rel=1e-5)
    assert found.picks_QS.tolist() == picks
    assert found.reward_Q.tolist() == pytest.approx(rewards, rel=1e-4, abs=1e-6)


def test_rce_against_a_slow_loop_over_all_groups_at_tau_one() -> None:
    model = some_model(DATASET)
    losses = []
    for query in DATASET.indices(Split.VAL):
        log_probs, reward, _, _ = slow_query(model, DATASET, int(query))
        losses.append(-sum(w * lp for w, lp in zip(softmax(reward), log_probs, strict=True)))
    for tau in (0.25, 9.0):  # tau is the listwise metric's alone
        assert evaluator(DATASET, metric="rce", tau=tau)(model).loss == pytest.approx(np.mean(losses), rel=1e-5)


def test_groups_of_constant_reward_count_in_rce_but_not_in_listwise() -> None:
    model = some_model(DATASET)
    val = DATASET.indices(Split.VAL)
    rewards = compute_rewards(DATASET.outcomes, ValidationSettings().reward)
    constant = [q for q in val if np.ptp(rewards[group(DATASET, q)]) == 0]
    assert 0 < len(constant) < len(val)
    split = DATASET.split.copy()
    split[constant] = Split.TEST
    fewer = replace_columns(DATASET, split=split)
    assert evaluator(fewer)(model).loss == pytest.approx(evaluator(DATASET)(model).loss, rel=1e-6)
    rce = [evaluator(dataset, metric="rce")(model).loss for dataset in (fewer, DATASET)]
    assert abs(rce[0] - rce[1]) > 1e-3
    assert evaluator(fewer)(model).reward > evaluator(DATASET)(model).reward


SAMPLED: list[dict[str, Any]] = [
    {"reward": {"mode": mode.value, "hard_weight": 3.0, "soft_weight": 0.2, "alpha": 2.0}} for mode in RewardMode
] + [
    {"rce": {"tau_start": 7.0, "tau_end": 0.01, "rewards": "group_normalised", "label_smoothing": 0.4}},
    {"rce": {"top1_only": True, "reward": {"mode": "legacy"}, "batch_size": 3}},
    {"grpo": {"kl_beta": 9.0, "kl_estimator": "k3", "clip_epsilon": 0.01, "advantage": "rank", "batch_size": 2}},
    {"grpo": {"ppo_clip_only": True, "top_k": {"enabled": True}, "curriculum": {"epochs": 1}}},
    {"model": {"dropout": 0.9}},
]  # fmt: skip


@pytest.mark.parametrize("metric", ["listwise", "listwise_calibrated", "rce"])
def test_no_setting_of_a_trial_reaches_the_metric_of_a_frozen_model(metric: str) -> None:
    validation = ValidationSettings.model_validate({"metric": metric})
    seen = set()
    for sections in [{}, *SAMPLED]:
        still = {stage: {**sections.get(stage, {}), "lr": 0.0, "epochs": 1} for stage in ("rce", "grpo")}
        for report in Training(make_settings(**{**sections, **still}), DATASET, validation):
            seen.add((report.val_loss, report.val_reward, report.entropy, report.agreement_sequence))
    assert len(seen) == 1


def test_the_metric_prefers_the_better_policy() -> None:
    """A selector that has learnt the validation queries themselves must score better on them."""
    val_as_train = np.where(
        DATASET.split == Split.VAL, Split.TRAIN, np.where(DATASET.split == Split.TRAIN, Split.VAL, 2)
    )
    dataset = replace_columns(DATASET, split=val_as_train.astype(np.int8))
    settings = make_settings(model={"dropout": 0.0}, rce={"epochs": 25, "tau_start": 0.25, "tau_end": 0.25})
    training = Training(settings.replace(grpo=settings.grpo.replace(epochs=0)), dataset)
    measure = evaluator(DATASET)
    before = measure(training.model)
    list(training)
    after = measure(training.model)
    assert after.loss < before.loss - 0.1
    assert after.reward > before.reward + 0.1


def test_agreement_counts_first_picks_and_whole_sequences() -> None:
    result = evaluator(DATASET)(some_model(DATASET))
    other = result.picks_QS.clone()
    assert result.agreement(other) == (1.0, 1.0)
    other[0, 1] += 1
    other[1, 0] += 1
    count = len(other)
    assert result.agreement(other) == (pytest.approx(1 - 1 / count), pytest.approx(1 - 2 / count))


def test_agreement_is_about_as_many_picks_as_are_asked_for() -> None:
    """A policy that changes nothing but a later pick is no no_op where that pick is shown."""
    dataset = make_dataset(seed=3, queries=40, pools=(3, 12))
    before, after = some_model(dataset), shake(some_model(dataset), scale=0.01)
    two, four = (Evaluator(tensors_of(dataset), ValidationSettings(), Split.TRAIN, shots) for shots in (None, 4))
    assert (two.shots, four.shots) == (dataset.picks, 4) == (2, 4)
    old_QS, new_QS = four(before).picks_QS, four(after).picks_QS
    assert torch.equal(old_QS[:, :2], two(before).picks_QS)
    kept_Q = (old_QS == new_QS)[:, :2].all(1)
    later_Q = kept_Q & (old_QS != new_QS).any(1)
    assert later_Q.any(), "some query changes a later pick alone"
    assert two(after).agreement(two(before).picks_QS)[1] == pytest.approx(float(kept_Q.double().mean()))
    assert four(after).agreement(old_QS)[1] == pytest.approx(float((kept_Q & ~later_Q).double().mean()))
    sizes = np.diff(dataset.pool_starts)[four.queries]
    for size, picks in zip(sizes, old_QS.tolist(), strict=True):
        real = [pick for pick in picks if pick != NONE]
        assert len(real) == len(set(real)) == min(size, 4) and real == picks[: len(real)] and max(real) < size
    assert sizes.min() < 4


def test_other_splits() -> None:
    test = Evaluator(tensors_of(DATASET), ValidationSettings(), Split.TEST)
    assert test.queries.tolist() == DATASET.indices(Split.TEST).tolist()
    assert len(test(some_model(DATASET)).picks_QS) == len(test.queries)


@pytest.mark.parametrize("split", [Split.VAL, Split.TEST])
def test_an_empty_split_is_refused(split: Split) -> None:
    dataset = replace_columns(DATASET, split=np.zeros(DATASET.queries, dtype=np.int8))
    name = split.name.lower()
    with pytest.raises(DataError, match=f"the {name} split is empty: raise data.split.{name}"):
        Evaluator(tensors_of(dataset), ValidationSettings(), split)


def test_a_split_without_contrast_is_refused_by_listwise_only() -> None:
    outcomes = {name: np.zeros_like(values) for name, values in DATASET.outcomes.items()}
    dataset = replace_columns(DATASET, outcomes=outcomes)
    with pytest.raises(DataError, match=r"no val group .*hard_plus_soft.* set validation.metric to rce") as caught:
        evaluator(dataset)
    assert "\n" not in str(caught.value)
    assert math.isfinite(evaluator(dataset, metric="rce")(some_model(dataset)).loss)


def test_a_missing_validation_column_is_named() -> None:
    dataset = replace_columns(DATASET, outcomes={Outcome.CORRECT: DATASET.outcomes[Outcome.CORRECT]})
    with pytest.raises(DataError, match="hard_plus_soft needs vqa_acc_score"):
        evaluator(dataset)
