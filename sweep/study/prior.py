"""Trials of an earlier run, shown to the sampler as if they were of this study. Nothing of them is stored.

A sampler asks its study for trials. It gets a stand-in for the study that adds the prior ones. Numbers, budget, pruner
and ranking know the real trials alone.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any, cast

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweep.space.addresses import addresses
from sweep.space.search_space import SearchSpace


def prior_trials(space: SearchSpace) -> list[FrozenTrial]:
    """The space's `prior` as complete trials."""
    found = []
    for one in space.prior or ():
        params = {path: addresses()[path].check(value) for path, value in one.params.items()}
        sampled = {path: space.distributions[path] for path in params if path in space.distributions}
        found.append(
            create_trial(
                state=TrialState.COMPLETE,
                value=one.val_loss,
                params={path: params[path] for path in sampled},
                distributions=sampled,
            )
        )
    return found


class PriorSampler(BaseSampler):
    """A sampler that sees the prior trials beside those of its study."""

    def __init__(self, sampler: BaseSampler, prior: list[FrozenTrial]) -> None:
        self._sampler = sampler
        self._prior = prior

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As the sampler does it."""
        return self._sampler.infer_relative_search_space(self._seen(study), trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As the sampler does it."""
        return self._sampler.sample_relative(self._seen(study), trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:  # noqa: ANN401 (any value)
        """As the sampler does it."""
        return self._sampler.sample_independent(self._seen(study), trial, param_name, param_distribution)

    def _seen(self, study: optuna.Study) -> optuna.Study:
        return cast("optuna.Study", _WithPrior(study, self._prior))


class _WithPrior:
    """A study with more trials. All else is the study's."""

    def __init__(self, study: optuna.Study, prior: list[FrozenTrial]) -> None:
        self._real = study
        self._prior = prior

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 (whatever the name stands for)
        return getattr(self._real, name)

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """The prior trials, then the study's."""
        return self._get_trials(deepcopy, states)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        prior = [trial for trial in self._prior if states is None or trial.state in states]
        return [*prior, *self._real._get_trials(deepcopy=deepcopy, states=states, use_cache=use_cache)]
