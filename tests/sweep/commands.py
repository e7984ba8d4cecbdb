"""Commands of the sweep: as processes of their own, and in this one."""

from __future__ import annotations

import io
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import optuna
import pytest
import yaml

from sweep.cli.app import main
from sweep.driver.create import NewRun, create_run
from sweep.driver.run import execute
from sweep.execution.ray.options import RayOptions
from sweep.results.outcome import RunOutcome
from sweep.runs.paths import RunPaths
from sweep.storage.local import stored_at
from tests.sweep.plans import plan_of_space, screen_on
from tests.sweep.spaces import SMALL

Command = Callable[..., tuple[int, str, str]]
ON_RAY = ("run", "resume", "evaluate", "collect")
ANNOUNCING = ("run", "resume")
ALONE: dict[str, object] = {"concurrency": 1, "budget": {"trials": 4}}
"""One trial at a time, so that two runs are equal. The sampler's first three trials are random."""
UP = "dashboard  "  # the line that says where to watch
RAY_STARTS = 3


def write_space(folder: Path, **changes: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "space.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(SMALL), **changes}))
    return file


class Started(subprocess.Popen[str]):
    """A command in a process of its own. `log` has what it says."""

    log: Path


def start(folder: Path, command: str, *arguments: str, dashboard: bool = False, logs: Path | None = None) -> Started:
    """Start a command. Returns when its Ray is up, or when the process has ended. What it says goes to `logs`.

    On a busy machine Ray may give up starting. That is no matter of the test, so it is tried again from scratch.
    """
    options = ["--no-dashboard"] if command in ON_RAY and not dashboard else []
    line = [sys.executable, "-m", "sweep", command, *arguments, *options]
    before = set(folder.glob("runs/*"))
    for _ in range(RAY_STARTS):
        log = (logs or folder) / f"output-{uuid4().hex}.txt"
        with log.open("w") as stream:
            process = Started(line, cwd=folder, stdout=stream, stderr=subprocess.STDOUT, text=True)
        process.log = log
        if command in ANNOUNCING:
            wait_for(lambda process=process: process.poll() is not None or UP in process.log.read_text(), 120)
        if not (process.poll() and ray_failed(log.read_text())):
            break
        for run in set(folder.glob("runs/*")) - before:
            shutil.rmtree(run)
    return process


def ray_failed(output: str) -> bool:
    """Whether a command ended because Ray did not start on this machine."""
    return "cannot start Ray on this machine" in output or "ray.init(**options)" in output


def finish(process: Started, seconds: float = 120) -> str:
    """Wait for its end; all that it has said."""
    process.wait(timeout=seconds)
    return process.log.read_text()


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def study_of(run: Path) -> optuna.Study:
    return optuna.load_study(study_name=run.name, storage=f"sqlite:///{run / 'study.db'}")


@dataclass
class Ran:
    """A run on this session's Ray: where it is, how it ended, what it said."""

    paths: RunPaths
    outcome: RunOutcome
    screen: str

    @property
    def study(self) -> optuna.Study:
        return study_of(self.paths.root.local())


def sweep(folder: Path, **changes: object) -> Ran:
    """`sweep run` on this session's Ray."""
    plan = plan_of_space(write_space(folder, **changes))
    paths = create_run(plan, NewRun(stored_at(folder / "runs"), None))
    screen = io.StringIO()
    outcome = execute(plan, paths, RayOptions(), screen_on(screen))
    return Ran(paths, outcome, screen.getvalue())


def curves(study: optuna.Study) -> list[tuple[object, ...]]:
    """What two equal runs have in common, trial by trial."""
    return [(one.number, one.params, one.state, one.intermediate_values, one.value) for one in study.trials]


def epochs_done(run: Path) -> int:
    if not (run / "study.db").exists():
        return 0
    with sqlite3.connect(f"file:{run / 'study.db'}?mode=ro", uri=True) as database:
        try:
            return int(database.execute("select count(*) from trial_intermediate_values").fetchone()[0])
        except sqlite3.OperationalError:
            return 0


def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str, str]:
    """The command line in this process."""
    monkeypatch.setattr(sys, "argv", ["sweep", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    captured = capsys.readouterr()
    return int(stopped.value.code or 0), captured.out, captured.err
