"""The coordinator on a real study, driven by results as Tune would bring them, in every order it may bring them in."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
import yaml

from selector.health import Verdict
from selector.reports import EpochReport, Stage
from sweep.errors import RunError
from sweep.execution.brake import IN_A_ROW
from sweep.execution.coordinator import Coordinator, Next
from sweep.execution.events import TrialEnded, TrialStarted
from sweep.execution.places import OnePlace, Places
from sweep.runs.paths import sqlite_url
from sweep.space import parse_space
from sweep.study import AskedTrial, Standing, StudyOwner
from sweep.trials.failures import Cause
from sweep.trials.messages import BestEpoch, EpochResult
from tests.sweep.spaces import SMALL

EPOCHS = 5


class Recorder:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.begun: list[TrialStarted] = []
        self.epochs: list[int] = []
        self.over: list[TrialEnded] = []

    def started(self, event: TrialStarted) -> None:
        self.begun.append(event)

    def epoch(self, result: EpochResult) -> None:
        self.epochs.append(result.report.step)

    def ended(self, event: TrialEnded) -> None:
        self.over.append(event)


def result(number: int, step: int, value: float, **changes: object) -> EpochResult:
    names = EpochReport.__dataclass_fields__
    blank = dict.fromkeys(names, 0.0) | {
        "stage": Stage.GRPO if step > 2 else Stage.RCE,
        "epoch": step,
        "step": step,
        "val_loss": value,
        "parameter_change": {},
        "train_queries": 1,
    }
    report = EpochReport(**blank)  # type: ignore[arg-type]
    best = BestEpoch(step, value, 0.5, ()) if step > 2 else None
    return replace(EpochResult(number, report, (), best, step == EPOCHS, None, "digest"), **changes)  # type: ignore[arg-type]


class World:
    def __init__(self, folder: Path, concurrency: int = 2, text: str = SMALL, places: Places | None = None) -> None:
        self.url = sqlite_url(folder / "study.db")
        self.owner = StudyOwner.open(self.url, "small-1", parse_space(text, "small.yaml"))
        self.seen = Recorder()
        self.lines: list[str] = []
        self.places = places or OnePlace()
        self.coordinator = Coordinator(self.owner, concurrency, [self.seen], places=self.places, say=self.lines.append)

    def next(self) -> int:
        answer = self.coordinator.next_trial()
        assert isinstance(answer, AskedTrial)
        return answer.number

    def finish(self, number: int, value: float) -> None:
        for step in range(1, EPOCHS + 1):
            if not self.coordinator.epoch(result(number, step, value)):
                break
        self.coordinator.gone(number)

    def trial(self, number: int) -> optuna.trial.FrozenTrial:
        return optuna.load_study(study_name="small-1", storage=self.url).trials[number]


def test_hands_out_as_many_as_may_run(tmp_path: Path) -> None:
    world = World(tmp_path, concurrency=2)
    assert [world.next(), world.next()] == [0, 1]
    assert world.coordinator.next_trial() is Next.WAIT
    world.finish(0, 1.0)
    assert world.next() == 2


def test_says_finished_when_the_budget_is_spent(tmp_path: Path) -> None:
    world = World(tmp_path, concurrency=1)
    for _ in range(6):
        world.finish(world.next(), 1.0)
    assert world.coordinator.next_trial() is Next.FINISHED
    assert {event.trial.state_name for event in world.seen.over} == {"complete"}
    assert world.seen.over[-1].states == {"complete": 6}


def test_a_complete_trial_has_its_best_value_and_its_whole_curve(tmp_path: Path) -> None:
    world = World(tmp_path)
    number = world.next()
    for step, value in enumerate([9.0, 8.0, 3.0, 1.0], start=1):
        assert world.coordinator.epoch(result(number, step, value))
    last = result(number, 5, 2.0, best=BestEpoch(4, 1.0, 0.5, (Verdict.KL_DOMINATED,)))
    assert not world.coordinator.epoch(last)
    stored = world.trial(number)
    assert stored.state is optuna.trial.TrialState.COMPLETE and stored.value == 1.0
    assert stored.intermediate_values == {1: 9.0, 2: 8.0, 3: 3.0, 4: 1.0, 5: 2.0}
    row = world.owner.summaries()[number]
    assert row.standing == Standing((Verdict.KL_DOMINATED,), 4, 1.0, 0.5, "digest")
    assert world.seen.over[-1].trial == row and world.seen.over[-1].best == row


def test_repeated_steps_after_a_restart_change_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    number = world.next()
    for step, value in ((1, 5.0), (2, 4.0), (2, 99.0), (1, 99.0), (3, 3.0)):
        assert world.coordinator.epoch(result(number, step, value))
    assert world.seen.epochs == [1, 2, 3]
    assert world.trial(number).intermediate_values == {1: 5.0, 2: 4.0, 3: 3.0}


def test_the_median_pruner_prunes_and_the_curve_stays(tmp_path: Path) -> None:
    world = World(tmp_path, concurrency=1)
    for value in (1.0, 1.1, 1.2):
        world.finish(world.next(), value)
    number = world.next()
    assert world.coordinator.epoch(result(number, 1, 0.5)), "RCE epochs are not judged"
    assert world.coordinator.epoch(result(number, 2, 0.5))
    assert not world.coordinator.epoch(result(number, 3, 7.0))
    assert not world.coordinator.epoch(result(number, 4, 7.0)), "late results of a stopped trial are dropped"
    stored = world.trial(number)
    assert stored.state is optuna.trial.TrialState.PRUNED
    assert stored.intermediate_values == {1: 0.5, 2: 0.5, 3: 7.0}
    assert stored.user_attrs["reason"] == "median pruner"
    best = world.owner.best()
    assert best is not None and best.number == 0


def test_divergence_counts_as_pruned_with_its_reason(tmp_path: Path) -> None:
    world = World(tmp_path)
    number = world.next()
    bad = result(number, 3, math.nan, best=None, verdicts=(Verdict.DIVERGED,), stop="diverged: kl is nan at step 3")
    assert not world.coordinator.epoch(bad)
    stored = world.trial(number)
    assert stored.state is optuna.trial.TrialState.PRUNED
    assert stored.user_attrs["reason"] == "diverged: kl is nan at step 3"
    assert world.owner.summaries()[number].standing == Standing((Verdict.DIVERGED,), rce_digest="digest")


def test_a_failure_and_a_lost_worker_are_fail(tmp_path: Path) -> None:
    world = World(tmp_path)
    first, second = world.next(), world.next()
    world.coordinator.failed(first, "no training query is left")
    world.coordinator.gone(first)
    world.coordinator.worker(second, "pid 1 on 127.0.0.1")
    world.coordinator.gone(second)
    for number, reason in ((first, "no training query is left"), (second, "its worker ended without a result")):
        stored = world.trial(number)
        assert stored.state is optuna.trial.TrialState.FAIL and stored.user_attrs["reason"] == reason
    assert world.owner.summaries()[second].worker == "pid 1 on 127.0.0.1"
    assert world.coordinator.error is None


def test_a_new_driver_adopts_what_ran_under_the_same_number(tmp_path: Path) -> None:
    first = World(tmp_path, concurrency=2)
    numbers = [first.next(), first.next()]
    params = [event.params for event in first.seen.begun]
    first.coordinator.epoch(result(0, 1, 2.0))
    first.owner.close()  # the driver is gone
    second = World(tmp_path, concurrency=2)
    assert [second.next(), second.next()] == numbers
    assert [event.params for event in second.seen.begun] == params
    assert all(event.adopted for event in second.seen.begun)
    second.finish(0, 1.0)
    second.finish(1, 1.5)
    while isinstance(answer := second.coordinator.next_trial(), AskedTrial):
        second.finish(answer.number, 3.0)
    study = optuna.load_study(study_name="small-1", storage=second.url)
    assert [trial.number for trial in study.trials] == list(range(6))
    assert all(trial.state.is_finished() for trial in study.trials)


def test_an_error_of_the_study_stops_everything_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)
    number = world.next()

    def full(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(world.owner, "report", full)
    assert not world.coordinator.epoch(result(number, 1, 1.0))
    assert str(world.coordinator.error) == "disk full"
    assert world.coordinator.next_trial() is Next.FINISHED
    world.coordinator.gone(number)
    assert world.trial(number).state is optuna.trial.TrialState.RUNNING, "resume takes it up again"


def test_an_interrupt_stops_trials_and_leaves_them_to_resume(tmp_path: Path) -> None:
    world = World(tmp_path)
    number = world.next()
    assert world.coordinator.epoch(result(number, 1, 1.0))
    world.coordinator.interrupted = True
    assert not world.coordinator.epoch(result(number, 2, 1.0))
    world.coordinator.gone(number)
    assert world.coordinator.next_trial() is Next.FINISHED
    assert world.trial(number).state is optuna.trial.TrialState.RUNNING


# Places at fault ------------------------------------------------------------------------------------------------------


class Two:
    """Two places, `a` and `b`."""

    def __init__(self) -> None:
        self.left_out: list[str] = []

    def name(self, place: str) -> str:
        return f"node {place}"

    def leave_out(self, place: str, reason: str) -> bool:
        self.left_out.append(place)
        return len(self.left_out) < 2


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
