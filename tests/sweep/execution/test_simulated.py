"""Curves replayed in virtual time: through the real study, so that a replayed run is the run that was recorded."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from selector.reports import EpochReport, Stage
from sweep.driver.create import NewRun
from sweep.driver.run import execute
from sweep.execution.coordinator import Coordinator
from sweep.execution.events import TrialEnded, TrialStarted
from sweep.execution.ray.options import RayOptions
from sweep.execution.simulated import Curves, SimulatedBackend, VirtualClock, replay
from sweep.results.overview.make import overview
from sweep.results.status import RunState, read_status
from sweep.runs.paths import RunPaths, sqlite_url
from sweep.space import load_space, parse_space
from sweep.storage.local import stored_at
from sweep.study import AskedTrial, StudyOwner, TrialState, TrialSummary, read_summaries
from sweep.study.ranking import rank
from sweep.terminal.console import quiet
from sweep.trials.messages import EpochResult
from sweep.trials.stored import read_history
from tests.sweep.execution.test_coordinator import result
from tests.sweep.plans import plan_of_space
from tests.sweep.spaces import SMALL

PLAIN = SMALL.replace("tpe, n_startup_trials: 3", "random").replace("median, n_startup_trials: 2", "none")


def report(step: int, loss: float, seconds: float = 1.0) -> EpochReport:
    return replace(result(0, step, loss).report, seconds=seconds)


def steady(trial: AskedTrial) -> Iterator[EpochReport]:
    """Five epochs of a second, and a loss that the learning rate decides."""
    for step in range(1, 6):
        yield report(step, 2 + trial.settings.grpo.lr - step / 100)


def replayed(
    folder: Path, curves: Curves, slots: int, text: str = PLAIN, stop_after: int | None = None
) -> tuple[list[TrialSummary], VirtualClock, str]:
    clock = VirtualClock()
    owner = StudyOwner.open(sqlite_url(folder / "study.db"), "small", parse_space(text, "small.yaml"), clock)
    coordinator = Coordinator(owner, slots, [])
    coordinator._observers = [Stopper(coordinator, stop_after)]
    replay(coordinator, curves, slots, clock)
    assert coordinator.error is None
    found = owner.summaries()
    owner.close()
    return found, clock, coordinator.ended_because


class Stopper:
    """As somebody who interrupts a run after so many epochs."""

    def __init__(self, coordinator: Coordinator, after: int | None) -> None:
        self._coordinator, self._left = coordinator, after

    def started(self, event: TrialStarted) -> None:
        pass

    def epoch(self, result: EpochResult) -> None:
        if self._left is not None:
            self._left -= 1
            self._coordinator.interrupted = self._left == 0

    def ended(self, event: TrialEnded) -> None:
        pass


def told(row: TrialSummary) -> TrialSummary:
    """What of a trial does not depend on who ran it when."""
    return replace(row, worker=None, duration=None, attempt=1, standing=replace(row.standing, rce_digest=None))


@pytest.mark.parametrize(("slots", "seconds"), [(1, 30.0), (4, 10.0), (100, 5.0)])
def test_slots_work_at_the_same_virtual_time(tmp_path: Path, slots: int, seconds: float) -> None:
    """6 trials of 5 epochs of a second each."""
    rows, clock, why = replayed(tmp_path, steady, slots)
    assert [row.state for row in rows] == [TrialState.COMPLETE] * 6
    assert clock.now == seconds and "6 trials" in why


def test_the_budget_in_hours_is_of_virtual_time(tmp_path: Path) -> None:
    def slow(trial: AskedTrial) -> Iterator[EpochReport]:
        return (replace(one, seconds=1800.0) for one in steady(trial))

    hours = PLAIN.replace("{trials: 6}", "{hours: 6}")
    rows, clock, why = replayed(tmp_path, slow, 2, hours)
    # Trials of 2.5 hours: pairs begin at 0, 2.5 and 5, and the last ones end at 7.5.
    assert len(rows) == 6 and clock.now == 7.5 * 3600 and "6 hours" in why


def test_a_curve_that_ends_too_early_is_a_trial_that_failed(tmp_path: Path) -> None:
    rows, _, _ = replayed(tmp_path, lambda trial: list(steady(trial))[: 5 if trial.number else 2], 2)
    assert [row.state for row in rows] == [TrialState.FAIL] + [TrialState.COMPLETE] * 5
    assert rows[0].last_step == 2


def test_a_recorded_run_comes_out_as_it_was(finished: RunPaths, tmp_path: Path) -> None:
    """The recorded epochs of each trial, by its parameters: suggestions, pruning and standings are the same."""
    space = load_space(str(finished.space_file.local()))
    before = read_summaries(sqlite_url(finished.study_file.local()), finished.name)
    recorded = {row.key: read_history(finished.trial(row.number).history_file) for row in before}
    assert any(row.state is TrialState.PRUNED for row in before), "a run that shows pruning"
    clock = VirtualClock()
    owner = StudyOwner.open(sqlite_url(tmp_path / "study.db"), "again", space, clock)
    coordinator = Coordinator(owner, 1, [])
    replay(coordinator, lambda trial: recorded[trial.key], 1, clock, space.health, space.most_shots)
    assert [told(row) for row in owner.summaries()] == [told(row) for row in before]
    assert clock.now == pytest.approx(sum(one.seconds for curve in recorded.values() for one in curve))
    owner.close()


def test_an_interrupted_simulation_goes_on_to_the_same_end(tmp_path: Path) -> None:
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole, _, _ = replayed(tmp_path / "whole", steady, 1, SMALL)
    half, _, _ = replayed(tmp_path / "parts", steady, 1, SMALL, stop_after=12)
    assert [row.state for row in half][-1] is TrialState.RUNNING
    parts, _, _ = replayed(tmp_path / "parts", steady, 1, SMALL)
    assert [told(row) for row in parts] == [told(row) for row in whole]


def test_a_simulated_run_is_a_run_that_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(SMALL.replace("{trials: 6}", "{trials: 16}"))
    backend = SimulatedBackend(steady, 8)
    outcome = execute(
        plan_of_space(file),
        NewRun(stored_at(tmp_path / "runs"), "many"),
        RayOptions(),
        partial(quiet, stream=io.StringIO()),
        simulated=backend,
    )
    status = read_status(outcome.paths)
    assert status.state is RunState.FINISHED and sum(status.counts.values()) == 16
    complete = [row for row in outcome.ranked if row.is_complete]
    assert outcome.ranked == rank(status.rows) and complete[0].params["grpo.lr"] == min(
        row.params["grpo.lr"] for row in complete
    )
    assert 0 < status.counts["pruned"] < 16 and backend.clock.now < 16 * 5 / 8 + 5
    assert overview(outcome.paths).sections


def test_stage_of_the_reports_is_the_trials(tmp_path: Path) -> None:
    """The two epochs of the warm-up do not compete."""

    def warm_up_is_best(trial: AskedTrial) -> Iterator[EpochReport]:
        return (report(step, 1.0 if step <= 2 else 3.0 - step / 10) for step in range(1, 6))

    rows, _, _ = replayed(tmp_path, warm_up_is_best, 1)
    assert report(2, 1.0).stage is Stage.RCE
    assert {row.standing.best_step for row in rows} == {5} and rows[0].value == 2.5
