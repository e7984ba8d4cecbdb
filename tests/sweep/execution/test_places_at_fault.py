"""Places at fault, and workers that die: what costs a trial, what costs none, and when a run stops."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sweep.errors import ClusterError, RunError
from sweep.execution.brake import IN_A_ROW
from sweep.execution.coordinator import Coordinator, Next
from sweep.trials.failures import Cause
from tests.sweep.execution.test_coordinator import World, result
from tests.sweep.spaces import SMALL


class Two:
    """Two places, `a` and `b`."""

    def __init__(self) -> None:
        self.left_out: list[str] = []
        self.announced: set[str] = set()

    def name(self, place: str) -> str:
        return f"node {place}"

    def leave_out(self, place: str, reason: str) -> bool:
        self.left_out.append(place)
        return len(self.left_out) < 2

    def leaving(self, place: str) -> bool:
        return place in self.announced

    def may_move(self, place: str) -> bool:
        return place in self.announced and len(self.announced) < 2


LOST = Cause("OSError at files.py:7", outside=True)
BUG = Cause("ValueError at model.py:9", outside=False)


def fails(world: World, cause: Cause | None, place: str = "a") -> int:
    """The next trial fails before its first epoch."""
    number = world.next()
    world.coordinator.worker(number, f"pid 1 on {place}", place)
    world.coordinator.failed(number, "of a reason", cause)
    world.coordinator.gone(number)
    return number


def states(world: World) -> str:
    return " ".join(row.state_name for row in world.owner.summaries())


@pytest.mark.parametrize("cause", [LOST, BUG])
def test_failures_of_one_cause_in_a_row_stop_the_run_and_cost_no_trial(tmp_path: Path, cause: Cause) -> None:
    world = World(tmp_path, concurrency=1)
    for _ in range(IN_A_ROW):
        assert world.coordinator.error is None
        fails(world, cause)
    assert isinstance(world.coordinator.error, RunError) and "of a reason" in str(world.coordinator.error)
    world.coordinator.ended()
    assert states(world) == " ".join(["running"] * IN_A_ROW), "resume runs them"
    world.owner.close()
    again = World(tmp_path, concurrency=1)
    for number in range(6):
        assert again.next() == number
        again.finish(number, 1.0)
    assert states(again) == " ".join(["complete"] * 6)


def test_a_bug_that_comes_again_after_resume_is_the_trials_own(tmp_path: Path) -> None:
    """Else a run whose first points in a grid cannot be trained would never get past them."""
    world = World(tmp_path, concurrency=1)
    for _ in range(IN_A_ROW):
        fails(world, BUG)
    world.owner.close()
    again = World(tmp_path, concurrency=1)
    for _ in range(IN_A_ROW):
        fails(again, BUG)
    assert again.coordinator.error is None and states(again) == "fail fail fail"


def test_a_file_system_that_fails_again_after_resume_stops_the_run_again(tmp_path: Path) -> None:
    world = World(tmp_path, concurrency=1)
    for _ in range(IN_A_ROW):
        fails(world, LOST)
    world.owner.close()
    again = World(tmp_path, concurrency=1)
    for _ in range(IN_A_ROW):
        fails(again, LOST)
    assert again.coordinator.error is not None and states(again) == "running running running"


def test_an_epoch_in_between_makes_failures_the_trials_own(tmp_path: Path) -> None:
    world = World(tmp_path, concurrency=1)
    for _ in range(IN_A_ROW - 1):
        fails(world, LOST)
    assert states(world) == "running running" and not world.seen.over
    number = world.next()
    world.coordinator.worker(number, "pid 1 on a", "a")
    world.finish(number, 1.0)
    assert states(world) == "fail fail complete"
    for _ in range(IN_A_ROW - 1):
        fails(world, LOST)
    world.coordinator.ended()
    assert states(world) == "fail fail complete fail fail" and world.coordinator.error is None
    assert [event.number for event in world.seen.over] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("causes", [(None,) * 6, (LOST, BUG) * 3, (LOST, LOST, BUG) * 2])
def test_failures_of_their_own_and_mixed_ones_stop_nothing(tmp_path: Path, causes: tuple[Cause | None, ...]) -> None:
    world = World(tmp_path, concurrency=1)
    for cause in causes:
        fails(world, cause)
    assert world.coordinator.next_trial() is Next.FINISHED
    assert world.coordinator.error is None and states(world) == " ".join(["fail"] * 6)


def test_a_trial_that_fails_after_an_epoch_does_not_speak_against_its_place(tmp_path: Path) -> None:
    world = World(tmp_path, concurrency=1)
    for _ in range(IN_A_ROW + 1):
        number = world.next()
        world.coordinator.worker(number, "pid 1 on a", "a")
        world.coordinator.epoch(result(number, 1, 1.0))
        world.coordinator.failed(number, "of a reason", LOST)
        world.coordinator.gone(number)
    assert world.coordinator.error is None and states(world) == "fail fail fail fail"


def test_a_place_at_fault_gets_no_more_trials_and_the_other_takes_them(tmp_path: Path) -> None:
    places = Two()
    world = World(tmp_path, concurrency=2, places=places)
    well = world.next()
    world.coordinator.worker(well, "pid 1 on b", "b")
    for step in range(1, IN_A_ROW + 1):  # epochs elsewhere say nothing of this place
        world.coordinator.epoch(result(well, step, 1.0))
        fails(world, LOST)
    assert places.left_out == ["a"] and world.coordinator.error is None
    assert any("node a gets no more trials" in line and "of a reason" in line for line in world.lines)
    world.finish(well, 1.0)
    for number in (1, 2, 3):
        assert world.next() == number
        world.coordinator.worker(number, "pid 1 on b", "b")
        world.finish(number, 1.0)
    assert states(world) == "complete complete complete complete"


def test_workers_that_never_start_cost_no_trial(tmp_path: Path) -> None:
    places = Two()
    world = World(tmp_path, concurrency=1, places=places)
    for _ in range(IN_A_ROW):
        assert not places.left_out
        world.coordinator.did_not_start(world.next(), "No module named 'sweep'", "a")
    assert places.left_out == ["a"] and world.coordinator.error is None
    world.finish(world.next(), 1.0)
    row = world.owner.summaries()[0]
    assert row.is_complete and row.worker_deaths == 0
    world.coordinator.unusable(world.next(), "the folder is not there", "b")
    assert "node b: the folder is not there" in str(world.coordinator.error) and states(world) == "complete running"


def test_a_trial_whose_worker_dies_comes_before_new_ones_also_after_the_last(tmp_path: Path) -> None:
    world = World(tmp_path, concurrency=2)
    for number in range(4):
        assert world.next() == number
        world.finish(number, 1.0)
    assert [world.next(), world.next()] == [4, 5]
    world.finish(4, 1.0)
    assert world.coordinator.next_trial() is Next.WAIT, "trial 5 may lose its worker, and Tune never asks again"
    world.coordinator.died(5, "its node has died")
    world.coordinator.gone(5)
    assert world.next() == 5 and world.seen.begun[-1].adopted
    world.finish(5, 1.0)
    assert world.coordinator.next_trial() is Next.FINISHED
    assert world.owner.summaries()[5].worker_deaths == 1
    (line,) = world.lines
    assert "trial 5" in line and "its node has died" in line


def test_deaths_are_counted_over_drivers(tmp_path: Path) -> None:
    text = yaml.safe_dump({**yaml.safe_load(SMALL), "max_retries": 1})
    world = World(tmp_path, text=text)
    world.coordinator.died(world.next(), "of a reason")
    world.owner.close()
    again = World(tmp_path, text=text)
    number = again.next()
    again.coordinator.epoch(result(number, 1, 1.0))
    again.coordinator.died(number, "of a reason")
    row = again.owner.summaries()[number]
    assert row.state_name == "fail" and row.worker_deaths == 2 and row.reason.startswith("its worker died 2 times")


def test_workers_that_die_at_once_under_every_trial_stop_the_run(tmp_path: Path) -> None:
    """A machine without memory for any trial."""
    text = yaml.safe_dump({**yaml.safe_load(SMALL), "max_retries": 0})
    world = World(tmp_path, concurrency=1, text=text)
    for _ in range(IN_A_ROW):
        assert world.coordinator.error is None
        world.coordinator.died(world.next(), "killed for memory", "a")
    assert "killed for memory" in str(world.coordinator.error) and states(world) == "running running running"


def test_trials_that_kill_their_workers_again_after_resume_have_failed(tmp_path: Path) -> None:
    text = yaml.safe_dump({**yaml.safe_load(SMALL), "max_retries": 0})
    world = World(tmp_path, concurrency=1, text=text)
    for _ in range(IN_A_ROW):
        world.coordinator.died(world.next(), "killed for memory", "a")
    world.owner.close()
    again = World(tmp_path, concurrency=1, text=text)
    for _ in range(IN_A_ROW):
        again.coordinator.died(again.next(), "killed for memory", "a")
    assert again.coordinator.error is None and states(again) == "fail fail fail"


def test_after_an_interrupt_no_death_fails_a_trial(tmp_path: Path) -> None:
    world = World(tmp_path, text=yaml.safe_dump({**yaml.safe_load(SMALL), "max_retries": 0}))
    number = world.next()
    world.coordinator.interrupted = True
    world.coordinator.died(number, "the terminal was closed")
    world.coordinator.gone(number)
    world.coordinator.ended()
    assert states(world) == "running" and world.owner.summaries()[0].worker_deaths == 0


def test_a_trial_moves_from_a_place_that_is_about_to_leave_and_no_epoch_counts_twice(tmp_path: Path) -> None:
    places = Two()
    world = World(tmp_path, concurrency=1, places=places)
    number = world.next()
    world.coordinator.worker(number, "pid 1 on a", "a")
    assert world.coordinator.epoch(result(number, 1, 2.0))
    places.announced.add("a")
    assert not world.coordinator.epoch(result(number, 2, 1.5)), "the worker on a has to stop"
    world.coordinator.gone(number)
    assert states(world) == "running" and any(
        "trial 0 goes on elsewhere, after epoch 2" in line for line in world.lines
    )
    assert world.next() == number
    world.coordinator.worker(number, "pid 1 on b", "b")
    places.announced.add("b")  # now there is nowhere to go, so it stays as long as it can
    for step in range(3, 6):
        world.coordinator.epoch(result(number, step, 1.0))
    assert states(world) == "complete" and world.seen.epochs == [1, 2, 3, 4, 5]
    assert world.owner.summaries()[0].worker_deaths == 0


def test_a_death_on_a_place_that_left_as_announced_does_not_count(tmp_path: Path) -> None:
    places = Two()
    space = yaml.safe_dump({**yaml.safe_load(SMALL), "max_retries": 0})
    world = World(tmp_path, concurrency=1, text=space, places=places)
    number = world.next()
    places.announced.add("a")
    for _ in range(3):
        world.coordinator.died(number, "its node is gone", "a")
        world.coordinator.gone(number)
        assert world.next() == number
    assert world.owner.summaries()[0].worker_deaths == 0
    world.coordinator.died(number, "its node is gone", "b")
    world.coordinator.gone(number)
    assert world.coordinator.error is None and world.next() == 1, "this one counts"


def test_trials_at_a_time_follow_the_nodes(tmp_path: Path) -> None:
    world = World(tmp_path)
    room = [1]
    world.coordinator = Coordinator(world.owner, lambda: room[-1], [world.seen])
    assert world.next() == 0 and world.coordinator.next_trial() is Next.WAIT
    room.append(3)
    assert [world.next(), world.next()] == [1, 2] and world.coordinator.next_trial() is Next.WAIT
    room.append(0)
    world.finish(1, 1.0)
    assert world.coordinator.next_trial() is Next.WAIT


def test_room_that_does_not_come_back_stops_the_run(tmp_path: Path) -> None:
    world = World(tmp_path)

    def none() -> int:
        raise ClusterError("no node has the labels")

    world.coordinator = Coordinator(world.owner, none, [world.seen])
    assert world.coordinator.next_trial() is Next.FINISHED
    assert str(world.coordinator.error) == "no node has the labels"
