"""What is killed or interrupted, for real, and goes on. `tests/chaos` kills drivers and workers of a whole run."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.trial import TrialState

from sweep.execution.ray import fit
from sweep.execution.ray.trainable import TrialSteps
from tests.sweep.commands import (
    ALONE,
    Ran,
    curves,
    epochs_done,
    finish,
    start,
    study_of,
    sweep,
    wait_for,
    write_space,
)
from tests.sweep.spaces import SMALL

pytestmark = pytest.mark.slow


@pytest.mark.long  # deaths are counted in test_places_at_fault; the next test and the chaos test kill real workers
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


@pytest.mark.usefixtures("ray_session")
def test_a_worker_that_dies_while_it_takes_up_its_next_trial_changes_nothing(
    undisturbed: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the hand-out of a trial and the return of the actor's reset, in which Tune calls the trial pending."""
    taking_up = tmp_path / "taking-up"

    class SlowReset(TrialSteps):
        def reset_config(self, new_config: dict[str, Any]) -> bool:
            if not taking_up.exists():
                taking_up.write_text(str(os.getpid()))
                time.sleep(20)  # until it is killed
            return super().reset_config(new_config)

    def kill_it() -> None:
        wait_for(lambda: taking_up.exists() and taking_up.read_text())
        os.kill(int(taking_up.read_text()), signal.SIGKILL)

    monkeypatch.setattr(fit, "TrialSteps", SlowReset)
    with ThreadPoolExecutor(1) as threads:
        killing = threads.submit(kill_it)
        ran = sweep(tmp_path, **{**ALONE, "max_retries": 1})
        killing.result()
    assert ran.outcome.exit_code == 0
    assert curves(ran.study) == curves(undisturbed.study)
    assert [row.worker_deaths for row in sorted(ran.outcome.ranked, key=lambda row: row.number)] == [0, 1, 0, 0]
    told = "trial 1: its worker on this machine died (death 1), it is handed out again: its process was killed"
    assert told in ran.screen


def worker_of_first(run: Path) -> str | None:
    """The process that the first trial last reported from."""
    if not epochs_done(run):
        return None
    worker: str | None = study_of(run).trials[0].user_attrs.get("worker")
    return worker


def test_where_rays_own_processes_die_people_are_told_how_to_go_on(tmp_path: Path) -> None:
    """Without a guard Ray ends the driver then, without a word."""
    run = tmp_path / "runs" / "mine"
    trial = {**yaml.safe_load(SMALL)["trial"], "grpo": {"epochs": 4000}}
    process = start(tmp_path, "run", str(write_space(tmp_path, trial=trial)), "--name", "mine")
    wait_for(lambda: epochs_done(run) >= 2)
    raylet = next(number for number in descendants(process.pid) if "raylet/raylet" in command_of(number).split(" ")[0])
    os.kill(raylet, signal.SIGKILL)
    output = finish(process, 60)
    assert process.returncode == 2
    assert "Ray is gone: its raylet" in output and "`python -m sweep resume runs/mine` goes on" in output
    assert {one.user_attrs.get("worker_deaths", 0) for one in study_of(run).trials} == {0}
    assert {one.state for one in study_of(run).trials} == {TrialState.RUNNING}


def descendants(root: int) -> list[int]:
    """All processes below one."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    below = list(children.get(root, []))
    return below + [number for one in below for number in descendants(one)]


def command_of(number: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{number}/cmdline").read_text().replace("\0", " ")
    return ""
