"""Means, differences, corrections for multiplicity and the set of the best rows. Pure functions on arrays.

Legend: R rows, Q questions, S numbers of shots, M measures (S numbers of shots, then their mean), P columns (one
quantity each), B replicates.
Accuracies are float64 in [0, 1], NaN where a row did not see the question or has no answer to it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from selector.arrays import Float64Array, Int64Array
from selector.seeds import derive_seed
from sweep.evaluation.bootstrap import ACCURACIES, DIFFERENCES, Bootstrap, Ends, Replicates
from sweep.settings.evaluation import LEVEL

PERMUTATIONS = 9_999
MOST_EXACT = 7  # rows whose orders are all tried: 7! = 5040
FEWEST_FOR_INTERVAL = 4


@dataclass(frozen=True)
class Estimates:
    """Means with intervals, arrays of one shape. NaN where there are no questions.

    `p`, the ends of the joint interval and the standard error mean something for differences only.
    """

    value: Float64Array
    low: Float64Array
    high: Float64Array
    questions: Int64Array
    p: Float64Array
    joint_low: Float64Array
    joint_high: Float64Array
    error: Float64Array


def with_mean(accuracy_RQS: Float64Array) -> Float64Array:
    """Append the mean over the numbers of shots, NaN where one of them is: [R, Q, M]."""
    return np.concatenate([accuracy_RQS, accuracy_RQS.mean(axis=2, keepdims=True)], axis=2)


def means(bootstrap: Bootstrap, accuracy_RQM: Float64Array, share_R: Float64Array) -> Estimates:
    """Mean accuracy of every row and measure, [R, M].

    Args:
        bootstrap: resamples the Q questions.
        accuracy_RQM: from `with_mean`.
        share_R: share of the 5 % that each row may spend (`sweep.evaluation.racing`). 1 without racing.
    """
    R, Q, M = accuracy_RQM.shape
    columns_QP = accuracy_RQM.transpose(1, 0, 2).reshape(Q, R * M)
    found = bootstrap.replicate(columns_QP, ACCURACIES)
    return _estimates(found, np.repeat(share_R, M), (R, M))


def differences(
    bootstrap: Bootstrap,
    accuracy_RQM: Float64Array,
    pairs: Sequence[tuple[int, int]],
    share_R: Float64Array,
    ends: Ends = DIFFERENCES,
) -> Estimates:
    """Paired differences, first minus second row of each pair, over the questions that both answered: [pairs, M].

    p is two-sided and already divided by the pair's share of the 5 %, but not corrected for multiplicity. The joint
    intervals hold for all pairs together, by one measure. `ends` are those of a difference.
    """
    _, Q, M = accuracy_RQM.shape
    first, second = _columns(pairs)
    difference_PQM = accuracy_RQM[first] - accuracy_RQM[second]
    columns_QP = difference_PQM.transpose(1, 0, 2).reshape(Q, len(pairs) * M)
    share_P = np.repeat(np.minimum(share_R[first], share_R[second]), M)
    shape = (len(pairs), M)
    return _estimates(bootstrap.replicate(columns_QP, ends), share_P, shape, len(pairs), bootstrap.errors(columns_QP))


def unpaired_differences(
    first: tuple[Bootstrap, Float64Array], second: tuple[Bootstrap, Float64Array], share_R: Float64Array
) -> Estimates:
    """Difference of one measure between two sets of questions, [R, 1]: replicates of both are independent.

    Args:
        first: bootstrap and values [R, Q1].
        second: bootstrap and values [R, Q2], of another seed and as many replicates.
        share_R: as in `means`.
    """
    left, right = (bootstrap.replicate(values_RQ.T, ACCURACIES) for bootstrap, values_RQ in (first, second))
    found = Replicates(
        left.value_P - right.value_P,
        left.draws_PB - right.draws_PB,
        np.minimum(left.questions_P, right.questions_P),
    )
    return _estimates(found, share_R, (len(share_R), 1))


def holm(p: Float64Array) -> Float64Array:
    """Adjusted p-values of one family, any shape (Holm 1979). NaN stays NaN and does not count.

    Rejecting where they are at most 0.05 makes any false rejection with probability at most 5 %, whatever the
    dependence.
    """
    adjusted = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p.ravel()))
    order = known[np.argsort(p.ravel()[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted.ravel()[order] = np.minimum(1.0, np.maximum.accumulate(p.ravel()[order] * factors))
    return adjusted


def best_set(bootstrap: Bootstrap, values_RQ: Float64Array) -> Float64Array:
    """How likely each row is to be among the best (p): the rows with p > alpha are the tie set.

    Model confidence set (Hansen, Lunde & Nason 2011) with the range statistic. As long as the largest studentised
    difference between remaining rows exceeds what the replicates of all pairs at once show, one row goes: the one that
    is furthest behind another. Asymptotically all rows of the highest true accuracy are in the set together with
    probability at least 1 - alpha. No further correction is due. The row with the highest mean is always in it.

    Deviations: rows equal on every question count as one, so that copies cost nothing. Each pair is compared over the
    questions that both answered.

    Args:
        bootstrap: resamples the Q questions.
        values_RQ: one measure. Every row has a value for at least one question, every pair for a common one.

    Returns:
        float64 [R], 1 for the row that is left last.
    """
    filled_RQ, copy_R = np.unique(np.nan_to_num(values_RQ, nan=-1.0), axis=0, return_inverse=True)
    distinct_RQ = np.where(filled_RQ < 0, np.nan, filled_RQ)
    R = len(distinct_RQ)
    pairs = list(itertools.combinations(range(R), 2))
    first, second = _columns(pairs)
    found = bootstrap.replicate((distinct_RQ[first] - distinct_RQ[second]).T, DIFFERENCES)
    spread_P = found.draws_PB.std(axis=1)
    lead_P = found.value_P / spread_P
    chance_PB = np.abs(found.draws_PB - found.draws_PB.mean(axis=1, keepdims=True)) / spread_P[:, None]
    behind_RR = np.full((R, R), -np.inf)
    behind_RR[second, first], behind_RR[first, second] = lead_P, -lead_P
    p_R = np.ones(R)
    alive_R = np.ones(R, dtype=bool)
    running = 0.0
    while alive_R.sum() > 1:
        inside_P = alive_R[first] & alive_R[second]
        largest_B = chance_PB[inside_P].max(axis=0)
        p = (1 + (largest_B >= np.abs(lead_P[inside_P]).max()).sum()) / (len(largest_B) + 1)
        worst_R = np.where(alive_R, np.where(alive_R[None], behind_RR, -np.inf).max(axis=1), -np.inf)
        worst = int(worst_R.argmax())
        running = max(running, float(p))
        p_R[worst], alive_R[worst] = running, False
    return p_R[copy_R.ravel()]


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation.

    Attributes:
        rho: in [-1, 1].
        p: two-sided, of the permutation test.
        interval: 95 %. None below 4 rows.
        rows: behind it.
    """

    rho: float
    p: float
    interval: tuple[float, float] | None
    rows: int


