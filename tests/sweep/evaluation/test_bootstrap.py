"""Intervals that cover, guard against false certainty, and depend on nothing but their own column."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from sweep.evaluation.bootstrap import ACCURACIES, DIFFERENCES, Bootstrap, Ends
from sweep.evaluation.statistics import best_set, differences, means, with_mean

LEVEL = np.array([0.05])


def interval(values: np.ndarray, ends: Ends = ACCURACIES, resamples: int = 2000, seed: int = 0) -> tuple[float, float]:
    found = Bootstrap(np.arange(len(values)), resamples, seed).replicate(values[:, None], ends)
    low, high = found.interval(LEVEL)
    return float(low[0]), float(high[0])


@pytest.mark.parametrize(("right", "wrong"), [(1, 0), (0, 1), (100, 0), (0, 100), (37, 63), (400, 400)])
def test_of_right_and_wrong_answers_it_is_the_beta_posterior(right: int, wrong: int) -> None:
    low, high = interval(np.repeat([1.0, 0.0], [right, wrong]), resamples=40_000)
    expected = stats.beta.ppf([0.025, 0.975], 1 + right, 1 + wrong)
    width = expected[1] - expected[0]
    assert low == pytest.approx(expected[0], abs=0.03 * width)
    # The interval always holds the mean: at 100 of 100 the posterior ends below 1.
    assert high == pytest.approx(max(expected[1], right / (right + wrong)), abs=0.03 * width)


def test_certainty_is_never_claimed() -> None:
    assert interval(np.ones(1))[0] < 0.3
    low, high = interval(np.ones(100))
    clopper_pearson = stats.beta.ppf(0.025, 100, 1)
    assert high == 1 and low == pytest.approx(clopper_pearson, abs=0.004)
    low, high = interval(np.full(50, 0.3))
    assert low < 0.295 < 0.305 < high, "no variance, but only 50 questions"
    for count in (1, 10, 800):
        low, high = interval(np.zeros(count), DIFFERENCES)
        assert low < 0 < high
        assert min(-low, high) > 1.3 / (count + 1), "about the rule of three"


@pytest.mark.parametrize(
    ("name", "values", "shares", "ends"),
    [
        ("vqa", [0, 0.3, 0.6, 0.9, 1], [0.35, 0.05, 0.1, 0.1, 0.4], ACCURACIES),
        ("rare", [0, 1], [0.95, 0.05], ACCURACIES),
        ("almost all", [0, 1], [0.05, 0.95], ACCURACIES),
        ("narrow", [0.5, 0.6, 0.7], [0.3, 0.4, 0.3], ACCURACIES),
        ("paired", [-1, 0, 0.3, 1], [0.05, 0.8, 0.1, 0.05], DIFFERENCES),
        ("seldom different", [-0.25, 0, 0.5], [0.05, 0.9, 0.05], DIFFERENCES),
    ],
)
@pytest.mark.parametrize("count", [12, 100])
def test_intervals_cover(name: str, values: list[float], shares: list[float], ends: Ends, count: int) -> None:
    generator = np.random.default_rng(7)
    trials = 1500
    drawn_QP = generator.choice(values, size=(count, trials), p=shares)
    # One bootstrap for all columns: the weights are shared, the samples independent.
    found = Bootstrap(np.arange(count), 1500, 1).replicate(drawn_QP, ends)
    low, high = found.interval(np.full(trials, 0.05))
    truth = float(np.dot(values, shares))
    covered = np.mean((low <= truth) & (truth <= high))
    small_swing = 0.06 if count == 12 and ends is ACCURACIES and len(values) == 2 else 0.025
    assert covered >= 0.95 - small_swing, f"{name}: {covered}"
    if count == 100 and name in ("vqa", "paired"):
        assert covered <= 0.975, "and no wider than need be"


def test_intervals_of_a_dozen_questions_cover_on_average_over_all_rates() -> None:
    generator = np.random.default_rng(1)
    rates = generator.random(3000)
    drawn_QP = (generator.random((12, 3000)) < rates).astype(float)
    low, high = Bootstrap(np.arange(12), 4000, 0).replicate(drawn_QP, ACCURACIES).interval(np.full(3000, 0.05))
    assert np.mean((low <= rates) & (rates <= high)) == pytest.approx(0.95, abs=0.012)


def test_questions_about_one_image_are_one_unit() -> None:
    """Copying every question five times within its image must not make the interval narrower."""
    generator = np.random.default_rng(0)
    values = (generator.random(60) < 0.6).astype(float)
    single = interval(values, resamples=20_000)
    copies_QP = np.repeat(values, 5)[:, None]
    clustered = Bootstrap(np.repeat(np.arange(60), 5), 20_000, 3).replicate(copies_QP, ACCURACIES).interval(LEVEL)
    assert clustered[0][0] == pytest.approx(single[0], abs=0.01)
    assert clustered[1][0] == pytest.approx(single[1], abs=0.01)
    naive = interval(copies_QP[:, 0])
    assert naive[1] - naive[0] < 0.6 * (single[1] - single[0])


@given(
    hnp.arrays(np.float64, (9, 3), elements=st.sampled_from([0.0, 0.3, 0.6, 1.0, np.nan])),
    st.lists(st.integers(0, 4), min_size=9, max_size=9),
)
@settings(max_examples=40, deadline=None)
def test_a_column_does_not_depend_on_the_others(values_QP: np.ndarray, clusters: list[int]) -> None:
    bootstrap = Bootstrap(np.array(clusters), 50, 0)
    together = bootstrap.replicate(values_QP, ACCURACIES)
    for column in range(3):
        alone = bootstrap.replicate(values_QP[:, [column]], ACCURACIES)
        assert np.allclose(alone.draws_PB[0], together.draws_PB[column], equal_nan=True, rtol=0, atol=1e-12)
        seen = values_QP[~np.isnan(values_QP[:, column]), column]
        assert together.questions_P[column] == len(seen)
        if len(seen):
            assert together.value_P[column] == pytest.approx(seen.mean())
            assert (together.draws_PB[column] >= 0).all() and (together.draws_PB[column] <= 1).all()
        else:
            assert np.isnan(together.draws_PB[column]).all() and np.isnan(together.value_P[column])


def test_questions_not_seen_are_as_if_they_did_not_exist() -> None:
    generator = np.random.default_rng(2)
    values = generator.random(40)
    padded = np.concatenate([values, np.full(400, np.nan)])
    alone, among = interval(values, resamples=20_000), interval(padded, resamples=20_000)
    assert among == pytest.approx(alone, abs=0.004)


def test_the_seed_determines_it() -> None:
    values = np.random.default_rng(0).random(30)
    assert interval(values) == interval(values)
    assert interval(values) != interval(values, seed=1)


def test_memory_is_bounded_and_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values_QP = np.random.default_rng(0).random((50, 4))
    whole = Bootstrap(np.arange(50), 333, 0).replicate(values_QP, ACCURACIES)
    monkeypatch.setattr("sweep.evaluation.bootstrap.CHUNK", 500)
    parts = Bootstrap(np.arange(50), 333, 0).replicate(values_QP, ACCURACIES)
    assert np.allclose(whole.draws_PB, parts.draws_PB, rtol=0, atol=1e-12)


def test_p_values_are_the_level_at_which_the_interval_reaches_zero() -> None:
    generator = np.random.default_rng(4)
    values_QP = generator.normal(generator.normal(0, 0.05, 40), 0.3, size=(80, 40)).clip(-1, 1)
    found = Bootstrap(np.arange(80), 4000, 0).replicate(values_QP, DIFFERENCES)
    p = found.p_values()
    assert (p >= 2 / 4001).all() and (p <= 1).all()
    for level in (0.01, 0.05, 0.3):
        low, high = found.interval(np.full(40, level))
        excluded = (low > 0) | (high < 0)
        clear = np.abs(p - level) > 0.003
        assert np.array_equal(excluded[clear], (p < level)[clear])


def test_under_no_difference_p_is_below_a_level_as_often_as_it_says() -> None:
    generator = np.random.default_rng(9)
    values_QP = generator.choice([-1.0, 0.0, 1.0], size=(100, 3000), p=[0.15, 0.7, 0.15])
    p = Bootstrap(np.arange(100), 2000, 0).replicate(values_QP, DIFFERENCES).p_values()
    for level in (0.01, 0.05, 0.2):
        share = np.mean(p <= level)
        assert share <= level + 2.6 * np.sqrt(level * (1 - level) / 3000) + 0.002
    assert np.mean(p <= 0.2) > 0.15, "and not far less"


def test_twenty_rows_take_seconds() -> None:
    """About a second on an idle core; the limit leaves room for busy ones."""
    accuracy_RQM = with_mean((np.random.default_rng(0).random((20, 800, 4)) < 0.55).astype(float))
    begun = time.process_time()
    bootstrap = Bootstrap(np.arange(800), 10_000, 0)
    means(bootstrap, accuracy_RQM, np.ones(20))
    differences(bootstrap, accuracy_RQM, [(row, 0) for row in range(1, 20)], np.ones(20))
    differences(bootstrap, accuracy_RQM[:, :, 4:], [(row, row - 1) for row in range(1, 20)], np.ones(20))
    best_set(bootstrap, accuracy_RQM[:, :, 4])
    assert time.process_time() - begun < 10


@given(values=hnp.arrays(np.float64, st.integers(2, 30), elements=st.floats(-1, 1)))
@settings(deadline=None)
def test_errors_of_single_questions_are_those_of_the_textbook(values: np.ndarray) -> None:
    found = Bootstrap(np.arange(len(values)), 1, 0).errors(np.column_stack([values, 2 * values, values + 1]))
    assert found == pytest.approx(np.array([1, 2, 1]) * values.std(ddof=1) / len(values) ** 0.5, abs=1e-9)


def test_errors_by_clusters() -> None:
    draw = np.random.default_rng(3)
    values = draw.normal(size=40)
    copies = np.repeat(values, 5)
    single, thrown = Bootstrap(np.arange(40), 1, 0), Bootstrap(np.repeat(np.arange(40), 5), 1, 0)
    assert thrown.errors(copies[:, None]) == pytest.approx(single.errors(values[:, None])), "five copies say no more"
    gaps = np.where(np.arange(40) < 30, values, np.nan)
    assert single.errors(gaps[:, None]) == pytest.approx(values[:30].std(ddof=1) / 30**0.5), "those not seen count not"
    clusters = np.sort(draw.integers(150, size=600))
    unequal = draw.choice([-0.8, 0.8], size=150)[clusters] + draw.uniform(-0.2, 0.2, size=600)
    boot = Bootstrap(clusters, 10_000, 0)
    spread = boot.replicate(unequal[:, None], DIFFERENCES).draws_PB.std()
    assert boot.errors(unequal[:, None])[0] == pytest.approx(spread, rel=0.1)
    assert np.isnan(Bootstrap(np.zeros(9, dtype=np.int64), 1, 0).errors(np.ones((9, 1)))).all(), "one cluster"


def test_the_joint_interval_holds_for_all_rows_together() -> None:
    """Of eight rows that are equal in truth, the best one looks better than it is: only the joint interval knows."""
    draw, alone, joint, worlds = np.random.default_rng(0), 0, 0, 80
    for seed in range(worlds):
        rows = (draw.random((9, 200, 1)) < 0.5).astype(np.float64)
        boot = Bootstrap(np.arange(200), 1000, seed)
        found = differences(boot, rows, [(row, 8) for row in range(8)], np.ones(9))
        best = int(found.value[:, 0].argmax())
        alone += found.low[best, 0] > 0
        joint += found.joint_low[best, 0] > 0
    assert joint / worlds <= 0.05 < alone / worlds
