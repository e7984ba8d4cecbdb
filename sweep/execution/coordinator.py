"""Between a back-end and the study: hands out trials, takes results, decides whether a trial goes on.

Invariants:
- Every trial handed out ends in exactly one terminal state of the study, told once, whatever order the calls come in.
- Nothing raised here reaches the back-end, where Tune would end the sweep without a word. The first error (study
  unreachable, disk full) is kept in `error`, all trials are stopped and stay RUNNING in the study, and `sweep resume`
  goes on.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import TypeVar

from selector.health import Verdict
from sweep.execution.events import TrialEnded, TrialObserver, TrialStarted
from sweep.study import AskedTrial, NoTrial, Standing, StudyOwner
from sweep.trials.messages import EpochResult

logger = logging.getLogger(__name__)

T = TypeVar("T")
S = TypeVar("S")


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
        persist: stores what the study says now where its database is only a copy (`sweep.storage`). Called before
            anybody acts on a change.
    """

    def __init__(
        self,
        owner: StudyOwner,
        concurrency: int,
        observers: Sequence[TrialObserver],
        persist: Callable[[], None] = lambda: None,
    ) -> None:
        self._owner = owner
        self._concurrency = concurrency
        self._observers = observers
        self._persist = persist
        self._adopted: list[AskedTrial] = owner.adopt()
        self._live: set[int] = set()
        self._steps: dict[int, int] = {}
        self._workers: dict[int, str] = {}
        self.error: Exception | None = None
        self.interrupted = False
        self.ended_because = ""

    # Handing out ----------------------------------------------------------------------------------------------------

    def next_trial(self) -> AskedTrial | Next:
        """A trial to run; interrupted ones of an earlier driver first, under their old numbers."""
        if self.error is not None or self.interrupted:
            return Next.FINISHED
        if len(self._live) >= self._concurrency:
            return Next.WAIT
        return self._guarded(self._hand_out, otherwise=Next.FINISHED)

    def _hand_out(self) -> AskedTrial | Next:
        adopted = bool(self._adopted)
        trial = self._adopted.pop(0) if adopted else self._owner.ask()
        if isinstance(trial, NoTrial):
            if trial.final:
                self.ended_because = trial.reason
                return Next.FINISHED
            return Next.WAIT
        self._live.add(trial.number)
        self._steps[trial.number] = 0
        event = TrialStarted(trial.number, trial.params, adopted, self._counts())
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
            self._prune(result, f"{self._owner.space.pruner.type} pruner")
        return number in self._live

    def _prune(self, result: EpochResult, reason: str) -> None:
        self._owner.prune(result.number, reason, _standing(result))
        self._close(result.number)

    def _complete(self, result: EpochResult) -> None:
        if result.best is None:
            self._prune(result, "no epoch that competes has a finite validation loss")
        else:
            self._owner.complete(result.number, result.best.val_loss, _standing(result))
            self._close(result.number)

    def failed(self, number: int, reason: str) -> None:
        """A configuration cannot be trained, or its code raised."""
        if number in self._live and self.error is None:
            self._guarded(lambda: self._fail(number, reason), None)

    def halt(self, error: OSError) -> None:
        """Nothing can be stored any more. All trials are stopped and stay RUNNING: `sweep resume` goes on with them."""
        logger.error("a worker cannot store its trial; stopping all trials: %s", error)
        self.error = self.error or error

    def restarting(self, number: int, deaths: int) -> None:
        """A trial's worker died and the trial starts again elsewhere, from its last epoch."""
        logger.warning("trial %d: its worker died, starting it again (death %d)", number, deaths)
        if number in self._live and self.error is None:
            self._guarded(lambda: self._owner.note_deaths(number, deaths), None)

    def _fail(self, number: int, reason: str) -> None:
        self._owner.fail(number, reason)
        self._close(number)

    def worker(self, number: int, worker: str) -> None:
        """Remember where a trial runs (process and node); written to the study when it changes."""
        if number in self._live and self._workers.get(number) != worker:
            self._workers[number] = worker
            self._guarded(lambda: self._owner.note_worker(number, worker), None)

    def gone(self, number: int) -> None:
        """The back-end is done with a trial. One that has no terminal state by now lost its worker without a word."""
        if number in self._live and self.error is None and not self.interrupted:
            self.failed(number, "its worker ended without a result")
        self._live.discard(number)

    def _close(self, number: int) -> None:
        self._persist()
        self._live.remove(number)
        ended = self._owner.summaries()[number]
        best = self._owner.best()
        value = ended.value if ended.is_complete else None
        best_value = best.value if best is not None else None
        event = TrialEnded(number, ended.state_name, value, ended.reason, best_value, self._counts())
        for observer in self._observers:
            observer.ended(event)

    def _counts(self) -> dict[str, int]:
        return dict(Counter(row.state_name for row in self._owner.summaries()))

    def _guarded(self, action: Callable[[], T], otherwise: S) -> T | S:
        try:
            result = action()
            self._persist()
            return result
        except Exception as error:  # kept, told by the driver; see the invariants
            logger.exception("the study or an observer failed; stopping all trials")
            self.error = self.error or error
            return otherwise


def _standing(result: EpochResult) -> Standing:
    # A trial is judged by the epoch that stands for it; only divergence is about the last one.
    best = result.best
    verdicts = result.verdicts if best is None or Verdict.DIVERGED in result.verdicts else best.verdicts
    if best is None:
        return Standing(verdicts=verdicts, rce_digest=result.rce_digest)
    return Standing(verdicts, best.step, best.val_loss, best.agreement_sequence, result.rce_digest, best.shots)
