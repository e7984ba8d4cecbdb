"""Optuna's TPE with what it reads of finished trials kept between trials. Its proposals are Optuna's, to the bit.

A sampler is built anew for every trial (`sweep.study.samplers`). Optuna's own then looks through all finished trials
for its groups of parameters, and again for every group. Finished trials do not change, so their values are kept as
arrays.

Invariant: what is kept is a function of the trials that are shown, in whatever order they ended. None of it is stored.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe import sampler as optunas  # how it ranks trials has no public name
from optuna.search_space.group_decomposed import _SearchSpaceGroup
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from selector.arrays import Float64Array

USED = (TrialState.COMPLETE, TrialState.PRUNED)
FIRST_ROWS = 256


class TpeHistory:
    """The finished trials of one study, by their place in its list.

    Attributes:
        constrained: whether a trial breaks a constraint, which only other programs set. TPE ranks such trials apart.
    """

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self.constrained = False
        self._ended: list[FrozenTrial | None] = []  # None: not ended when last looked at
        self._open: list[int] = []
        self._places: dict[TrialState, list[int]] = {state: [] for state in USED}
        self._firsts: dict[frozenset[str], int] = {}  # of each set of parameters, the first place
        self._numbers = np.zeros(FIRST_ROWS, dtype=np.int64)
        self._scores = np.zeros((FIRST_ROWS, 2))
        self._columns: dict[str, Float64Array] = {}

    def __len__(self) -> int:
        """How many trials TPE learns from, those that run left out."""
        return sum(map(len, self._places.values()))

    def show(self, trials: Sequence[FrozenTrial], study: Study) -> None:
        """Take up what has come or ended since. Where an ended trial has become another, all is taken up anew."""
        if sum(map(operator.is_not, self._ended, trials)) != len(self._open):
            self._forget()
        known = len(self._ended)
        self._open += range(known, len(trials))
        self._ended += [None] * (len(trials) - known)
        self._make_room(len(trials))
        for place in self._open:
            self._numbers[place] = trials[place].number
            if trials[place].state.is_finished():
                self._add(place, trials[place], study)
        self._open = [place for place in self._open if self._ended[place] is None]

    def _make_room(self, rows: int) -> None:
        room = len(self._scores)
        if rows > room:
            more = max(rows, 2 * room) - room
            self._numbers = np.append(self._numbers, np.zeros(more, dtype=np.int64))
            self._scores = np.concatenate([self._scores, np.zeros((more, 2))])
            self._columns = {name: np.append(values, np.full(more, math.nan)) for name, values in self._columns.items()}

    def _add(self, place: int, trial: FrozenTrial, study: Study) -> None:
        self._ended[place] = trial
        if trial.state not in USED:
            return
        names = frozenset(trial.distributions)
        self._firsts[names] = min(place, self._firsts.get(names, place))
        self._places[trial.state].append(place)
        complete = trial.state is TrialState.COMPLETE
        self._scores[place] = (0.0, trial.value) if complete else optunas._get_pruned_trial_score(trial, study)
        self._put(place, trial.params, trial.distributions)
        self.constrained |= optunas._get_infeasible_trial_score(trial) > 0

    def _put(self, place: int, params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]) -> None:
        """Set a row to the parameters that have a distribution, as numbers. The others are NaN."""
        for name in distributions.keys() - self._columns.keys():
            self._columns[name] = np.full(len(self._scores), math.nan)
        for name, column in self._columns.items():
            given = name in params and name in distributions
            column[place] = distributions[name].to_internal_repr(params[name]) if given else math.nan

    def groups(self) -> _SearchSpaceGroup:
        """Optuna's groups of parameters.

        Optuna adds the parameters of all trials in a row. A set that was added before changes nothing any more, so
        each is added once, where its first trial stands.
        """
        found = _SearchSpaceGroup()
        for place in sorted(self._firsts.values()):
            first = self._ended[place]
            assert first is not None  # noqa: S101 (only ended trials have an entry)
            found.add_distributions(first.distributions)
        return found

    def running(self, trials: Sequence[FrozenTrial], without: int) -> list[int]:
        """Places of the trials that run, but for the one of this number."""
        return [
            place
            for place in self._open
            if trials[place].state is TrialState.RUNNING and trials[place].number != without
        ]

    def split(self, count: int) -> tuple[list[int], list[int]]:
        """Places of the best `count` trials, and of the others. Complete trials come before pruned ones."""
        best: list[int] = []
        others: list[int] = []
        for state in USED:
            places = np.array(sorted(self._places[state]), dtype=np.int64)
            ranked = places[np.lexsort(self._scores[places].T[::-1])].tolist()
            left = count - len(best)
            best += ranked[:left]
            others += ranked[left:]
        return best, others

    def observations(
        self, places: Sequence[int], space: Mapping[str, BaseDistribution], running: Mapping[int, Mapping[str, Any]]
    ) -> dict[str, Float64Array]:
        """Values of the parameters of a space, by the number of the trial. Trials that lack one are left out.

        Args:
            places: of trials.
            space: parameters.
            running: the parameters of those that have not ended, by place.
        """
        for place, params in running.items():
            self._put(place, params, space)
        order = np.array(places, dtype=np.int64)
        order = order[np.argsort(self._numbers[order], kind="stable")]
        none = np.full(len(self._scores), math.nan)
        values = np.array([self._columns.get(name, none)[order] for name in space])
        values = values[:, ~np.isnan(values).any(0)]
        return dict(zip(space, values, strict=True))


class HistoryTpeSampler(TPESampler):
    """`optuna.samplers.TPESampler` that has what it learns from in a history. The options are the same."""

    def __init__(self, history: TpeHistory, **options: Any) -> None:  # noqa: ANN401 (Optuna's)
        super().__init__(**options)
        self._history = history
        if self._group:
            self._group_decomposed_search_space = _Groups(history)  # type: ignore[assignment]

    def _sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As Optuna's: nothing before enough trials have ended."""
        self._history.show(study._get_trials(deepcopy=False), study)
        if not search_space or len(self._history) < self._n_startup_trials:
            return {}
        return self._sample(study, trial, search_space)

    def _sample(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        """As Optuna's, with arrays in place of lists of trials."""
        trials = study._get_trials(deepcopy=False)
        history = self._history
        history.show(trials, study)
        if history.constrained:
            return super()._sample(study, trial, search_space)
        below, above = history.split(optunas.default_gamma(len(history)))
        others = history.running(trials, without=trial.number) if self._constant_liar else []
        running = {place: self._get_params(trials[place], study) for place in others}
        estimators = [
            self._parzen_estimator_cls(
                history.observations(places, search_space, running), search_space, self._parzen_estimator_parameters
            )
            for places in (below, [*above, *running])
        ]
        samples = estimators[0].sample(self._rng.rng, self._n_ei_candidates)
        best = self._compare(samples, self._compute_acquisition_func(samples, *estimators))
        return {name: distribution.to_external_repr(best[name]) for name, distribution in search_space.items()}


class _Groups:
    """In the place of Optuna's `_GroupDecomposedSearchSpace`."""

    def __init__(self, history: TpeHistory) -> None:
        self._history = history

    def calculate(self, study: Study, use_cache: bool = False) -> _SearchSpaceGroup:
        """As Optuna's."""
        self._history.show(study._get_trials(deepcopy=False, use_cache=use_cache), study)
        return self._history.groups()
