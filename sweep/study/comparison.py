"""What a pruner held a trial against when it stopped it.

Optuna's pruners say yes or no. What they compared is found here directly after they decided, on the same trials, and
stored with the decision. It could not be found later: rungs fill up, and trials end.

Sources: Optuna 5.0, `optuna/pruners/`. `tests/sweep/study/test_comparison.py` holds every decision against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import optuna
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    PatientPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
    ThresholdPruner,
    WilcoxonPruner,
)
from optuna.trial import FrozenTrial, TrialState

COMPARED = "compared"
"""Trial attribute, written in one transaction with the decision to stop: see `Comparison`."""


class Quantity(StrEnum):
    """What of a trial was compared."""

    LATEST = "latest val_loss"
    BEST = "best val_loss"
    RECENT = "best val_loss of the last epochs"
    P = "p of the signed-rank test"


@dataclass(frozen=True)
class Comparison:
    """What a pruner compared at a trial's newest epoch. Epochs are those that the pruner counts, from 1.

    Attributes:
        quantity: what was compared.
        value: of the trial.
        threshold: the trial stops beyond this. None: the first trials at a rung stop whatever their value.
        stops_below: whether it stops below the threshold. Otherwise it stops above.
        trials: how many trials the threshold is taken from. At a rung these are all that reached it, itself included.
        rung: from 0. None for pruners that have none, as for the rest.
        rung_epoch: the epoch of that rung.
        reduction_factor: one in so many goes on from a rung.
        bracket: of hyperband, from 0: so many of the first rungs are left out.
        best_trial: number of the best complete trial, with which the curve was compared.
    """

    quantity: Quantity
    value: float
    threshold: float | None
    stops_below: bool = False
    trials: int = 0
    rung: int | None = None
    rung_epoch: int | None = None
    reduction_factor: int | None = None
    bracket: int | None = None
    best_trial: int | None = None

    @property
    def stops(self) -> bool:
        """What follows for the trial."""
        if self.threshold is None:
            return True
        return self.value < self.threshold if self.stops_below else self.value > self.threshold


def comparison_of(trial: FrozenTrial) -> Comparison | None:
    """The stored comparison. None for a trial that no pruner stopped, or one of version 0.1."""
    stored = trial.user_attrs.get(COMPARED)
    return Comparison(**{**stored, "quantity": Quantity(stored["quantity"])}) if isinstance(stored, dict) else None


def compare(pruner: BasePruner, study: optuna.Study, trial: FrozenTrial) -> Comparison | None:
    """What a pruner has compared. To be called directly after `pruner.prune(study, trial)`.

    Args:
        pruner: any that a space can name.
        study: as the pruner saw it. Lower is better: a study of the other direction is not a sweep's.
        trial: as it was given to the pruner, with at least one epoch.

    Returns:
        None where there was nothing to compare with. A pruner may leave a trial alone for other reasons too, such as
        its warm-up, so only a decision to stop always follows from the comparison.
    """
    if isinstance(pruner, PatientPruner):
        inner = pruner._wrapped_pruner
        return _recent(pruner, trial) if inner is None else compare(inner, study, trial)
    if isinstance(pruner, PercentilePruner):  # the median is one
        return _percentile(pruner, study, trial)
    if isinstance(pruner, SuccessiveHalvingPruner):
        return _rung(pruner, study, study.get_trials(deepcopy=False), trial)
    if isinstance(pruner, HyperbandPruner):
        bracket = pruner._get_bracket_id(study, trial)
        there = [one for one in study.get_trials(deepcopy=False) if pruner._get_bracket_id(study, one) == bracket]
        found = _rung(pruner._pruners[bracket], study, there, trial)
        return None if found is None else replace(found, bracket=bracket)
    if isinstance(pruner, ThresholdPruner):
        latest = _latest(trial)
        below = latest < pruner._lower
        return Comparison(Quantity.LATEST, latest, pruner._lower if below else pruner._upper, stops_below=below)
    return _signed_ranks(study, trial, pruner._p_threshold) if isinstance(pruner, WilcoxonPruner) else None


def _latest(trial: FrozenTrial) -> float:
    return trial.intermediate_values[max(trial.intermediate_values)]


def _recent(pruner: PatientPruner, trial: FrozenTrial) -> Comparison | None:
    values = [value for _, value in sorted(trial.intermediate_values.items())]
    last = pruner._patience + 1
    if len(values) <= last:
        return None
    return Comparison(Quantity.RECENT, min(values[-last:]), min(values[:-last]) + pruner._min_delta)


def _percentile(pruner: PercentilePruner, study: optuna.Study, trial: FrozenTrial) -> Comparison | None:
    epoch = max(trial.intermediate_values)
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    values = [one.intermediate_values[epoch] for one in complete if epoch in one.intermediate_values]
    if len(values) < max(1, pruner._n_min_trials):
        return None
    limit = float(np.percentile(values, pruner._percentile))
    return Comparison(Quantity.BEST, min(trial.intermediate_values.values()), limit, trials=len(values))


def _rung(
    pruner: SuccessiveHalvingPruner, study: optuna.Study, trials: Sequence[FrozenTrial], trial: FrozenTrial
) -> Comparison | None:
    """At the highest rung that the trial has just reached. None if it has reached none with this epoch."""
    after = study._storage.get_trial(trial._trial_id).system_attrs
    rung = -1
    while _rung_key(rung + 1) in after:
        rung += 1
    key = _rung_key(rung)
    if rung < 0 or key in trial.system_attrs:
        return None
    values = sorted(found[key] for found in (one.system_attrs for one in trials) if key in found)
    factor, few = pruner._reduction_factor, len(values) <= pruner._bootstrap_count
    assert pruner._min_resource is not None  # noqa: S101 (`build_pruner` gives a number)
    return Comparison(
        Quantity.LATEST,
        after[key],
        None if few else values[max(len(values) // factor - 1, 0)],
        trials=len(values),
        rung=rung,
        rung_epoch=pruner._min_resource * factor ** (pruner._min_early_stopping_rate + rung),
        reduction_factor=factor,
    )


def _rung_key(rung: int) -> str:
    return f"completed_rung_{rung}"


def _signed_ranks(study: optuna.Study, trial: FrozenTrial, limit: float) -> Comparison | None:
    from scipy.stats import wilcoxon  # type: ignore[import-untyped]

    best = study.best_trial
    own, others = trial.intermediate_values, best.intermediate_values
    apart = np.array([own[epoch] - others[epoch] for epoch in sorted(own.keys() & others.keys())])
    p = float(wilcoxon(apart, alternative="greater", zero_method="zsplit").pvalue)
    return Comparison(Quantity.P, p, limit, stops_below=True, trials=1, best_trial=best.number)
