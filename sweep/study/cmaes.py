"""CMA-ES as Optuna has it, with its state kept as JSON instead of as a pickle.

Optuna's sampler pickles the optimizer into attributes of a trial and unpickles it for the next one. Whoever can write
into a study could then run code on the machine that resumes it. Here the same optimizer is built anew from the space,
and only the numbers that change from generation to generation are read. Their names and shapes must be those of the
new optimizer, and they must be finite.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from cmaes import CMA, CMAwM
from optuna.samplers import CmaEsSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from sweep.errors import StudyError

EVOLVING = {
    *("_mean", "_sigma", "_C", "_p_sigma", "_pc", "_g"),
    *("_Emean", "_ESigma", "_Vmean", "_VSigma", "_eta_mean", "_eta_Sigma"),  # of the learning-rate adaptation
    *("_A", "m_z_lim_low", "m_z_lim_up"),  # of the margin
}
"""What `tell` changes, by the attribute's name in cmaes. Not the history of values: only a rule for stopping reads it,
which Optuna does not use.
"""
PICKLED = ("cma:optimizer", "cmawm:optimizer")


class JsonCmaEsSampler(CmaEsSampler):
    """Draws what `optuna.samplers.CmaEsSampler` draws. Raises StudyError if the stored state is none of its own."""

    _stored: str | None = None
    _optimizer: CMA | CMAwM

    @property
    def _attr_key_optimizer(self) -> str:
        return f"{self._attr_prefix}state"

    def _restore_optimizer(self, completed_trials: list[FrozenTrial]) -> None:
        """Note the latest state. It is put into the optimizer once that is built: the shapes are known then."""
        self._stored = None
        for trial in reversed(completed_trials):
            if any(key.startswith(PICKLED) for key in trial.system_attrs):
                raise StudyError(
                    f"trial {trial.number} holds the state of CMA-ES as a pickle, which could run code and is not "
                    "read; it is another program's, or of a version before 0.2: start a new run"
                )
            parts = {key: part for key, part in trial.system_attrs.items() if key.startswith(self._attr_key_optimizer)}
            if parts:
                try:
                    self._stored = self._concat_optimizer_attrs(parts)
                except (KeyError, TypeError):
                    raise StudyError(f"trial {trial.number}: the stored state of CMA-ES is not complete") from None
                return

    def _init_optimizer(self, trans: Any, direction: StudyDirection) -> Any:  # noqa: ANN401 (Optuna's private types)
        random_state = self._cma_rng.rng.get_state()
        self._optimizer = super()._init_optimizer(trans, direction)
        if self._stored is not None:
            self._cma_rng.rng.set_state(random_state)  # as if nothing had been built
            state = _parse(self._stored)
            if (dimensions := _dimensions(state)) != self._optimizer.dim:
                # Parameters came or went. Optuna then draws at random, which it tells by the number of dimensions.
                return CMA(np.zeros(dimensions), 1.0)
            _set_numbers(self._optimizer, state)
        return self._optimizer

    def _split_optimizer_str(self, optimizer_str: str) -> dict[str, str]:
        """What is stored of the optimizer. Optuna's own text, the pickle, is dropped."""
        return super()._split_optimizer_str(json.dumps(_numbers(self._optimizer)))


def _numbers(optimizer: object) -> dict[str, Any]:
    """The evolving numbers of an optimizer by attribute, and those of the optimizer within it as a dictionary."""
    found: dict[str, Any] = {}
    for name, value in sorted(vars(optimizer).items()):
        if isinstance(value, CMA):
            found[name] = _numbers(value)
        elif name in EVOLVING:
            # The upper half of the covariance counts, as where cmaes itself stores one: a last bit may differ below.
            kept = np.triu(value) + np.triu(value, 1).T if name == "_C" else np.asarray(value)
            found[name] = kept.tolist()
    return found


def _parse(text: str) -> dict[str, Any]:
    try:
        state = json.loads(text)
    except ValueError as error:
        raise StudyError(f"the stored state of CMA-ES is no JSON: {error}") from None
    if not isinstance(state, dict):
        raise StudyError("the stored state of CMA-ES is no JSON object")
    return state


def _dimensions(state: dict[str, Any]) -> int:
    """How many parameters a stored state is for."""
    inner = state.get("_cma", state)
    mean = inner.get("_mean") if isinstance(inner, dict) else None
    if not isinstance(mean, list) or not mean:
        raise StudyError("the stored state of CMA-ES is damaged at _mean")
    return len(mean)


def _set_numbers(optimizer: object, state: dict[str, Any]) -> None:
    """Put stored numbers into an optimizer. Raises StudyError where name, kind or shape is not the optimizer's."""
    own = _numbers(optimizer)
    if state.keys() != own.keys():
        raise StudyError(f"the stored state of CMA-ES has other parts: {sorted(state.keys() ^ own.keys())}")
    for name, stored in state.items():
        now = getattr(optimizer, name)
        if isinstance(now, CMA):
            if not isinstance(stored, dict):
                raise StudyError(f"the stored state of CMA-ES is damaged at {name}")
            _set_numbers(now, stored)
        else:
            setattr(optimizer, name, _like(now, stored, name))


def _like(now: Any, stored: Any, name: str) -> Any:  # noqa: ANN401 (numbers of any kind)
    """The stored number or array in the type of the present one."""
    try:
        array = np.asarray(stored, dtype=np.asarray(now).dtype)
    except (TypeError, ValueError, OverflowError):
        raise StudyError(f"the stored state of CMA-ES is damaged at {name}") from None
    if array.shape != np.shape(now):
        raise StudyError(f"the stored state of CMA-ES has shape {array.shape} at {name}, expected {np.shape(now)}")
    if not np.isfinite(array).all():
        raise StudyError(f"the stored state of CMA-ES is not finite at {name}")
    return array if isinstance(now, np.ndarray) else type(now)(array.item())
