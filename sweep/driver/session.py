"""What a driver holds while it works on a run: the lock, the run's record, the screen, and Ray once it is needed.

Invariants:
- A run has at most one driver. Its lock is held as long as the session is open.
- Ray is started, or joined, once, and left as the session closes. Only if it fails before a trial began, once more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from uuid import uuid4

from filelock import Timeout
from rich.console import Console

from sweep.driver.pulse import Pulse
from sweep.driver.signals import note_of, starting_ray, terminable
from sweep.errors import ClusterError, RunError
from sweep.execution.ray.cluster import Cluster, connected, may_have_nodes
from sweep.execution.ray.home import RayHome, open_home
from sweep.execution.ray.node_report import installed
from sweep.execution.ray.options import RayOptions
from sweep.plan.plan import Plan, record_of_embeddings
from sweep.runs.find import refresh
from sweep.runs.paths import RunPaths, place_of_data
from sweep.runs.record import RunRecord, read_record
from sweep.runs.versions import versions
from sweep.storage.local import LOOK_SECONDS
from sweep.storage.outage import describe_os_error, is_outage
from sweep.storage.path import Lock, StoredPath
from sweep.study import count_trials
from sweep.terminal.console import is_in_log, quiet
from sweep.terminal.waiting import Waiting
from sweep.trials.messages import TrialContext

logger = logging.getLogger(__name__)

OpenScreen = Callable[[StoredPath], AbstractContextManager[Console]]
"""From a run's log file to the console that people see meanwhile."""


@dataclass(frozen=True)
class LeftOut:
    """Nodes that are not used, by Ray's ids, and why.

    Attributes:
        everywhere: of no use at all.
        by_models: those, and the ones that lack the files of a model.
    """

    everywhere: dict[str, str] = field(default_factory=dict)
    by_models: dict[str, str] = field(default_factory=dict)


class Session:
    """One driver's hold on a run. Open it with `open_session`."""

    def __init__(
        self, paths: RunPaths, console: Console, pulse: Pulse, ray: RayOptions, lock: Lock, stack: ExitStack
    ) -> None:
        self.paths = paths
        self.console = console
        self.pulse = pulse
        self.heard: Callable[[int], None] = lambda number: None
        """Told of each signal that ends the run."""
        self.record: RunRecord = read_record(paths)
        self.go_on = ""
        """The command that continues."""
        self.left_out = LeftOut()
        self.check_cluster: Callable[[], None] = lambda: None
        """Called as soon as Ray is there. Raises if the cluster is not what the run needs."""
        self.lock = lock
        self._ray = ray
        self._stack = stack
        self._of_cluster = stack.enter_context(ExitStack())
        self._cluster: Cluster | None = None
        self._home: RayHome | None = None
        self._session: str | None = None

    @property
    def may_have_nodes(self) -> bool:
        """Whether the Ray of this session may have other machines than this one."""
        return may_have_nodes(self._ray)

    def cluster(self, data_bytes: int) -> Cluster:
        """Ray, started or joined by the first call, with room for data of this size in its object store.

        Raises:
            ClusterError: Ray cannot be started or reached.
        """
        if self._cluster is None:
            where = f"joining Ray at {self._ray.address}" if self._ray.address else "starting Ray on this machine"
            with starting_ray(), Waiting(self.say, where):
                self._cluster = self._of_cluster.enter_context(
                    connected(self.paths.name, data_bytes, self._ray, self.say, self.go_on)
                )
            announce(self.console, self._cluster, self.paths.log_file)
            self.check_cluster()
        return self._cluster

    def leave_cluster(self) -> None:
        """Stop Ray, or leave it. The next call of `cluster` starts from scratch."""
        self._cluster, self._home = None, None
        self._of_cluster.close()

    def say(self, line: str) -> None:
        """Show a line as it is, not wrapped and without markup. The log has it, too."""
        if not is_in_log(self.console):
            logger.info("%s", line)
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def name_data(self, plan: Plan) -> None:
        """Have the run's record name the data that was collected for it. One that names its data stays as it is."""
        if self.record.data_fingerprint is not None or plan.data.path is None:
            return
        self.record = RunRecord.model_validate(
            {
                **dict(self.record),
                "data": place_of_data(self.paths, plan.collected or plan.data.path),
                "data_fingerprint": plan.summary.fingerprint,
                "embed": record_of_embeddings(plan),
            }
        )
        self.paths.run_file.write_json(self.record.model_dump(mode="json"), private=True)

    def keep_overrides(self, overrides: tuple[str, ...]) -> None:
        """Have the run's record say what the command line set, so that every later command goes on with it."""
        if overrides != self.record.overrides:
            self.record = self.record.replace(overrides=overrides)
            self.paths.seal_file.remove()  # until the driver seals the run anew
            self.paths.run_file.write_json(self.record.model_dump(mode="json"), private=True)

    def check_unchanged(self, plan: Plan) -> None:
        """Refuse to go on with other data or first weights, or without the study of trials that have run.

        Raises:
            RunError: one of them is not what the run began with.
        """
        paths, fingerprint = self.paths, self.record.fingerprint
        if fingerprint != plan.summary.fingerprint:
            raise RunError(
                f"run {paths.name} was started on data {fingerprint[:16]}, this data is "
                f"{plan.summary.fingerprint[:16]}: restore the data, or start a new run"
            )
        if plan.init is not None and plan.init.sha256 != self.record.init_from:
            raise RunError(
                f"run {paths.name} was started from weights {str(self.record.init_from)[:16]}, {plan.init.name} holds "
                f"{plan.init.sha256[:16]} now: restore the file, or start a new run"
            )
        if paths.trials_folder.glob("[0-9]*") and not count_trials(self.record.storage_url(paths), self.record.study):
            where = "the study" if self.record.storage is not None else str(paths.study_file)
            what = "has no trials" if self.record.storage is not None or paths.study_file.exists() else "is missing"
            raise RunError(
                f"{where} {what}, though trials have run: restore it, or build it again from their own "
                f"records with `python -m sweep resume {paths.shown} --rebuild-study`"
            )

    def trial_context(self, plan: Plan) -> TrialContext:
        """What every trial of the run needs to know besides its own settings."""
        return TrialContext(
            run_folder=self.paths.root.place,
            session=self.mark(),
            validation=plan.space.validation,
            health=plan.space.health,
            keep_epochs=plan.space.keep_epochs,
            data_fingerprint=self.record.fingerprint,
            shots=plan.space.most_shots,
            init=self.record.init_from,
            versions=versions(),  # of now: a resumed run may go on with other code than it began with
            home=self._way_home(),
            installed=installed() if self._has_nodes else {},
        )

    @property
    def _has_nodes(self) -> bool:
        return self._cluster is not None and not self._cluster.alone

    def _way_home(self) -> RayHome | None:
        """For workers that do not see the run's folder. Not needed where no other machine can be."""
        if self._has_nodes and self._home is None and not self.paths.root.is_remote:
            self._home = open_home(self.paths.root, self.paths.name)
        return self._home

    def mark(self) -> str:
        """Leave this driver's mark in the folder, by which workers know it. It goes when the session closes."""
        if self._session is None:
            for left in self.paths.driver_marks:  # of drivers that were killed
                left.remove()
            self._session = uuid4().hex
            mark = self.paths.driver_mark(self._session)
            mark.write_text("")
            self._stack.callback(_remove, mark)
        return self._session


