"""Tune's searcher and scheduler driven as Tune drives them, on a real study, without a Ray instance.

Order of calls for a result: the scheduler, then the searcher unless the answer was STOP. A result with `done` set
reaches `on_trial_complete` of the searcher alone.
"""

from __future__ import annotations

import errno
import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from ray import cloudpickle
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from selector.settings import TrialSettings
from sweep.errors import ClusterError
from sweep.execution.brake import IN_A_ROW
from sweep.execution.coordinator import Coordinator
from sweep.execution.ray import adapters
from sweep.execution.ray.adapters import study_scheduler, study_searcher, study_stopper
from sweep.execution.ray.cluster import Cluster
from sweep.execution.ray.nodes import PATIENCE, Nodes
from sweep.execution.ray.trainable import AVOID, FAILURE, NODE, NUMBER, OUTAGE, RESULT, SETTINGS, UNUSABLE, WORKER
from sweep.trials.messages import EpochResult
from tests.sweep.execution.ray.made_nodes import Hand, node
from tests.sweep.execution.test_coordinator import EPOCHS, World, result

HERE = "pid 1 on 127.0.0.1"
PLACE = {WORKER: HERE, NODE: "a"}


@dataclass
class TuneTrial:
    """What the scheduler reads of Tune's own trials."""

    trial_id: str
    config: dict[str, Any]
    error_file: str | None = None


class Tune:
    """Calls the two adapters in Tune's order."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.folder = folder
        self.there = [node("a", 2)]
        self.clock = Hand()
        self.nodes = Nodes(world.owner.space.resources, look=lambda: self.there, clock=self.clock)
        self.lost: str | None = None
        cluster = Cluster(2, 0, None, None, token=False, lost=lambda: self.lost)
        self.searcher = study_searcher(world.coordinator, self.nodes, cluster)
        self.scheduler = study_scheduler()
        self.controller = SimpleNamespace(search_alg=SimpleNamespace(searcher=self.searcher))
        self.suggested = 0

    def start(self) -> TuneTrial:
        self.suggested += 1
        config = self.searcher.suggest(f"tune{self.suggested}")
        assert isinstance(config, dict)
        return TuneTrial(f"tune{self.suggested}", config)

    def epoch(self, trial: TuneTrial, step: int, value: float, **changes: object) -> str:
        return self.take(trial, self.message(trial, result(trial.config[NUMBER], step, value, **changes)))

    @staticmethod
    def message(trial: TuneTrial, epoch: EpochResult) -> dict[str, Any]:
        number = trial.config[NUMBER]
        return {NUMBER: number, **PLACE, RESULT: epoch.to_json(), "done": epoch.done or epoch.stop is not None}

    def take(self, trial: TuneTrial, message: dict[str, Any]) -> str:
        """One result of a trainable, as the controller handles it; gives what the scheduler would have answered."""
        decision = str(TrialScheduler.STOP)
        if not message["done"]:
            decision = self.scheduler.on_trial_result(self.controller, trial, message)
            if decision == TrialScheduler.CONTINUE:
                self.searcher.on_trial_result(trial.trial_id, message)
                return decision
        self.searcher.on_trial_complete(trial.trial_id, message)
        return decision

    def die(self, trial: TuneTrial, words: str = "") -> None:
        """The trial's worker dies, in whatever state Tune has the trial. For Tune the trial is over."""
        if words:
            file = self.folder / f"{trial.trial_id}-error.txt"
            file.write_text(f"Failure # 1 (occurred at 2026-11-26_14-37-21)\n{words}\n")
            trial.error_file = str(file)
        self.scheduler.on_trial_error(self.controller, trial)
        self.searcher.on_trial_complete(trial.trial_id, error=True)

    def stored(self, trial: TuneTrial) -> optuna.trial.FrozenTrial:
        return self.world.trial(trial.config[NUMBER])


@pytest.fixture
def tune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tune:
    monkeypatch.setattr(adapters, "SECONDS_TO_SETTLE", 0)
    return Tune(World(tmp_path, concurrency=2), tmp_path)


def test_a_trial_crosses_as_its_number_and_its_settings_in_text(tune: Tune) -> None:
    trial = tune.start()
    assert set(trial.config) == {NUMBER, SETTINGS, AVOID} and trial.config[NUMBER] == 0
    settings = TrialSettings.model_validate_json(trial.config[SETTINGS])
    assert settings.grpo.lr == tune.world.owner.summaries()[0].params["grpo.lr"]


def test_nothing_for_now_and_nothing_ever_again(tune: Tune) -> None:
    tune.start()
    tune.start()
    assert tune.searcher.suggest("third") is None, "two at a time"
    tune.world.coordinator.interrupted = True
    assert tune.searcher.suggest("third") == Searcher.FINISHED


