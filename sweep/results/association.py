"""How strongly choices go with an outcome, looked at alone."""

from __future__ import annotations

import math

import numpy as np

from selector.arrays import Float64Array
from selector.seeds import derive_seed
from sweep.evaluation.statistics import mid_ranks
from sweep.results.additive import KEPT, RESAMPLES
from sweep.settings.evaluation import LEVEL


def eta_squared(level_N: Float64Array, outcome_N: Float64Array) -> float:
    """Share of the variance of ranks between levels, in [0, 1], as Kruskal & Wallis' H gives it: (H-k+1) / (n-k).

    It is 0 on average where levels do not differ. NaN where every row has a level of its own.
    """
    levels, place_N, count_K = np.unique(level_N, return_inverse=True, return_counts=True)
    N, K = len(outcome_N), len(levels)
    if K == N or K < 2 or np.ptp(outcome_N) == 0:
        return math.nan
    ranks_N = mid_ranks(outcome_N) - (N + 1) / 2
    between = float((np.bincount(place_N, ranks_N) ** 2 / count_K).sum())
    h = (N - 1) * between / float((ranks_N**2).sum())
    return min(1.0, max(0.0, (h - K + 1) / (N - K)))


def eta_interval(level_N: Float64Array, outcome_N: Float64Array, value: float) -> tuple[float, float]:
    """The 95 % interval of a value that `eta_squared` gave, from resampling rows as importance does."""
    generator = np.random.default_rng(derive_seed("eta squared"))
    N = len(outcome_N)
    size = math.ceil(KEPT * N)
    drawn = (generator.permutation(N)[:size] for _ in range(RESAMPLES))
    again = np.array([eta_squared(level_N[rows], outcome_N[rows]) for rows in drawn])
    again = again[~np.isnan(again)]
    if not len(again):
        return 0.0, 1.0
    apart = math.sqrt(size / (N - size)) * (again - np.median(again))
    low, high = np.clip(value + np.quantile(apart, [LEVEL / 2, 1 - LEVEL / 2]), 0, 1)
    return float(min(low, value)), float(max(high, value))
