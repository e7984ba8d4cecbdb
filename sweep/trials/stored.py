"""The stored epochs of a run's trials and finalists: which there are, best first, and whether they are whole."""

from __future__ import annotations

import json
import re

from selector.errors import CheckpointError
from selector.reports import EpochReport
from sweep.errors import RunError
from sweep.runs.paths import RunPaths, TrialPaths
from sweep.storage.path import StoredPath
from sweep.trials.checkpoints import MANIFEST_FILE, read_checkpoint, read_manifest, reports_of

EPOCH = re.compile(r"/\d+(-seed-\d+)?/best/step-\d+$")
"""How the folder of a stored epoch ends."""


def best_epochs(paths: RunPaths, number: int, best_step: int | None = None) -> list[StoredPath]:
    """Folders of a trial's stored epochs, best val_loss first.

    Args:
        paths: of the run.
        number: of the trial.
        best_step: the epoch that stands for the trial, which comes first whatever its manifest says.

    Raises:
        RunError: the trial has none (pruned before its first epoch, failed, or removed by hand).
    """
    folders = _epochs(paths.trial(number).best_folder.glob(f"step-*/{MANIFEST_FILE}"))
    if not folders:
        raise RunError(
            f"run {paths.name}: trial {number} has no stored epoch; `sweep status {paths.shown}` lists trials"
        )
    loss = {path: read_manifest(path)["metrics"]["val_loss"] for path in folders}
    return sorted(folders, key=lambda path: (step_of(path) != best_step, loss[path], step_of(path)))


def check_epochs(paths: RunPaths, number: int, count: int, best_step: int | None) -> None:
    """Read what a comparison would load of a trial: its `count` best stored epochs, or as many as there are.

    Args:
        paths: of the run.
        number: of the trial.
        count: epochs.
        best_step: the epoch that stands for the trial. None where nobody knows.

    Raises:
        RunError: the trial has no stored epoch, or the one that stands for it is gone.
        CheckpointError: one of them is damaged.
    """
    folders = best_epochs(paths, number, best_step)
    if best_step is not None and step_of(folders[0]) != best_step:
        raise RunError(f"{paths.trial(number).epoch(best_step)}: missing, the best epoch of trial {number}")
    for folder in folders[:count]:
        read_checkpoint(folder)


def stored_epochs(trials: StoredPath) -> list[StoredPath]:
    """Folders of all stored epochs of all trials, or of all finalists, by name. Other names are none of ours."""
    return _epochs(trials.glob(f"*/best/step-*/{MANIFEST_FILE}"))


def trial_folders(paths: RunPaths) -> dict[int, TrialPaths]:
    """The trials that have a folder, by number."""
    return {int(one.name): TrialPaths(one) for one in paths.trials_folder.glob("[0-9]*") if one.name.isdecimal()}


def best_checkpoint(paths: RunPaths, number: int) -> StoredPath:
    """Folder of a trial's best stored epoch by val_loss. Raises RunError if the trial has none."""
    return best_epochs(paths, number)[0]


def read_history(file: StoredPath) -> list[EpochReport]:
    """The reports in `epochs.jsonl`. None before the first epoch has ended. Raises CheckpointError if it is damaged."""
    try:
        lines = file.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    values = []
    for number, line in enumerate(lines, start=1):
        try:
            values.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{file}: line {number} is not JSON ({error}): altered or damaged") from None
    return reports_of(values, file)


def _epochs(manifests: list[StoredPath]) -> list[StoredPath]:
    return [file.parent for file in manifests if EPOCH.search(file.parent.path.as_posix())]


def step_of(folder: StoredPath) -> int:
    """The step that a folder `step-NNNN` stands for."""
    return int(folder.name.removeprefix("step-"))