def test_all_epochs_reach_the_study_also_the_last_which_the_scheduler_never_sees(tune: Tune) -> None:
    trial = tune.start()
    for step in range(1, EPOCHS):
        assert tune.epoch(trial, step, 1.0 / step) == TrialScheduler.CONTINUE
    tune.epoch(trial, EPOCHS, 0.1)
    stored = tune.stored(trial)
    assert stored.state is TrialState.COMPLETE and stored.value == 0.1
    assert sorted(stored.intermediate_values) == [1, 2, 3, 4, 5]
    assert stored.user_attrs["worker"] == HERE
    assert len(tune.world.seen.over) == 1


def test_a_trial_that_the_pruner_stops_ends_once(tmp_path: Path) -> None:
    tune = Tune(World(tmp_path, concurrency=1), tmp_path)
    for value in (1.2, 1.1, 1.0):
        trial = tune.start()
        for step in range(1, EPOCHS + 1):
            tune.epoch(trial, step, value)
    pruned = tune.start()
    answers = [tune.epoch(pruned, step, value) for step, value in ((1, 0.5), (2, 0.5), (3, 7.0))]
    assert answers == [TrialScheduler.CONTINUE, TrialScheduler.CONTINUE, TrialScheduler.STOP]
    stored = tune.stored(pruned)
    assert stored.state is TrialState.PRUNED and stored.user_attrs["reason"] == "median pruner"
    assert [event.number for event in tune.world.seen.over] == [0, 1, 2, 3]
    assert tune.world.seen.epochs[-3:] == [1, 2, 3], "the result that came twice counts once"


def test_a_trial_that_stops_itself_says_why(tune: Tune) -> None:
    trial = tune.start()
    tune.epoch(trial, 3, 2.0, stop="dead_signal for 2 epochs")
    assert tune.stored(trial).state is TrialState.PRUNED
    assert tune.stored(trial).user_attrs["reason"] == "dead_signal for 2 epochs"


def test_a_failure_of_a_configuration_is_no_failure_of_tune(tune: Tune) -> None:
    trial = tune.start()
    tune.take(trial, {NUMBER: 0, **PLACE, FAILURE: "no training query is left", "done": True})
    assert tune.stored(trial).state is TrialState.FAIL
    assert tune.stored(trial).user_attrs["reason"] == "no training query is left"
    assert tune.world.coordinator.error is None and tune.start().config[NUMBER] == 1


def test_a_dead_worker_with_retries_left_goes_on_and_its_replay_counts_once(tune: Tune) -> None:
    trial = tune.start()
    for step in (1, 2, 3):
        tune.epoch(trial, step, 1.0 / step)
    tune.die(trial)
    row = tune.world.owner.summaries()[0]
    assert row.state is TrialState.RUNNING and row.worker_deaths == 1
    again = tune.start()
    assert again.trial_id != trial.trial_id and again.config == trial.config, "for Tune it is another trial"
    assert tune.epoch(again, 3, 99.0) == TrialScheduler.CONTINUE, "the last stored epoch, once more"
    tune.epoch(again, 4, 0.25)
    tune.epoch(again, 5, 0.2)
    stored = tune.stored(again)
    assert stored.state is TrialState.COMPLETE and stored.intermediate_values[3] == 1.0 / 3
    assert tune.world.seen.epochs == [1, 2, 3, 4, 5]


def test_a_worker_that_dies_before_its_first_word_costs_one_death(tune: Tune) -> None:
    """As one does that dies while its actor takes up the trial."""
    trial, other = tune.start(), tune.start()
    tune.die(trial)
    again = tune.start()
    assert again.config == trial.config and tune.world.owner.summaries()[0].worker_deaths == 1
    for one in (again, other):
        for step in range(1, EPOCHS + 1):
            tune.epoch(one, step, 1.0)
    assert [row.state for row in tune.world.owner.summaries()] == [TrialState.COMPLETE] * 2
    assert tune.start().config[NUMBER] == 2


def test_a_worker_that_dies_too_often_fails_its_trial(tune: Tune) -> None:
    allowed = tune.world.owner.space.max_retries
    trial = tune.start()
    tune.epoch(trial, 1, 1.0)
    for _ in range(allowed):
        tune.die(trial)
        trial = tune.start()
        assert trial.config[NUMBER] == 0
    tune.die(trial, "The actor is dead because its node has died.")
    stored = tune.stored(trial)
    assert stored.state is TrialState.FAIL
    assert stored.user_attrs["reason"].startswith(f"its worker died {allowed + 1} times")
    assert stored.user_attrs["reason"].endswith("its node has died.")
    assert len(tune.world.seen.over) == 1


def test_a_worker_that_never_began_is_no_death_of_its_trial(tune: Tune) -> None:
    trial = tune.start()
    for _ in range(IN_A_ROW):
        assert tune.world.coordinator.error is None
        tune.die(trial, "failed to import on the worker\nModuleNotFoundError: No module named 'sweep'")
        if tune.world.coordinator.error is None:
            trial = tune.start()
    assert str(tune.world.coordinator.error).endswith("ModuleNotFoundError: No module named 'sweep'")
    row = tune.world.owner.summaries()[0]
    assert row.state is TrialState.RUNNING and row.worker_deaths == 0
    assert len(tune.world.lines) == IN_A_ROW and "ModuleNotFoundError" in tune.world.lines[0]


