"""One run from its folder to its ranking. The only place where space, data, study, Ray and table meet."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from rich.console import Console

from sweep.driver.collection import collect_data, is_collected
from sweep.driver.create import versions
from sweep.driver.evaluation import check_evaluation, evaluate_run
from sweep.errors import RunError
from sweep.evaluation.records import Evaluation
from sweep.execution.coordinator import Coordinator
from sweep.execution.disk_bound import DiskBound
from sweep.execution.events import Ended, Observer, Started
from sweep.execution.progress import Progress
from sweep.execution.ray.options import FAIL_SOON, LOOPBACK_ONLY, RayOptions
from sweep.plan.requests import Draft, Plan, place_of_data, plan_of_collected
from sweep.results.held_out import HeldOutRow
from sweep.results.ranking import held_out_rows, rank, ranking_document
from sweep.runs.paths import RunPaths, SharedPaths, remove_folder, write_json
from sweep.runs.record import RunRecord, read_record, refresh
from sweep.storage import mirror
from sweep.storage.lease import Lease
from sweep.storage.outage import told
from sweep.storage.snapshots import StudySnapshots
from sweep.study import StudyOwner, TrialSummary, read_summaries
from sweep.trials.trial import EpochResult, TrialContext

if TYPE_CHECKING:
    from sweep.execution.ray.cluster import Cluster

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How a run ended. `ranked` has the complete trials first, best on top.

    `evaluation` is None where no model answers; `held_out` is empty where one does.
    """

    paths: RunPaths
    ranked: list[TrialSummary]
    held_out: list[HeldOutRow]
    evaluation: Evaluation | None
    interrupted: bool
    ended_because: str

    @property
    def exit_code(self) -> int:
        """0: at least one complete trial; 1: none; 130: interrupted."""
        if self.interrupted:
            return 130
        return 0 if any(row.is_complete for row in self.ranked) else 1


def execute(plan: Plan | Draft, paths: RunPaths, console: Console, ray: RayOptions) -> Outcome:
    """Run or continue a run: collect its data if the space says so, train its trials, have the best ones answer
    held-out questions, rank.

    Raises:
        RunError: another driver holds the run, the data changed, Ray cannot be had, or the study failed on the way.
        KeyboardInterrupt: interrupted while trials were not running; the run can be resumed.
    """
    collecting = False
    with ExitStack() as stack:
        lock = stack.enter_context(_sole_driver(paths))
        record = read_record(paths)
        if isinstance(plan, Draft):
            _announce(stack.enter_context(on_ray(paths, plan.bytes, ray)), paths, console)
            collecting = True
            plan, record = _collected(plan, paths, record, console)
        _check_unchanged(plan, paths, record)
        check_evaluation(plan.space, plan.dataset, paths.shared)
        owner = StudyOwner.open(record.storage_url(paths), record.study, plan.space)
        stack.callback(owner.close)
        size = plan.dataset.embeddings.nbytes + plan.dataset.beam_picks.nbytes + plan.dataset.pool_items.nbytes
        cluster = stack.enter_context(on_ray(paths, size, ray))
        if not collecting:
            _announce(cluster, paths, console)
        if plan.space.evaluation is not None and plan.space.vlm is not None:
            from sweep.vlm.pool.pool import room_for

            room_for(plan.space.vlm.workers)  # better told now than when all trials have ended
        keep = stack.enter_context(_kept(paths, record, lock))
        bound = DiskBound(paths, plan.space, record.fingerprint, owner.summaries, partial(_say, console))
        coordinator = _train(plan, paths, owner, _context(plan, paths, record), console, cluster, keep, bound)
        ranked = rank(owner.summaries())
        judged = None
        if plan.space.evaluation and not coordinator.interrupted and any(row.is_complete for row in ranked):
            with _terminable():
                judged = evaluate_run(plan, paths, ranked, _context(plan, paths, record), console)
            bound.enforce()  # finalists and answers came besides
    return _finish(plan, paths, ranked, judged, coordinator)


