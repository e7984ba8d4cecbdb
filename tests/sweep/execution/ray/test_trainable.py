"""The trainable called as Tune's actor would call it, without a Ray instance."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from selector.data import Dataset
from selector.errors import CheckpointError, SettingsError
from selector.settings import TrialSettings
from sweep.execution.ray import trainable as module
from sweep.execution.ray.node_report import installed
from sweep.execution.ray.trainable import CAUSE, FAILURE, NUMBER, OUTAGE, RESULT, SETTINGS, UNUSABLE, WORKER, TrialSteps
from sweep.trials.messages import EpochResult, TrialContext
from tests.sweep.spaces import SETTINGS as TRIAL
from tests.sweep.spaces import context, numbers, run_of, small_dataset, trial


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return small_dataset()


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def shared(tmp_path: Path, dataset: Dataset) -> TrialContext:
    return driven(tmp_path / "mine", dataset)


def driven(folder: Path, dataset: Dataset) -> TrialContext:
    """A run that a driver works on."""
    shared = context(folder, dataset)
    run_of(shared).driver_mark(shared.session).write_text("")
    return shared


def config(number: int, settings: TrialSettings = TRIAL) -> dict[str, Any]:
    return {NUMBER: number, SETTINGS: settings.model_dump_json()}


def started(shared: TrialContext, dataset: Dataset, number: int = 0, settings: TrialSettings = TRIAL) -> TrialSteps:
    actor: TrialSteps = TrialSteps.__new__(TrialSteps)  # Tune's constructor makes folders; `setup` is what is ours
    actor.setup(config(number, settings), shared, dataset, cpus=1, gpus=0)
    return actor


def test_steps_bring_what_the_trial_reports_and_the_last_one_is_done(
    shared: TrialContext, dataset: Dataset, tmp_path: Path
) -> None:
    actor = started(shared, dataset)
    results = [actor.step() for _ in range(TRIAL.total_epochs)]
    actor.cleanup()
    alone = list(trial(context(tmp_path / "alone", dataset), dataset))
    assert numbers([EpochResult.from_json(one[RESULT]) for one in results]) == numbers(alone)
    assert [one["done"] for one in results] == [False] * (TRIAL.total_epochs - 1) + [True]
    assert {one[NUMBER] for one in results} == {0}
    assert all(one[WORKER].startswith(f"pid {os.getpid()} on ") for one in results)


def test_the_next_trial_on_the_same_actor_shares_the_data_and_frees_the_last_one(
    shared: TrialContext, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []
    load = module.load_shared
    monkeypatch.setattr(module, "load_shared", lambda *args: loads.append(1) or load(*args))
    actor = started(shared, dataset)
    assert str(actor) == "mine/trial-0000"
    actor.step()  # within the warm-up, whose lock trial 1 needs: both have the same
    left = actor._epochs
    assert actor.reset_config(config(1))
    assert left.gi_frame is None, "closed, so that its lock and its event file are free"  # type: ignore[union-attr]
    result = actor.step()
    assert result[NUMBER] == 1 and EpochResult.from_json(result[RESULT]).report.step == 1
    assert loads == [1]
    actor.cleanup()
    actor.cleanup()


def test_an_actor_that_never_stepped_can_be_reset_and_ended(shared: TrialContext, dataset: Dataset) -> None:
    actor = started(shared, dataset, 4)
    assert actor.reset_config(config(5)) and actor.step()[NUMBER] == 5
    actor.cleanup()
    assert not run_of(shared).trial(4).root.exists()


def test_a_trial_that_stops_itself_is_done(dataset: Dataset, tmp_path: Path) -> None:
    wild = TrialSettings.model_validate(TRIAL.model_dump() | {"grpo": TRIAL.grpo.model_dump() | {"lr": 1e12}})
    actor = started(driven(tmp_path / "mine", dataset), dataset, settings=wild)
    for _ in range(wild.total_epochs):
        result = actor.step()
        if result["done"]:
            break
    stopped = EpochResult.from_json(result[RESULT])
    assert not stopped.done and stopped.stop is not None and stopped.stop.startswith("diverged")


def failing(error: Exception) -> Any:
    def epochs(*args: object) -> Iterator[EpochResult]:
        raise error
        yield

    return epochs


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("no memory left"), "OutOfMemoryError: no memory left"),
        (ZeroDivisionError("a bug"), "ZeroDivisionError: a bug"),
        (OSError(errno.ENOENT, "No such file", "x"), "FileNotFoundError: [Errno 2] No such file: 'x'"),
    ],
)
def test_any_error_of_a_configuration_is_a_result(
    shared: TrialContext, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, error: Exception, expected: str
) -> None:
    monkeypatch.setattr(module, "Trial", failing(error))
    result = started(shared, dataset, 3).step()
    assert result[FAILURE] == expected and result["done"] and result[NUMBER] == 3
    assert RESULT not in result and OUTAGE not in result


@pytest.mark.parametrize(
    ("error", "outside"),
    [
        (OSError(errno.EMFILE, "Too many open files"), True),
        (ModuleNotFoundError("no safetensors"), True),
        (RuntimeError("CUDA error: unspecified launch failure"), True),
        (ZeroDivisionError("a bug"), False),
        (torch.OutOfMemoryError("no memory left"), None),
        (SettingsError("keeps none of the queries"), None),
    ],
)
def test_what_other_trials_may_meet_too_has_a_cause(
    shared: TrialContext, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, error: Exception, outside: bool | None
) -> None:
    monkeypatch.setattr(module, "Trial", failing(error))
    first, second = (started(shared, dataset, number).step() for number in (3, 4))
    assert first.get(CAUSE) == second.get(CAUSE) and first[NUMBER] != second[NUMBER]
    assert (CAUSE in first) is (outside is not None)
    if outside is not None:
        cause = json.loads(first[CAUSE])
        assert cause["outside"] is outside and cause["text"].startswith(f"{type(error).__name__} at test_trainable.py:")


def test_data_that_does_not_fit_the_device_is_no_trials_fault(
    shared: TrialContext, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "load_shared", failing_call(torch.OutOfMemoryError("no memory left")))
    assert json.loads(started(shared, dataset).step()[CAUSE])["outside"]


def failing_call(error: Exception) -> Any:
    def load(*args: object) -> None:
        raise error

    return load


def test_where_the_run_is_not_seen_nothing_is_written(dataset: Dataset, tmp_path: Path) -> None:
    """Neither where there is no such folder, nor where a run of this name is another one."""
    nowhere = context(tmp_path / "mine", dataset)
    result = started(nowhere, dataset).step()
    assert "mine is not there" in result[UNUSABLE] and result["done"] and RESULT not in result
    assert not (tmp_path / "mine").exists()
    driven(tmp_path / "mine", dataset)
    run_of(nowhere).run_file.write_text("{}")
    other = dataclasses.replace(nowhere, session="of-another-driver")
    assert "another folder" in started(other, dataset).step()[UNUSABLE]
    assert not run_of(nowhere).trials_folder.exists()


def test_a_folder_that_vanishes_is_no_failure_of_the_trial(shared: TrialContext, dataset: Dataset) -> None:
    """As where it is unmounted. What the epoch wrote to the bare mount point is not reported."""
    actor = started(shared, dataset)
    assert RESULT in actor.step()
    run_of(shared).driver_mark(shared.session).remove()
    assert UNUSABLE in actor.step()


@pytest.mark.parametrize("error", [CheckpointError("no manifest"), FileNotFoundError("x"), ZeroDivisionError("a bug")])
def test_whatever_is_raised_where_the_folder_is_gone_is_no_failure_of_the_trial(
    shared: TrialContext, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def epochs(*args: object) -> Iterator[EpochResult]:
        run_of(shared).driver_mark(shared.session).remove()
        raise error
        yield

    monkeypatch.setattr(module, "Trial", epochs)
    result = started(shared, dataset).step()
    assert UNUSABLE in result and FAILURE not in result and OUTAGE not in result


def test_impossible_settings_are_a_result_in_words_for_people(shared: TrialContext, dataset: Dataset) -> None:
    blind = TRIAL.grpo.model_dump() | {"curriculum": {"epochs": 1, "filter": "contrast", "min_gap": 1e6}}
    settings = TrialSettings.model_validate(TRIAL.model_dump() | {"grpo": blind})
    actor = started(shared, dataset, settings=settings)
    results = [actor.step() for _ in range(settings.rce.epochs + 1)]
    assert "keeps none of the" in results[-1][FAILURE] and results[-1]["done"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EPERM, errno.EROFS, errno.ESTALE])
def test_a_full_disk_is_an_outage_and_no_failure(
    shared: TrialContext, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(module, "Trial", failing(OSError(number, os.strerror(number), "/runs/x")))
    result = started(shared, dataset).step()
    assert json.loads(result[OUTAGE]) == [number, os.strerror(number), "/runs/x"]
    assert result["done"] and FAILURE not in result


def test_a_node_with_other_versions_is_unusable(shared: TrialContext, dataset: Dataset) -> None:
    result = started(dataclasses.replace(shared, installed={**installed(), "torch": "9.9"}), dataset).step()
    assert "torch" in result[UNUSABLE] and "is not the driver's 9.9" in result[UNUSABLE] and result["done"]
    assert not run_of(shared).trial(0).root.exists()
