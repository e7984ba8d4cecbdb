"""Which share of an outcome's variance each of several factors explains, beside all the others.

The ranks of the outcome are a sum of one smooth function per numeric factor, one level effect per categorical factor,
and noise. Every factor has a variance of its own, which the data decides (automatic relevance determination: MacKay
1992; Tipping 2001). So factors that do nothing shrink to nothing, with 20 rows as with 3,000. Deviations: ranks take
the place of values on both sides, so that neither a logarithm nor a diverged row changes anything. A factor that does
not apply to a row is 0 there.

A sampler that learns makes its parameters depend on each other. The model has all of them at once for that reason. The
test permutes what the factors told so far leave unexplained (Freedman & Lane 1983), and corrects for the number of
factors by the largest statistic (Westfall & Young 1993). Effects that exist only in combination are not seen. They are
part of what is left unexplained.

Legend: N rows, D columns of all factors, F factors, B resamples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selector.arrays import BoolArray, Float64Array, Int64Array
from sweep.evaluation.statistics import mid_ranks
from sweep.settings.evaluation import LEVEL

WAVES = 4
"""Cosines per numeric factor. The k-th has a k-th of the first one's scale, so that smooth functions come first."""
ITERATIONS = 40
RESAMPLES = 200
KEPT = 0.75
"""Share of the rows in a resample, drawn without replacement: doubled rows would pass for evidence."""
PERMUTATIONS = 199
FLOOR = 0.01
"""Of the noise, as a share of the variance. With fewer rows than columns any outcome could be fitted exactly."""
SMALL = 0.02
"""A share that is not worth telling apart from none, beside what chance gives."""


@dataclass(frozen=True, eq=False)
class Factor:
    """One explanatory variable.

    Attributes:
        columns_NK: its functions at every row, 0 where it does not apply, and of mean 0 over the other rows.
        active_N: where it applies.
    """

    columns_NK: Float64Array
    active_N: BoolArray


@dataclass(frozen=True)
class Share:
    """The share of the outcome's variance that a factor explains where it applies, in [0, 1], with a 95 % interval.

    The interval begins at 0 where p is above 0.05.

    Attributes:
        p: of the test that it explains nothing, corrected for the number of factors.
    """

    value: float
    low: float
    high: float
    p: float


def numeric(values_N: Float64Array, active_N: BoolArray) -> Factor:
    """A number, of whose order alone counts. Values of rows where it does not apply are not read."""
    place_A = (mid_ranks(values_N[active_N]) - 0.5) / active_N.sum()
    waves_K = np.arange(1, WAVES + 1)
    return _factor(math.sqrt(2) * np.cos(np.pi * np.outer(place_A, waves_K)) / waves_K, active_N)


def categorical(level_N: Int64Array, active_N: BoolArray) -> Factor:
    """A value without an order, by the number of its level."""
    levels_K = np.unique(level_N[active_N])
    return _factor((level_N[active_N][:, None] == levels_K).astype(np.float64), active_N)


def _factor(functions_AK: Float64Array, active_N: BoolArray) -> Factor:
    columns_NK = np.zeros((len(active_N), functions_AK.shape[1]))
    columns_NK[active_N] = functions_AK - functions_AK.mean(axis=0)
    return Factor(columns_NK, active_N)


def shares(factors: Sequence[Factor], outcome_N: Float64Array, seed: int) -> tuple[list[Share], float]:
    """Each factor's share, and the share that all of them explain together.

    Args:
        factors: at least one; each varies among its rows.
        outcome_N: may be infinite, and is not constant.
        seed: of resamples and permutations.
    """
    model = _Model(factors, outcome_N)
    generator = np.random.default_rng(seed)
    N = len(outcome_N)
    everything = model.shares_on(np.arange(N)[None])[0]
    size = math.ceil(KEPT * N)
    again_BF = model.shares_on(np.stack([generator.permutation(N)[:size] for _ in range(RESAMPLES)]))[:, :-1]
    # The delete-d jackknife's factor: resamples of this size differ less than samples of the whole size do.
    apart_BF = math.sqrt(size / (N - size)) * (again_BF - np.median(again_BF, axis=0))
    value_F = everything[:-1]
    low_F, high_F = np.clip(value_F + np.quantile(apart_BF, [LEVEL / 2, 1 - LEVEL / 2], axis=0), 0, 1)
    p_F = model.p_values(value_F, generator)
    found = [
        Share(float(value), float(min(low, value)) if p <= LEVEL else 0.0, float(max(high, value)), float(p))
        for value, low, high, p in zip(value_F, low_F, high_F, p_F, strict=True)
    ]
    return found, float(everything[-1])


