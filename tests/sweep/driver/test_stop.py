"""Asking a driver to stop, on this machine or elsewhere. The driver's part is in `test_pulse`."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock

from sweep.driver.pulse import StopRequest
from sweep.driver.stop import Stopped, stop
from sweep.errors import RunError
from sweep.runs.driver import End
from sweep.runs.paths import RunPaths
from tests.sweep.commands import Command
from tests.sweep.runs.test_driver import ELSEWHERE, record, write
from tests.sweep.trees import tree


@pytest.fixture
def paths(good_run: RunPaths, tmp_path: Path) -> RunPaths:
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    paths = RunPaths.at(folder)
    paths.run_file.write_bytes(good_run.run_file.read_bytes())
    return paths


@pytest.mark.parametrize("now", [False, True])
@pytest.mark.parametrize("end", [End.INTERRUPTED, End.FINISHED, None])
def test_it_waits_for_the_driver_that_it_asked(paths: RunPaths, now: bool, end: End | None) -> None:
    """One that ends, and one that is killed meanwhile (`end` None)."""
    lock = FileLock(paths.lock_file.local())
    lock.acquire()
    write(paths, record())
    said: list[str] = []
    looked = 0

    def wait(seconds: float) -> None:
        nonlocal looked
        looked += 1
        assert StopRequest.model_validate_json(paths.stop_file.read_bytes()) == StopRequest(token="t", now=now)
        if looked == 3:
            write(paths, record(end=end))
            lock.release()

    found = stop(paths, now, 60, said.append, wait)
    assert looked == 3 and found == Stopped(True, True, record(end=end))
    assert said == [
        f"asked process {record().pid} on {record().host} to stop "
        f"{'at once' if now else 'after the running epochs'}; waiting for its end ..."
    ]


def test_a_driver_of_another_machine(paths: RunPaths) -> None:
    """Its clock is an hour ahead: it is watched, and then asked."""
    beats = 3

    def wait(seconds: float) -> None:
        nonlocal beats
        beats += 1
        asked = paths.stop_file.exists()
        write(paths, record(ELSEWHERE, beats=beats, end=End.INTERRUPTED if asked and beats > 6 else None))

    write(paths, record(ELSEWHERE))
    assert stop(paths, False, 60, lambda line: None, wait).has_ended


def test_who_does_not_end_in_time(paths: RunPaths) -> None:
    with FileLock(paths.lock_file.local()):
        write(paths, record())
        found = stop(paths, False, 0.05, lambda line: None)
        assert found.was_alive and not found.has_ended


def test_a_holder_that_says_nothing(paths: RunPaths) -> None:
    waited: list[float] = []
    with FileLock(paths.lock_file.local()), pytest.raises(RunError, match="says nothing of itself"):
        stop(paths, False, 60, lambda line: None, waited.append)
    assert sum(waited) == 10


def test_where_there_is_no_driver_nothing_is_written(paths: RunPaths, command: Command) -> None:
    before = tree(paths.root.local())
    code, out, _ = command("stop", paths.shown)
    assert (code, out) == (0, "run mine has no driver: there is nothing to stop\n")
    write(paths, record(end=End.FINISHED))
    code, out, _ = command("stop", "mine", "--runs", str(paths.root.parent))
    assert code == 0 and "nothing to stop" in out
    paths.driver_file.remove()
    assert {name: value[2] for name, value in tree(paths.root.local()).items()} == {
        name: value[2] for name, value in before.items()
    }


def test_the_exit_code_of_one_that_goes_on(paths: RunPaths, command: Command) -> None:
    with FileLock(paths.lock_file.local()):
        write(paths, record())
        code, out, error = command("stop", paths.shown, "--wait", "0.01")
    assert code == 1 and "has not ended yet" in out and "waiting for its end" in error
