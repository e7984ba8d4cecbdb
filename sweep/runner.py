"""One run from its folder to its ranking. The only place where space, data, study, Ray and table meet."""

from __future__ import annotations

import logging
import os
import platform
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from itertools import count
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout
from rich.console import Console

from selector.errors import UserError
from sweep.coordinator import Coordinator
from sweep.errors import ClusterError, RunError
from sweep.events import Ended, Started
from sweep.heldout import HeldOutRow
from sweep.paths import RunPaths, write_json
from sweep.plan import Plan
from sweep.progress import Progress
from sweep.ranking import held_out_rows, rank, ranking_document
from sweep.records import RunRecord, read_record
from sweep.space import canonical
from sweep.study import StudyOwner, TrialSummary, has_study
from sweep.trial import EpochResult, TrialContext

logger = logging.getLogger(__name__)

# Makes Ray give this machine the address 127.0.0.1 and bind every port there; read when ray is imported. Despite its
# name it works on Linux. `ray.init(_node_ip_address=...)` does not: Ray 2.60 turns a loopback address into the outer
# one.
LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
# Ray 2.60 would try for a quarter of an hour to join what is not a cluster; also read when ray is imported.
FAIL_SOON = {"RAY_NUM_REDIS_GET_RETRIES": "1"}

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # as a space's name: one folder, safe in URLs and metrics


@dataclass(frozen=True)
class Outcome:
    """How a run ended. `ranked` has the complete trials first, best on top."""

    paths: RunPaths
    ranked: list[TrialSummary]
    held_out: list[HeldOutRow]
    interrupted: bool
    ended_because: str

    @property
    def exit_code(self) -> int:
        """0: at least one complete trial; 1: none; 130: interrupted."""
        if self.interrupted:
            return 130
        return 0 if any(row.is_complete for row in self.ranked) else 1


def create_run(plan: Plan, runs: Path, name: str | None) -> RunPaths:
    """Make the run's folder and record what it is.

    Raises:
        RunError: a run or a study of this name exists, or it cannot be a name.
        StudyError: the space's storage cannot be used.
    """
    root = _claim_folder(runs, name, plan.space.name)
    paths = RunPaths(root)
    if plan.space.storage is not None:
        _check_new_study(plan.space.storage, paths)
    paths.space_file.write_text(plan.text, encoding="utf-8")
    record = RunRecord(
        space=canonical(plan.space),
        data=plan.space.data.path and plan.space.data.path.absolute(),
        embeddings=plan.space.data.embeddings and plan.space.data.embeddings.absolute(),
        data_fingerprint=plan.summary.fingerprint,
        study=paths.name,
        storage=plan.space.storage,
        versions=versions(),
    )
    write_json(paths.run_file, record.model_dump(mode="json"))
    return paths


@contextmanager
def discarded_if_unstarted(paths: RunPaths) -> Iterator[None]:
    """Remove a new run's folder if it could not start any trial: there is nothing in it to resume."""
    try:
        yield
    except ClusterError:
        shutil.rmtree(paths.root, ignore_errors=True)
        raise


def _check_new_study(storage: str, paths: RunPaths) -> None:
    """A database may serve many runs, and runs in different folders may have one name."""
    try:
        if has_study(storage, paths.name):
            raise RunError(
                f"the storage of the space has a study {paths.name!r} already: `sweep resume` continues that run; for "
                "a new one take another --name"
            )
    except UserError:
        paths.root.rmdir()
        raise


def _claim_folder(runs: Path, name: str | None, base: str) -> Path:
    if name is not None and not NAME.fullmatch(name):
        raise RunError(
            f"--name {name!r} cannot be a run's name: use up to 64 letters, digits, dots, dashes and underscores, the "
            "first a letter or digit; --runs says in which folder it stands"
        )
    try:
        runs.mkdir(parents=True, exist_ok=True)
        for attempt in [name] if name is not None else (f"{base}-{number}" for number in count(1)):
            with suppress(FileExistsError):
                (runs / attempt).mkdir()
                return runs / attempt
    except OSError as error:
        raise RunError(f"cannot make a run folder in {runs}: {error.strerror}") from error
    raise RunError(
        f"run {name!r} exists in {runs}: continue it with `python -m sweep resume {runs / str(name)}`, or take another "
        "--name"
    )


