"""The one place that asks Optuna for trials, reports epochs, decides on pruning and tells how trials ended.

Invariants:
1. The study is the only truth. What an owner keeps besides can be rebuilt from it, so that a process may be killed
   anywhere: the next owner calls `adopt` and goes on, and with one trial at a time it hands out the very parameters
   that the killed one would have (`sweep.study.samplers` says why).
2. Numbers are contiguous, and each slot is filled once (`sweep.study.slots`).
3. A trial ends in exactly one state, the first that is told. COMPLETE always has a finite value.

For one thread of one process at a time. Adapters keep no Optuna objects, and so no owner, in what they pickle.
"""

from __future__ import annotations

import math
import time
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any, NoReturn, Self

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from sweep.errors import SpaceError, StudyError
from sweep.space.search_space import SearchSpace
from sweep.study import budget
from sweep.study.comparison import COMPARED, compare
from sweep.study.kept import KeptStorage
from sweep.study.notes import extend_study_note, save_note, study_note, trial_note
from sweep.study.pruners import PrunerView, best_complete, build_pruner
from sweep.study.slots import Planner
from sweep.study.storage import open_study, without_password
from sweep.study.suggest import Suggester
from sweep.study.summaries import (
    DETAILS,
    PRUNE_AT,
    PRUNER_ERROR,
    REASON,
    SLOT,
    STANDING,
    WORKER,
    WORKER_DEATHS,
    AskedTrial,
    Details,
    NoTrial,
    Standing,
    TrialSummary,
    configuration_key,
    details,
    slot_of,
    summary,
)