def reevaluate(plan: Plan, paths: RunPaths, console: Console, ray: RayOptions) -> Evaluation:
    """Evaluate a run again, or for the first time: `sweep evaluate`. Trials that have not ended are left alone.

    Raises:
        RunError: no trial is complete, another driver holds the run, or the evaluation cannot be done.
    """
    with _sole_driver(paths):
        record = read_record(paths)
        _check_unchanged(plan, paths, record)
        check_evaluation(plan.space, plan.dataset, paths.shared)
        ranked = rank(read_summaries(record.storage_url(paths), record.study))
        if not any(row.is_complete for row in ranked):
            raise RunError(f"run {paths.name} has no complete trial yet, so there is nothing to evaluate")
        with on_ray(paths, plan.dataset.embeddings.nbytes, ray), _terminable():
            judged = evaluate_run(plan, paths, ranked, _context(plan, paths, record), console)
            write_json(paths.ranking_file, ranking_document(plan, ranked, [], judged))
    return judged


def collect_only(planned: Draft, folder: Path, shared: SharedPaths, console: Console, ray: RayOptions) -> None:
    """Measure a space's beams into a folder of their own: `sweep collect`."""
    with on_ray(RunPaths(folder), planned.bytes, ray), _terminable():
        collect_data(planned, folder, shared, folder.name, console)


def _finish(
    plan: Plan, paths: RunPaths, ranked: list[TrialSummary], judged: Evaluation | None, coordinator: Coordinator
) -> Outcome:
    rows = held_out_rows(plan, paths, ranked) if judged is None and any(row.is_complete for row in ranked) else []
    if not coordinator.interrupted:
        write_json(paths.ranking_file, ranking_document(plan, ranked, rows, judged))
    return Outcome(paths, ranked, rows, judged, coordinator.interrupted, coordinator.ended_because)


def _collected(draft: Draft, paths: RunPaths, record: RunRecord, console: Console) -> tuple[Plan, RunRecord]:
    """The plan over data that is collected now, and the record that names that data from now on."""
    if not is_collected(draft):
        with _terminable():
            collect_data(draft, draft.folder, paths.shared, paths.name, console)
    plan = plan_of_collected(draft)
    if record.data_fingerprint is None:
        known = {"data": place_of_data(paths, draft.folder), "data_fingerprint": plan.summary.fingerprint}
        record = record.model_copy(update=known)
        write_json(paths.run_file, record.model_dump(mode="json"), private=True)
    return plan, record


def _check_unchanged(plan: Plan, paths: RunPaths, record: RunRecord) -> None:
    fingerprint = record.fingerprint
    if fingerprint != plan.summary.fingerprint:
        raise RunError(
            f"run {paths.name} was started on data {fingerprint[:16]}, this data is "
            f"{plan.summary.fingerprint[:16]}: restore the data, or start a new run"
        )
    if record.storage is None and not paths.study_file.exists() and mirror.exists(paths.trials_folder):
        raise RunError(
            f"{mirror.shown(paths.study_file)} is missing, though trials have run: restore it, or start a new run"
        )


def _context(plan: Plan, paths: RunPaths, record: RunRecord) -> TrialContext:
    return TrialContext(
        run_folder=mirror.place_of(paths.root),
        validation=plan.space.validation,
        health=plan.space.health,
        keep_epochs=plan.space.keep_epochs,
        data_fingerprint=record.fingerprint,
        versions=versions(),  # of now: a resumed run may go on with other code than it began with
    )


@contextmanager
def on_ray(paths: RunPaths, data_bytes: int, ray: RayOptions) -> Iterator[Cluster]:
    """Ray, started or joined. Within such a context another one changes nothing."""
    os.environ.update(LOOPBACK_ONLY if ray.address is None else FAIL_SOON)
    from sweep.execution.ray import cluster  # takes a second, which `validate` and `status` need not wait

    with cluster.connected(paths.name, data_bytes, ray) as found:
        yield found


