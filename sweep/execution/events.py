"""What the coordinator announces while a run goes on. Observers show it or clean up; they decide nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from sweep.trials.messages import EpochResult


@dataclass(frozen=True)
class TrialStarted:
    """A trial begins, or goes on after a restart of the driver (`adopted`).

    `states` counts trials by Optuna state, in lower case.
    """

    number: int
    params: dict[str, Any]
    adopted: bool
    states: dict[str, int]


@dataclass(frozen=True)
class TrialEnded:
    """A trial is over. `value` is its objective if complete; `best_value` the lowest of all complete ones so far."""

    number: int
    state: str
    value: float | None
    reason: str
    best_value: float | None
    states: dict[str, int]


class TrialObserver(Protocol):
    """Anything that follows the trials of a run."""

    def started(self, event: TrialStarted) -> None:
        """A trial begins."""

    def epoch(self, result: EpochResult) -> None:
        """A trial finished an epoch."""

    def ended(self, event: TrialEnded) -> None:
        """A trial is over."""
