"""The parameters of one trial, suggested in the space's order, each only where its conditions hold."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Container
from functools import partial
from typing import TypeVar

import optuna
from optuna.exceptions import StorageInternalError
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial

from selector.seeds import derive_seed32
from sweep.space.addresses import Scalar
from sweep.space.parameters import CategoricalParameter, FixedParameter, FloatParameter, IntParameter, Parameter
from sweep.study.prior import PriorSampler, prior_trials
from sweep.study.samplers import build_sampler
from sweep.study.slots import Planner
from sweep.study.summaries import FALLBACK, slot_of
from sweep.study.tpe import TpeHistory

T = TypeVar("T")


class Suggester:
    """Gives trials their parameters. It sets the study's sampler, anew for every trial and every single draw."""

    def __init__(self, study: optuna.Study, planner: Planner) -> None:
        self._study = study
        self._planner = planner
        self._space = planner.space
        self._prior = prior_trials(planner.space)
        self._history = TpeHistory()

    def prepare(self, trial: FrozenTrial) -> None:
        """Set the sampler for the trial's joint draw; to be called before an `optuna.Trial` is made of it."""
        self._use(trial, "joint")

    def suggest(self, trial: optuna.Trial, frozen: FrozenTrial) -> dict[str, Scalar]:
        """The sampled parameters that apply to a trial.

        What the trial has already (drawn before a kill) or was given (`enqueue`) is kept. A sampler that fails is
        replaced by random draws for this trial, which then carries the attribute `sampler_fallback`.

        Args:
            trial: running; what is drawn is stored in it.
            frozen: its state before.
        """
        values: dict[str, Scalar] = {}
        joint: Container[str] | None = None
        for path in self._space.order:
            parameter = self._space.parameters[path]
            if not self._space.in_use(path, values):
                continue
            if isinstance(parameter, FixedParameter):
                values[path] = parameter.value
                continue
            if path not in frozen.params:
                if joint is None:
                    joint = self._guarded(trial, partial(getattr, trial, "relative_params"))
                if path not in joint:
                    self._use(frozen, path, fallback=FALLBACK in trial.user_attrs)
            values[path] = self._guarded(trial, partial(_suggest, trial, path, parameter))
        return {path: value for path, value in values.items() if path in self._space.distributions}

    def _use(self, trial: FrozenTrial, purpose: str, fallback: bool = False) -> None:
        if fallback:
            seed = derive_seed32(self._space.seed, trial.number, "fallback", purpose)
            self._study.sampler = RandomSampler(seed=seed)
        else:
            drawn = self._planner.drawn_before(slot_of(trial).configuration)
            sampler = build_sampler(self._space, trial.number, drawn, self._history, purpose)
            self._study.sampler = PriorSampler(sampler, self._prior) if self._prior else sampler

    def _guarded(self, trial: optuna.Trial, draw: Callable[[], T]) -> T:
        """Run a sampler; on an error of its own (a degenerate fit, say) draw at random and say so in the trial."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return draw()
        except StorageInternalError:
            raise
        except Exception as error:  # whatever numerical code may raise; a second failure is not caught
            trial.set_user_attr(FALLBACK, f"{type(error).__name__}: {error}"[:500])
            self._study.sampler = RandomSampler(seed=derive_seed32(self._space.seed, trial.number, "fallback"))
            return draw()


def _suggest(trial: optuna.Trial, path: str, parameter: Parameter) -> Scalar:
    if isinstance(parameter, FloatParameter):
        return trial.suggest_float(path, parameter.low, parameter.high, step=parameter.step, log=parameter.log)
    if isinstance(parameter, IntParameter):
        return trial.suggest_int(path, parameter.low, parameter.high, step=parameter.step or 1, log=parameter.log)
    if isinstance(parameter, CategoricalParameter):
        return trial.suggest_categorical(path, parameter.choices)
    raise TypeError(f"{path} is not sampled")
