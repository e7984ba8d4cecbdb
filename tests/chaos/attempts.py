"""One run, its kills, and its resumes until it is done."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from pyarrow import fs

from sweep.runs.paths import RunPaths
from tests.chaos.cluster import TwoNodes
from tests.chaos.processes import MARK, Kind, Process, end_all, kill, processes_of
from tests.chaos.spaces import NAME
from tests.s3 import S3Server
from tests.sweep.commands import ray_failed

POLL = 0.05
PATIENCE = 180.0  # seconds without a word on the screen; a busy machine may take any time in all
ATTEMPTS = 10
LINGER = 20.0  # seconds after a run's end for its processes to be gone
WORKERS = (Kind.TRIAL, Kind.FINALIST, Kind.POOL)
HEALING = 3.0  # seconds until a lost node is back


@dataclass
class Kill:
    """A kill to come: when processes of its kind have lived for `after` seconds in all.

    The clock stands still until the run has stored `epochs` epochs.
    """

    kind: Kind
    after: float
    epochs: int = 0
    lived: float = 0.0


@dataclass
class Killed:
    """A kill that happened. `recovery`: seconds until the trial's next epoch was stored; None if not measurable."""

    kind: Kind
    attempt: int
    trial: int | None = None
    epochs: int = 0
    at: float = 0.0
    recovery: float | None = None


@dataclass
class Course:
    """How a run went. `lifetimes`: seconds for which processes of each kind were alive."""

    run: Path
    killed: list[Killed] = field(default_factory=list)
    missed: list[Kind] = field(default_factory=list)
    lifetimes: dict[Kind, float] = field(default_factory=dict)
    attempts: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)
    exits: list[int] = field(default_factory=list)
    finished: bool = False


def plan_kills(rng: random.Random, kinds: Sequence[Kind], lifetimes: dict[Kind, float]) -> list[Kill]:
    """One kill of every kind, and up to two more of any, each at a random time of that kind's life when undisturbed."""
    chosen = [*kinds, *rng.choices(list(kinds), k=rng.randrange(3))]
    return [Kill(kind, rng.uniform(0.0, lifetimes.get(kind, 5.0))) for kind in chosen]


