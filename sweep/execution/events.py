"""What the coordinator announces while a run goes on. Observers show it or clean up; they decide nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from sweep.study import TrialSummary
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
    """A trial is over.

    Attributes:
        trial: as the study has it now, with the epoch that stands for it.
        best: the complete trial of lowest value so far. None without one.
        states: counts trials by Optuna state, in lower case.
    """

    trial: TrialSummary
    best: TrialSummary | None
    states: dict[str, int]

    @property
    def number(self) -> int:
        """The trial's number in the study."""
        return self.trial.number


class TrialObserver(Protocol):
    """Anything that follows the trials of a run."""

    def started(self, event: TrialStarted) -> None:
        """A trial begins."""

    def epoch(self, result: EpochResult) -> None:
        """A trial finished an epoch."""

    def ended(self, event: TrialEnded) -> None:
        """A trial is over."""
