"""What is killed or interrupted, for real, and goes on."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from optuna.trial import TrialState

from tests.sweep.commands import call, epochs_done, finish, start, study_of, wait_for, write_space
from tests.sweep.driver.test_run import sweep
from tests.sweep.spaces import SMALL

pytestmark = pytest.mark.slow


@pytest.mark.long
def test_a_killed_driver_resumes_to_the_undisturbed_run(tmp_path: Path) -> None:
    folders = []
    for name in ("whole", "killed"):
        folder = tmp_path / name
        folder.mkdir()
        folders.append(folder / "runs" / "small-1")
        process = start(folder, "run", str(write_space(folder, concurrency=1)))
        if name == "killed":
            wait_for(lambda: epochs_done(folders[-1]) >= 12)
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=30)
            assert any(trial.state is TrialState.RUNNING for trial in study_of(folders[-1]).trials)
            process = start(folder, "resume", str(folders[-1]))
        output = finish(process)
        assert process.returncode == 0, output
    first, second = (study_of(folder).trials for folder in folders)
    assert [(t.number, t.params, t.state, t.intermediate_values, t.value) for t in first] == [
        (t.number, t.params, t.state, t.intermediate_values, t.value) for t in second
    ]


@pytest.mark.long
def test_a_killed_worker_costs_nothing_but_time(tmp_path: Path) -> None:
    space = write_space(tmp_path, concurrency=1, budget={"trials": 2}, trial={
        **yaml.safe_load(SMALL)["trial"], "grpo": {"epochs": 60}
    }, pruner={"type": "none"})  # fmt: skip
    process = start(tmp_path, "run", str(space))
    run = tmp_path / "runs" / "small-1"
    wait_for(lambda: epochs_done(run) >= 10)
    worker = study_of(run).trials[0].user_attrs["worker"]
    os.kill(int(worker.split()[1]), signal.SIGKILL)
    output = finish(process)
    assert process.returncode == 0, output
    trial = study_of(run).trials[0]
    assert trial.state is TrialState.COMPLETE and trial.user_attrs["worker"] != worker
    assert trial.user_attrs["worker_deaths"] == 1
    assert list(trial.intermediate_values) == list(range(1, 63))


@pytest.mark.usefixtures("ray_session")
def test_a_trial_whose_workers_keep_dying_fails_and_the_sweep_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "small-1"

    def kill_two() -> None:
        seen: set[str] = set()
        for _ in range(2):
            wait_for(lambda: worker_of_first(run) not in (None, *seen))
            worker = worker_of_first(run)
            assert worker is not None
            seen.add(worker)
            os.kill(int(worker.split()[1]), signal.SIGKILL)

    trial = {**yaml.safe_load(SMALL)["trial"], "grpo": {"epochs": 20}}
    with ThreadPoolExecutor(1) as threads:
        killing = threads.submit(kill_two)
        ran = sweep(tmp_path, concurrency=1, trial=trial, max_retries=1, budget={"trials": 2}, pruner={"type": "none"})
        killing.result()
    assert ran.outcome.exit_code == 0
    first, second = study_of(run).trials
    assert first.state is TrialState.FAIL and first.user_attrs["reason"].startswith("its worker died 2 times")
    assert second.state is TrialState.COMPLETE


def worker_of_first(run: Path) -> str | None:
    """The process that the first trial last reported from."""
    if not epochs_done(run):
        return None
    worker: str | None = study_of(run).trials[0].user_attrs.get("worker")
    return worker


@pytest.mark.usefixtures("ray_session")
def test_ctrl_c_stops_after_the_epoch_and_resume_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = {**yaml.safe_load(SMALL)["trial"], "grpo": {"epochs": 16}}
    space = write_space(tmp_path, trial=trial, budget={"trials": 2}, pruner={"type": "none"})
    process = start(tmp_path, "run", str(space))
    run = tmp_path / "runs" / "small-1"
    wait_for(lambda: epochs_done(run) >= 4)
    process.send_signal(signal.SIGINT)
    output = finish(process)
    assert process.returncode == 130 and "python -m sweep resume runs/small-1" in output
    assert "dashboard  none\n" in output, "no test but the dashboard's starts one"
    assert not (run / "ranking.json").exists()
    assert 4 <= epochs_done(run) < 36
    code, _, error = call(capsys, monkeypatch, "resume", "--runs", str(run.parent))
    assert code == 0, error
    assert [trial.state for trial in study_of(run).trials] == [TrialState.COMPLETE] * 2
    assert epochs_done(run) == 36
