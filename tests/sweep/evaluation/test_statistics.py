"""Corrections hold what they promise, and the tie set holds the best."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from sweep.evaluation.bootstrap import Bootstrap
from sweep.evaluation.statistics import (
    best_set,
    differences,
    holm,
    means,
    mid_ranks,
    rank_correlation,
    unpaired_differences,
    with_mean,
)
from tests.sweep.evaluation.worlds import rows_of


def bootstrap(questions: int, seed: int = 0, resamples: int = 1000) -> Bootstrap:
    return Bootstrap(np.arange(questions), resamples, seed)


# Holm ---------------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_the_step_down_procedure(values: list[float]) -> None:
    p = np.array(values)
    adjusted = holm(p)
    assert (adjusted >= p).all() and (adjusted <= np.minimum(1, len(p) * p) + 1e-15).all()
    for level in (0.01, 0.05, 0.5):
        rejected = set()
        for step, index in enumerate(np.argsort(p, kind="stable")):
            if p[index] * (len(p) - step) > level:
                break
            rejected.add(int(index))
        assert set(np.flatnonzero(adjusted <= level).tolist()) == rejected


def test_holm_leaves_missing_ones_out() -> None:
    adjusted = holm(np.array([[0.01, np.nan], [0.04, 0.5]]))
    assert np.allclose(adjusted, [[0.03, np.nan], [0.08, 0.5]], equal_nan=True)
    assert np.isnan(holm(np.array([np.nan]))).all()


def test_no_false_difference_in_a_family_with_95_percent() -> None:
    """All rows are equally good: to the baseline, and between neighbours of the observed order."""
    generator = np.random.default_rng(3)
    trials, false_baseline, false_next = 400, 0, 0
    for trial in range(trials):
        accuracy_RQ = rows_of(generator, [0.5] * 6, 100)
        order = np.argsort(-accuracy_RQ.mean(axis=1))
        pairs = [(row, 0) for row in range(1, 6)]
        neighbours = [(int(a), int(b)) for a, b in itertools.pairwise(order)]
        for kind in (pairs, neighbours):
            found = differences(bootstrap(100, trial), accuracy_RQ[:, :, None], kind, np.ones(6))
            wrong = bool((holm(found.p) <= 0.05).any())
            false_baseline += wrong and kind is pairs
            false_next += wrong and kind is neighbours
    limit = 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / trials)
    assert 0 < false_baseline / trials <= limit
    assert false_next / trials <= limit


# Differences --------------------------------------------------------------------------------------------------------


def test_differences_are_paired_and_skip_what_one_has_not_seen() -> None:
    generator = np.random.default_rng(0)
    hard = generator.random(300) < 0.5
    accuracy_RQS = np.stack([hard, hard | (np.arange(300) % 10 == 0)]).astype(float)[:, :, None]
    accuracy_RQM = with_mean(accuracy_RQS)
    found = differences(bootstrap(300), accuracy_RQM, [(1, 0), (0, 1)], np.ones(2))
    assert found.value[0, 0] == pytest.approx(-found.value[1, 0]) and found.value[0, 0] > 0
    assert found.low[0, 0] > 0 and found.p[0, 0] < 0.01, "the rows differ on few questions, but always to one side"
    alone = means(bootstrap(300), accuracy_RQM, np.ones(2))
    assert alone.low[1, 0] < alone.high[0, 0], "which the rows' own intervals do not show"
    accuracy_RQM[0, :100] = np.nan
    fewer = differences(bootstrap(300), accuracy_RQM, [(1, 0)], np.ones(2))
    assert fewer.questions[0, 0] == 200
    expected = (accuracy_RQM[1, 100:, 0] - accuracy_RQM[0, 100:, 0]).mean()
    assert fewer.value[0, 0] == pytest.approx(expected)


def test_the_mean_over_shots_needs_all_of_them_and_is_resampled_with_them() -> None:
    accuracy_RQS = np.random.default_rng(0).random((1, 50, 3))
    accuracy_RQS[0, :5, 1] = np.nan
    accuracy_RQM = with_mean(accuracy_RQS)
    found = means(bootstrap(50), accuracy_RQM, np.ones(1))
    assert found.questions.tolist() == [[50, 45, 50, 45]]
    assert found.value[0, 3] == pytest.approx(accuracy_RQS[0, 5:].mean())
    # Three copies of one shot: the mean is no surer than each of them.
    copies_RQM = with_mean(np.repeat(accuracy_RQS[:, :, :1], 3, axis=2))
    copied = means(bootstrap(50), copies_RQM, np.ones(1))
    assert np.ptp(copied.low) < 1e-12 and np.ptp(copied.high) < 1e-12


def test_a_smaller_share_widens_intervals_and_raises_p() -> None:
    accuracy_RQM = rows_of(np.random.default_rng(5), [0.6, 0.5], 200)[:, :, None]
    full = differences(bootstrap(200, resamples=4000), accuracy_RQM, [(0, 1)], np.ones(2))
    part = differences(bootstrap(200, resamples=4000), accuracy_RQM, [(0, 1)], np.array([1.0, 0.2]))
    assert part.low[0, 0] < full.low[0, 0] and part.high[0, 0] > full.high[0, 0]
    assert part.p[0, 0] == pytest.approx(min(1, 5 * full.p[0, 0]))


def test_gap_between_two_sets_of_questions_covers() -> None:
    generator = np.random.default_rng(8)
    trials = 400
    left_RQ = (generator.random((trials, 150)) < 0.7).astype(float)
    right_RQ = (generator.random((trials, 90)) < 0.6).astype(float)
    found = unpaired_differences((bootstrap(150, 1), left_RQ), (bootstrap(90, 2), right_RQ), np.ones(trials))
    covered = np.mean((found.low[:, 0] <= 0.1) & (found.high[:, 0] >= 0.1))
    assert 0.92 <= covered <= 0.985
    assert found.questions[0, 0] == 90


# The set of the best ------------------------------------------------------------------------------------------------


@given(hnp.arrays(np.float64, (5, 12), elements=st.sampled_from([0.0, 0.3, 1.0])), st.permutations(range(5)))
@settings(max_examples=50, deadline=None)
def test_the_highest_mean_is_always_in_and_order_does_not_matter(values_RQ: np.ndarray, order: list[int]) -> None:
    p = best_set(bootstrap(12, resamples=200), values_RQ)
    assert p[values_RQ.mean(axis=1).argmax()] == 1
    again = best_set(bootstrap(12, resamples=200), values_RQ[order])
    assert np.allclose(again, p[order])


def test_copies_of_a_row_share_its_fate_and_change_nothing() -> None:
    values_RQ = rows_of(np.random.default_rng(1), [0.6, 0.55, 0.4], 200)
    plain = best_set(bootstrap(200), values_RQ)
    copied = best_set(bootstrap(200), values_RQ[[0, 1, 2, 1, 1]])
    assert np.array_equal(copied, plain[[0, 1, 2, 1, 1]])


def test_a_row_alone_is_the_best() -> None:
    assert best_set(bootstrap(5), np.full((1, 5), 0.3)).tolist() == [1.0]


@pytest.mark.parametrize(
    ("rates", "questions"),
    [([0.5] * 5, 80), ([0.55] + [0.5] * 6, 100), ([0.6, 0.59, 0.5, 0.3], 150)],
    ids=["all equal", "one a little better", "mixed"],
)
def test_the_true_best_is_in_the_set(rates: list[float], questions: int) -> None:
    generator = np.random.default_rng(11)
    trials = 300
    best = [index for index, rate in enumerate(rates) if rate == max(rates)]
    kept = sum(
        bool((best_set(bootstrap(questions, trial, 500), rows_of(generator, rates, questions))[best] > 0.05).all())
        for trial in range(trials)
    )
    assert kept / trials >= 0.95 - 2.6 * np.sqrt(0.05 * 0.95 / trials)


def test_clearly_worse_rows_are_not_in_the_set() -> None:
    generator = np.random.default_rng(12)
    out = 0
    for trial in range(40):
        p = best_set(bootstrap(400, trial), rows_of(generator, [0.6, 0.6, 0.45, 0.4], 400))
        out += int((p[2:] <= 0.05).all())
    assert out >= 36


def test_rows_with_missing_answers_are_compared_pair_by_pair() -> None:
    values_RQ = rows_of(np.random.default_rng(2), [0.8, 0.5, 0.5], 300)
    full = best_set(bootstrap(300), values_RQ)
    values_RQ[0, :15], values_RQ[1, 10:30] = np.nan, np.nan
    assert ((best_set(bootstrap(300), values_RQ) > 0.05) == (full > 0.05)).all()


# Rank correlation ---------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=30))
@settings(deadline=None, max_examples=60)
def test_spearman_with_ties_is_scipys(pairs: list[tuple[int, int]]) -> None:
    first, second = np.array(pairs, dtype=float).T
    found = rank_correlation(first, second, 0)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        assert found is None
        return
    assert found is not None
    assert found.rho == pytest.approx(stats.spearmanr(first, second).statistic, abs=1e-12)
    assert 0 < found.p <= 1 and found.rows == len(pairs)
    if found.interval is not None:
        low, high = found.interval
        assert -1 <= low <= found.rho <= high <= 1 and high - low > 0


def test_few_rows() -> None:
    two = np.array([1.0, 2.0])
    assert rank_correlation(two, two, 0) is None
    three = rank_correlation(np.arange(3.0), -np.arange(3.0), 0)
    assert three is not None and three.rho == -1 and three.interval is None
    assert three.p == pytest.approx(2 / 6), "of six orders two are as extreme"
    five = rank_correlation(np.arange(5.0), np.arange(5.0), 0)
    assert five is not None and five.p == pytest.approx(2 / 120) and five.interval is not None
    assert five.interval[0] < 0.5 and five.interval[1] == 1, "five rows in order prove little"


def test_exact_and_random_permutations_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = np.array([1.0, 2, 3, 4, 5, 6, 7]), np.array([2.0, 1, 3, 5, 4, 7, 6])
    exact = rank_correlation(first, second, 0)
    monkeypatch.setattr("sweep.evaluation.statistics.MOST_EXACT", 2)
    drawn = rank_correlation(first, second, 0)
    assert exact is not None and drawn is not None and drawn.p == pytest.approx(exact.p, abs=0.004)


@pytest.mark.parametrize("rows", [5, 12])
def test_correlation_intervals_cover_and_p_is_valid(rows: int) -> None:
    generator = np.random.default_rng(0)
    truth = -0.5
    limit = 6 / np.pi * np.arcsin(truth / 2)  # Spearman's of a bivariate normal with that correlation
    trials, covered, rejected = 400, 0, 0
    for _ in range(trials):
        x, z = generator.normal(size=(2, rows))
        y = truth * x + np.sqrt(1 - truth**2) * z
        found = rank_correlation(x, y, 0)
        assert found is not None and found.interval is not None
        covered += found.interval[0] <= limit <= found.interval[1]
        if rows == 5:
            null = rank_correlation(x, z, 0)
            assert null is not None
            rejected += null.p <= 0.05
    assert covered / trials >= 0.91
    assert rejected / trials <= 0.08


@given(st.lists(st.sampled_from([-1.5, 0.0, 0.25, 0.3, 2.0, 1e-9, 7.0]), min_size=1, max_size=30))
def test_mid_ranks_are_scipys(values: list[float]) -> None:
    assert mid_ranks(np.array(values)).tolist() == stats.rankdata(values).tolist()
