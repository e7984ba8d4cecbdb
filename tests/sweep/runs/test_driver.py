"""Whether a run has a driver: on this machine, on another one whose clock may differ, killed, or never there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from sweep.runs.driver import DriverRecord, DriverState, End, driver_state
from sweep.runs.paths import RunPaths
from sweep.storage.processes import this_process
from tests.sweep.trees import tree

NOW = 1_800_000_000.0
ELSEWHERE = {"host": "node-7", "pid": 12, "pids": "pid:[1]", "boot": "another", "started": "5"}
HERE: dict[str, Any] = this_process()


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    (tmp_path / "mine").mkdir()
    return RunPaths.at(tmp_path / "mine")


def record(process: dict[str, Any] = HERE, age: float = 2.0, **changes: Any) -> DriverRecord:
    values = {"token": "t", "process": process, "began": NOW - 600, "updated": NOW - age, "beat": 5.0, "beats": 3}
    return DriverRecord.model_validate({**values, "phase_began": NOW - 60, **changes})


def write(paths: RunPaths, said: DriverRecord) -> None:
    paths.driver_file.write_text(said.model_dump_json())


def state(paths: RunPaths, sleep: Callable[[float], None] = lambda seconds: None) -> DriverState:
    before = tree(paths.root.local())
    found = driver_state(paths, clock=lambda: NOW, sleep=sleep)
    if sleep.__name__ == "<lambda>":
        assert tree(paths.root.local()) == before, "looking leaves no trace"
    return found


def test_a_run_that_nobody_drove(paths: RunPaths) -> None:
    assert state(paths) == DriverState(alive=False)


def test_who_holds_the_lock_lives_whatever_the_file_says(paths: RunPaths) -> None:
    """Also where the lock is older than the first word, and from another container of this machine."""
    with FileLock(paths.lock_file.local()):
        assert state(paths) == DriverState(alive=True, here=True)
        write(paths, record(end=End.INTERRUPTED))
        assert state(paths) == DriverState(alive=True, here=True), "what its predecessor said is not its own"
        write(paths, record(age=4000.0))
        found = state(paths)
        assert found.alive and found.here and found.age == 4000
        write(paths, record({**HERE, "pids": "pid:[another]"}))
        assert state(paths).alive
    assert not state(paths).alive


def test_a_killed_driver_of_this_machine_is_dead_at_once(paths: RunPaths) -> None:
    """Its number may be another process's by now, and the last word may be fresh."""
    for process in (HERE, {**HERE, "started": "1"}, {**HERE, "pids": "pid:[another]"}):
        write(paths, record(process))
        with FileLock(paths.lock_file.local()):
            pass
        found = state(paths)
        assert not found.alive and found.record is not None and found.age == 2


def test_a_lock_that_cannot_be_asked_leaves_the_process(paths: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.runs.driver.is_locked", lambda file: None)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        write(paths, record())
        assert state(paths).alive
        write(paths, record({**HERE, "pid": child.pid}))
        assert not state(paths).alive, "a number that was given again to another process"


@pytest.mark.parametrize("age", [-4.0, 2.0, 29.0])
def test_a_fresh_word_from_another_machine(paths: RunPaths, age: float) -> None:
    write(paths, record(ELSEWHERE, age))
    found = state(paths)
    assert found.alive and not found.here and found.age == max(0.0, age)


@pytest.mark.parametrize("age", [-7200.0, 40.0, 7200.0])
def test_with_clocks_that_disagree_a_driver_that_still_writes_lives(paths: RunPaths, age: float) -> None:
    write(paths, record(ELSEWHERE, age))

    def beat(seconds: float) -> None:
        write(paths, record(ELSEWHERE, age - seconds, beats=4))

    assert state(paths, beat).alive


@pytest.mark.parametrize(("age", "shown"), [(-7200.0, None), (7200.0, 7200.0)])
def test_one_that_writes_no_more_is_dead(paths: RunPaths, age: float, shown: float | None) -> None:
    """A time to come says nothing about since when."""
    write(paths, record(ELSEWHERE, age))
    waited: list[float] = []
    said: list[str] = []
    found = driver_state(paths, said.append, lambda: NOW, waited.append)
    assert not found.alive and found.age == shown
    assert sum(waited) == 12 and said == ["looking for 12 seconds whether the driver on node-7 lives ..."]


def test_one_that_ends_while_we_look_has_ended(paths: RunPaths) -> None:
    write(paths, record(ELSEWHERE, 100.0))

    def end(seconds: float) -> None:
        write(paths, record(ELSEWHERE, 0.0, beats=4, end=End.FINISHED))

    found = state(paths, end)
    assert not found.alive and found.record is not None and found.record.end is End.FINISHED


BROKEN: list[dict[str, Any]] = [
    {"updated": 1e300},
    {"beat": 0},
    {"done": -1},
    {"pace": 1e-300},
    {"process": {**HERE, "pid": "x"}},
    {"colour": "red"},
]


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 10_000, b"\xff", b'{"beat": 1e999}', *BROKEN])
def test_a_damaged_file_says_nothing(paths: RunPaths, content: bytes | dict[str, Any]) -> None:
    if isinstance(content, dict):
        content = json.dumps({**json.loads(record().model_dump_json()), **content}).encode()
    paths.driver_file.write_bytes(content)
    assert state(paths) == DriverState(alive=False)
