"""The trials of a run in its log, one line per event: which began, each epoch, how each ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from sweep.execution.events import TrialEnded, TrialStarted
from sweep.execution.progress import describe_end, describe_epoch
from sweep.terminal.words import brief_params
from sweep.trials.messages import EpochResult

logger = logging.getLogger(__name__)


class EventLog:
    """An observer that writes to the log (`sweep.terminal.log`)."""

    def __init__(self, epochs_of: Callable[[Mapping[str, Any]], int]) -> None:
        """`epochs_of`: the most epochs, over both stages, of a trial with these sampled parameters."""
        self._epochs_of = epochs_of
        self._totals: dict[int, int] = {}

    def started(self, event: TrialStarted) -> None:
        """A trial begins."""
        self._totals[event.number] = self._epochs_of(event.params)
        how = "continues" if event.adopted else "starts"
        logger.info("trial %d %s  %s", event.number, how, brief_params(event.params))

    def epoch(self, result: EpochResult) -> None:
        """An epoch is done."""
        logger.info("trial %d %s", result.number, describe_epoch(result, self._totals[result.number]))

    def ended(self, event: TrialEnded) -> None:
        """A trial is over."""
        trial = event.trial
        reason = f" ({trial.reason})" if trial.reason else ""
        logger.info("trial %d %s  %s%s", trial.number, trial.state_name, describe_end(trial), reason)
