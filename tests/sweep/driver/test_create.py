"""Names, folders and storages that a new run cannot have."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from selector.errors import UserError
from sweep.driver.create import NewRun, create_run, created
from sweep.errors import ClusterError, RunError
from sweep.storage.local import stored_at
from tests.sweep.commands import write_space
from tests.sweep.plans import plan_of_space


@pytest.mark.parametrize("name", ["../outside", "a/b", "", "a b", ".."])
def test_a_name_that_cannot_be_a_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be a run's name: use up to 64 letters, digits"):
        create_run(plan_of_space(write_space(tmp_path)), NewRun(stored_at(tmp_path / "runs"), name))
    assert [path.name for path in tmp_path.iterdir()] == ["space.yaml"]


@pytest.mark.parametrize(("runs", "said"), [("space.yaml", "File exists"), ("space.yaml/x", "Not a directory")])
def test_a_folder_of_runs_that_is_a_file(runs: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=f"cannot make a run folder in .*{runs}: {said}"):
        create_run(plan_of_space(write_space(tmp_path)), NewRun(stored_at(tmp_path / runs), None))


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        ("study.db", "storage 'study.db' is not a URL"),
        ("sqlite:///nowhere/study.db", "folder 'nowhere' does not exist"),
        ("sqlite:///taken.db", "has a study 'mine' already.*--name"),
    ],
)
def test_a_storage_that_cannot_be_used(
    storage: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    optuna.create_study(study_name="mine", storage="sqlite:///taken.db")
    plan = plan_of_space(write_space(tmp_path, storage=storage))
    with pytest.raises(UserError, match=said):
        create_run(plan, NewRun(stored_at(Path("runs")), "mine"))
    assert not list(Path("runs").glob("*"))


def test_a_run_name_is_taken_once(tmp_path: Path) -> None:
    plan = plan_of_space(write_space(tmp_path))
    create_run(plan, NewRun(stored_at(tmp_path / "runs"), "mine"))
    with pytest.raises(RunError, match=r"resume .*mine"):
        create_run(plan, NewRun(stored_at(tmp_path / "runs"), "mine"))


@pytest.mark.parametrize("begun", [False, True])
def test_only_a_run_without_trials_goes_when_ray_fails(begun: bool, tmp_path: Path) -> None:
    plan, runs = plan_of_space(write_space(tmp_path)), stored_at(tmp_path / "runs")
    with pytest.raises(ClusterError), created(NewRun(runs, "mine"), plan) as paths:
        if begun:
            paths.trial(0).settings_file.write_text("{}")
        raise ClusterError("Ray is gone")
    assert paths.run_file.exists() is begun and paths.trial(0).settings_file.exists() is begun


def test_a_run_that_goes_on_is_never_removed(tmp_path: Path) -> None:
    plan = plan_of_space(write_space(tmp_path))
    paths = create_run(plan, NewRun(stored_at(tmp_path / "runs"), "mine"))
    with pytest.raises(ClusterError), created(paths, plan):
        raise ClusterError("Ray is gone")
    assert paths.run_file.exists()