class _Model:
    """Factors and an outcome, standardised."""

    def __init__(self, factors: Sequence[Factor], outcome_N: Float64Array) -> None:
        self.factors = factors
        self.columns_ND = np.concatenate([one.columns_NK for one in factors], axis=1)
        self.owner_D = np.repeat(np.arange(len(factors)), [one.columns_NK.shape[1] for one in factors])
        ranks_N = mid_ranks(outcome_N)
        self.outcome_N = (ranks_N - ranks_N.mean()) / ranks_N.std()

    def shares_on(self, rows_BN: Int64Array) -> Float64Array:
        """Explained shares on some rows, per factor where it applies, then of all together, [B, F + 1]."""
        columns = (self.columns_ND[rows] for rows in rows_BN)
        return self._shares(np.stack([_gram(one) for one in columns]), rows_BN, self.outcome_N[rows_BN])

    def _shares(self, gram_BDD: Float64Array, rows_BN: Int64Array, outcome_BN: Float64Array) -> Float64Array:
        centred_BN = outcome_BN - outcome_BN.mean(axis=1, keepdims=True)
        cross_BD = np.stack([self.columns_ND[rows].T @ own for rows, own in zip(rows_BN, centred_BN, strict=True)])
        square_B = np.maximum((centred_BN**2).sum(axis=1), 1e-12)
        weights_BD, _, _ = _fit(gram_BDD, cross_BD, square_B, rows_BN.shape[1], self.owner_D)
        found = []
        for place, factor in enumerate(self.factors):
            own = self.owner_D == place
            explained_B = _quadratic(gram_BDD[:, own][:, :, own], weights_BD[:, own])
            active_BN = factor.active_N[rows_BN]
            seen_BN = np.where(active_BN, outcome_BN, 0.0)
            mean_B = seen_BN.sum(axis=1) / np.maximum(active_BN.sum(axis=1), 1)
            total_B = (seen_BN**2).sum(axis=1) - active_BN.sum(axis=1) * mean_B**2
            found.append(explained_B / np.maximum(total_B, 1e-12))
        found.append(_quadratic(gram_BDD, weights_BD) / square_B)
        return np.asarray(np.clip(np.stack(found, axis=1), 0, 1))

    def p_values(self, value_F: Float64Array, generator: np.random.Generator) -> Float64Array:
        """That a factor explains nothing, corrected for the number of factors (largest statistic, step-down).

        What the factors told so far leave unexplained is permuted, and everything fitted again. The statistic is the
        share relative to what chance gives the factor, which grows with its columns.
        """
        p_F = np.ones(len(self.factors))
        told_F = np.zeros(len(self.factors), dtype=np.bool_)
        while not told_F.all():
            chance_BF = self._by_chance(told_F, generator)[:, ~told_F]
            every_BF = np.vstack([chance_BF, value_F[~told_F]])  # what was seen is one of the orders, too
            relative_BF = every_BF / (np.quantile(every_BF, 1 - LEVEL, axis=0) + SMALL)
            p_F[~told_F] = (relative_BF.max(axis=1)[:, None] >= relative_BF[-1] - 1e-9).mean(axis=0)
            new_F = ~told_F & (p_F <= LEVEL)
            if not new_F.any():
                break
            told_F |= new_F
        return p_F

    def _by_chance(self, told_F: BoolArray, generator: np.random.Generator) -> Float64Array:
        """Shares where only these factors matter, [B, F]."""
        N = len(self.outcome_N)
        own_D = told_F[self.owner_D]
        fitted_N = np.zeros(N)
        if own_D.any():
            columns_ND = self.columns_ND[:, own_D]
            gram_DD, cross_D = _gram(columns_ND), columns_ND.T @ self.outcome_N
            owner_D = np.unique(self.owner_D[own_D], return_inverse=True)[1]
            weights_BD, _, _ = _fit(gram_DD[None], cross_D[None], np.array([float(N)]), N, owner_D)
            fitted_N = columns_ND @ weights_BD[0]
        rest_BN = generator.permuted(np.tile(self.outcome_N - fitted_N, (PERMUTATIONS, 1)), axis=1)
        gram_BDD = np.repeat(_gram(self.columns_ND)[None], PERMUTATIONS, axis=0)
        return self._shares(gram_BDD, np.tile(np.arange(N), (PERMUTATIONS, 1)), fitted_N + rest_BN)[:, :-1]


def _gram(columns_ND: Float64Array) -> Float64Array:
    centred_ND = columns_ND - columns_ND.mean(axis=0)
    return np.asarray(centred_ND.T @ centred_ND)


def _quadratic(gram_BDD: Float64Array, weights_BD: Float64Array) -> Float64Array:
    return np.asarray(np.einsum("bi,bij,bj->b", weights_BD, gram_BDD, weights_BD))


def _fit(
    gram_BDD: Float64Array, cross_BD: Float64Array, square_B: Float64Array, rows: int, owner_D: Int64Array
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Weights of the columns, the variance of each column's weight, and the variance of the noise.

    MacKay's fixed point: a factor's variance is the squared length of its weights by how many of them the data decides.
    """
    B, D = cross_BD.shape
    member_DF = (owner_D[:, None] == np.arange(owner_D.max() + 1)).astype(np.float64)
    size_F = member_DF.sum(axis=0)
    scale_B = square_B / rows
    variance_BF = np.repeat((scale_B / len(size_F))[:, None], len(size_F), axis=1)
    noise_B = scale_B / 2
    weights_BD = np.zeros((B, D))
    for _ in range(ITERATIONS):
        precision_BD = 1 / variance_BF[:, owner_D]
        posterior_BDD = np.linalg.inv(gram_BDD / noise_B[:, None, None] + np.eye(D) * precision_BD[:, None, :])
        weights_BD = np.einsum("bij,bj->bi", posterior_BDD, cross_BD) / noise_B[:, None]
        decided_BF = size_F - (np.einsum("bii->bi", posterior_BDD) * precision_BD) @ member_DF
        variance_BF = np.maximum((weights_BD**2) @ member_DF / np.maximum(decided_BF, 1e-9), 1e-7)
        left_B = square_B - 2 * (weights_BD * cross_BD).sum(axis=1) + _quadratic(gram_BDD, weights_BD)
        freedom_B = np.maximum(rows - 1 - decided_BF.sum(axis=1), 1)
        noise_B = np.maximum(left_B / freedom_B, FLOOR * scale_B)
    return weights_BD, variance_BF[:, owner_D], noise_B
