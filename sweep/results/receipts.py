"""A receipt for every pruned trial: what stopped it, what it was compared with, and what it may have cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selector.arrays import Float64Array
from sweep.evaluation.wording import counted
from sweep.results.equivalents import best_so_far, is_diverged
from sweep.space import SearchSpace
from sweep.study import FrozenTrial, TrialState
from sweep.study.comparison import Comparison, Quantity, comparison_of
from sweep.study.summaries import REASON

FEWEST = 3
"""Trials that ran on, from which a regret is estimated."""


@dataclass(frozen=True)
class Receipt:
    """Why a trial was stopped, and what that may have cost. Epochs are those that the pruner counts, from 1.

    Attributes:
        trial: its number.
        reason: as the study has it.
        epoch: at which it was stopped. None where it had none that counts.
        value: its best val_loss until then.
        compared: what the pruner held it against. None where no pruner stopped it, or one of version 0.1.
        ran_on: complete trials with a value at that epoch, whenever they ended: the estimate rests on them.
        expected: val_loss that it would have ended with, had it improved from there as the others did, on average.
        chance: share of those others whose improvement would have made it the best of the run.
        regret: by how much it would have lowered the best val_loss, on average. 0 where it never would.
    """

    trial: int
    reason: str
    epoch: int | None
    value: float | None
    compared: Comparison | None
    ran_on: int
    expected: float | None
    chance: float | None
    regret: float | None


def receipts(space: SearchSpace, trials: Sequence[FrozenTrial]) -> tuple[Receipt, ...]:
    """One receipt per pruned trial, by number."""
    company = _Company(space, trials)
    return tuple(_receipt(space, one, company) for one in trials if one.state is TrialState.PRUNED)


class _Company:
    """The complete trials, by the epochs at which others were stopped."""

    def __init__(self, space: SearchSpace, trials: Sequence[FrozenTrial]) -> None:
        self._complete = [one for one in trials if one.state is TrialState.COMPLETE and one.value is not None]
        self._best = {one.number: best_so_far(one, space.pruning_starts) for one in self._complete}
        self._left: dict[int, Float64Array] = {}
        self.best = min((float(one.value or 0.0) for one in self._complete), default=math.nan)

    def left(self, epoch: int) -> Float64Array:
        """Of those with a value at that epoch, by how much their val_loss changed from there to the end."""
        if epoch not in self._left:
            there = [(one, self._best[one.number]) for one in self._complete]
            found = [float(one.value or 0.0) - best[epoch] for one, best in there if epoch in best]
            self._left[epoch] = np.array(found, dtype=np.float64)
        return self._left[epoch]


def _receipt(space: SearchSpace, trial: FrozenTrial, company: _Company) -> Receipt:
    reason = str(trial.user_attrs.get(REASON, ""))
    own = best_so_far(trial, space.pruning_starts)
    if not own:
        return Receipt(trial.number, reason, None, None, None, 0, None, None, None)
    epoch = max(own)
    left_N = company.left(epoch)
    expected, chance, regret = None, None, None
    if len(left_N) >= FEWEST and not is_diverged(trial):
        finals_N = own[epoch] + left_N
        expected, chance = float(finals_N.mean()), float((finals_N < company.best).mean())
        regret = float(np.maximum(company.best - finals_N, 0).mean())
    # A driver that was killed may leave a decision, and the trial may then be stopped for something else.
    compared = comparison_of(trial) if reason.endswith(" pruner") else None
    return Receipt(trial.number, reason, epoch, own[epoch], compared, len(left_N), expected, chance, regret)


def words(one: Receipt) -> str:
    """Why a trial was stopped, with the numbers that the pruner compared."""
    found = one.compared
    if found is None:
        return one.reason
    if found.rung is not None:
        return f"{one.reason}: {_at_rung(found, found.rung)}"
    side = f"{'below' if found.stops_below else 'above'} {found.threshold:.4f}"
    if found.quantity is Quantity.P:
        return f"{one.reason}: {found.quantity} against trial {found.best_trial}, {found.value:.4f}, is {side}"
    if found.quantity is Quantity.BEST:
        line = "the median" if one.reason.startswith("median") else "the limit"
        others = counted(found.trials, "complete trial")
        return f"{one.reason}: {found.value:.4f} is {side}, {line} of {others} that had got as far"
    what = ", the best before" if found.quantity is Quantity.RECENT else ""
    return f"{one.reason}: {found.quantity}, {found.value:.4f}, is {side}{what}"


def _at_rung(found: Comparison, rung: int) -> str:
    bracket = "" if found.bracket is None else f" of bracket {found.bracket}"
    where = f"rung {rung}{bracket} (epoch {found.rung_epoch})"
    if found.threshold is None:
        return f"the first trials at {where} stop, this was number {found.trials}"
    others = counted(found.trials, "trial")
    return (
        f"{found.value:.4f} is above {found.threshold:.4f}, the limit at {where}, where one in "
        f"{found.reduction_factor} of {others} goes on"
    )