class StudyOwner:
    """Owns the study of one run. Make it with `StudyOwner.open`."""

    def __init__(
        self,
        study: optuna.Study,
        storage: KeptStorage,
        space: SearchSpace,
        url: str,
        started: float,
        clock: Callable[[], float],
    ) -> None:
        self.space = space
        self.url = without_password(url)
        self.started = started
        self._clock = clock
        self._study = study
        self._storage = storage
        # Samplers look at the study's pruner: with Hyperband they learn from a trial's own bracket only.
        self._study.pruner = build_pruner(space.pruner, space.pruned_epochs())
        self._view = PrunerView(study, space.pruning_starts)
        self._planner = Planner(space)
        self._suggester = Suggester(study, self._planner)
        # Hyperband makes its brackets when first asked; samplers must find them made, also right after a restart.
        self._study.pruner.prune(self._view, optuna.trial.create_trial(state=TrialState.RUNNING))

    @classmethod
    def open(
        cls, storage_url: str, study_name: str, space: SearchSpace, clock: Callable[[], float] = time.time
    ) -> Self:
        """Create the study, or find it again.

        Args:
            storage_url: any database URL that Optuna takes; `sqlite:///file` is set to write-ahead logging.
            study_name: unique within the database.
            space: must be the space that the study was started with, except for `sweep.space.compare.MAY_CHANGE`.
            clock: seconds since the epoch, for the budget in hours.

        Raises:
            StudyError: the storage cannot be used, or the study belongs to something else.
        """
        study, storage, started = open_study(storage_url, study_name, space, clock())
        return cls(study, storage, space, storage_url, started, clock)

    def close(self) -> None:
        """Let go of the database."""
        self._storage.remove_session()

    def __getstate__(self) -> NoReturn:
        """Refuse: a pickled owner would be a second one."""
        raise TypeError("StudyOwner cannot be pickled: keep it out of what Ray Tune stores (drop it in __getstate__)")

    # -- handing out trials -------------------------------------------------------------------------------------------

    def adopt(self) -> list[AskedTrial]:
        """Take over the trials that a killed process left unfinished, by number; call it once, before `ask`.

        Parameters not yet drawn when it was killed are drawn now. A trial whose parameters cannot be trained is
        failed and left out.
        """
        self._storage.refresh()
        unfinished = [trial for trial in self._trials() if not trial.state.is_finished()]
        adopted: list[AskedTrial] = []
        for trial in unfinished:
            asked = self._pop(trial) if trial.state is TrialState.WAITING else self._resume(trial)
            if asked is not None:
                adopted.append(asked)
        return adopted

    def ask(self) -> AskedTrial | NoTrial:
        """The next trial, or why there is none: for good, or for now (`NoTrial.final`)."""
        while True:
            self._storage.refresh()
            trials = self._trials()
            waiting = next((trial for trial in trials if trial.state is TrialState.WAITING), None)
            if waiting is None:  # else somebody enqueued a point with plain Optuna
                refused = budget.refusal(self.space.budget, trials, (self._clock() - self.started) / 3600)
                if refused is not None:
                    return refused
                planned = self._planner.next_trial(trials)
                if planned is None:
                    return NoTrial("every configuration of the space was started", final=True)
                self._study.enqueue_trial(planned.given, user_attrs={SLOT: asdict(planned.slot)})
                waiting = next(trial for trial in self._trials() if trial.state is TrialState.WAITING)
            asked = self._pop(waiting)
            if asked is not None:
                return asked

    def _pop(self, waiting: FrozenTrial) -> AskedTrial | None:
        """Start the first waiting trial. What it is given is stored as a whole."""
        with self._storage.transaction():
            self._suggester.prepare(waiting)
            return self._settle(self._study.ask(), waiting)

    def _resume(self, running: FrozenTrial) -> AskedTrial | None:
        identity = self._id(running.number)
        with self._storage.transaction():
            if not details(running).key:
                # Killed while drawing, by a version that stored one value at a time. What a sampler noted of its joint
                # draw is drawn again; Optuna's GP would take it for another running trial and keep away from it.
                for key in running.system_attrs:
                    if ":relative_params:" in key:
                        self._storage.set_trial_system_attr(identity, key, "")
            self._suggester.prepare(running)
            return self._settle(optuna.trial.Trial(self._study, identity), running)

    def _settle(self, trial: optuna.Trial, frozen: FrozenTrial) -> AskedTrial | None:
        """Draw what is not drawn yet and store what is known then; None if it cannot be trained (told FAIL)."""
        slot = slot_of(frozen)
        params = self._suggester.suggest(trial, frozen)
        try:
            settings = self.space.resolve(params, slot.repeat)
        except SpaceError as error:
            self.fail(trial.number, f"cannot be trained: {error}")
            return None
        known = Details(
            key=configuration_key(params),
            rce_epochs=settings.rce.epochs,
            seed=settings.seed,
            attempt=details(frozen).attempt + 1,
        )
        trial.set_user_attr(DETAILS, asdict(known))
        return AskedTrial(trial.number, params, settings, slot.configuration, slot.repeat, known.attempt, known.key)

    # -- following trials ---------------------------------------------------------------------------------------------

    def report(self, number: int, step: int, value: float) -> None:
        """Store the validation loss of an epoch. The first value of a step stays; nothing after the trial's end.

        Non-finite values are stored as NaN. Optuna's TPE ranks a pruned trial that ends in NaN behind all others of
        its length, and leaves its value empty, while an infinite value would enter means and percentiles.

        Args:
            number: the trial.
            step: epoch over both stages, from 1.
            value: lower is better.
        """
        trial = self._trial(number)
        if trial.state is not TrialState.RUNNING or step in trial.intermediate_values:
            return
        stored = float(value) if math.isfinite(value) else math.nan
        with suppress(UpdateFinishedTrialError):  # another program has ended it
            self._storage.set_trial_intermediate_value(self._id(number), step, stored)

    def should_prune(self, number: int) -> bool:
        """Whether the trial should stop after its newest epoch. A decision to stop stays, also over a restart.

        A trial whose newest value is not finite stops whatever the pruner. An error inside a pruner is recorded in
        the trial and prunes nothing.
        """
        trial = self._trial(number)
        step = trial.last_step
        if trial.state is not TrialState.RUNNING or step is None:
            return False
        if PRUNE_AT in trial.user_attrs or not math.isfinite(trial.intermediate_values[step]):
            return True
        seen = self._view.seen(trial)
        if not seen.intermediate_values:
            return False
        try:
            with warnings.catch_warnings(), self._storage.transaction():
                warnings.simplefilter("ignore")
                return self._decide(number, step, seen)
        except StorageInternalError:
            raise
        except Exception as error:
            self._note(number, PRUNER_ERROR, f"{type(error).__name__}: {error}"[:500])
            return False

    def _decide(self, number: int, step: int, seen: FrozenTrial) -> bool:
        """Ask the pruner. What it notes of a rung, its decision and what it compared are stored together."""
        pruner = self._study.pruner
        if not pruner.prune(self._view, seen):
            return False
        compared = compare(pruner, self._view, seen)
        if compared is not None:
            self._note(number, COMPARED, asdict(compared))
        return self._note(number, PRUNE_AT, step)

    def note_worker(self, number: int, worker: str) -> bool:
        """Remember the process and node that a trial runs on; False if the trial has ended."""
        return self._note(number, WORKER, worker)

    def note_death(self, number: int) -> int:
        """Count a death of a trial's worker. Returns how many there have been, under earlier drivers too."""
        deaths = int(self._trial(number).user_attrs.get(WORKER_DEATHS, 0)) + 1
        self._note(number, WORKER_DEATHS, deaths)
        return deaths

    def _note(self, number: int, key: str, value: Any) -> bool:  # noqa: ANN401
        """Store a JSON value with a trial that has not ended; False if it has (Optuna lets ended trials rest)."""
        if self._trial(number).state.is_finished():
            return False
        try:
            self._storage.set_trial_user_attr(self._id(number), key, value)
        except UpdateFinishedTrialError:  # by another program, just now
            return False
        return True

    # -- ending trials ------------------------------------------------------------------------------------------------

    def complete(self, number: int, value: float, standing: Standing | None = None) -> bool:
        """The trial ran to its end with this validation loss; PRUNED instead if the value is not finite.

        This and the other two return whether they ended the trial: False if it had ended before. `standing` is stored
        with the end where an epoch says something of the trial.
        """
        if not math.isfinite(value):
            return self.prune(number, f"the final value is {value}", standing)
        return self._end(number, TrialState.COMPLETE, "", value, standing)

    def prune(self, number: int, reason: str, standing: Standing | None = None) -> bool:
        """The trial was stopped early; its curve stays, and its last value, unless NaN, becomes its value."""
        return self._end(number, TrialState.PRUNED, reason, None, standing)

    def fail(self, number: int, reason: str) -> bool:
        """The trial's worker failed for good."""
        return self._end(number, TrialState.FAIL, reason, None, None)

    def _end(self, number: int, state: TrialState, reason: str, value: float | None, standing: Standing | None) -> bool:
        try:
            with self._storage.transaction():
                if not self._note(number, REASON, reason):
                    return False
                if standing is not None:
                    self._note(number, STANDING, asdict(standing))
                self._study.tell(number, value, state=state, skip_if_finished=True)
                save_note(self._storage, self._id(number), trial_note(summary(self._trial(number))))
        except UpdateFinishedTrialError:  # by another program, just now
            return False
        return True

    def note_study(self, text: str) -> None:
        """Show people Markdown below the study's note. It replaces what an earlier call put there."""
        extend_study_note(self._storage, study_note(self.space), text)

    # -- reading ------------------------------------------------------------------------------------------------------

    def best(self) -> FrozenTrial | None:
        """The COMPLETE trial with the lowest value; never one that was stopped early."""
        return best_complete(self._trials())

    def summaries(self) -> list[TrialSummary]:
        """One row per trial, by number."""
        return [summary(trial) for trial in self._trials()]

    def summary(self, number: int) -> TrialSummary:
        """The row of one trial. All rows take time that grows with the study."""
        return summary(self._trial(number))

    def counts(self) -> dict[str, int]:
        """Trials by Optuna state, in lower case."""
        found = Counter(trial.state for trial in self._trials())
        return {state.name.lower(): count for state, count in found.items()}

    def trials(self) -> list[FrozenTrial]:
        """All trials as Optuna has them, by number. Not to be changed."""
        return self._trials()

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _trial(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(self._id(number))

    def _id(self, number: int) -> int:
        try:
            return self._storage.get_trial_id_from_study_id_trial_number(self._storage.study_id, number)
        except KeyError:
            raise StudyError(f"study {self._study.study_name!r} has no trial {number}") from None
