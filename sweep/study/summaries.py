"""What the study says about trials, as plain frozen values, and the attributes in which it stores what Optuna lacks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from selector.settings import TrialSettings
from sweep.space.addresses import Scalar

PLAN = "plan"
"""Trial attribute, written with the trial itself: which configuration, which repeat."""
DETAILS = "trial"
"""Trial attribute, written when its parameters are known: see `Details`."""
REASON = "reason"
VERDICTS = "verdicts"
PRUNE_AT = "prune_at"
FALLBACK = "sampler_fallback"
PRUNER_ERROR = "pruner_error"
_OWN = (PLAN, DETAILS, REASON, VERDICTS)


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
class Plan:
    """The place of a trial in the sweep's plan."""

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
class TrialSummary:
    """One row of a status table or ranking.

    Attributes:
        value: final value of a COMPLETE trial, last finite one of a PRUNED one; lower is better.
        best_value: lowest finite value reported so far.
        last_step: last epoch reported, over both stages.
        reason: why it was pruned or failed, empty otherwise.
        duration: seconds from start to end; None while it runs.
        attrs: what else was stored with the trial, by `StudyOwner.set_attr`.
    """

    number: int
    state: TrialState
    params: dict[str, Any]
    value: float | None
    best_value: float | None
    last_step: int | None
    verdicts: tuple[str, ...]
    reason: str
    configuration: int | None
    repeat: int
    key: str
    seed: int
    attempt: int
    duration: float | None
    attrs: dict[str, Any]

    @property
    def is_complete(self) -> bool:
        """Ran to its end; only these are ranked."""
        return self.state is TrialState.COMPLETE

    @property
    def state_name(self) -> str:
        """Lower case, for people and metrics."""
        return self.state.name.lower()


def plan_of(trial: FrozenTrial) -> Plan:
    """The trial's place in the plan; a trial enqueued by others has none."""
    stored = trial.user_attrs.get(PLAN)
    return Plan(**stored) if isinstance(stored, dict) else Plan(configuration=None, repeat=0)


def details(trial: FrozenTrial) -> Details:
    """The stored `Details` of a trial."""
    stored = trial.user_attrs.get(DETAILS)
    return Details(**stored) if isinstance(stored, dict) else Details()


def configuration_key(params: Mapping[str, Scalar]) -> str:
    """Twelve hex digits that are equal for equal parameters, in whatever order."""
    return hashlib.sha256(json.dumps(dict(params), sort_keys=True).encode()).hexdigest()[:12]


def summary(trial: FrozenTrial) -> TrialSummary:
    """The row of a trial."""
    known, plan = details(trial), plan_of(trial)
    finite = [value for value in trial.intermediate_values.values() if abs(value) < float("inf")]
    duration = trial.duration
    return TrialSummary(
        number=trial.number,
        state=trial.state,
        params=dict(trial.params),
        value=trial.value,
        best_value=min(finite, default=None),
        last_step=trial.last_step,
        verdicts=tuple(trial.user_attrs.get(VERDICTS, ())),
        reason=str(trial.user_attrs.get(REASON, "")),
        configuration=plan.configuration,
        repeat=plan.repeat,
        key=known.key,
        seed=known.seed,
        attempt=known.attempt,
        duration=duration.total_seconds() if duration is not None else None,
        attrs={key: value for key, value in trial.user_attrs.items() if key not in _OWN},
    )
