"""Importance against known answers: parameters that do all, nothing, or something only where they apply."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from sweep.results import additive
from sweep.results.association import eta_squared
from sweep.results.equivalents import equivalents
from sweep.results.importance import (
    Effect,
    Importance,
    Measure,
    importance_of_answers,
    importance_of_val_loss,
)
from sweep.space.algorithms import PruningStarts
from sweep.storage.hashes import canonical_hash
from sweep.study import FrozenTrial, TrialState
from tests.sweep.results.studies import draw, space_of, study_of, trial_of

Point = Mapping[str, Any]


def noise(point: Point, size: float) -> float:
    """The same for the same point, and unrelated to any of its parameters."""
    return size * np.random.default_rng(int(canonical_hash(dict(point))[:8], 16)).standard_normal()


def lr_alone(point: Point) -> float:
    return -math.log(point["grpo.lr"])


def best_in_the_middle(point: Point) -> float:
    return (math.log10(point["grpo.lr"]) + 4) ** 2


def mode_alone(point: Point) -> float:
    return {"hard_only": 1.0, "soft_only": 2.0, "separated": 2.5, "hard_plus_soft": 0.0}[point["reward.mode"]]


def kl_where_in_use(point: Point) -> float:
    return math.log10(point["grpo.kl_beta"]) + 1 if "grpo.kl_beta" in point else 0.0


def by_path(found: Importance) -> dict[str, Effect]:
    return {one.path: one for one in found.effects}


@pytest.mark.parametrize(
    ("loss", "path", "count"),
    [
        (lr_alone, "grpo.lr", 20),
        (best_in_the_middle, "grpo.lr", 20),
        (mode_alone, "reward.mode", 20),
        (best_in_the_middle, "grpo.lr", 300),
        (kl_where_in_use, "grpo.kl_beta", 300),
    ],
)
def test_one_parameter_does_all(loss: Callable[[Point], float], path: str, count: int) -> None:
    found = importance_of_val_loss(space_of(), study_of(lambda point: loss(point) + noise(point, 0.05), count, seed=1))
    effect, *others = found.effects
    assert effect.path == path and effect.is_told
    assert effect.importance is not None and effect.importance.value > (0.75 if count < 100 else 0.9)
    for other in others:
        if other.path in space_of().parameters[path].when:
            continue  # whether a conditional parameter is in use is its parent's effect
        assert other.importance is not None and not other.is_told and other.importance.low == 0.0
        assert other.importance.value < (0.15 if count < 100 else 0.01)
        assert "chance" in other.reason


def test_what_explains_next_to_nothing_does_not_matter_however_sure_it_is() -> None:
    def loss(point: Point) -> float:
        return lr_alone(point) + 0.3 * (point["reward.mode"] == "hard_only")

    effect = by_path(importance_of_val_loss(space_of(), study_of(loss, 300, seed=3)))["reward.mode"]
    assert effect.p is not None and effect.p <= 0.05 and not effect.is_told and "less than 0.02" in effect.reason


def test_where_few_trials_cannot_size_what_matters_it_is_said() -> None:
    found = importance_of_val_loss(space_of(), study_of(lambda point: lr_alone(point) + noise(point, 4.0), 20, seed=4))
    effect = by_path(found)["grpo.lr"]
    assert effect.is_told and effect.importance is not None and (effect.importance.low or 0) < 0.02
    assert any("grpo.lr matters is sure" in note for note in found.notes)


def test_values_are_read_on_any_scale() -> None:
    """A logarithm of the loss, or of a parameter, changes no order and so no number."""
    plain = study_of(lambda point: lr_alone(point) + noise(point, 2.0), 40, seed=5)
    stretched = study_of(lambda point: math.exp(lr_alone(point) + noise(point, 2.0)), 40, seed=5)
    assert importance_of_val_loss(space_of(), plain) == importance_of_val_loss(space_of(), stretched)


def test_nothing_is_told_of_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each study says something with 5 %, so that more than 2 of 12 would be a surprise. Intervals play no part."""
    monkeypatch.setattr(additive, "RESAMPLES", 2)
    studies = (study_of(lambda point: noise(point, 1.0), 20, seed=seed) for seed in range(20, 32))
    assert sum(bool(importance_of_val_loss(space_of(), trials).told) for trials in studies) <= 2


def test_a_sampler_that_learns_makes_no_parameter_important() -> None:
    """clip_epsilon follows the learning rate here, as with TPE, so it correlates with the loss and does nothing."""
    generator = np.random.default_rng(2)
    points = draw(space_of(), 60, seed=2)
    for point in points:
        share = (math.log10(float(str(point["grpo.lr"]))) + 6) / 4
        point["grpo.clip_epsilon"] = 0.05 + 0.25 * min(1.0, max(0.0, share + generator.normal(0, 0.15)))
    trials = [trial_of(number, p, [lr_alone(p) + noise(p, 1.5)]) for number, p in enumerate(points)]
    found = by_path(importance_of_val_loss(space_of(), trials))
    beside = found["grpo.clip_epsilon"].association
    assert beside is not None and beside.high is not None and beside.high < -0.5
    assert found["grpo.lr"].is_told and not found["grpo.clip_epsilon"].is_told


