"""Optuna pruners, and what they are shown.

A step is one epoch, counted over both stages from 1; the study stores every one of them. With `pruning_starts: at_once`
pruners see just that. With `after_rce` (the default) they see GRPO epochs only, of every trial, numbered from 1:

- Otherwise none would ever prune. Median and percentile compare a trial's **best value so far**, and trials share their
  RCE epochs, which are often better than the first epochs of GRPO.
- Warm-up steps, intervals, rungs and resources then count epochs that differ between trials, also where `rce.epochs`
  is sampled.

Wilcoxon compares the curve with the best complete trial's, epoch by epoch, with a signed-rank test. It was made for
instances of a problem in random order; epochs of one curve are correlated, so its p-values are a heuristic here.

Non-finite values are never shown: `StudyOwner` prunes a trial whose newest value is not finite by itself.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Container
from itertools import compress
from operator import is_not

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PatientPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
    ThresholdPruner,
    WilcoxonPruner,
)
from optuna.trial import FrozenTrial, TrialState

from sweep.space.algorithms import (
    HyperbandSettings,
    MedianSettings,
    PatientSettings,
    PercentileSettings,
    PrunerSettings,
    PruningStarts,
    SuccessiveHalvingSettings,
    ThresholdSettings,
    WilcoxonSettings,
)
from sweep.study.summaries import counted_epochs


def build_pruner(settings: PrunerSettings, epochs: int) -> BasePruner:
    """The pruner that a space names.

    Args:
        settings: from the space.
        epochs: the most epochs a pruner can see of a trial (`SearchSpace.pruned_epochs`). `max_resource: auto` is
            this number (Optuna would guess it from the first complete trials, differently after a restart), and
            `min_resource: auto` is `max_resource / reduction_factor^2`, at least 1: up to three rungs.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if isinstance(settings, PatientSettings):
            wrapped = None if settings.wrapped is None else _build(settings.wrapped, epochs)
            return PatientPruner(wrapped, patience=settings.patience, min_delta=settings.min_delta)
        return _build(settings, epochs)


def _build(settings: PrunerSettings, epochs: int) -> BasePruner:
    if isinstance(settings, MedianSettings):
        return MedianPruner(**settings.model_dump(exclude={"type"}))
    if isinstance(settings, PercentileSettings):
        return PercentilePruner(**settings.model_dump(exclude={"type"}))
    if isinstance(settings, ThresholdSettings):
        return ThresholdPruner(**settings.model_dump(exclude={"type"}))
    if isinstance(settings, WilcoxonSettings):
        return WilcoxonPruner(**settings.model_dump(exclude={"type"}))
    if isinstance(settings, SuccessiveHalvingSettings):
        first = _first_rung(settings, epochs)
        return SuccessiveHalvingPruner(**settings.model_dump(exclude={"type", "min_resource"}), min_resource=first)
    if isinstance(settings, HyperbandSettings):
        most = epochs if settings.max_resource == "auto" else settings.max_resource
        return HyperbandPruner(
            min_resource=_first_rung(settings, most),
            max_resource=most,
            reduction_factor=settings.reduction_factor,
            bootstrap_count=settings.bootstrap_count,
        )
    return NopPruner()


def _first_rung(settings: SuccessiveHalvingSettings | HyperbandSettings, most: int) -> int:
    if settings.min_resource != "auto":
        return settings.min_resource
    return max(1, most // settings.reduction_factor**2)


class PrunerView(optuna.Study):
    """The study as pruners see it: trials reduced to the epochs that count, finite values only."""

    def __init__(self, study: optuna.Study, starts: PruningStarts) -> None:
        # Optuna has no public way to the storage of a study; a second Study on its URL would have a second cache.
        super().__init__(study.study_name, study._storage, sampler=study.sampler, pruner=study.pruner)
        self._starts = starts
        self._trials: list[FrozenTrial | None] = []  # when last looked at
        self._reduced: list[FrozenTrial] = []

    def seen(self, trial: FrozenTrial) -> FrozenTrial:
        """A copy of the trial with the epochs that count, numbered from 1; attributes are shared with the original."""
        reduced = copy.copy(trial)
        reduced.intermediate_values = counted_epochs(trial, self._starts)
        return reduced

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """As in Optuna; reduced copies, whatever `deepcopy` says."""
        trials = super().get_trials(deepcopy=False)
        new = trials[len(self._trials) :]
        self._trials += [None] * len(new)
        self._reduced += new
        # A trial that has changed is another object. Looking for these takes no time, and copying all of them does.
        for place in compress(range(len(trials)), map(is_not, trials, self._trials)):
            self._trials[place], self._reduced[place] = trials[place], self.seen(trials[place])
        return [trial for trial in self._reduced if states is None or trial.state in states]

    @property
    def best_trial(self) -> FrozenTrial:
        """The complete trial with the lowest finite value.

        Raises:
            ValueError: there is none (as Optuna does; the Wilcoxon pruner relies on it).
        """
        found = best_complete(self.get_trials(states=(TrialState.COMPLETE,)))
        if found is None:
            raise ValueError("no trial is complete")
        return found


def best_complete(trials: list[FrozenTrial]) -> FrozenTrial | None:
    """The COMPLETE trial with the lowest finite value, the earlier one of equals; None if there is none."""
    complete = [
        (trial.value, trial.number, trial)
        for trial in trials
        if trial.state is TrialState.COMPLETE and trial.value is not None and math.isfinite(trial.value)
    ]
    return min(complete)[2] if complete else None
