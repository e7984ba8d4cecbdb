"""Whole runs on a real Ray, looked at with plain Optuna afterwards."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from optuna.trial import TrialState

from selector.data.native import write_native
from selector.errors import UserError
from sweep.driver.run import execute
from sweep.errors import RunError
from sweep.execution.ray.options import RayOptions
from sweep.report.trials import trial_table
from sweep.results.run_verdict import verdict_of_run
from sweep.results.verify import verify
from sweep.runs.paths import RunPaths
from sweep.terminal.console import Screen
from tests.sweep.commands import ALONE, Ran, curves, sweep, write_space
from tests.sweep.plans import plan_of_run, plan_of_space, screen_on
from tests.sweep.spaces import SMALL, small_dataset

TRIALS = 16
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]


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
    stored = json.loads(ran.paths.ranking_file.read_text())["held_out"]
    assert [row["test_order_agreement"] for row in stored] == [row.agreement for row in ran.outcome.held_out]
    assert ran.outcome.verdict is not None and verdict_of_run(ran.paths) == ran.outcome.verdict
    assert ran.outcome.verdict.trial in {row.number for row in ran.outcome.ranked}


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The undisturbed run once more, from the same data in files."""
    folder = tmp_path_factory.mktemp("again")
    write_native(small_dataset(), folder / "data", "demo")
    return sweep(folder, **ALONE, data={"path": str(folder / "data")})


def test_one_trial_at_a_time_is_the_same_twice(undisturbed: Ran, again: Ran) -> None:
    assert curves(undisturbed.study) == curves(again.study)


def test_other_data_is_refused_on_resume(again: Ran, tmp_path: Path) -> None:
    paths = RunPaths.at(tmp_path / "other")
    shutil.copytree(again.paths.root.local(), tmp_path / "other")
    record = json.loads(paths.run_file.read_text())
    paths.run_file.write_bytes(json.dumps({**record, "data_fingerprint": "0" * 64}).encode())
    with pytest.raises(UserError, match="was started on data 0000000000000000"):
        execute(plan_of_run(paths), paths, RayOptions(), screen_on(io.StringIO()))


def test_moved_data_is_named_and_known_by_its_fingerprint(again: Ran) -> None:
    assert next(row.accuracy for row in again.outcome.held_out) is None, "no rule answers for collected data"
    data = again.paths.root.local().parents[1] / "data"
    moved = data.rename(data.with_name("moved"))
    try:
        with pytest.raises(UserError, match="data"):
            plan_of_run(again.paths)
        checked = verify(again.paths, lambda paths: plan_of_run(paths, moved))
    finally:
        moved.rename(data)
    assert checked.epochs and not checked.faults and not checked.notes


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Three configurations under two seeds each: a good one, one that cannot be trained, and one that diverges."""
    trial = yaml.safe_load(SMALL)["trial"]
    trial["grpo"] = {"epochs": 2, "grad_clip": None, "curriculum": {"filter": "contrast", "min_gap": 1e6}}
    parameters = {
        "grpo.curriculum.epochs": {"type": "categorical", "choices": [0, 1]},
        "grpo.lr": {"type": "float", "low": 1e-4, "high": 1e30},
    }
    points = [(0, 1e-3), (1, 1e-3), (0, 1e30)]
    return sweep(
        tmp_path_factory.mktemp("mixed"),
        parameters=parameters,
        trial=trial,
        enqueue=[{"grpo.curriculum.epochs": epochs, "grpo.lr": lr} for epochs, lr in points],
        repeats=2,
        seed=3,
        budget={"trials": 6},
        sampler={"type": "random"},
        pruner={"type": "none"},
        concurrency=1,
    )


def test_trials_that_fail_or_diverge_end_alone(mixed: Ran) -> None:
    good, failed, diverged = (sorted(mixed.outcome.ranked, key=lambda row: row.number)[n : n + 2] for n in (0, 2, 4))
    assert {row.state for row in good} == {TrialState.COMPLETE}
    assert all(row.state is TrialState.FAIL and "keeps none of the" in row.reason for row in failed)
    assert all(row.state is TrialState.PRUNED and row.reason.startswith("diverged") for row in diverged)
    assert all(row.verdicts == ("diverged",) for row in diverged)
    assert mixed.outcome.exit_code == 0
    assert replace(mixed.outcome, ranked=[*failed, *diverged]).exit_code == 1, "nothing is complete"
    assert replace(mixed.outcome, interrupted=True).exit_code == 130


def test_repeats_are_trials_under_seeds_of_their_own(mixed: Ran) -> None:
    rows = sorted(mixed.outcome.ranked, key=lambda row: row.number)
    assert [row.seed for row in rows] == [3, 4, 3, 4, 3, 4]
    assert [rows[i].key == rows[i + 1].key for i in (0, 2, 4)] == [True] * 3
    assert len({path.name for path in mixed.paths.rce_folder.local().iterdir() if path.is_dir()}) == 2
    console = Screen(file=io.StringIO(), width=200)
    console.print(trial_table(mixed.outcome.ranked, "all"))
    assert isinstance(console.file, io.StringIO)
    first = [row.value for row in rows[:2] if row.value is not None]
    assert f"{np.mean(first):.4f} ±{np.std(first, ddof=1):.4f} (2)" in console.file.getvalue()


def test_a_dataset_crosses_ray_without_a_copy(tmp_path: Path) -> None:
    """In a worker its arrays are views into the object store, which are read-only; a copy would be writable."""
    import ray

    plan = plan_of_space(write_space(tmp_path))
    reference = ray.put(plan.dataset)

    @ray.remote
    def look(dataset: object) -> tuple[bool, bool]:
        array: np.ndarray = dataset.embeddings  # type: ignore[attr-defined,type-arg]
        return array.flags.writeable, array.flags.owndata

    assert ray.get(look.remote(reference)) == (False, False)


def test_a_finished_run_resumes_to_the_same_ranking(ran: Ran) -> None:
    before = json.loads(ran.paths.ranking_file.read_text())
    outcome = execute(plan_of_run(ran.paths), ran.paths, RayOptions(), screen_on(io.StringIO()))
    assert outcome.exit_code == 0
    assert json.loads(ran.paths.ranking_file.read_text()) == before


def test_a_study_that_was_emptied_is_built_again_to_the_same_ranking(ran: Ran, tmp_path: Path) -> None:
    """As `resume --rebuild-study` does."""
    shutil.copytree(ran.paths.root.local(), tmp_path / ran.paths.name)
    paths = RunPaths.at(tmp_path / ran.paths.name)
    before = json.loads(paths.ranking_file.read_text())
    for file in paths.root.glob("study.db*"):
        file.remove()
    paths.study_file.write_bytes(b"")
    with pytest.raises(RunError, match=r"has no trials, though trials have run: .* --rebuild-study"):
        execute(plan_of_run(paths), paths, RayOptions(), screen_on(io.StringIO()))
    screen = io.StringIO()
    assert execute(plan_of_run(paths), paths, RayOptions(), screen_on(screen), rebuild=True).exit_code == 0
    assert f"study built again from the records of {TRIALS} trials" in screen.getvalue()
    assert json.loads(paths.ranking_file.read_text()) == before
    assert verify(paths, plan_of_run).sentence.endswith("; nothing differs")


def test_a_trial_too_large_for_the_cluster_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="asks for 64 CPUs"):
        sweep(tmp_path, resources={"cpus": 64})
