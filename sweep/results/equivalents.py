"""A value for every trial that has ended, complete or not, so that all of them can be compared.

A pruned trial has no final value. Its last one is of a shorter training, and leaving it out would hide the very
settings that do badly. So it is compared at equal epochs, as its pruner did: with the best value so far of all trials
that got as far. It is given the final value of those that stood where it stands. That assumes that the order at the
epoch of pruning is the order at the end, and `Equivalents.order_kept` says how true this is of the complete trials.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selector.arrays import Float64Array
from selector.health import Verdict
from sweep.evaluation.statistics import spearman
from sweep.space.algorithms import PruningStarts
from sweep.study import FrozenTrial, TrialState
from sweep.study.summaries import counted_epochs, standing_of

FEWEST_FOR_ORDER = 5
"""Complete trials from which the order at an epoch is compared with the final one."""


@dataclass(frozen=True)
class Equivalents:
    """Validation losses that can be compared.

    Attributes:
        value: by trial number; lower is better. Infinite for a trial that diverged: nothing is worse.
        complete: complete trials among them, with their own final value.
        pruned: pruned trials among them, diverged ones counted.
        left_out: trials without a value: failed ones, those that still run, and those without an epoch.
        order_kept: rank correlation, in [-1, 1], of the best value so far with the final one over the complete trials,
            averaged over the epochs at which trials were pruned. None without such epochs, or with few complete trials.
    """

    value: dict[int, float]
    complete: int
    pruned: int
    left_out: int
    order_kept: float | None


def equivalents(trials: Sequence[FrozenTrial], starts: PruningStarts) -> Equivalents:
    """A comparable value for every complete or pruned trial.

    Args:
        trials: of one study, in any state.
        starts: which epochs the pruner counts.
    """
    complete = [one for one in trials if one.state is TrialState.COMPLETE and one.value is not None]
    pruned = [one for one in trials if one.state is TrialState.PRUNED]
    diverged = [one for one in pruned if is_diverged(one)]
    best = {one.number: best_so_far(one, starts) for one in (*complete, *pruned)}
    stopped = [one for one in pruned if not is_diverged(one) and best[one.number]]
    value = {one.number: float(one.value or 0.0) for one in complete}
    # The longest first: whoever a trial is compared with has its value already.
    stopped.sort(key=lambda one: (-max(best[one.number]), one.number))
    length = max((max(curve) for curve in best.values() if curve), default=0)
    known = [one for one in complete if best[one.number]]
    early_NE = np.array([_dense(best[one.number], length) for one in (*known, *stopped)]).reshape(-1, length)
    final_N = np.array([value[one.number] for one in known] + [math.nan] * len(stopped))
    for place, trial in enumerate(stopped, start=len(known)):
        own = best[trial.number]
        epoch = max(own)
        early_P = early_NE[:place, epoch - 1]
        there_P = np.isfinite(early_P)
        final_N[place] = _placed(own[epoch], early_P[there_P], final_N[:place][there_P])
        value[trial.number] = float(final_N[place])
    value |= {one.number: math.inf for one in diverged}
    return Equivalents(
        value,
        len(complete),
        len(value) - len(complete),
        len(trials) - len(value),
        _order_kept(early_NE[: len(known)], final_N[: len(known)], [max(best[one.number]) for one in stopped]),
    )


def is_diverged(trial: FrozenTrial) -> bool:
    """Whether its numbers left the finite, or passed the limits of `health`."""
    last = trial.intermediate_values.get(trial.last_step) if trial.last_step is not None else None
    return Verdict.DIVERGED in standing_of(trial).verdicts or (last is not None and not math.isfinite(last))


def best_so_far(trial: FrozenTrial, starts: PruningStarts) -> dict[int, float]:
    """The lowest value up to each epoch that the pruner counts, from 1, in ascending order."""
    found: dict[int, float] = {}
    lowest = math.inf
    for epoch, value in counted_epochs(trial, starts).items():
        lowest = min(lowest, value)
        found[epoch] = lowest
    return found


def _dense(best: dict[int, float], length: int) -> list[float]:
    """The best value at every epoch from 1: NaN before the first one, and the last one after the end."""
    found, newest = [], math.nan
    for epoch in range(1, length + 1):
        newest = best.get(epoch, newest)
        found.append(newest)
    return found


def _placed(own: float, at_epoch: Float64Array, final: Float64Array) -> float:
    """The final value that goes with a value at an epoch, by the order of both. Beyond the ends the distance stays."""
    if not len(final):
        return own
    early, late = np.sort(at_epoch), np.sort(final)
    beyond = min(0.0, own - early[0]) + max(0.0, own - early[-1])
    return float(np.interp(own, early, late) + beyond)


def _order_kept(early_NE: Float64Array, final_N: Float64Array, epochs: Sequence[int]) -> float | None:
    found: dict[int, float] = {}
    for epoch in set(epochs):
        early_N = early_NE[:, epoch - 1]
        there_N = np.isfinite(early_N)
        if there_N.sum() >= FEWEST_FOR_ORDER and np.ptp(early_N[there_N]) and np.ptp(final_N[there_N]):
            found[epoch] = spearman(early_N[there_N], final_N[there_N])
    weighed = [found[epoch] for epoch in epochs if epoch in found]
    return float(np.mean(weighed)) if weighed else None