def test_a_node_that_does_not_see_the_run_costs_no_trial(tune: Tune) -> None:
    trial = tune.start()
    tune.take(trial, {NUMBER: 0, **PLACE, UNUSABLE: "/runs/x is not there", "done": True})
    assert "/runs/x is not there" in str(tune.world.coordinator.error)
    assert tune.stored(trial).state is TrialState.RUNNING


@pytest.mark.parametrize("error", [True, False])
def test_a_trial_that_ends_without_a_word_fails(tune: Tune, error: bool) -> None:
    """A trial stopped while it was pending, and whatever Tune may call without a word to the scheduler."""
    trial = tune.start()
    tune.searcher.on_trial_complete(trial.trial_id, None, error=error)
    assert tune.stored(trial).state is TrialState.FAIL
    assert tune.stored(trial).user_attrs["reason"] == "its worker ended without a result"


def test_a_result_beside_an_error_is_not_taken(tune: Tune) -> None:
    trial = tune.start()
    last = tune.message(trial, result(0, EPOCHS, 0.1))
    tune.searcher.on_trial_complete(trial.trial_id, last, error=True)
    assert tune.stored(trial).state is TrialState.FAIL and not tune.stored(trial).intermediate_values


def test_an_outage_stops_all_trials_and_leaves_them_to_resume(tune: Tune) -> None:
    trial, other = tune.start(), tune.start()
    outage = json.dumps([errno.ENOSPC, "No space left on device", "/runs/x"])
    tune.take(trial, {NUMBER: 0, **PLACE, OUTAGE: outage, "done": True})
    error = tune.world.coordinator.error
    assert isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename == "/runs/x"
    assert tune.epoch(other, 1, 1.0) == TrialScheduler.STOP
    assert tune.searcher.suggest("third") == Searcher.FINISHED
    assert [tune.stored(one).state for one in (trial, other)] == [TrialState.RUNNING] * 2


def test_an_error_of_the_study_never_reaches_tune(tune: Tune, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = tune.start()

    def full(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(tune.world.owner, "report", full)
    assert tune.epoch(trial, 1, 1.0) == TrialScheduler.STOP
    assert str(tune.world.coordinator.error) == "disk full"
    assert tune.searcher.suggest("next") == Searcher.FINISHED


def test_an_interrupt_leaves_trials_to_resume(tune: Tune) -> None:
    trial = tune.start()
    tune.epoch(trial, 1, 1.0)
    tune.world.coordinator.interrupted = True
    assert tune.epoch(trial, 2, 1.0) == TrialScheduler.STOP
    assert tune.stored(trial).state is TrialState.RUNNING


def test_snapshots_hold_no_study_and_are_never_restored(tune: Tune, tmp_path: Path) -> None:
    tune.start()
    for adapter in (tune.searcher, tune.scheduler):
        copy = cloudpickle.loads(cloudpickle.dumps(adapter))  # as Tune does
        assert not any(isinstance(value, Coordinator) for value in vars(copy).values())
    tune.searcher.save(str(tmp_path / "snapshot"))
    tune.searcher.save_to_dir(str(tmp_path))
    assert not (tmp_path / "snapshot").exists()
    with pytest.raises(RuntimeError, match="sweep resume"):
        tune.searcher.restore(str(tmp_path / "snapshot"))


def test_workers_that_die_because_ray_did_cost_no_trial_anything(tune: Tune) -> None:
    trial = tune.start()
    tune.epoch(trial, 1, 1.0)
    tune.lost = "Ray is gone: its raylet has died"
    tune.die(trial)
    row = tune.world.owner.summaries()[0]
    assert row.state is TrialState.RUNNING and row.worker_deaths == 0
    assert str(tune.world.coordinator.error) == tune.lost
    assert tune.searcher.suggest("next") == Searcher.FINISHED


def test_the_wait_for_a_node_that_does_not_come_ends(tune: Tune) -> None:
    stopper = study_stopper(tune.world.coordinator, tune.nodes)
    tune.start()
    assert not stopper.stop_all()
    tune.there.clear()
    tune.clock.seconds += PATIENCE
    assert not stopper.stop_all() and tune.world.coordinator.error is None
    tune.clock.seconds += 2
    assert stopper.stop_all()
    error = tune.world.coordinator.error
    assert isinstance(error, ClusterError) and "asks for 1 CPUs" in str(error)
    assert [row.state for row in tune.world.owner.summaries()] == [TrialState.RUNNING], "resume goes on with it"


def test_who_interrupts_need_not_wait_for_a_node(tune: Tune) -> None:
    stopper = study_stopper(tune.world.coordinator, tune.nodes)
    assert not stopper.stop_all()
    tune.world.coordinator.interrupted = True
    assert not stopper.stop_all(), "trials end their epochs"
    tune.there.clear()
    tune.clock.seconds += 2
    assert stopper.stop_all()
    again = cloudpickle.loads(cloudpickle.dumps(stopper))
    assert not vars(again), "Tune's snapshots hold no study"
