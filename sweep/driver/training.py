"""TODO-DOC"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from filelock import FileLock
from rich.console import Console

from sweep.driver.signals import _interruptible
from sweep.errors import RunError
from sweep.execution.coordinator import Coordinator
from sweep.execution.disk_bound import DiskBound
from sweep.execution.events import Ended, Observer, Started
from sweep.execution.progress import Progress
from sweep.execution.ray.cluster import Cluster
from sweep.plan.plan import Plan
from sweep.runs.paths import RunPaths
from sweep.runs.record import RunRecord
from sweep.storage import mirror
from sweep.storage.files import remove_folder
from sweep.storage.lease import Lease
from sweep.storage.outage import told
from sweep.storage.snapshots import StudySnapshots
from sweep.study import StudyOwner
from sweep.trials.messages import EpochResult, TrialContext


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
