"""The coordinator on a real study, driven by results as Tune would bring them, in every order it may bring them in."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from selector.health import Verdict
from selector.reports import EpochReport, Stage
from sweep.execution.coordinator import Coordinator, Next
from sweep.execution.events import TrialEnded, TrialStarted
from sweep.execution.places import OnePlace, Places
from sweep.runs.paths import sqlite_url
from sweep.space import parse_space
from sweep.study import AskedTrial, Standing, StudyOwner
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


def test_the_end_is_announced_once_and_only_when_no_trial_can_come_back(tmp_path: Path) -> None:
    world = World(tmp_path, concurrency=3)
    announced: list[int] = []
    world.coordinator = Coordinator(world.owner, 3, [], at_end=lambda: announced.append(len(world.owner.summaries())))
    numbers = [world.next() for _ in range(3)]
    for number in numbers:
        world.finish(number, 1.0)
    numbers = [world.next() for _ in range(3)]
    for number in numbers[:2]:
        world.finish(number, 1.0)
    assert world.coordinator.next_trial() is Next.WAIT and not announced, "the last one still runs"
    world.coordinator.died(numbers[2], "killed")
    assert world.next() == numbers[2] and not announced, "it lost its worker and is handed out again"
    world.finish(numbers[2], 1.0)
    assert world.coordinator.next_trial() is Next.FINISHED and announced == [6]


def test_an_interrupted_run_announces_no_end(tmp_path: Path) -> None:
    world = World(tmp_path)
    announced: list[bool] = []
    world.coordinator = Coordinator(world.owner, 2, [], at_end=lambda: announced.append(True))
    world.finish(world.next(), 1.0)
    world.coordinator.interrupted = True
    assert world.coordinator.next_trial() is Next.FINISHED and not announced


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
