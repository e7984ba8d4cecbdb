"""Whole runs on a real Ray, looked at with plain Optuna afterwards."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import yaml
from optuna.trial import TrialState
from rich.console import Console

from selector.data.native import write_native
from selector.errors import UserError
from sweep.driver.create import NewRun, create_run
from sweep.driver.run import execute
from sweep.errors import RunError
from sweep.execution.ray.options import RayOptions
from sweep.report.trials import trial_table
from sweep.results.outcome import RunOutcome
from sweep.results.verify import verify
from sweep.runs.paths import RunPaths
from sweep.storage.local import stored_at
from tests.sweep.plans import plan_of_run, plan_of_space, screen_on
from tests.sweep.spaces import SMALL, small_dataset

TRIALS = 16
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]


@dataclass
class Ran:
    paths: RunPaths
    outcome: RunOutcome
    screen: str

    @property
    def study(self) -> optuna.Study:
        return optuna.load_study(study_name=self.paths.name, storage=f"sqlite:///{self.paths.study_file}")


def space_file(folder: Path, **changes: object) -> Path:
    document = {**yaml.safe_load(SMALL), **changes}
    file = folder / "space.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(document))
    return file


def sweep(folder: Path, **changes: object) -> Ran:
    plan = plan_of_space(space_file(folder, **changes))
    paths = create_run(plan, NewRun(stored_at(folder / "runs"), None))
    screen = io.StringIO()
    outcome = execute(plan, paths, RayOptions(), screen_on(screen))
    return Ran(paths, outcome, screen.getvalue())


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """TPE, median pruner, two trials at a time."""
    return sweep(tmp_path_factory.mktemp("run"), budget={"trials": TRIALS})


def test_optuna_sees_finished_trials_only(ran: Ran) -> None:
    trials = ran.study.trials
    assert [trial.number for trial in trials] == list(range(TRIALS))
    assert {trial.state for trial in trials} == {TrialState.COMPLETE, TrialState.PRUNED}


def test_pruned_trials_have_their_curve_and_are_partial(ran: Ran) -> None:
    pruned = [trial for trial in ran.study.trials if trial.state is TrialState.PRUNED]
    assert pruned
    for trial in pruned:
        steps = list(trial.intermediate_values)
        assert steps == list(range(1, len(steps) + 1)) and 2 < len(steps) < 5
        assert trial.user_attrs["reason"] == "median pruner"


def test_the_best_trial_is_complete_and_first_in_the_ranking(ran: Ran) -> None:
    best = ran.study.best_trial
    assert best.state is TrialState.COMPLETE and len(best.intermediate_values) == 5
    assert ran.outcome.ranked[0].number == best.number
    assert best.value == min(value for step, value in best.intermediate_values.items() if step > 2)
    ranking = json.loads(ran.paths.ranking_file.read_text())
    assert ranking["best_trial"] == best.number and ranking["metric"]["name"] == "val_loss"


def test_all_trials_shared_one_warm_up(ran: Ran) -> None:
    assert len([path for path in ran.paths.rce_folder.local().iterdir() if path.is_dir()]) == 1
    first = [trial.intermediate_values[1] for trial in ran.study.trials]
    assert len(set(first)) == 1


def test_the_screen_tells_the_story_and_ray_is_not_on_it(ran: Ran) -> None:
    assert "dashboard" in ran.screen and "trial   0 starts" in ran.screen and "pruned" in ran.screen
    assert "Traceback" not in ran.screen and "INFO" not in ran.screen


def test_nothing_to_resume_is_left_behind(ran: Ran) -> None:
    assert not ran.paths.root.glob("trials/*/resume")


def test_held_out_rows_compare_against_what_needs_no_training(ran: Ran) -> None:
    names = [row.name for row in ran.outcome.held_out]
    assert names[:3] == ["random", "similarity", "rce_only"] and any(name.startswith("trial") for name in names)
    assert all(row.accuracy is not None and len(row.accuracy) == 2 for row in ran.outcome.held_out)


def curves(study: optuna.Study) -> list[tuple[dict[str, object], dict[int, float], object]]:
    return [(trial.params, trial.intermediate_values, trial.state) for trial in study.trials]


def test_one_trial_at_a_time_is_the_same_twice(tmp_path: Path) -> None:
    short = {"trials": 4}  # the sampler's first three are random
    runs = [sweep(tmp_path / name, concurrency=1, budget=short) for name in ("a", "b")]
    assert curves(runs[0].study) == curves(runs[1].study)
    other = sweep(tmp_path / "c", concurrency=1, seed=1, budget={"trials": 1})
    assert curves(other.study) != curves(runs[0].study)[:1]


PRUNERS: list[dict[str, Any]] = [
    {"type": "median", "n_startup_trials": 1},
    {"type": "percentile", "percentile": 50.0, "n_startup_trials": 1},
    {"type": "successive_halving"},
    {"type": "hyperband"},
    {"type": "patient", "patience": 1, "wrapped": {"type": "median", "n_startup_trials": 1}},
    {"type": "threshold", "upper": 3.0},
    {"type": "wilcoxon"},
    {"type": "none"},
]
IN_SHORT = (
    "hyperband",
)  # the run above has the median; each by itself is tested with the study (tests/sweep/study), without Ray


@pytest.mark.parametrize(
    "pruner",
    [
        pytest.param(pruner, id=pruner["type"], marks=[] if pruner["type"] in IN_SHORT else pytest.mark.long)
        for pruner in PRUNERS
    ],
)
def test_every_pruner_runs_a_sweep(tmp_path: Path, pruner: dict[str, object]) -> None:
    study = sweep(tmp_path, pruner=pruner, budget={"trials": 6}, concurrency=1).study
    assert len(study.trials) == 6 and all(trial.state.is_finished() for trial in study.trials)
    assert not [trial.user_attrs["pruner_error"] for trial in study.trials if "pruner_error" in trial.user_attrs]
    assert not [trial for trial in study.trials if trial.state is TrialState.FAIL]


@pytest.mark.parametrize(
    "sampler",
    ["grid", *(pytest.param(name, marks=pytest.mark.long) for name in ("tpe", "gp", "cmaes", "qmc", "random"))],
)
def test_every_sampler_runs_a_sweep(tmp_path: Path, sampler: str) -> None:
    parameters: dict[str, object] = {
        "grpo.kl_beta": {"type": "float", "low": 0.1, "high": 0.5, "step": 0.2},
        "grpo.freeze_backbone": {"type": "categorical", "choices": [True, False]},
    }
    study = sweep(tmp_path, sampler={"type": sampler}, parameters=parameters, budget={"trials": 6}, concurrency=1).study
    assert len(study.trials) == 6 and all(trial.state.is_finished() for trial in study.trials)
    assert not [trial for trial in study.trials if "sampler_fallback" in trial.user_attrs]


def test_a_configuration_that_cannot_be_trained_fails_alone(tmp_path: Path) -> None:
    parameters = {
        "grpo.curriculum.epochs": {"type": "categorical", "choices": [0, 1]},
        "grpo.lr": {"type": "float", "low": 1e-4, "high": 1e-3},
    }
    trial = {
        **yaml.safe_load(SMALL)["trial"],
        "grpo": {"epochs": 2, "curriculum": {"filter": "contrast", "min_gap": 1e6}},
    }
    ran = sweep(
        tmp_path, parameters=parameters, trial=trial, budget={"trials": 4}, sampler={"type": "random"}, concurrency=1
    )
    by_state = {row.params["grpo.curriculum.epochs"]: row for row in ran.outcome.ranked}
    assert by_state[0].state is TrialState.COMPLETE
    assert by_state[1].state is TrialState.FAIL and "keeps none of the" in by_state[1].reason


def test_divergence_is_pruned_and_all_of_it_is_exit_code_1(tmp_path: Path) -> None:
    trial = yaml.safe_load(SMALL)["trial"]
    trial["grpo"] = {"epochs": 3, "lr": 1e30, "grad_clip": None}
    parameters = {"grpo.kl_beta": {"type": "float", "low": 0.1, "high": 0.5}}
    ran = sweep(tmp_path, trial=trial, parameters=parameters, budget={"trials": 3}, concurrency=1)
    assert {row.state for row in ran.outcome.ranked} == {TrialState.PRUNED}
    assert all(row.reason.startswith("diverged") and row.verdicts == ("diverged",) for row in ran.outcome.ranked)
    assert ran.outcome.exit_code == 1


def test_repeats_are_trials_under_seeds_of_their_own(tmp_path: Path) -> None:
    ran = sweep(tmp_path, repeats=2, seed=3, budget={"trials": 6}, pruner={"type": "none"}, concurrency=1)
    rows = sorted(ran.outcome.ranked, key=lambda row: row.number)
    assert [row.seed for row in rows] == [3, 4, 3, 4, 3, 4]
    assert [rows[i].key == rows[i + 1].key for i in (0, 2, 4)] == [True] * 3
    assert len({path.name for path in ran.paths.rce_folder.local().iterdir() if path.is_dir()}) == 2
    console = Console(file=io.StringIO(), width=200)
    console.print(trial_table(ran.outcome.ranked, "all"))
    assert isinstance(console.file, io.StringIO)
    first = [row.value for row in rows[:2] if row.value is not None]
    assert f"{np.mean(first):.4f} ±{np.std(first, ddof=1):.4f} (2)" in console.file.getvalue()


def test_a_dataset_crosses_ray_without_a_copy(tmp_path: Path) -> None:
    """In a worker its arrays are views into the object store, which are read-only; a copy would be writable."""
    import ray

    plan = plan_of_space(space_file(tmp_path))
    reference = ray.put(plan.dataset)

    @ray.remote
    def look(dataset: object) -> tuple[bool, bool]:
        array: np.ndarray = dataset.embeddings  # type: ignore[attr-defined,type-arg]
        return array.flags.writeable, array.flags.owndata

    assert ray.get(look.remote(reference)) == (False, False)


def test_a_run_name_is_taken_once(tmp_path: Path) -> None:
    plan = plan_of_space(space_file(tmp_path))
    create_run(plan, NewRun(stored_at(tmp_path / "runs"), "mine"))
    with pytest.raises(RunError, match=r"resume .*mine"):
        create_run(plan, NewRun(stored_at(tmp_path / "runs"), "mine"))


def test_a_finished_run_resumes_to_the_same_ranking(ran: Ran) -> None:
    before = json.loads(ran.paths.ranking_file.read_text())
    outcome = execute(plan_of_run(ran.paths), ran.paths, RayOptions(), screen_on(io.StringIO()))
    assert outcome.exit_code == 0
    assert json.loads(ran.paths.ranking_file.read_text()) == before


def test_moved_data_is_named_and_known_by_its_fingerprint(tmp_path: Path) -> None:
    write_native(small_dataset(), tmp_path / "data", "demo")
    ran = sweep(tmp_path, data={"path": str(tmp_path / "data")}, budget={"trials": 1})
    assert next(row.accuracy for row in ran.outcome.held_out) is None, "no rule answers for collected data"
    (tmp_path / "data").rename(tmp_path / "moved")
    with pytest.raises(UserError, match="data"):
        plan_of_run(ran.paths)
    checked = verify(ran.paths, plan_of_run(ran.paths, tmp_path / "moved"))
    assert checked and all(row.agrees for row in checked)


def test_a_trial_too_large_for_the_cluster_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="asks for 64 CPUs"):
        sweep(tmp_path, resources={"cpus": 64})


def test_other_data_is_refused_on_resume(tmp_path: Path) -> None:
    ran = sweep(tmp_path, budget={"trials": 1})
    record = json.loads(ran.paths.run_file.read_text())
    ran.paths.run_file.write_text(json.dumps({**record, "data_fingerprint": "0" * 64}))
    with pytest.raises(UserError, match="was started on data 0000000000000000"):
        execute(plan_of_run(ran.paths), ran.paths, RayOptions(), screen_on(io.StringIO()))
