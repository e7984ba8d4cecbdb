"""The middle of a run: its trials, from the first ask to the last tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from selector.errors import UserError
from sweep.driver.loggers import followed
from sweep.driver.model_start import ModelStart
from sweep.driver.overlap import Overlap
from sweep.driver.pulse import Pulse
from sweep.driver.session import Session
from sweep.driver.signals import interruptible
from sweep.driver.trial_records import TrialRecords
from sweep.errors import ClusterError, RunError
from sweep.execution.backend import Backend
from sweep.execution.coordinator import Coordinator
from sweep.execution.disk_bound import DiskBound
from sweep.execution.event_log import EventLog
from sweep.execution.events import TrialEnded, TrialObserver, TrialStarted
from sweep.execution.hyperparameters import HyperparameterEvents
from sweep.execution.loggers.follow import Loggers
from sweep.execution.progress import LiveProgress
from sweep.execution.ray.fit import RayBackend
from sweep.execution.ray.nodes import Nodes
from sweep.execution.simulated import SimulatedBackend
from sweep.plan.plan import Plan
from sweep.results.importance import importance_of_val_loss
from sweep.results.importance_note import importance_note
from sweep.runs.driver import End, Phase
from sweep.runs.paths import RunPaths
from sweep.storage.lease import Lease
from sweep.storage.outage import describe_os_error
from sweep.storage.snapshots import StudySnapshots
from sweep.study import StudyOwner, TrialSummary
from sweep.study.ranking import rank
from sweep.trials.messages import EpochResult
from sweep.vlm.pool.pool import cluster_capacity


@dataclass(frozen=True)
class Training:
    """How the trials ended.

    Attributes:
        ranked: all trials, the complete ones first, best on top.
        interrupted: whether somebody asked the driver to stop. Trials may be left to be continued.
        ended_because: why there are no more trials.
    """

    ranked: list[TrialSummary]
    interrupted: bool
    ended_because: str

    @property
    def completed(self) -> bool:
        """Whether any trial is complete."""
        return any(row.is_complete for row in self.ranked)


def train(
    plan: Plan,
    session: Session,
    loggers: Loggers,
    overlap: Overlap | None = None,
    simulated: SimulatedBackend | None = None,
    model: ModelStart | None = None,
) -> Training:
    """Run the trials that the study still wants, and wait for them.

    Args:
        plan: the run's.
        session: the hold on the run.
        loggers: services that follow the trials.
        overlap: has the model answer meanwhile, until the trials have ended.
        simulated: replays curves in place of training, without Ray.
        model: starts the model's workers when the trials have ended.

    Raises:
        RunError: the study or the storage failed. What is stored can be continued.
        ClusterError: Ray cannot be had, is lost, or has no room for a trial or for a worker of the model.
    """
    paths, record = session.paths, session.record
    clock = time.time if simulated is None else simulated.clock
    with (
        closing(StudyOwner.open(record.storage_url(paths), record.study, plan.space, clock)) as owner,
        _persistence(session) as persist,
    ):

        def at_end() -> None:
            if model is not None and owner.best() is not None:
                model.trials_ended()

        backend = simulated or _on_ray(plan, session, owner, overlap)
        coordinator = _run_trials(plan, session, owner, persist, loggers, backend, overlap, at_end)
        if isinstance(coordinator.error, ClusterError) and not paths.has_begun:
            session.say(f"{coordinator.error}, before any trial began; starting Ray again from scratch ...")
            if overlap is not None:
                overlap.give_way("Ray is started again")
            session.leave_cluster()
            backend = _on_ray(plan, session, owner, None)
            coordinator = _run_trials(plan, session, owner, persist, loggers, backend, None, at_end)
        if overlap is not None:
            overlap.end(now=coordinator.interrupted or coordinator.error is not None)
        if coordinator.interrupted:
            session.pulse.ends_as(End.INTERRUPTED)
        _check_ended_well(coordinator, paths)
        if not coordinator.interrupted:
            owner.note_study(importance_note(importance_of_val_loss(plan.space, owner.trials())))
            persist()
        return Training(rank(owner.summaries()), coordinator.interrupted, coordinator.ended_because)


def _on_ray(plan: Plan, session: Session, owner: StudyOwner, overlap: Overlap | None) -> Backend:
    cluster = session.cluster(plan.bytes)
    if overlap is not None:
        overlap.begin(owner.summaries)
    return RayBackend(cluster, Nodes(plan.space.resources, overlap))


def _run_trials(
    plan: Plan,
    session: Session,
    owner: StudyOwner,
    persist: Callable[[], None],
    loggers: Loggers,
    backend: Backend,
    overlap: Overlap | None,
    at_end: Callable[[], None],
) -> Coordinator:
    paths = session.paths
    if plan.evaluation is not None:
        # Better refused now than when all trials have ended.
        cluster_capacity(plan.evaluation.vlm.workers, session.left_out.by_models)
    for node, reason in session.left_out.everywhere.items():
        backend.places.leave_out(node, reason)
    fingerprint, init = session.record.fingerprint, session.record.init_from
    bound = DiskBound(paths, plan.space, fingerprint, owner.summaries, session.say, init)
    backend.concurrency(plan.space)  # better refused now than after the study was touched
    with _live_progress(plan, session, owner) as progress:
        session.pulse.phase(Phase.TRAINING, "trials", plan.space.budget.trials, sum(plan.space.epochs()))
        observers: list[TrialObserver] = [progress, EventLog(_epochs_of(plan)), _Counting(session.pulse)]
        observers += [*backend.observers(paths.name), TrialRecords(paths, owner), _StateRemover(paths, owner)]
        observers += [HyperparameterEvents(paths, plan.space), bound]
        observers += loggers.follow(followed(plan, session, owner))
        observers += [] if overlap is None else [overlap]
        room = partial(backend.concurrency, plan.space)
        coordinator = Coordinator(owner, room, observers, persist, backend.places, session.say, at_end)
        bound.enforce()
        with interruptible(coordinator, session.console, session.pulse, session.heard):
            backend.run(coordinator, plan, paths, session.trial_context(plan))
    return coordinator


def _live_progress(plan: Plan, session: Session, owner: StudyOwner) -> LiveProgress:
    ended_after = [row.last_step or 0 for row in owner.summaries() if row.state.is_finished()]
    return LiveProgress(session.console, session.paths.name, plan.space.budget.trials, _epochs_of(plan), ended_after)


def _epochs_of(plan: Plan) -> Callable[[Mapping[str, Any]], int]:
    """From sampled parameters to the most epochs of a trial that has them."""
    return lambda params: plan.space.resolve(params, 0).total_epochs


def _check_ended_well(coordinator: Coordinator, paths: RunPaths) -> None:
    if isinstance(coordinator.error, ClusterError) and not paths.has_begun:
        raise coordinator.error  # there is nothing to go on with
    if coordinator.error is not None:
        raise RunError(
            f"run {paths.name} stopped: {_reason(coordinator.error)} (more in {paths.log_file}); "
            f"once mended, `python -m sweep resume {paths.shown}` goes on"
        ) from coordinator.error


def _reason(error: Exception) -> str:
    """What stands behind an error, on one line."""
    first: BaseException = error
    while first.__cause__ is not None:  # SQLite's "disk is full" stands behind what Optuna makes of it
        first = first.__cause__
    if isinstance(first, OSError):
        return describe_os_error(first)
    if isinstance(first, UserError):
        return str(first)
    lines = [line.strip() for line in str(first).splitlines() if line.strip()] or ["no message"]
    # Ray puts whole tracebacks into messages; others say in the first line what happened, and then what it may mean.
    return f"{type(first).__name__}: {lines[-1] if 'Traceback' in str(first) else lines[0]}"


class _Counting:
    """Has the driver say how far its trials are."""

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse

    def started(self, event: TrialStarted) -> None:
        """Counts those that an earlier driver ended."""
        self._pulse.progress(_ended(event.states))

    def epoch(self, result: EpochResult) -> None:
        """One more epoch."""
        self._pulse.count_epoch()

    def ended(self, event: TrialEnded) -> None:
        """One more trial."""
        self._pulse.progress(_ended(event.states))


def _ended(states: Mapping[str, int]) -> int:
    return sum(count for state, count in states.items() if state not in ("running", "waiting"))


class _StateRemover:
    """Removes the resume state of trials that have ended, those that an earlier driver left included."""

    def __init__(self, paths: RunPaths, owner: StudyOwner) -> None:
        self._paths = paths
        for row in owner.summaries():
            if row.state.is_finished():
                paths.trial(row.number).resume_folder.remove()

    def started(self, event: TrialStarted) -> None:
        """Nothing to do."""

    def epoch(self, result: EpochResult) -> None:
        """Nothing to do."""

    def ended(self, event: TrialEnded) -> None:
        """The trial will not be continued."""
        self._paths.trial(event.number).resume_folder.remove()


@contextmanager
def _persistence(session: Session) -> Iterator[Callable[[], None]]:
    """What to call after each change of the study: where the run is kept elsewhere, its database goes there too."""
    if not isinstance(session.lock, Lease) or session.record.storage is not None:
        yield lambda: None
        return
    snapshots = StudySnapshots(session.paths.study_file.growing(), session.lock)
    try:
        yield snapshots
    finally:
        snapshots.close()
