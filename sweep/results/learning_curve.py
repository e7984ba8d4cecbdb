"""How the outcome changes with the number of training queries, and what more of them would give.

A power law, value = limit + drop * queries ** -rate, is fitted to the trials of a sweep over `trial.train_queries`
(Hestness et al. 2017; Rosenfeld et al. 2020). Its uncertainty comes from resampling residuals, with the rate fitted
anew each time. What else the sweep varies is part of the noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from selector.arrays import Float64Array
from selector.seeds import derive_seed
from sweep.evaluation.wording import counted
from sweep.results.importance import Interval, Target
from sweep.settings.evaluation import LEVEL

FEWEST_SIZES = 3
FEWEST_TRIALS = 6
"""Three of them fit the law exactly; the others say how well it fits."""
RATES = np.geomspace(0.05, 3.0, 40)
RESAMPLES = 1_000
FACTORS = (2, 4)


@dataclass(frozen=True)
class SizeMean:
    """The trials of one size: training queries, how many trials, and their mean outcome."""

    queries: int
    trials: int
    mean: float


@dataclass(frozen=True)
class Prediction:
    """What the law says of a size.

    Attributes:
        queries: the size.
        value: of the outcome, 95 % interval.
        gain: over the largest size that was trained; positive is better.
    """

    queries: int
    value: Interval
    gain: Interval


@dataclass(frozen=True)
class LearningCurve:
    """The outcome over training queries.

    Attributes:
        target: val_loss, or accuracy of answers as a fraction.
        sizes: ascending.
        fitted: the law at the sizes that were trained. Empty where `reason` says why.
        predictions: at twice and four times the largest size.
        gain: of twice the data. None without a law.
        is_told: whether twice the data surely helps: the interval of the gain lies above 0.
        reason: why nothing is told, in a phrase.
    """

    target: Target
    sizes: tuple[SizeMean, ...]
    fitted: tuple[float, ...]
    predictions: tuple[Prediction, ...]
    gain: Interval | None
    is_told: bool
    reason: str


def learning_curve(target: Target, queries: Mapping[int, int], outcome: Mapping[int, float]) -> LearningCurve:
    """Fit the law and carry it on.

    Args:
        target: which outcome. Of val_loss lower is better, of answers higher.
        queries: training queries by trial.
        outcome: finite, by trial. Trials without one are left out.
    """
    known = sorted(number for number in queries if number in outcome and math.isfinite(outcome[number]))
    size_N = np.array([queries[number] for number in known], dtype=np.float64)
    value_N = np.array([outcome[number] for number in known], dtype=np.float64)
    sizes = tuple(
        SizeMean(int(size), int((size_N == size).sum()), float(value_N[size_N == size].mean()))
        for size in np.unique(size_N)
    )
    if len(sizes) < FEWEST_SIZES or len(known) < FEWEST_TRIALS:
        have = f"{counted(len(known), 'trial')} of {counted(len(sizes), 'size')}"
        reason = f"{have}, it takes {FEWEST_TRIALS} of {FEWEST_SIZES}: sweep train_queries"
        return LearningCurve(target, sizes, (), (), None, is_told=False, reason=reason)
    sign = 1.0 if target is Target.VAL_LOSS else -1.0
    largest = max(sizes, key=lambda one: one.queries).queries
    asked_M = np.array([*(one.queries for one in sizes), *(largest * factor for factor in FACTORS)], dtype=np.float64)
    fitted_M, again_BM = _with_uncertainty(size_N, sign * value_N, asked_M)
    base = len(sizes) - 1
    predictions = tuple(
        Prediction(
            int(asked_M[place]),
            _interval(sign * fitted_M[place], sign * again_BM[:, place]),
            _interval(fitted_M[base] - fitted_M[place], again_BM[:, base] - again_BM[:, place]),
        )
        for place in range(len(sizes), len(asked_M))
    )
    gain = predictions[0].gain
    is_told = gain.low is not None and gain.low > 0
    return LearningCurve(
        target,
        sizes,
        tuple(float(sign * value) for value in fitted_M[: len(sizes)]),
        predictions,
        gain,
        is_told,
        "" if is_told else "the interval of the gain does not exclude nothing",
    )


def _with_uncertainty(
    size_N: Float64Array, value_N: Float64Array, asked_M: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """The law at the asked sizes, and of each resample. Lower values are better."""
    everywhere = np.concatenate([size_N, asked_M])
    fitted = _law(size_N, value_N[None], everywhere)[0]
    rest_N = value_N - fitted[: len(size_N)]
    # Three numbers were fitted, so residuals are too small by that much.
    rest_N = (rest_N - rest_N.mean()) * math.sqrt(len(rest_N) / (len(rest_N) - 3))
    drawn_BN = np.random.default_rng(derive_seed("learning curve")).choice(rest_N, (RESAMPLES, len(rest_N)))
    again = _law(size_N, fitted[: len(size_N)] + drawn_BN, everywhere)
    return fitted[len(size_N) :], again[:, len(size_N) :]


def _law(size_N: Float64Array, value_BN: Float64Array, asked_M: Float64Array) -> Float64Array:
    """The best law of falling values for each row, at the asked sizes. Where values rise it is flat."""
    scale = size_N.max()
    best_B, found_BM = np.full(len(value_BN), np.inf), np.zeros((len(value_BN), len(asked_M)))
    mean_B = value_BN.mean(axis=1)
    for rate in RATES:
        shape_N, shape_M = (size_N / scale) ** -rate, (asked_M / scale) ** -rate
        centred_N = shape_N - shape_N.mean()
        drop_B = np.maximum(value_BN @ centred_N / (centred_N @ centred_N), 0.0)
        limit_B = mean_B - drop_B * shape_N.mean()
        error_B = ((value_BN - limit_B[:, None] - drop_B[:, None] * shape_N) ** 2).sum(axis=1)
        better_B = error_B < best_B
        best_B = np.where(better_B, error_B, best_B)
        found_BM[better_B] = (limit_B[:, None] + drop_B[:, None] * shape_M)[better_B]
    return found_BM


def _interval(value: float, again_B: Sequence[float] | Float64Array) -> Interval:
    low, high = np.quantile(again_B, [LEVEL / 2, 1 - LEVEL / 2])
    return Interval(float(value), float(min(low, value)), float(max(high, value)))