class Run:
    """A run below a folder of its own, with a space file beside it."""

    def __init__(
        self, folder: Path, kills: list[Kill], *, cluster: bool = False, s3: bool = False,
        environment: dict[str, str] | None = None, seed: str = "",
    ) -> None:  # fmt: skip
        self._folder = folder
        self._pending = kills
        self._mark = uuid4().hex
        self._cluster_mark = uuid4().hex
        self._cluster = cluster
        self._nodes: TwoNodes | None = None
        self._s3 = s3
        self._runs = ""  # URI of the folder of runs, where that is elsewhere
        self._environment = {
            **os.environ, "HF_HUB_OFFLINE": "1", "RAY_USAGE_STATS_ENABLED": "0", **(environment or {}),
        }  # fmt: skip
        self._rng = random.Random(f"{seed}:victims")
        self.paths = RunPaths.at(folder / "runs" / NAME)
        self.course = Course(self.paths.root.local())
        self._heal_at = float("inf")

    def drive(self) -> Course:
        """Run, resume until done, leave no process behind."""
        began = time.monotonic()
        with ExitStack() as stack:
            stack.callback(end_all, self._mark)
            if self._cluster:
                log = self._folder / "cluster.log"
                self._nodes = TwoNodes(log, {MARK: self._cluster_mark}, self._environment)
                stack.enter_context(self._nodes)
            if self._s3:
                self._runs = stack.enter_context(S3Server(self._folder / "moto.log")).address("runs")
            while not self.course.finished and self.course.attempts < ATTEMPTS:
                self.course.attempts += 1
                self._attempt()
            self._check_gone()
            if self._runs and self.course.finished:
                fs.copy_files(self._runs, str(self.paths.root.parent))
        self.course.missed = [pending.kind for pending in self._pending]
        self.course.seconds = time.monotonic() - began
        return self.course

    def _attempt(self) -> None:
        if self._nodes is not None:
            self._nodes.heal()
            self._heal_at = float("inf")
        command = [sys.executable, "-m", "sweep"]
        command += ["resume", NAME] if self._begun() else ["run", "space.yaml", "--name", NAME]
        environment = {**self._environment, MARK: self._mark}
        if self._runs:
            command += ["--runs", self._runs]
            environment["SWEEP_CACHE"] = str(self._folder / f"cache-{self.course.attempts}")
        if self._nodes is not None:
            command += ["--address", self._nodes.address]
            environment = {**self._nodes.environment, MARK: self._mark}
        else:
            command += ["--no-dashboard"]
        before = len(self.course.killed)
        log = self._folder / f"driver-{self.course.attempts}.log"
        with log.open("wb") as output:
            driver = subprocess.Popen(command, cwd=self._folder, env=environment, stdout=output, stderr=output)
            self._watch(driver, log)
            code = driver.wait()
            self.course.exits.append(code)
        self.course.finished = code == 0
        lethal = {one.kind for one in self.course.killed[before:]} & {Kind.DRIVER, Kind.RAYLET}
        by_hook = code == -9 and "SWEEP_CHAOS_AT" in self._environment
        said = log.read_text(errors="replace")
        if code and not lethal and not by_hook and not ray_failed(said):
            lines = said.splitlines()[-8:]
            self.course.failures.append(f"attempt {self.course.attempts} ended with {code}: " + " | ".join(lines))

    def _begun(self) -> bool:
        if not self._runs:
            return self.paths.run_file.exists()
        filesystem, root = fs.FileSystem.from_uri(self._runs)
        return bool(filesystem.get_file_info(f"{root}/{NAME}/run.json").is_file)

    def _watch(self, driver: subprocess.Popen[bytes], log: Path) -> None:
        heard = last = time.monotonic()
        said = 0
        while driver.poll() is None:
            time.sleep(POLL)
            now = time.monotonic()
            alive = self._alive(driver)
            for kind in alive:
                self.course.lifetimes[kind] = self.course.lifetimes.get(kind, 0.0) + now - last
            for pending in list(self._pending):
                if pending.kind in alive and (not pending.epochs or self._all_epochs() >= pending.epochs):
                    pending.lived += now - last
                    if pending.lived >= pending.after:
                        self._strike(pending, self._rng.choice(alive[pending.kind]))
                        break  # `alive` is no longer true
            last = now
            self._follow(now)
            if now >= self._heal_at and self._nodes is not None:
                self._heal_at = float("inf")
                self._nodes.heal_second()
            if log.stat().st_size > said:
                heard, said = now, log.stat().st_size
            if now - heard > PATIENCE:
                self.course.failures.append(f"attempt {self.course.attempts} hung and was ended")
                driver.kill()
                driver.wait()

    def _alive(self, driver: subprocess.Popen[bytes]) -> dict[Kind, list[Process]]:
        # Workers of a joined cluster are children of its raylets, not of the driver.
        found: dict[Kind, list[Process]] = {}
        everybody = processes_of(self._mark) + (processes_of(self._cluster_mark) if self._nodes else [])
        for process in everybody:
            kind = Kind.DRIVER if process.pid == driver.pid else process.kind
            if kind is not None and (kind is not Kind.RAYLET or self._nodes is not None):
                found.setdefault(kind, []).append(process)
        return found

    def _strike(self, pending: Kill, victim: Process) -> None:
        mark = self._cluster_mark if self._nodes is not None and pending.kind is not Kind.DRIVER else self._mark
        if not kill(victim, mark):
            return
        now = time.monotonic()
        self._pending.remove(pending)
        record = Killed(pending.kind, self.course.attempts, at=now)
        if pending.kind is Kind.TRIAL:
            record.trial = self._trial_on(victim.pid)
            if record.trial is not None:
                record.epochs = self._epochs(record.trial)
        if pending.kind is Kind.RAYLET:
            self._heal_at = now + HEALING
        self.course.killed.append(record)

    def _trial_on(self, pid: int) -> int | None:
        """The running trial that last reported from this process; None if that cannot be told."""
        running = "select number, trial_id from trials where state = 'RUNNING'"
        on = "select trial_id from trial_user_attributes where key = 'worker' and value_json like ?"
        try:
            with closing(sqlite3.connect(f"file:{self.paths.study_file}?mode=ro", uri=True)) as database:
                trials = dict(database.execute(running).fetchall())
                here = {row[0] for row in database.execute(on, (f'"pid {pid} %',))}
        except sqlite3.OperationalError:  # no study yet
            return None
        # A worker that has told nothing yet of its trial can only be known where there is no other.
        found = [number for number, identity in trials.items() if identity in here] or list(trials)
        return int(found[0]) if len(found) == 1 else None

    def _epochs(self, number: int) -> int:
        file = self.paths.trial(number).history_file
        return len(file.read_text().splitlines()) if file.exists() else 0

    def _all_epochs(self) -> int:
        return sum(self._epochs(int(folder.name)) for folder in self.paths.trials_folder.glob("[0-9]*"))

    def _follow(self, now: float) -> None:
        """Time from a trial worker's death to the next epoch that its trial stored, in the same attempt."""
        for one in self.course.killed:
            waits = one.recovery is None and one.attempt == self.course.attempts
            if waits and one.trial is not None and self._epochs(one.trial) > one.epochs:
                one.recovery = now - one.at

    def _check_gone(self) -> None:
        """No worker outlives its run. Ray's own agents may, for a while."""
        deadline = time.monotonic() + LINGER
        left: list[Process] = []
        while time.monotonic() < deadline:
            everybody = processes_of(self._mark) + processes_of(self._cluster_mark)
            left = [one for one in everybody if one.kind in WORKERS]
            if not left:
                return
            time.sleep(0.2)
        self.course.failures.append(f"workers left behind: {[one.title.strip() for one in left]}")
