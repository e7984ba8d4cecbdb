"""A receipt for every pruned trial: what stopped it, whom it was compared with, and what it may have cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from selector.arrays import Float64Array, Int64Array
from sweep.results.equivalents import best_so_far, is_diverged
from sweep.space import SearchSpace
from sweep.space.algorithms import MedianSettings, PercentileSettings, PrunerSettings, ThresholdSettings
from sweep.study import FrozenTrial, TrialState
from sweep.study.summaries import REASON, counted_epochs

FEWEST = 3
"""Trials that ran on, from which a regret is estimated."""


@dataclass(frozen=True)
class Receipt:
    """Why a trial was stopped, and what that may have cost. Epochs are those that the pruner counts, from 1.

    Attributes:
        trial: its number.
        reason: as the study has it.
        epoch: at which it was stopped. None where it had none that counts.
        value: its best val_loss until then, which the pruner compared.
        threshold: it was stopped for being above this. None for pruners that keep none, and for other reasons.
        compared_with: complete trials with a value at that epoch, which had ended before.
        ran_on: complete trials with a value at that epoch, whenever they ended: the estimate rests on them.
        expected: val_loss that it would have ended with, had it improved from there as the others did, on average.
        chance: share of those others whose improvement would have made it the best of the run.
        regret: by how much it would have lowered the best val_loss, on average. 0 where it never would.
    """

    trial: int
    reason: str
    epoch: int | None
    value: float | None
    threshold: float | None
    compared_with: tuple[int, ...]
    ran_on: int
    expected: float | None
    chance: float | None
    regret: float | None


def receipts(space: SearchSpace, trials: Sequence[FrozenTrial]) -> tuple[Receipt, ...]:
    """One receipt per pruned trial, by number."""
    company = _Company(space, trials)
    return tuple(_receipt(space, one, company) for one in trials if one.state is TrialState.PRUNED)


@dataclass(frozen=True, eq=False)
class _Peers:
    """Complete trials with a value at one epoch: numbers, ends, values there, and what was left to gain from there."""

    numbers_N: Int64Array
    ended_N: npt.NDArray[np.datetime64]
    value_N: Float64Array
    left_N: Float64Array


class _Company:
    """The complete trials, by the epochs at which others were stopped."""

    def __init__(self, space: SearchSpace, trials: Sequence[FrozenTrial]) -> None:
        starts = space.pruning_starts
        self._complete = [one for one in trials if one.state is TrialState.COMPLETE and one.value is not None]
        self._values = {one.number: counted_epochs(one, starts) for one in self._complete}
        self._best = {one.number: best_so_far(one, starts) for one in self._complete}
        self._known: dict[int, _Peers] = {}
        self.best = min((float(one.value or 0.0) for one in self._complete), default=math.nan)

    def at(self, epoch: int) -> _Peers:
        if epoch not in self._known:
            there = [one for one in self._complete if epoch in self._values[one.number]]
            self._known[epoch] = _Peers(
                np.array([one.number for one in there], dtype=np.int64),
                np.array([one.datetime_complete for one in there], dtype="datetime64[us]"),
                np.array([self._values[one.number][epoch] for one in there], dtype=np.float64),
                np.array([float(one.value or 0.0) - self._best[one.number][epoch] for one in there], dtype=np.float64),
            )
        return self._known[epoch]


def _receipt(space: SearchSpace, trial: FrozenTrial, company: _Company) -> Receipt:
    reason = str(trial.user_attrs.get(REASON, ""))
    own = best_so_far(trial, space.pruning_starts)
    if not own:
        return Receipt(trial.number, reason, None, None, None, (), 0, None, None, None)
    epoch = max(own)
    peers = company.at(epoch)
    before_N = peers.ended_N <= np.datetime64(trial.datetime_complete, "us")
    by_pruner = reason == f"{space.pruner.type} pruner"
    threshold = _threshold(space.pruner, peers.value_N[before_N]) if by_pruner else None
    expected, chance, regret = None, None, None
    if len(peers.numbers_N) >= FEWEST and not is_diverged(trial):
        finals_N = own[epoch] + peers.left_N
        expected, chance = float(finals_N.mean()), float((finals_N < company.best).mean())
        regret = float(np.maximum(company.best - finals_N, 0).mean())
    return Receipt(
        trial.number,
        reason,
        epoch,
        own[epoch],
        threshold,
        tuple(peers.numbers_N[before_N].tolist()),
        len(peers.numbers_N),
        expected,
        chance,
        regret,
    )


def _threshold(pruner: PrunerSettings, value_N: Float64Array) -> float | None:
    """As Optuna computes it: the percentile of complete trials at that epoch. None for pruners that keep none."""
    if isinstance(pruner, ThresholdSettings):
        return pruner.upper
    share = 50.0 if isinstance(pruner, MedianSettings) else None
    share = pruner.percentile if isinstance(pruner, PercentileSettings) else share
    if share is None or not len(value_N):
        return None
    found = float(np.nanpercentile(value_N, share))
    return found if math.isfinite(found) else None
