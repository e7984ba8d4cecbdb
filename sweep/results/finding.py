"""A finding about a run: what is so, what shows it, and what to change. `doctor` shows it, `next` applies it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any

REMOVED = object()
"""The value of a change that takes a key out."""


class Severity(IntEnum):
    """How much it costs, worst first."""

    RESULT = 0  # the run's result cannot be relied on, or there is none
    LOSS = 1  # better trials were within reach
    WASTE = 2  # trials or epochs were spent on nothing
    HINT = 3  # worth knowing before the next run


class Code(StrEnum):
    """Which finding. The names are stable, for programs."""

    NO_COMPLETE_TRIAL = "no_complete_trial"
    FAILED_TRIALS = "failed_trials"
    DIVERGED = "diverged"
    IDENTICAL_TRIALS = "identical_trials"
    NO_OP = "no_op"
    DEAD_SIGNAL = "dead_signal"
    KL_DOMINATED = "kl_dominated"
    BEST_EPOCH_FIRST = "best_epoch_first"
    BEST_EPOCH_LAST = "best_epoch_last"
    OVERFITTING = "overfitting"
    EDGE_OF_RANGE = "edge_of_range"
    RANGE_TOO_WIDE = "range_too_wide"
    DEAD_PARAMETER = "dead_parameter"
    CANNOT_BE_TOLD = "cannot_be_told"
    FEW_GROUPS = "few_informative_groups"
    RULER_DISAGREES = "val_loss_disagrees"
    TOO_LITTLE_DATA = "too_little_data"
    SEEDS_CHANGE_WINNER = "seeds_change_winner"
    PRUNED_THE_BEST = "pruned_the_best"


@dataclass(frozen=True)
class Change:
    """One edit of the space.

    Attributes:
        path: keys of the file; `parameters` is followed by a setting's whole dotted path.
        value: what stands there from now on, as YAML has it: a scalar, a list, or a mapping. `REMOVED`: nothing.
        reason: in a sentence, for a comment on its line.
    """

    path: tuple[str, ...]
    value: Any
    reason: str


@dataclass(frozen=True)
class Finding:
    """What was found.

    Attributes:
        title: in one sentence.
        evidence: what shows it, sentence by sentence.
        advice: the change to make, as an imperative.
        trials: whom it concerns, by number.
        changes: the same change, for `next`. Empty where a space cannot express it.
    """

    code: Code
    severity: Severity
    title: str
    evidence: tuple[str, ...]
    advice: str
    trials: tuple[int, ...] = ()
    changes: tuple[Change, ...] = ()