def _remove(mark: StoredPath) -> None:
    with suppress(OSError):  # the next driver removes it
        mark.remove()


@contextmanager
def open_session(
    paths: RunPaths,
    ray: RayOptions,
    open_screen: OpenScreen = quiet,
    command: str = "resume",
    started: Callable[[Session], None] = lambda session: None,
) -> Iterator[Session]:
    """Become a run's driver. Whatever ends it early, people are told which command goes on.

    Args:
        paths: the run's.
        ray: which Ray is used if one is needed.
        open_screen: gives the console. The default sends all other output to the run's log.
        command: continues what this session is for.
        started: called when all checks have passed and Ray is up, as the work begins.

    Raises:
        RunError: another driver holds the run, or the storage below it fails.
    """
    go_on = f"python -m sweep {command} {paths.shown}"
    with (
        _sole_driver(paths) as lock,
        open_screen(paths.log_file) as console,
        Pulse(paths) as pulse,
        ExitStack() as stack,
    ):
        session = Session(paths, console, pulse, ray, lock, stack)
        pulse.on_first_phase = partial(started, session)
        session.go_on = go_on
        session.heard = note_of(pulse, console, go_on)
        stack.enter_context(terminable(session.heard))
        if is_in_job_folder(paths.root):
            session.say(
                f"{paths.shown} lies in the working folder of a Ray job, which Ray may remove with the job: "
                "name another folder with --runs"
            )
        try:
            yield session
        except KeyboardInterrupt:  # while Ray starts or the model answers, or the second Ctrl-C
            session.say(f"interrupted; continue with: {go_on}")
            raise
        except ClusterError as error:
            if go_on in str(error) or not paths.has_begun:
                raise
            raise ClusterError(f"{error}; `{go_on}` goes on") from error
        except OSError as error:
            if not is_outage(error):
                raise
            raise RunError(f"{describe_os_error(error)}; once mended, `{go_on}` goes on") from error


def is_in_job_folder(folder: StoredPath) -> bool:
    """Whether a folder is within what `ray job submit --working-dir` copied to this node."""
    return not folder.is_remote and "working_dir_files" in folder.local().resolve().parts


def announce(console: Console, cluster: Cluster, log_file: StoredPath) -> None:
    """Say where to watch."""
    hint = f"  ({cluster.sign_in})" if cluster.dashboard and cluster.token else ""
    console.print(f"dashboard  {cluster.dashboard or 'none'}{hint}", highlight=False)
    console.print(f"metrics    {cluster.metrics or 'none'}", highlight=False)
    console.print(f"log        {log_file}", highlight=False, soft_wrap=True)


@contextmanager
def _sole_driver(paths: RunPaths) -> Iterator[Lock]:
    lock = paths.lock_file.lock()
    try:
        lock.acquire(timeout=LOOK_SECONDS)
    except Timeout:
        raise RunError(
            f"run {paths.name} is being driven by another process; `sweep status {paths.shown}` shows it"
        ) from None
    try:
        refresh(paths)  # what an earlier driver stored between our looking and its end
        yield lock
    finally:
        lock.release()
