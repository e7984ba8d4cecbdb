"""`--detach` and a closed terminal, in processes of their own and without Ray. `test_app` has a real run."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from sweep.runs.driver import End, read_driver
from sweep.runs.paths import RunPaths
from tests.sweep.commands import wait_for

DETACHING = """
import os, sys, time
from types import SimpleNamespace
import typer
from sweep.cli.detach import Detached, start_detached
from sweep.runs.paths import RunPaths
from sweep.storage.local import stored_at
from sweep.terminal.console import quiet
from pathlib import Path

detached = Detached()
if not detached.is_detached:
    try:
        start_detached()
    except typer.Exit as end:
        sys.exit(end.exit_code)
assert "SWEEP_DETACHED_REPORT" not in os.environ and os.getsid(0) == os.getpid() and sys.stdin.read() == ""
if sys.argv[1] == "refuse":
    sys.stderr.write("error: no such space\\n")
    sys.exit(2)
if sys.argv[1] == "killed":
    os.kill(os.getpid(), 9)
print("the plan")
paths = RunPaths(stored_at(Path("runs/mine")))
paths.root.make_folder()
with quiet(paths.log_file) as console:
    console.print("dashboard  none")
    detached.started(SimpleNamespace(console=console, paths=paths))
    while not Path("go-on").exists():
        time.sleep(0.02)
    console.print("trial 0 complete")
print("the last table")
"""
DRIVING = """
import sys, time
import typer
from sweep.cli.driving import interruption
from sweep.driver.session import open_session
from sweep.execution.ray.options import RayOptions
from sweep.runs.driver import Phase
from sweep.runs.paths import RunPaths
from sweep.terminal.console import quiet

try:
    with interruption(), open_session(RunPaths.at(sys.argv[1]), RayOptions(), quiet) as session:
        session.say("at work")
        session.pulse.phase(Phase.TRAINING)
        time.sleep(100)
except typer.Exit as end:
    print("what is shown at the end")
    sys.exit(end.exit_code)
"""


def detach(folder: Path, what: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", DETACHING, what], cwd=folder, capture_output=True, text=True, timeout=60
    )


def test_it_returns_when_the_run_is_at_work_which_then_needs_nobody(tmp_path: Path) -> None:
    done = detach(tmp_path, "run")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["the plan", "dashboard  none"], "what the run has said before"
    assert lines[2].startswith("run mine goes on without this terminal (process ")
    assert lines[3:] == [
        "watch  python -m sweep status runs/mine",
        "stop   python -m sweep stop runs/mine",
        "log    runs/mine/run.log",
    ]
    log = tmp_path / "runs" / "mine" / "run.log"
    assert "trial 0" not in log.read_text()
    (tmp_path / "go-on").touch()
    wait_for(lambda: log.read_text() == "trial 0 complete\nthe last table\n")


@pytest.mark.parametrize(("what", "code", "said"), [("refuse", 2, "error: no such space\n"), ("killed", 137, "")])
def test_one_that_ends_before_gives_its_words_and_its_exit_code(
    tmp_path: Path, what: str, code: int, said: str
) -> None:
    done = detach(tmp_path, what)
    assert done.returncode == code and done.stdout == ""
    assert done.stderr == f"starting without a terminal ...\n{said}"


def test_a_closed_terminal_ends_a_run_cleanly_and_the_log_says_so(good_run: RunPaths, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "run.json").write_bytes(good_run.run_file.read_bytes())
    process, terminal = pty.fork()
    if process == 0:
        os.execv(sys.executable, [sys.executable, "-c", DRIVING, str(folder)])
    wait_for(lambda: "training" in _text(folder / "driver.json"))
    os.close(terminal)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 130
    driver = read_driver(RunPaths.at(folder))
    assert driver is not None and driver.end is End.INTERRUPTED and "SIGHUP" in driver.reason
    log = (folder / "run.log").read_text()
    assert "the terminal was closed (SIGHUP), so this run ends; continue with: python -m sweep resume" in log
    assert "what is shown at the end" in log and "Traceback" not in log


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""
