"""The learning curve over training queries, against laws that are known."""

from __future__ import annotations

import numpy as np
import pytest

from sweep.results.importance import Target
from sweep.results.learning_curve import LearningCurve, learning_curve

SIZES = (100, 200, 400, 800)


def curve(
    noise: float, seed: int = 0, drop: float = 2.0, target: Target = Target.VAL_LOSS, sizes: tuple[int, ...] = SIZES
) -> LearningCurve:
    """Three trials of each size with value = 1 + drop * queries ** -0.5 (for answers: minus that)."""
    generator = np.random.default_rng(seed)
    queries = {number: sizes[number // 3] for number in range(3 * len(sizes))}
    sign = 1.0 if target is Target.VAL_LOSS else -1.0
    outcome = {
        number: sign * (1 + drop * size**-0.5 + float(generator.normal(0, noise))) for number, size in queries.items()
    }
    return learning_curve(target, queries, outcome)


@pytest.mark.parametrize("target", list(Target))
def test_a_law_is_found_and_carried_on(target: Target) -> None:
    found = curve(0.001, target=target)
    twice = found.predictions[0]
    truth = 1 + 2.0 * 1600**-0.5
    assert (twice.queries, found.predictions[1].queries) == (1600, 3200)
    assert abs(twice.value.value) == pytest.approx(truth, abs=0.004)
    assert found.is_told and found.gain is not None
    assert found.gain.value == pytest.approx(2.0 * 800**-0.5 - 2.0 * 1600**-0.5, abs=0.004)


def test_intervals_hold_the_truth() -> None:
    gain = 2.0 * 800**-0.5 - 2.0 * 1600**-0.5
    inside = 0
    for seed in range(30):
        found = curve(0.02, seed).gain
        assert found is not None and found.low is not None and found.high is not None
        inside += found.low <= gain <= found.high
    assert inside >= 26


def test_a_flat_curve_is_not_told() -> None:
    told = sum(curve(0.05, seed, drop=0.0).is_told for seed in range(30))
    assert told <= 3


@pytest.mark.parametrize("sizes", [(), (100,), (100, 200)])
def test_fewer_than_three_sizes_say_so(sizes: tuple[int, ...]) -> None:
    found = curve(0.01, sizes=sizes)
    assert found.gain is None and not found.is_told and "sweep train_queries" in found.reason


def test_three_points_fit_any_law() -> None:
    found = learning_curve(Target.VAL_LOSS, {0: 100, 1: 200, 2: 400}, {0: 3.0, 1: 2.0, 2: 1.5})
    assert found.gain is None and [one.trials for one in found.sizes] == [1, 1, 1]
