"""When a sweep asks for no more trials."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from sweep.space.model import Budget
from sweep.study.summaries import NoTrial


def refusal(budget: Budget, trials: Sequence[FrozenTrial], hours: float) -> NoTrial | None:
    """Why no further trial may start; None if one may.

    Args:
        budget: the limits.
        trials: all trials of the study. Every one counts, failed ones too, so that a sweep in which everything fails
            ends as well.
        hours: since the first start of the run, pauses included.
    """
    if budget.trials is not None and len(trials) >= budget.trials:
        return NoTrial(f"all {budget.trials} trials of the budget were started", final=True)
    if budget.hours is not None and hours >= budget.hours:
        return NoTrial(f"the budget of {budget.hours:g} hours is used up", final=True)
    patience = budget.trials_without_improvement
    if patience is not None and (vain := since_improvement(trials)) >= patience:
        running = sum(not trial.state.is_finished() for trial in trials)
        if running:  # one of them may still be the improvement
            return NoTrial(f"{vain} trials without improvement; {running} still running", final=False)
        return NoTrial(f"{vain} trials without improvement", final=True)
    return None


def since_improvement(trials: Sequence[FrozenTrial]) -> int:
    """Trials that finished, in whatever state, after the one that is the best so far."""
    finished = sorted((trial for trial in trials if trial.state.is_finished()), key=_end)
    best, count = math.inf, 0
    for trial in finished:
        count += 1
        if trial.state is TrialState.COMPLETE and trial.value is not None and trial.value < best:
            best, count = trial.value, 0
    return count


def _end(trial: FrozenTrial) -> tuple[datetime.datetime, int]:
    return trial.datetime_complete or datetime.datetime.min, trial.number