def _announce(cluster: Cluster, paths: RunPaths, console: Console) -> None:
    """Where to watch."""
    from sweep.execution.ray.cluster import HOW_TO_SIGN_IN

    hint = f"  ({HOW_TO_SIGN_IN})" if cluster.dashboard and cluster.token else ""
    console.print(f"dashboard  {cluster.dashboard or 'none'}{hint}", highlight=False)
    console.print(f"metrics    {cluster.metrics or 'none'}", highlight=False)
    console.print(f"log        {mirror.shown(paths.log_file)}", highlight=False, soft_wrap=True)


def _train(
    plan: Plan,
    paths: RunPaths,
    owner: StudyOwner,
    context: TrialContext,
    console: Console,
    cluster: Cluster,
    keep: Callable[[], None],
    bound: DiskBound,
) -> Coordinator:
    from sweep.execution.ray import fit

    for row in owner.summaries():
        if row.state.is_finished():
            remove_folder(paths.trial(row.number).resume_folder)
    concurrency = fit.concurrency(plan.space, cluster)
    with Progress(console, paths.name, plan.space.budget.trials) as progress:
        observers: list[Observer] = [progress, fit.prometheus(paths.name), _StateRemover(paths), bound]
        coordinator = Coordinator(owner, concurrency, observers, keep)
        bound.enforce()
        with _interruptible(coordinator, console):
            fit.run_trials(coordinator, plan, context)
    if coordinator.error is not None:
        raise RunError(
            f"run {paths.name} stopped: {_reason(coordinator.error)} (more in {mirror.shown(paths.log_file)}); "
            f"once mended, `python -m sweep resume {paths.shown}` goes on"
        ) from coordinator.error
    return coordinator


def _reason(error: Exception) -> str:
    """What stands behind an error, on one line."""
    first: BaseException = error
    while first.__cause__ is not None:  # SQLite's "disk is full" stands behind what Optuna makes of it
        first = first.__cause__
    if isinstance(first, OSError):
        return told(first)
    lines = [line.strip() for line in str(first).splitlines() if line.strip()] or ["no message"]
    # Ray puts whole tracebacks into messages; others say in the first line what happened, and then what it may mean.
    return f"{type(first).__name__}: {lines[-1] if 'Traceback' in str(first) else lines[0]}"


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


class _StateRemover:
    """Removes the resume state of trials that have ended."""

    def __init__(self, paths: RunPaths) -> None:
        self._paths = paths

    def started(self, event: Started) -> None:
        """Nothing to do."""

    def epoch(self, result: EpochResult) -> None:
        """Nothing to do."""

    def ended(self, event: Ended) -> None:
        """The trial will not be continued."""
        remove_folder(self._paths.trial(event.number).resume_folder)


@contextmanager
def _sole_driver(paths: RunPaths) -> Iterator[FileLock | Lease]:
    lock = mirror.lock(paths.lock_file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(
            f"run {paths.name} is being driven by another process; `sweep status {paths.shown}` shows it"
        ) from None
    try:
        refresh(paths)  # what an earlier driver stored between our looking and its end
        yield lock
    finally:
        lock.release()


@contextmanager
def _kept(paths: RunPaths, record: RunRecord, lock: FileLock | Lease) -> Iterator[Callable[[], None]]:
    """What to call after each change of the study: where the run is kept elsewhere, its database goes there too."""
    if isinstance(lock, FileLock) or record.storage is not None:
        yield lambda: None
        return
    snapshots = StudySnapshots(paths.study_file, lock)
    try:
        yield snapshots
    finally:
        snapshots.close()


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that workers and files are left in order."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _interruptible(coordinator: Coordinator, console: Console) -> Iterator[None]:
    """First Ctrl-C (or SIGTERM): trials stop after their current epoch and can be resumed. Second: now."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        if coordinator.interrupted:
            raise KeyboardInterrupt
        coordinator.interrupted = True
        console.print("stopping after the running epochs (Ctrl-C again: at once) ...")

    # SIGTERM is what a container, a batch system or a shutdown sends before it kills.
    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
