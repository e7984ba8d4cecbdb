"""Jobs on a real head, handed in from outside. The program of most is a stand-in, so that Ray alone takes time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweep.execution.ray.jobs import Job, JobServer
from sweep.submission.jobs import known_job
from tests.sweep.cli.head import Head
from tests.sweep.commands import ALONE, Command, Ran, curves, epochs_done, study_of, wait_for, write_space
from tests.sweep.spaces import SMALL

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

STAND_IN = """import signal, sys, time
def ends(number, frame):
    print("stopping after the running epochs", flush=True)
    time.sleep(5)  # Ray would kill it after 3
    print("stopped in order", flush=True)
    sys.exit(130)
signal.signal(signal.SIGTERM, ends)
print("called", *sys.argv[1:], flush=True)
print("\\x1b]0;title\\x07", flush=True)
if "budget.trials=99" in sys.argv:
    time.sleep(120)
sys.exit(3 if "budget.trials=3" in sys.argv else 0)
"""


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    head = Head()
    try:
        head.start()
        yield head
    finally:
        head.close()


@pytest.fixture
def here(head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a space, and a source tree whose program is the stand-in. The head's token comes as a header."""
    for name in ("sweep", "selector", "search_spaces"):
        (tmp_path / "tree" / name).mkdir(parents=True)
        (tmp_path / "tree" / name / "__init__.py").write_text("")
    (tmp_path / "tree/sweep/__main__.py").write_text(STAND_IN)
    (tmp_path / "it's mine.yaml").write_text(SMALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_JOB_HEADERS", json.dumps({"Authorization": f"Bearer {head.token}"}))
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")  # what the command line names wins
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    return tmp_path


def submit(command: Command, head: Head, name: str, *words: str, follow: bool = True) -> tuple[int, str, str]:
    options = ["--address", head.url, "--working-dir", "tree", *(["--follow"] if follow else [])]
    return command("submit", "it's mine.yaml", *options, "--", "--name", name, "--runs", "/no where/runs", *words)


def test_handed_in_followed_and_stopped(head: Head, here: Path, command: Command) -> None:
    code, out, _ = submit(command, head, "one")
    called = "called run it's mine.yaml --name one --runs /no where/runs --address auto --resume\n"
    assert code == 0 and called in out
    assert "\x1b" not in out  # a log is a stranger's text
    code, out, err = submit(command, head, "two", "--set", "budget.trials=3")
    assert code == 3 and "failed with exit code 3" in err and f"resume two --address {head.url}" in err

    code, out, _ = submit(command, head, "three", "--set", "budget.trials=99", follow=False)
    assert code == 0 and f"status three --address {head.url} --follow" in out
    server = JobServer(head.url)
    wait_for(lambda: (job := known_job(server, "three")) and "called" in server.log(job.name).partition("\n")[2])
    code, _, err = submit(command, head, "three", follow=False)
    assert code == 2 and "run three has job three-" in err
    code, out, _ = command("stop", "three", "--address", head.url)
    assert code == 0 and "run three is stopped" in out
    job = known_job(server, "three")
    assert job is not None and server.log(job.name).endswith("stopped in order\n")
    assert job.runtime["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"] == "600"  # which `resume` takes over

    code, out, err = command("status", "three", "--address", head.url)
    assert code == 2 and "is stopped on" in out and "no run 'three'; runs in /no where/runs: none" in err


def test_what_is_refused_before(head: Head, here: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, err = submit(command, head, "gpu", "--set", "resources.gpus=1")
    assert code == 2 and "a trial asks for 1 CPUs and 1 GPUs, the largest node of the cluster has 2 and 0" in err
    code, _, err = submit(command, head, "own", "--cpus", "4")
    assert code == 2 and "--cpus is for a Ray that a run starts itself" in err
    code, _, err = submit(command, head, "own", "--nonsense")
    assert code == 2 and "No such option: --nonsense" in err
    monkeypatch.setenv("RAY_JOB_HEADERS", '{"Authorization": "Bearer wrong"}')
    code, _, err = submit(command, head, "own")
    assert code == 2 and f"{head.url} does not let us in" in err
    code, _, err = command("status", "x", "--address", "http://127.0.0.1:1")
    assert code == 2 and "no Ray dashboard answers at http://127.0.0.1:1" in err
    assert {job.labels.get("run") for job in _jobs(head, monkeypatch)} <= {"one", "two", "three"}


def _jobs(head: Head, monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    monkeypatch.setenv("RAY_JOB_HEADERS", json.dumps({"Authorization": f"Bearer {head.token}"}))
    return JobServer(head.url).jobs()


@pytest.mark.long
def test_a_run_outlives_its_jobs_and_its_head(head: Head, undisturbed: Ran, tmp_path: Path) -> None:
    """Stopped, resumed, its head killed and started again, handed in again: equal to an undisturbed run, to the bit."""
    write_space(tmp_path, **ALONE)
    run = head.home / "runs/alone"
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(head.home / ".ray/auth_token")}
    at = ["--address", head.url]

    def sweep(*words: str) -> str:
        line = [sys.executable, "-m", "sweep", *words]
        done = subprocess.run(line, cwd=tmp_path, env={**os.environ, **token}, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    again = ["submit", "space.yaml", *at, "--", "--name", "alone"]
    sweep(*again)
    wait_for(lambda: epochs_done(run) >= 2, 240)
    assert "run alone is stopped" in sweep("stop", "alone", *at)
    status = json.loads(sweep("status", "alone", *at, "--json"))
    assert status["state"] == "interrupted" and status["run"] == "alone"
    before = epochs_done(run)
    sweep("resume", "alone", *at)
    wait_for(lambda: epochs_done(run) > before + 2, 240)
    head.kill()
    between = epochs_done(run)
    head.start()
    sweep(*again[:4], "--follow", *again[4:])
    assert epochs_done(run) > between and (run / "ranking.json").exists()
    assert curves(study_of(run)) == curves(undisturbed.study)