def execute(plan: Plan, paths: RunPaths, console: Console, address: str | None, cpus: int | None) -> Outcome:
    """Run or continue the trials of a run folder, then rank them.

    Raises:
        RunError: another driver holds the run, the data changed, Ray cannot be had, or the study failed on the way.
    """
    record = read_record(paths)
    if record.data_fingerprint != plan.summary.fingerprint:
        raise RunError(
            f"run {paths.name} was started on data {record.data_fingerprint[:16]}, this data is "
            f"{plan.summary.fingerprint[:16]}: restore the data, or start a new run"
        )
    if record.storage is None and not paths.study_file.exists() and paths.trials_folder.exists():
        raise RunError(f"{paths.study_file} is missing, though trials have run: restore it, or start a new run")
    with _sole_driver(paths):
        owner = StudyOwner.open(record.storage_url(paths), record.study, plan.space)
        try:
            coordinator = _train(plan, paths, owner, record, console, address, cpus)
            ranked = rank(owner.summaries())
        finally:
            owner.close()
        rows = held_out_rows(plan, paths, ranked) if any(row.is_complete for row in ranked) else []
        if not coordinator.interrupted:
            write_json(paths.ranking_file, ranking_document(plan, ranked, rows))
    return Outcome(paths, ranked, rows, coordinator.interrupted, coordinator.ended_because)


def _train(
    plan: Plan,
    paths: RunPaths,
    owner: StudyOwner,
    record: RunRecord,
    console: Console,
    address: str | None,
    cpus: int | None,
) -> Coordinator:
    os.environ.update(LOOPBACK_ONLY if address is None else FAIL_SOON)
    from sweep.tune import cluster, fit  # takes a second, which `validate` and `status` need not wait

    context = TrialContext(
        run_folder=paths.root.resolve(),
        validation=plan.space.validation,
        health=plan.space.health,
        keep_epochs=plan.space.keep_epochs,
        data_fingerprint=record.data_fingerprint,
        versions=versions(),  # of now: a resumed run may go on with other code than it began with
    )
    for row in owner.summaries():
        if row.state.is_finished():
            shutil.rmtree(paths.trial(row.number).resume_folder, ignore_errors=True)
    size = plan.dataset.embeddings.nbytes + plan.dataset.beam_picks.nbytes + plan.dataset.pool_items.nbytes
    with cluster.connected(paths.name, size, address, cpus) as ray_cluster:
        concurrency = fit.concurrency(plan.space, ray_cluster)
        hint = f"  ({cluster.HOW_TO_SIGN_IN})" if ray_cluster.token else ""
        console.print(f"dashboard  {ray_cluster.dashboard or 'none'}{hint}", highlight=False)
        console.print(f"metrics    {ray_cluster.metrics or 'none'}", highlight=False)
        console.print(f"log        {paths.log_file}", highlight=False, soft_wrap=True)
        with Progress(console, paths.name, plan.space.budget.trials) as progress:
            coordinator = Coordinator(owner, concurrency, [progress, fit.prometheus(paths.name), _StateRemover(paths)])
            with _interruptible(coordinator, console):
                fit.run_trials(coordinator, plan, context)
    if coordinator.error is not None:
        first: BaseException = coordinator.error
        while first.__cause__ is not None:  # SQLite's "disk is full" stands behind what Optuna makes of it
            first = first.__cause__
        lines = [line.strip() for line in str(first).splitlines() if line.strip()] or ["no message"]
        raise RunError(
            f"run {paths.name} stopped: {type(first).__name__}: {lines[-1]} (more in {paths.log_file}); "
            f"once mended, `python -m sweep resume {paths.root}` goes on"
        ) from coordinator.error
    return coordinator


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
        shutil.rmtree(self._paths.trial(event.number).resume_folder, ignore_errors=True)


@contextmanager
def _sole_driver(paths: RunPaths) -> Iterator[None]:
    lock = FileLock(paths.lock_file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(
            f"run {paths.name} is being driven by another process; `sweep status {paths.root}` shows it"
        ) from None
    try:
        yield
    finally:
        lock.release()


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


def versions() -> dict[str, str]:
    """Of everything that a number may depend on, and the commit of this code where it is a git checkout."""
    found = {name: metadata.version(name) for name in ("torch", "ray", "optuna", "numpy", "safetensors")}
    return {
        "sweep": metadata.version("demonstration-sweep"),
        "code": _commit(),
        "python": platform.python_version(),
        **found,
    }


def _commit() -> str:
    here = Path(__file__).resolve()
    git = ["git", "-C", os.fspath(here.parent)]
    try:
        # An environment inside of somebody else's checkout must not lend us its commit.
        subprocess.run([*git, "ls-files", "--error-unmatch", here.name], capture_output=True, check=True, timeout=10)  # noqa: S603
        described = [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(described, capture_output=True, text=True, check=True, timeout=10).stdout.strip()  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return "not a git checkout"
