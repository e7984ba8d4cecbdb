"""Commands of the sweep: as processes of their own, and in this one."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import yaml

from sweep.cli.app import main
from tests.sweep.spaces import SMALL

ON_RAY = ("run", "resume", "evaluate", "collect")


def write_space(folder: Path, **changes: object) -> Path:
    file = folder / "space.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(SMALL), **changes}))
    return file


def start(folder: Path, command: str, *arguments: str, dashboard: bool = False) -> subprocess.Popen[str]:
    options = ["--no-dashboard"] if command in ON_RAY and not dashboard else []
    line = [sys.executable, "-m", "sweep", command, *arguments, *options]
    return subprocess.Popen(line, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str], seconds: float = 120) -> str:
    return process.communicate(timeout=seconds)[0]


def stop_at_once(process: subprocess.Popen[str]) -> None:
    """Ctrl-C twice."""
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    finish(process)


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def study_of(run: Path) -> optuna.Study:
    return optuna.load_study(study_name=run.name, storage=f"sqlite:///{run / 'study.db'}")


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
