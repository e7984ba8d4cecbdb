"""Between a back-end and the study: hands out trials, takes results, decides whether a trial goes on.

Invariants:
- Every trial handed out ends in exactly one terminal state of the study, told once, whatever order the calls come in.
- Nothing raised here reaches the back-end, where Tune would end the sweep without a word. The first error (study
  unreachable, disk full) is kept in `error`, all trials are stopped and stay RUNNING in the study, and `sweep resume`
  goes on.
- A trial that lost its worker is handed out again under its number, whatever the worker was doing. This module alone
  counts deaths, and the back-end retries nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import TypeVar

from selector.health import Verdict
from sweep.errors import ClusterError, RunError
from sweep.execution.brake import IN_A_ROW, Brake, Held
from sweep.execution.events import TrialEnded, TrialObserver, TrialStarted
from sweep.execution.places import OnePlace, Places
from sweep.study import AskedTrial, NoTrial, Standing, StudyOwner
from sweep.trials.failures import Cause
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
        concurrency: trials at a time; a function where that changes as nodes come and go.
        observers: told of everything, in order.
        persist: stores what the study says now where its database is only a copy (`sweep.storage`). Called before
            anybody acts on a change.
        places: where the workers run.
        say: shows people a line.
        at_end: called when the last trial has ended and no more will come.
    """

    def __init__(
        self,
        owner: StudyOwner,
        concurrency: int | Callable[[], int],
        observers: Sequence[TrialObserver],
        persist: Callable[[], None] = lambda: None,
        places: Places | None = None,
        say: Callable[[str], None] = lambda line: None,
        at_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._owner = owner
        self._concurrency = concurrency if callable(concurrency) else lambda: concurrency
        self._observers = observers
        self._persist = persist
        self._places: Places = places or OnePlace()
        self._say = say
        self._at_end = at_end
        self._brake = Brake()
        self._adopted: list[AskedTrial] | None = None  # not asked for yet
        self._again: list[AskedTrial] = []
        self._live: dict[int, AskedTrial] = {}
        self._steps: dict[int, int] = {}
        self._workers: dict[int, tuple[str, str]] = {}
        self._left_out: set[str] = set()
        self.error: Exception | None = None
        self.interrupted = False
        self.ended_because = ""

    # Handing out ----------------------------------------------------------------------------------------------------

    def next_trial(self) -> AskedTrial | Next:
        """A trial to run. Those that lost their worker come first, then interrupted ones of an earlier driver."""
        if self.error is not None or self.interrupted:
            return Next.FINISHED
        try:
            if len(self._live) >= self._concurrency():
                return Next.WAIT
        except ClusterError as error:
            self.error = error
            return Next.FINISHED
        return self._guarded(self._hand_out, otherwise=Next.FINISHED)

    def _hand_out(self) -> AskedTrial | Next:
        if self._adopted is None:
            self._adopted = self._owner.adopt()
        if self._again or self._adopted:
            return self._start((self._again or self._adopted).pop(0), goes_on=True)
        trial = self._owner.ask()
        if not isinstance(trial, NoTrial):
            return self._start(trial, goes_on=False)
        if self._live:
            return Next.WAIT  # also at the end: one of them may lose its worker
        if held := self._brake.release_all():
            self._fail_all(held)
            return self._hand_out()
        if not trial.final:
            return Next.WAIT
        self.ended_because = trial.reason
        self._at_end()
        return Next.FINISHED

    def _start(self, trial: AskedTrial, *, goes_on: bool) -> AskedTrial:
        self._live[trial.number] = trial
        self._steps.setdefault(trial.number, 0)
        event = TrialStarted(trial.number, trial.params, goes_on, self._owner.counts())
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
        self._fail_all(self._brake.release(self._place_of(number)))  # the place is well
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
        elif self._places.may_move(self._place_of(number)):
            self._move(number)
        return number in self._live

    def _move(self, number: int) -> None:
        """Its place will soon be gone: the trial goes on elsewhere, from the epoch that it has just stored."""
        where = self._places.name(self._place_of(number))
        self._say(f"{where} is about to leave: trial {number} goes on elsewhere, after epoch {self._steps[number]}")
        self._again.append(self._live.pop(number))

    def _prune(self, result: EpochResult, reason: str) -> None:
        self._owner.prune(result.number, reason, _standing(result))
        self._close(result.number)

    def _complete(self, result: EpochResult) -> None:
        if result.best is None:
            self._prune(result, "no epoch that competes has a finite validation loss")
        else:
            self._owner.complete(result.number, result.best.val_loss, _standing(result))
            self._close(result.number)

    # Taking failures ------------------------------------------------------------------------------------------------

    def failed(self, number: int, reason: str, cause: Cause | None = None) -> None:
        """A configuration cannot be trained, or its code raised.

        Args:
            number: the trial.
            reason: for people.
            cause: what other trials may fail of as well. None: it is this trial's own.
        """
        if self._takes(number):
            self._guarded(lambda: self._fail_or_hold(number, reason, cause), None)

    def died(self, number: int, reason: str, place: str = "") -> None:
        """The worker of a trial died. The trial is handed out again, from its last epoch, as often as is allowed."""
        logger.warning("trial %d: its worker died: %s", number, reason)
        if self._takes(number):
            self._guarded(lambda: self._take_death(number, reason, place), None)

    def did_not_start(self, number: int, reason: str, place: str = "") -> None:
        """A worker died before it could take up the trial, which has no part in that and is handed out again."""
        logger.warning("trial %d: no worker started for it: %s", number, reason)
        if self._takes(number):
            self._guarded(lambda: self._take_start(number, reason, place), None)

    def unusable(self, number: int, reason: str, place: str = "") -> None:
        """Nothing can be trained at a place, such as a node that does not see the run's folder."""
        if self._takes(number):
            self._again.append(self._live.pop(number))
            self._guarded(lambda: self._leave_out(place, reason), None)

    def halt(self, error: OSError) -> None:
        """Nothing can be stored any more. All trials are stopped and stay RUNNING: `sweep resume` goes on with them."""
        logger.error("a worker cannot store its trial; stopping all trials: %s", error)
        self.error = self.error or error

    def _takes(self, number: int) -> bool:
        """Whether a trial is still to end. After an error or an interrupt trials stay as they are."""
        return number in self._live and self.error is None and not self.interrupted

    def _take_death(self, number: int, reason: str, place: str) -> None:
        if self._places.leaving(place):  # as was announced, so no death that counts
            self._say(f"trial {number}: its node left as announced, it is handed out again")
            self._again.append(self._live.pop(number))
            return
        deaths = self._owner.note_death(number)
        where = self._places.name(place)
        if deaths > self._owner.space.max_retries:
            told = f"its worker died {deaths} times, more than max_retries allows; the last time on {where}: {reason}"
            self._fail_or_hold(number, told, Cause(reason, outside=False), place)
            return
        self._say(f"trial {number}: its worker on {where} died (death {deaths}), it is handed out again: {reason}")
        self._again.append(self._live.pop(number))

    def _take_start(self, number: int, reason: str, place: str) -> None:
        self._say(f"no worker starts for trial {number} on {self._places.name(place)}: {reason}")
        self._again.append(self._live.pop(number))
        self._fail_all(self._brake.add(place, reason))
        self._check_place(place, reason)

    def _fail_or_hold(self, number: int, reason: str, cause: Cause | None, place: str | None = None) -> None:
        trial = self._live[number]
        # A trial that was handed back has its second chance now. One that did an epoch shows that the place is well.
        doubtful = cause is not None and (cause.outside or trial.attempt == 1) and not self._steps[number]
        if cause is None or not doubtful:
            self._fail(number, reason)
            return
        place = self._place_of(number) if place is None else place
        del self._live[number]
        self._fail_all(self._brake.add(place, cause.text, Held(trial, reason)))
        self._check_place(place, reason)

    def _check_place(self, place: str, reason: str) -> None:
        """After some failures of one kind in a row the place is at fault, and its trials are handed out elsewhere."""
        if self._brake.trips(place):
            self._again.extend(held.trial for held in self._brake.release(place))
            self._leave_out(place, f"{IN_A_ROW} failures of one kind in a row: {reason}")

    def _leave_out(self, place: str, reason: str) -> None:
        where = self._places.name(place)
        if not self._places.leave_out(place, reason):
            self.error = self.error or RunError(f"no trial can go on, on {where}: {reason}")
        elif place not in self._left_out:  # of several trials there each says so
            self._say(f"{where} gets no more trials: {reason}")
        self._left_out.add(place)

    def _place_of(self, number: int) -> str:
        return self._workers.get(number, ("", ""))[1]

    def _fail(self, number: int, reason: str) -> None:
        self._owner.fail(number, reason)
        self._close(number)

    def _fail_all(self, held: Sequence[Held]) -> None:
        for one in held:
            self._fail(one.trial.number, one.reason)

    def worker(self, number: int, worker: str, place: str = "") -> None:
        """Remember where a trial runs. Written to the study when it changes.

        Args:
            number: the trial.
            worker: process and address, for people.
            place: as in `Places`.
        """
        if number in self._live and self._workers.get(number) != (worker, place):
            self._workers[number] = worker, place
            self._guarded(lambda: self._owner.note_worker(number, worker), None)

    def gone(self, number: int) -> None:
        """The back-end is done with a trial. One that has no terminal state by now lost its worker without a word."""
        if self._takes(number):
            self.failed(number, "its worker ended without a result")
        self._live.pop(number, None)

    def ended(self) -> None:
        """The back-end has no more trials. What is still held has failed."""
        if self.error is None and not self.interrupted:
            self._guarded(lambda: self._fail_all(self._brake.release_all()), None)

    def _close(self, number: int) -> None:
        self._persist()
        self._live.pop(number, None)
        best = self._owner.best()
        row = self._owner.summary(number)
        event = TrialEnded(row, None if best is None else self._owner.summary(best.number), self._owner.counts())
        for observer in self._observers:
            observer.ended(event)

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
