"""A trial on a machine that does not see the folder of its run: what it stores is at home, as it would be there."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import pytest

from selector.data import Dataset
from sweep.runs.paths import RunPaths
from sweep.storage.home import HomePath
from sweep.trials.checkpoints import check_files
from sweep.trials.failures import RunUnseenError, check_seen, reached
from sweep.trials.messages import TrialContext
from tests.sweep.spaces import context, numbers, small_dataset, trial
from tests.sweep.storage.homes import NearHome


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return small_dataset()


def far(home: Path, dataset: Dataset) -> TrialContext:
    """What a worker is given whose machine has nothing at the folder's path, with the folder as `home`."""
    shared = context(Path("/not/here/mine"), dataset)
    RunPaths.at(home).driver_mark(shared.session).write_text("")
    return dataclasses.replace(shared, home=NearHome(home))


def stored(folder: Path) -> dict[str, object]:
    """What is in a run's folder, without times."""
    found: dict[str, object] = {}
    for file in sorted(folder.rglob("*")):
        name = str(file.relative_to(folder))
        if file.is_dir() or "tensorboard" in name or name.startswith("driver-"):
            continue
        found[name] = file.read_bytes()
        if file.name in ("epochs.jsonl", "manifest.json"):
            found[name] = sorted(json.loads(line)["step"] for line in file.open()) if "jsonl" in name else None
        if file.suffix == ".lock":
            found[name] = None
    return found


def test_what_is_stored_from_elsewhere_is_what_would_be_stored_here(
    tmp_path: Path, dataset: Dataset, cache: Path
) -> None:
    here = list(trial(context(tmp_path / "here", dataset), dataset))
    elsewhere, home = far(tmp_path / "home", dataset), tmp_path / "home"
    first = []
    for result in itertools.islice(trial(elsewhere, dataset), 4):
        first.append(result)
        step = RunPaths.at(home).trial(0).resume_folder / f"step-{result.report.step:04d}"
        assert check_files(step)["epoch"] > 0, "at home and whole before anybody hears of it"
        assert any(b"val_loss" in file.read_bytes() for file in (home / "tensorboard/trial-0000").iterdir())
    second = list(trial(elsewhere, dataset))  # on yet another machine
    assert numbers(first + second[1:]) == numbers(here) and second[0].report == first[-1].report
    assert stored(home) == stored(tmp_path / "here")
    assert not Path("/not").exists()


def test_only_who_does_not_see_the_folder_goes_the_long_way(tmp_path: Path, dataset: Dataset, cache: Path) -> None:
    shared = far(tmp_path / "mine", dataset)
    assert isinstance(reached(shared).root, HomePath)
    assert not reached(dataclasses.replace(shared, run_folder=str(tmp_path / "mine"))).root.is_remote
    nowhere = dataclasses.replace(shared, home=None)
    with pytest.raises(RunUnseenError, match="/not/here/mine is not there"):
        check_seen(reached(nowhere), nowhere.session)


def test_without_its_driver_a_worker_elsewhere_stores_nothing(tmp_path: Path, dataset: Dataset, cache: Path) -> None:
    shared = far(tmp_path / "mine", dataset)
    RunPaths.at(tmp_path / "mine").driver_mark(shared.session).remove()
    with pytest.raises(RunUnseenError):
        check_seen(reached(shared), shared.session)
