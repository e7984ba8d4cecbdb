"""Between Tune and the study: hands out trials, takes results, decides whether a trial goes on.

Invariants:
- Every trial handed out ends in exactly one terminal state of the study, told once, whatever order Tune calls in.
- Nothing raised here reaches Tune, where it would kill the sweep without a word: the first error (study unreachable,
  disk full) is kept in `error`, all trials are stopped and stay RUNNING in the study, and `sweep resume` goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import TypeVar

from sweep.events import Ended, Observer, Started
from sweep.study import AskedTrial, Exhausted, StudyOwner
from sweep.trial import EpochResult

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Next(Enum):
    """Answers to `next_trial` other than a trial."""

    WAIT = auto()
    FINISHED = auto()


class Coordinator:
    """One run's trials, from the first ask to the last tell.

    Args:
        owner: of the study.
        concurrency: trials at a time.
        observers: told of everything, in order.
    """

    def __init__(self, owner: StudyOwner, concurrency: int, observers: Sequence[Observer]) -> None:
        self._owner = owner
        self._concurrency = concurrency
        self._observers = observers
        self._adopted: list[AskedTrial] = owner.adopt()
        self._live: dict[int, AskedTrial] = {}
        self._steps: dict[int, int] = {}
        self._workers: dict[int, dict[str, object]] = {}
        self.error: Exception | None = None
        self.interrupted = False

    # Handing out ----------------------------------------------------------------------------------------------------

    def next_trial(self) -> AskedTrial | Next:
        """A trial to run; interrupted ones of an earlier driver first, under their old numbers."""
        if self.error is not None or self.interrupted:
            return Next.FINISHED
        if len(self._live) >= self._concurrency:
            return Next.WAIT
        return self._guarded(self._hand_out, Next.FINISHED)

    def _hand_out(self) -> AskedTrial | Next:
        adopted = bool(self._adopted)
        trial = self._adopted.pop(0) if adopted else self._owner.ask()
        if isinstance(trial, Exhausted):
            return Next.FINISHED
        self._live[trial.number] = trial
        self._steps[trial.number] = 0
        event = Started(trial.number, trial.params, adopted, self._owner.counts())
        for observer in self._observers:
            observer.started(event)
        return trial

    # Taking results -------------------------------------------------------------------------------------------------

    def epoch(self, result: EpochResult) -> bool:
        """Take an epoch; repeated ones (after a worker's restart) change nothing. False if the trial has to stop."""
        if self.error is not None or self.interrupted or result.number not in self._live:
            return False
        return self._guarded(lambda: self._take(result), False)

    def _take(self, result: EpochResult) -> bool:
        number, step = result.number, result.report.step
        repeated = step <= self._steps[number]
        if not repeated:
            self._steps[number] = step
            self._owner.report(number, step, result.report.val_loss)
            for observer in self._observers:
                observer.epoch(result)
        if result.stop is not None:
            self._prune(result, result.stop)
        elif result.done:
            self._complete(result)
        elif not repeated and self._owner.should_prune(number):
            self._prune(result, self._owner.pruner_name)
        return number in self._live

    def _prune(self, result: EpochResult, reason: str) -> None:
        self._keep_attributes(result)
        self._owner.prune(result.number, reason)
        self._close(result.number, reason)

    def _complete(self, result: EpochResult) -> None:
        self._keep_attributes(result)
        if result.best_loss is None:
            self._owner.fail(result.number, "no epoch with a finite validation loss")
        else:
            self._owner.complete(result.number, result.best_loss)
        self._close(result.number, None)

    def _keep_attributes(self, result: EpochResult) -> None:
        attributes = {
            "verdicts": [verdict.value for verdict in result.verdicts],
            "best_step": result.best_step,
            "best_loss": result.best_loss,
            "rce": result.rce_digest,
            "agreement_sequence": result.report.agreement_sequence,
            "kl": result.report.kl,
        }
        for name, value in attributes.items():
            self._owner.set_attr(result.number, name, value)

    def failed(self, number: int, reason: str) -> None:
        """A configuration cannot be trained, or its code raised."""
        if number in self._live and self.error is None:
            self._guarded(lambda: self._fail(number, reason), None)

    worker_lost = failed

    def _fail(self, number: int, reason: str) -> None:
        self._owner.fail(number, reason)
        self._close(number, reason)

    def worker(self, number: int, worker: dict[str, object]) -> None:
        """Remember where a trial runs; written to the study when it changes."""
        if number in self._live and self._workers.get(number) != worker:
            self._workers[number] = worker
            self._guarded(lambda: self._owner.set_attr(number, "worker", worker), None)

    def gone(self, number: int) -> None:
        """Tune is done with a trial. One that has no terminal state by now lost its worker without a word."""
        if number in self._live and self.error is None and not self.interrupted:
            self.failed(number, "its worker ended without a result")
        self._live.pop(number, None)

    def _close(self, number: int, reason: str | None) -> None:
        self._live.pop(number)
        ended = self._owner.summary(number)
        best = self._owner.best()
        event = Ended(
            number, ended.state, ended.value, reason, best.value if best is not None else None, self._owner.counts()
        )
        for observer in self._observers:
            observer.ended(event)

    def _guarded(self, action: Callable[[], T], otherwise: T) -> T:
        try:
            return action()
        except Exception as error:  # kept, told by the driver; see the invariants
            logger.exception("the study or an observer failed; stopping all trials")
            self.error = self.error or error
            return otherwise
