"""A receipt for every pruned trial: what stopped it, whom it was compared with, and what it may have cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sweep.results.equivalents import at, best_so_far, is_diverged
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


def receipts(space: SearchSpace, trials: Sequence[FrozenTrial]) -> list[Receipt]:
    """One receipt per pruned trial, by number."""
    complete = [one for one in trials if one.state is TrialState.COMPLETE and one.value is not None]
    return [_receipt(space, one, complete) for one in trials if one.state is TrialState.PRUNED]


def _receipt(space: SearchSpace, trial: FrozenTrial, complete: Sequence[FrozenTrial]) -> Receipt:
    reason = str(trial.user_attrs.get(REASON, ""))
    own = best_so_far(trial, space.pruning_starts)
    if not own:
        return Receipt(trial.number, reason, None, None, None, (), 0, None, None, None)
    epoch = max(own)
    there = {one.number: values for one in complete if epoch in (values := counted_epochs(one, space.pruning_starts))}
    before = [one.number for one in complete if one.number in there and _ended_before(one, trial)]
    by_pruner = reason == f"{space.pruner.type} pruner"
    threshold = _threshold(space.pruner, [there[number][epoch] for number in before]) if by_pruner else None
    expected, chance, regret = None, None, None
    if len(there) >= FEWEST and not is_diverged(trial):
        # What is left of the best value after the same epoch, in the others' training.
        left = [
            float(one.value or 0.0) - at(best_so_far(one, space.pruning_starts), epoch)
            for one in complete
            if one.number in there
        ]
        finals = own[epoch] + np.array(left)
        best = min(float(one.value or 0.0) for one in complete)
        expected = float(finals.mean())
        chance, regret = float((finals < best).mean()), float(np.maximum(best - finals, 0).mean())
    return Receipt(
        trial.number, reason, epoch, own[epoch], threshold, tuple(before), len(there), expected, chance, regret
    )


def _ended_before(one: FrozenTrial, trial: FrozenTrial) -> bool:
    ends = one.datetime_complete, trial.datetime_complete
    return ends[0] is None or ends[1] is None or ends[0] <= ends[1]


def _threshold(pruner: PrunerSettings, values: Sequence[float]) -> float | None:
    """As Optuna computes it: the percentile of complete trials at that epoch. None for pruners that keep none."""
    if isinstance(pruner, ThresholdSettings):
        return pruner.upper
    share = 50.0 if isinstance(pruner, MedianSettings) else None
    share = pruner.percentile if isinstance(pruner, PercentileSettings) else share
    if share is None or not values:
        return None
    found = float(np.nanpercentile(np.array(values), share))
    return found if math.isfinite(found) else None
