"""What the study says about trials, as plain frozen values, and the attributes in which it stores what Optuna lacks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from selector.health import Verdict
from selector.settings import TrialSettings
from sweep.space.addresses import Scalar
from sweep.space.algorithms import PruningStarts
from sweep.storage.hashes import canonical_hash

SLOT = "plan"
"""Trial attribute, written with the trial itself: which configuration, which repeat."""
DETAILS = "trial"
"""Trial attribute, written when its parameters are known: see `Details`."""
STANDING = "standing"
"""Trial attribute, written directly before the trial ends: see `Standing`."""
REASON = "reason"
WORKER = "worker"
WORKER_DEATHS = "worker_deaths"
PRUNE_AT = "prune_at"
FALLBACK = "sampler_fallback"
PRUNER_ERROR = "pruner_error"
_NAMES_IN_0_1 = {
    "verdicts": "verdicts",
    "best_step": "best_step",
    "best_loss": "best_loss",
    "agreement": "agreement_sequence",
    "rce_digest": "rce",
}
"""Studies of version 0.1 hold each field of `Standing` as an attribute of its own."""


@dataclass(frozen=True)
class AskedTrial:
    """A trial to run now.

    Attributes:
        number: in the study, from 0, without gaps.
        params: sampled parameters that apply, by dotted path.
        settings: everything the trial needs, checked.
        configuration: index of the configuration; None for a point that somebody enqueued with plain Optuna.
        repeat: which repeat of its configuration, from 0.
        attempt: 1 when asked for the first time, one more at each adoption. A worker of an earlier attempt that is
            still alive must not write.
        key: equal for repeats of one configuration.
    """

    number: int
    params: dict[str, Scalar]
    settings: TrialSettings
    configuration: int | None
    repeat: int
    attempt: int
    key: str


@dataclass(frozen=True)
class NoTrial:
    """Why `ask` gave no trial. Not `final`: ask again when a running trial has finished."""

    reason: str
    final: bool


@dataclass(frozen=True)
class Slot:
    """The place of a trial in the sweep: index of its configuration (None: enqueued by others) and which repeat."""

    configuration: int | None
    repeat: int


@dataclass(frozen=True)
class Details:
    """What is known of a trial beside Optuna's own fields; zeros and an empty key before it was fully sampled."""

    key: str = ""
    rce_epochs: int = 0
    seed: int = 0
    attempt: int = 0


@dataclass(frozen=True)
class Standing:
    """The epoch that stands for a trial, by which it is ranked and compared; empty while the trial runs.

    Attributes:
        verdicts: of that epoch; of the last one if the trial diverged there.
        best_step: the epoch, over both stages from 1; None if none competes.
        best_loss: its validation loss, finite.
        agreement: share of validation queries, in [0, 1], with the same selection as the reference policy.
        rce_digest: hash that names the warm-up which the trial started from.
        shots: picks of the selections that agreement and verdicts compare. None where that is not known.
    """

    verdicts: tuple[Verdict, ...] = ()
    best_step: int | None = None
    best_loss: float | None = None
    agreement: float | None = None
    rce_digest: str | None = None
    shots: int | None = None


