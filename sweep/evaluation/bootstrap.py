"""Resampling of questions: one set of weights for all rows, numbers of shots and differences.

Legend: Q questions, C clusters (questions that share an image), P columns (one quantity each), B replicates.

The Bayesian bootstrap (Rubin 1981): a replicate gives every cluster an independent exponential weight and takes the
weighted mean. To first order it is the multinomial bootstrap, with two gains. No question ever drops out of a
replicate. The weights of a subset are those of the subset's own bootstrap. So rows that saw different questions
(racing, failures) share one set of weights and stay paired.

The unit is the cluster (Field & Welsh 2007). All numbers of shots of a question, and all questions about one image, get
one weight.

Guard against false certainty: every column also holds imagined clusters at both ends of the possible range, with
random weights of their own (a Dirichlet process prior). For accuracies it is one at either end. A replicate of 0/1
outcomes is then exactly a draw from Beta(1 + successes, 1 + failures). So 100 of 100 gives [0.964, 1], as Clopper &
Pearson (1934) do. For paired differences it is half a cluster at either end. Agresti & Min (2005) add the same half to
each of the two discordant cells. One question, or many without variance, give a wide interval instead of one of width
zero. Below a hundred questions intervals are somewhat wider than need be. At several hundred nothing is seen of it.
As for every interval of this kind, the coverage of 0/1 outcomes swings around 95 % with the true rate (Brown, Cai &
DasGupta 2001). Below thirty questions it can be 90 % at single rates near 0 or 1.

Intervals are percentile intervals of the replicates. Accelerated ones (BCa) were not chosen, for three reasons. For
means of hundreds of bounded values the correction is far below the width. It breaks where the variance is zero. And
intervals, p-values and the simultaneous comparison could not come from the same replicates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from selector.arrays import Float64Array, Int64Array
from selector.seeds import derive_seed


@dataclass(frozen=True)
class Ends:
    """Possible range of a quantity, and the number of half clusters imagined at either end."""

    low: float
    high: float
    halves: int


ACCURACIES = Ends(0.0, 1.0, halves=2)
DIFFERENCES = Ends(-1.0, 1.0, halves=1)
CHUNK = 10_000_000  # weights in memory at a time


@dataclass(frozen=True)
class Replicates:
    """Bootstrap distribution of P means.

    Attributes:
        value_P: the observed means over questions. NaN for a column without any.
        draws_PB: replicates. NaN for a column without any.
        questions_P: int64, questions behind each mean.
    """

    value_P: Float64Array
    draws_PB: Float64Array
    questions_P: Int64Array

    def interval(self, level_P: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Equal-tailed percentile intervals that miss with probability `level_P`. They always hold the mean."""
        sorted_PB = np.sort(self.draws_PB, axis=1)
        place_P = level_P / 2 * (sorted_PB.shape[1] - 1)
        low_P, high_P = _at(sorted_PB, place_P), _at(sorted_PB, sorted_PB.shape[1] - 1 - place_P)
        return np.minimum(low_P, self.value_P), np.maximum(high_P, self.value_P)

    def p_values(self) -> Float64Array:
        """Two-sided p of a mean of zero: the level of the widest percentile interval without it, at least 2 / (B + 1).

        The + 1 counts the observation among the replicates, so that p is never 0 (Davison & Hinkley 1997, 4.2).
        """
        tail_P = np.minimum((self.draws_PB <= 0).sum(axis=1), (self.draws_PB >= 0).sum(axis=1))
        p_P = np.minimum(1.0, 2 * (1 + tail_P) / (self.draws_PB.shape[1] + 1))
        return np.where(self.questions_P > 0, p_P, np.nan)