def test_pruned_trials_are_not_left_out() -> None:
    """Where a low learning rate is pruned, the complete trials alone know nothing of it."""
    space = space_of(pruning_starts="at_once")
    trials: list[FrozenTrial] = []
    for number, point in enumerate(draw(space, 40, seed=1)):
        level = lr_alone(point) + noise(point, 0.5)
        curve = [level + 4 / epoch for epoch in range(1, 11)]
        bad = float(str(point["grpo.lr"])) < 1e-4
        state = TrialState.PRUNED if bad else TrialState.COMPLETE
        trials.append(trial_of(number, point, curve[:3] if bad else curve, state))
    found = importance_of_val_loss(space, trials)
    assert found.pruned > 10 and found.complete + found.pruned == 40
    assert found.order_kept == pytest.approx(1.0)
    values = equivalents(trials, PruningStarts.AT_ONCE).value
    whole = [lr_alone(one.params) + noise(one.params, 0.5) + 0.4 for one in trials]
    assert np.corrcoef(np.array([values[one.number] for one in trials]), whole)[0, 1] > 0.99
    alone = importance_of_val_loss(space, [one for one in trials if one.state is TrialState.COMPLETE])
    first, before = (by_path(one)["grpo.lr"].importance for one in (found, alone))
    assert first is not None and before is not None and first.value > 0.85
    assert any("pruned" in note for note in found.notes)


def test_a_diverged_trial_is_the_worst_and_a_failed_one_is_left_out() -> None:
    point = draw(space_of(), 1, seed=0)[0]
    trials = [
        trial_of(0, point, [3.0, 2.0]),
        trial_of(1, point, [3.0, 1.0]),
        trial_of(2, point, [0.1, math.nan], TrialState.PRUNED),
        trial_of(3, point, [0.1], TrialState.PRUNED, verdicts=["diverged"]),
        trial_of(4, point, [2.9], TrialState.FAIL),
        trial_of(5, point, [2.9], TrialState.RUNNING),
        trial_of(6, point, [4.0], TrialState.PRUNED),
    ]
    found = equivalents(trials, PruningStarts.AT_ONCE)
    assert found.value[2] == found.value[3] == math.inf
    assert found.value[6] == 3.0  # one behind the last at epoch 1, so one behind the last at the end
    assert (found.complete, found.pruned, found.left_out) == (2, 3, 2)


def test_without_complete_trials_the_longest_are_the_measure() -> None:
    point = draw(space_of(), 1, seed=0)[0]
    trials = [trial_of(n, point, [5.0 - n] * (n + 1), TrialState.PRUNED) for n in range(3)]
    found = equivalents(trials, PruningStarts.AT_ONCE).value
    assert sorted(found, key=lambda number: found[number]) == [2, 1, 0]


@pytest.mark.parametrize("count", [0, 3])
def test_few_trials_say_so(count: int) -> None:
    found = importance_of_val_loss(space_of(), study_of(lr_alone, count))
    assert (
        not found.told
        and "it takes" in found.reason
        and found.notes == (f"Nothing can be said of what decided val_loss: {found.reason}.",)
    )
    assert all(one.importance is None for one in found.effects)


def test_equal_values_say_so() -> None:
    found = importance_of_val_loss(space_of(), study_of(lambda point: 1.0, 30))
    assert "same val_loss" in found.reason and not found.told
    assert all(one.association is None for one in found.effects)


def test_a_constant_parameter_says_so() -> None:
    trials = study_of(lr_alone, 30)
    for trial in trials:
        trial._params["grpo.clip_epsilon"] = 0.2
    effect = by_path(importance_of_val_loss(space_of(), trials))["grpo.clip_epsilon"]
    assert effect.importance is None and "one value" in effect.reason and effect.association is None


def test_repeats_count_once() -> None:
    once = study_of(lambda point: lr_alone(point) + noise(point, 3.0), 30)
    twice = [trial_of(n, trial.params, [trial.value or 0.0]) for n, trial in enumerate([*once, *once])]
    first, second = (importance_of_val_loss(space_of(), trials) for trials in (once, twice))
    assert first.effects == second.effects and second.configurations == 30


def test_associations() -> None:
    found = by_path(importance_of_val_loss(space_of(), study_of(lr_alone, 30)))
    lr = found["grpo.lr"].association
    assert found["grpo.lr"].measure is Measure.RANK_CORRELATION and lr is not None
    assert (lr.value, found["reward.mode"].measure) == (-1.0, Measure.ETA_SQUARED)
    apart = eta_squared(np.array([0.0, 0, 0, 1, 1, 1]), np.array([1.0, 2, 3, 4, 5, 6]))
    assert apart == pytest.approx((27 / 7 - 2 + 1) / 4)  # H of Kruskal & Wallis is 27/7 here, by hand
    assert eta_squared(np.array([0.0, 1, 0, 1]), np.array([1.0, 1, 2, 2])) == 0.0


def test_answers_without_enough_rows_say_so() -> None:
    found = importance_of_answers(space_of(), study_of(lr_alone, 30), None)
    assert "with answers" in found.reason and found.configurations == 0
