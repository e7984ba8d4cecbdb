"""Optuna samplers, built anew for every trial so that a killed sweep goes on as if it had not been killed.

A sampler object keeps a random state (and caches) that dies with the process. So none is kept: each trial gets a new
one, seeded by SHA-256 from the space's seed and the trial's number, and each independently drawn parameter one of
its own, seeded by its name as well. What a trial is given is then a function of the study's finished trials and of its
number, also when the kill came in the middle of sampling it. Read in Optuna 5.0:

- TPE, random: no other state. TPE stores what it drew jointly in the trial; drawing it again gives the same. What it
  reads of finished trials is kept (`sweep.study.tpe`), which changes no draw.
- GP: no other state, except the last kernel parameters as a starting point of the next fit, which we do without.
  It takes the note of a joint draw for a running trial, its own included: `StudyOwner` blanks it before redrawing.
- CMA-ES: its state is kept in attributes of the trials (`sweep.study.cmaes`), and found again in the latest complete
  one. Drawing twice writes the same attributes twice. Trials that were not drawn by it (`enqueue`) count for nothing
  but start-up.
- QMC: the sequence needs one seed for all trials, and the index of the next point. Optuna counts it up in the study
  before the parameters are stored, so a kill in between skips a point; here it is the number of configurations drawn
  before, which the slots tell.
- Grid: not Optuna's sampler, which keeps to unconditional spaces and to trials that were not enqueued; see
  `sweep.study.slots`. What an enqueued point leaves open on a grid is drawn at random.

GP, CMA-ES and QMC draw jointly only what every trial has: conditional parameters (and for CMA-ES categorical ones)
are drawn at random. TPE with `group` (the default) models them.
"""

from __future__ import annotations

import warnings

from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, QMCSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from selector.seeds import derive_seed32
from sweep.space.algorithms import CmaEsSettings, GpSettings, QmcSettings, TpeSettings
from sweep.space.search_space import SearchSpace
from sweep.study.tpe import HistoryTpeSampler, TpeHistory


def build_sampler(
    space: SearchSpace, number: int, drawn: int, history: TpeHistory, purpose: str = "joint"
) -> BaseSampler:
    """The sampler for one trial.

    Args:
        space: names the sampler, its settings and the seed.
        number: the trial's number in the study.
        drawn: configurations that were sampled (not enqueued) before this one; the index in a QMC sequence.
        history: what TPE keeps between the trials of one study. It changes no draw.
        purpose: `joint`, or the path of the parameter to be drawn on its own.
    """
    settings = space.sampler
    seed = derive_seed32(space.seed, number, purpose)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # Optuna's word for GP, QMC and some of TPE's options
        if isinstance(settings, TpeSettings):
            return HistoryTpeSampler(
                history,
                seed=seed,
                n_startup_trials=settings.n_startup_trials,
                n_ei_candidates=settings.n_ei_candidates,
                multivariate=settings.multivariate,
                group=settings.group,
                constant_liar=settings.constant_liar,
            )
        if isinstance(settings, GpSettings):
            return GPSampler(
                seed=seed,
                n_startup_trials=settings.n_startup_trials,
                deterministic_objective=settings.deterministic_objective,
                warn_independent_sampling=False,
            )
        if isinstance(settings, CmaEsSettings):
            from sweep.study.cmaes import JsonCmaEsSampler

            return JsonCmaEsSampler(
                seed=seed,
                n_startup_trials=settings.n_startup_trials,
                popsize=settings.population,
                with_margin=settings.with_margin,
                lr_adapt=settings.lr_adapt,
                warn_independent_sampling=False,
            )
        if isinstance(settings, QmcSettings):
            return PlannedQmcSampler(settings, space, drawn, seed)
    return RandomSampler(seed=seed)


class PlannedQmcSampler(QMCSampler):
    """Optuna's QMC sampler, told which point of the sequence to give and over which parameters."""

    def __init__(self, settings: QmcSettings, space: SearchSpace, index: int, seed: int) -> None:
        super().__init__(
            qmc_type=settings.sequence,
            scramble=settings.scramble,
            seed=derive_seed32(space.seed, "qmc"),
            independent_sampler=RandomSampler(seed=seed),
            warn_independent_sampling=False,
        )
        self._index = index
        self._joint = {
            path: distribution
            for path, distribution in space.distributions.items()
            if not space.parameters[path].when and not distribution.single()
        }

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All parameters that every trial has (Optuna takes those of the first finished trial)."""
        return self._joint

    def _find_sample_id(self, study: Study, search_space: dict[str, BaseDistribution]) -> int:
        return self._index
