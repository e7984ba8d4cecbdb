"""Ray that does not start, and Ray that fails under a run: what is tried again, what is said, and what is left."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import ray

from sweep.driver import run as running
from sweep.driver import session, training
from sweep.driver.create import NewRun
from sweep.driver.run import execute
from sweep.errors import ClusterError, RunError
from sweep.execution.coordinator import Coordinator
from sweep.execution.places import OnePlace
from sweep.execution.ray.cluster import Cluster
from sweep.execution.ray.options import RayOptions
from sweep.runs.paths import RunPaths
from sweep.storage.local import stored_at
from tests.sweep.commands import Command, write_space
from tests.sweep.plans import plan_of_space, screen_on

LOST = "Ray is gone: its raylet has died"


class FakeBackend:
    """Fails as often as it is told, before or after its first trial; then somebody stops the run."""

    places = OnePlace()

    def __init__(self, failures: int, begins: bool) -> None:
        self.failures, self.begins = failures, begins

    def concurrency(self, space: object) -> int:
        return 1

    def observers(self, run: str) -> Sequence[Any]:
        return []

    def run(self, coordinator: Coordinator, plan: object, paths: RunPaths, context: object) -> None:
        coordinator.next_trial()
        if self.begins:
            paths.trial(0).settings_file.write_text("{}")
        if self.failures:
            self.failures -= 1
            coordinator.error = ClusterError(LOST)
        else:
            coordinator.interrupted = True


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Any, str, int]]:
    """Run a space with a Ray that fails: what came of it, what was said, and how often Ray was started."""
    monkeypatch.chdir(tmp_path)

    def run(failures: int, begins: bool = False) -> tuple[Any, str, int]:
        backend, starts, screen = FakeBackend(failures, begins), [], io.StringIO()

        @contextmanager
        def connected(*arguments: object) -> Iterator[Cluster]:
            starts.append(arguments)
            yield Cluster(1, 0, None, None, token=False)

        monkeypatch.setattr(session, "connected", connected)
        monkeypatch.setattr(running, "check_room", lambda plan: None)  # it would ask Ray for its nodes
        monkeypatch.setattr(training, "RayBackend", lambda *arguments: backend)
        plan = plan_of_space(write_space(tmp_path))
        try:
            outcome: Any = execute(plan, NewRun(stored_at(Path("runs")), "mine"), RayOptions(), screen_on(screen))
        except RunError as error:
            outcome = error
        return outcome, screen.getvalue(), len(starts)

    return run


def test_ray_that_fails_before_the_first_trial_is_started_again(ran: Any) -> None:
    outcome, said, starts = ran(failures=1)
    assert outcome.interrupted and starts == 2
    assert f"{LOST}, before any trial began; starting Ray again from scratch ..." in said


def test_if_it_fails_again_nothing_is_left(ran: Any) -> None:
    error, _, starts = ran(failures=2)
    assert isinstance(error, ClusterError) and str(error) == LOST and starts == 2
    assert not Path("runs/mine").exists()


def test_with_trials_the_run_stays_and_people_are_told_how_to_go_on(ran: Any) -> None:
    error, _, starts = ran(failures=1, begins=True)
    assert isinstance(error, RunError) and starts == 1
    assert str(error).startswith(f"run mine stopped: {LOST} (more in ")
    assert "`python -m sweep resume runs/mine` goes on" in str(error)
    assert Path("runs/mine/trials/0000").exists()


def test_a_cluster_that_is_lost_after_the_trials_is_told_with_the_command_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: Any
) -> None:
    monkeypatch.setattr(training, "_check_ended_well", lambda coordinator, paths: fail())
    error, *_ = ran(failures=0, begins=True)
    assert str(error) == f"{LOST}; `python -m sweep resume runs/mine` goes on"


def fail() -> None:
    raise ClusterError(LOST)


def test_a_start_that_fails_twice_ends_the_command_with_one_line_and_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    def init(**options: object) -> None:
        raise Exception("The current node timed out during startup.")  # as bare as Ray's own

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)  # the tests' own Ray stays
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    code, shown, errors = command("run", str(write_space(tmp_path)), "--name", "mine")
    assert code == 2 and "starting it again from scratch" in shown
    assert errors == "error: cannot start Ray on this machine: The current node timed out during startup.\n"
    assert not list(Path("runs").glob("*"))