class Bootstrap:
    """Replicates of means over the same questions. Determined by seed, number of clusters and number of replicates."""

    def __init__(self, clusters_Q: Int64Array, resamples: int, seed: int) -> None:
        """Take the cluster of each question (any numbers), at least 1 replicate, and a seed."""
        self._order_Q = np.argsort(clusters_Q, kind="stable")
        _, self._starts_C = np.unique(clusters_Q[self._order_Q], return_index=True)
        self.clusters = len(self._starts_C)
        self.resamples = resamples
        self._seed = derive_seed("evaluation bootstrap", seed)
        self._kept: list[tuple[Float64Array, Float64Array]] = []

    def replicate(self, values_QP: Float64Array, ends: Ends) -> Replicates:
        """Bootstrap the columns' means, each over the questions where it is not NaN.

        Args:
            values_QP: within the ends, or NaN.
            ends: what the values are.
        """
        seen_QP = ~np.isnan(values_QP)
        sum_CP = self._by_cluster(np.where(seen_QP, values_QP, 0.0))
        count_CP = self._by_cluster(seen_QP.astype(np.float64))
        count_P, total_P = count_CP.sum(axis=0), sum_CP.sum(axis=0)
        clusters_P = (count_CP > 0).sum(axis=0)
        # The imagined clusters are as large as the real ones are on average.
        size_P = np.divide(count_P, clusters_P, out=np.ones_like(count_P), where=clusters_P > 0)
        shared = bool((count_CP == count_CP[:, :1]).all())  # then one column of counts serves all
        draws_PB = np.empty((values_QP.shape[1], self.resamples))
        start = 0
        for weight_BC, half_B22 in self._weights():
            ends_B2 = half_B22[:, : ends.halves].sum(axis=1)
            end = start + len(weight_BC)
            weighed = weight_BC @ (count_CP[:, :1] if shared else count_CP) + ends_B2.sum(axis=1)[:, None] * size_P
            total = weight_BC @ sum_CP + (ends_B2 @ np.array([ends.low, ends.high]))[:, None] * size_P
            draws_PB[:, start:end] = (total / weighed).T
            start = end
        empty_P = count_P == 0
        draws_PB[empty_P] = np.nan
        value_P = np.divide(total_P, count_P, out=np.full_like(total_P, np.nan), where=~empty_P)
        return Replicates(value_P, draws_PB, count_P.astype(np.int64))

    def errors(self, values_QP: Float64Array) -> Float64Array:
        """Standard errors of the columns' means, each over the questions where it is not NaN, [P].

        Questions of one cluster may depend on each other in any way (Liang & Zeger 1986; for evaluations of language
        models Miller 2024, "Adding Error Bars to Evals"). With clusters c, n questions and mean m it is the root of
        C / (C - 1) * sum_c (sum_{q in c} (d_q - m))^2 / n^2. NaN with fewer than two clusters.
        """
        seen_QP = ~np.isnan(values_QP)
        count_CP = self._by_cluster(seen_QP.astype(np.float64))
        sum_CP = self._by_cluster(np.where(seen_QP, values_QP, 0.0))
        count_P, clusters_P = count_CP.sum(axis=0), (count_CP > 0).sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            rest_CP = sum_CP - count_CP * (sum_CP.sum(axis=0) / count_P)
            square_P = clusters_P / (clusters_P - 1) * np.square(rest_CP).sum(axis=0) / np.square(count_P)
            return np.where(clusters_P > 1, np.sqrt(square_P), np.nan)

    def _weights(self) -> Iterator[tuple[Float64Array, Float64Array]]:
        """Exponential weights of the clusters [b, C] and of imagined half clusters [b, halves, ends], by chunks.

        Two halves make a whole: the sum of two Gamma(1/2) is exponential.
        """
        if self._kept:
            yield from self._kept
            return
        generator = np.random.default_rng(self._seed)
        half_B22 = generator.standard_gamma(0.5, (self.resamples, 2, 2))
        size = max(1, CHUNK // self.clusters)
        for start in range(0, self.resamples, size):
            chunk_B22 = half_B22[start : start + size]
            weights = generator.standard_exponential((len(chunk_B22), self.clusters)), chunk_B22
            if size >= self.resamples:
                self._kept.append(weights)
            yield weights

    def _by_cluster(self, values_QP: Float64Array) -> Float64Array:
        return np.asarray(np.add.reduceat(values_QP[self._order_Q], self._starts_C, axis=0), dtype=np.float64)


def _at(sorted_PB: Float64Array, place_P: Float64Array) -> Float64Array:
    """Values at fractional places of each sorted row."""
    below_P = np.floor(place_P).astype(np.int64)
    above_P = np.minimum(below_P + 1, sorted_PB.shape[1] - 1)
    rows = np.arange(len(sorted_PB))
    share_P = place_P - below_P
    between_P = sorted_PB[rows, below_P] * (1 - share_P) + sorted_PB[rows, above_P] * share_P
    return np.asarray(between_P, dtype=np.float64)