@dataclass(frozen=True, kw_only=True)
class TrialSummary:
    """One row of a status table or ranking.

    Attributes:
        value: final value of a COMPLETE trial, last finite one of a PRUNED one; lower is better.
        best_value: lowest finite value reported so far.
        best_value_step: the first epoch that reported it. An epoch that does not compete counts here too.
        last_step: last epoch reported, over both stages.
        reason: why it was pruned or failed, empty otherwise.
        duration: seconds from start to end; None while it runs.
        standing: the epoch that stands for the trial.
        worker: process and node that it ran on last.
        worker_deaths: how often its worker died and it started again elsewhere.
        prune_at: epoch at which the pruner decided to stop it.
        sampler_fallback: error of the sampler, for which parameters were drawn at random instead.
        pruner_error: last error inside the pruner, which then pruned nothing.
    """

    number: int
    state: TrialState
    params: dict[str, Any]
    value: float | None
    best_value: float | None
    last_step: int | None
    reason: str
    configuration: int | None
    repeat: int
    key: str
    seed: int
    attempt: int
    duration: float | None
    standing: Standing = Standing()
    worker: str | None = None
    worker_deaths: int = 0
    best_value_step: int | None = None
    prune_at: int | None = None
    sampler_fallback: str | None = None
    pruner_error: str | None = None

    @property
    def is_complete(self) -> bool:
        """Ran to its end; only these are ranked."""
        return self.state is TrialState.COMPLETE

    @property
    def state_name(self) -> str:
        """Lower case, for people and metrics."""
        return self.state.name.lower()

    @property
    def reached(self) -> tuple[float | None, int | None]:
        """The best validation loss, and the epoch that had it: of the epochs that compete once the trial has ended."""
        if self.state.is_finished():
            return self.standing.best_loss, self.standing.best_step
        return self.best_value, self.best_value_step

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Verdicts of the epoch that stands for the trial."""
        return self.standing.verdicts


def slot_of(trial: FrozenTrial) -> Slot:
    """The trial's place in the sweep; a trial enqueued by others has no configuration."""
    stored = trial.user_attrs.get(SLOT)
    return Slot(**stored) if isinstance(stored, dict) else Slot(configuration=None, repeat=0)


def details(trial: FrozenTrial) -> Details:
    """The stored `Details` of a trial."""
    stored = trial.user_attrs.get(DETAILS)
    return Details(**stored) if isinstance(stored, dict) else Details()


def counted_epochs(trial: FrozenTrial, starts: PruningStarts) -> dict[int, float]:
    """The finite validation losses that a pruner sees, by the epochs that it counts, from 1 and ascending."""
    offset = details(trial).rce_epochs if starts is PruningStarts.AFTER_RCE else 0
    return {
        step - offset: value
        for step, value in sorted(trial.intermediate_values.items())
        if step > offset and math.isfinite(value)
    }


def standing_of(trial: FrozenTrial) -> Standing:
    """The stored `Standing` of a trial."""
    stored = trial.user_attrs.get(STANDING)
    if not isinstance(stored, dict):
        stored = {name: trial.user_attrs.get(old) for name, old in _NAMES_IN_0_1.items()}
    verdicts = tuple(Verdict(name) for name in stored["verdicts"] or ())
    return Standing(**{**stored, "verdicts": verdicts})


def configuration_key(params: Mapping[str, Scalar]) -> str:
    """Twelve hex digits that are equal for equal parameters, in whatever order."""
    return canonical_hash(dict(params))[:12]


def summary(trial: FrozenTrial) -> TrialSummary:
    """The row of a trial."""
    known, slot, attributes = details(trial), slot_of(trial), trial.user_attrs
    finite = [(value, step) for step, value in trial.intermediate_values.items() if abs(value) < float("inf")]
    best_value, best_value_step = min(finite, default=(None, None))
    duration = trial.duration
    return TrialSummary(
        number=trial.number,
        state=trial.state,
        params=dict(trial.params),
        value=trial.value,
        best_value=best_value,
        best_value_step=best_value_step,
        last_step=trial.last_step,
        reason=str(attributes.get(REASON, "")),
        configuration=slot.configuration,
        repeat=slot.repeat,
        key=known.key,
        seed=known.seed,
        attempt=known.attempt,
        duration=duration.total_seconds() if duration is not None else None,
        standing=standing_of(trial),
        worker=attributes.get(WORKER),
        worker_deaths=attributes.get(WORKER_DEATHS, 0),
        prune_at=attributes.get(PRUNE_AT),
        sampler_fallback=attributes.get(FALLBACK),
        pruner_error=attributes.get(PRUNER_ERROR),
    )