def rank_correlation(first_R: Float64Array, second_R: Float64Array, seed: int) -> Correlation | None:
    """Spearman correlation with mid-ranks for ties. None below 3 rows or where one side is constant.

    p comes from all orders up to 7 rows, from 9,999 random ones above. The interval is Fisher's with the standard error
    of Bonett & Wright (2000). A perfect order, where it would have no width, is taken as one swap of neighbours away.
    """
    R = len(first_R)
    if R < 3 or np.ptp(first_R) == 0 or np.ptp(second_R) == 0:
        return None
    x_R, y_R = _standardised(mid_ranks(first_R)), _standardised(mid_ranks(second_R))
    rho = spearman(first_R, second_R)
    generator = np.random.default_rng(derive_seed("rank correlation", seed))
    exact = R <= MOST_EXACT
    orders = np.array(list(itertools.permutations(range(R)))) if exact else np.tile(np.arange(R), (PERMUTATIONS, 1))
    if not exact:
        orders = generator.permuted(orders, axis=1)
    as_large = int((np.abs(y_R[orders] @ x_R) >= abs(rho) - 1e-9).sum())
    p = as_large / len(orders) if exact else (1 + as_large) / (1 + len(orders))
    return Correlation(rho, p, fisher_interval(rho, R), R)


def spearman(first_R: Float64Array, second_R: Float64Array) -> float:
    """Spearman correlation with mid-ranks for ties. Neither side may be constant."""
    rho = float(_standardised(mid_ranks(first_R)) @ _standardised(mid_ranks(second_R)))
    return round(rho, 12)  # a perfect order is 1, not 0.9999999999999998


def mid_ranks(values_R: Float64Array) -> Float64Array:
    """Ranks from 1, float64. Equal values share the mean of theirs."""
    _, place_R, count_U = np.unique(values_R, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count_U) - (count_U - 1) / 2)[place_R], dtype=np.float64)


def _standardised(ranks_R: Float64Array) -> Float64Array:
    centred_R = ranks_R - ranks_R.mean()
    return np.asarray(centred_R / np.linalg.norm(centred_R), dtype=np.float64)


def fisher_interval(rho: float, rows: int) -> tuple[float, float] | None:
    """Interval of Spearman's rho, 95 %. None below 4 rows."""
    if rows < FEWEST_FOR_INTERVAL:
        return None
    most = 1 - 12 / (rows * (rows**2 - 1))
    middle = math.copysign(min(abs(rho), most), rho)
    reach = NormalDist().inv_cdf(1 - LEVEL / 2) * math.sqrt((1 + middle**2 / 2) / (rows - 3))
    low, high = math.tanh(math.atanh(middle) - reach), math.tanh(math.atanh(middle) + reach)
    return min(low, rho), max(high, rho)


def _estimates(
    found: Replicates,
    share_P: Float64Array,
    shape: tuple[int, int],
    family: int = 1,
    error_P: Float64Array | None = None,
) -> Estimates:
    low_P, high_P = found.interval(LEVEL * share_P)
    joint_low_P, joint_high_P = found.interval(LEVEL * share_P / max(family, 1))
    p_P = np.minimum(1.0, found.p_values() / share_P)
    error_P = np.full(len(p_P), np.nan) if error_P is None else error_P
    value, low, high, p, joint_low, joint_high, error = (
        part.reshape(shape) for part in (found.value_P, low_P, high_P, p_P, joint_low_P, joint_high_P, error_P)
    )
    return Estimates(value, low, high, found.questions_P.reshape(shape), p, joint_low, joint_high, error)


def _columns(pairs: Sequence[tuple[int, int]]) -> tuple[Int64Array, Int64Array]:
    array_P2 = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return array_P2[:, 0], array_P2[:, 1]
