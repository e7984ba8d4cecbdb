"""Finding a run by folder, URI or name, or the newest one."""

from __future__ import annotations

from sweep.errors import RunError
from sweep.runs.paths import RunPaths
from sweep.storage.local import stored_at
from sweep.storage.location import is_uri
from sweep.storage.open import open_run_folder
from sweep.storage.path import StoredPath

RUN_FILES = "[!.]*/run.json"


def find_run(argument: str | None, runs: StoredPath, storage: str | None = None) -> RunPaths:
    """A run, with its study as it is now. Nothing is written.

    Args:
        argument: its folder or URI, or its name below `runs`. None: the newest one there.
        runs: a folder of runs.
        storage: the database that the user names, for a run that keeps its study outside its folder.

    Raises:
        RunError: there is no such run.
    """
    paths = RunPaths(_run_folder(argument, runs), storage)
    refresh(paths)
    return paths


def refresh(paths: RunPaths) -> None:
    """Have the study as it is now, where the run is kept elsewhere. All else is read where it is kept."""
    paths.study_file.forget()


def _run_folder(argument: str | None, runs: StoredPath) -> StoredPath:
    if argument is None:
        newest = runs.newest(RUN_FILES)
        if newest is None:
            _check_bucket(runs)
            raise RunError(f"no runs in {runs}: start one with `python -m sweep run spaces/grpo.yaml`")
        return newest.parent
    if argument.endswith((".tar.zst", ".tar.gz")):
        raise RunError(f"{argument} is a bundle: take it in first, with `python -m sweep runs import {argument}`")
    folder = open_run_folder(argument)
    for one in (folder, *([] if is_uri(argument) else [runs / argument])):
        if RunPaths(one).run_file.exists():
            return one if one.is_remote or one.name not in ("", "..") else stored_at(one.local().resolve())
    if is_uri(argument):
        _check_bucket(folder)
        raise RunError(f"{folder}: no run there")
    _check_bucket(runs)
    names = ", ".join(sorted(file.parent.name for file in runs.glob(RUN_FILES))) or "none"
    raise RunError(f"no run {argument!r}; runs in {runs}: {names}")


def _check_bucket(folder: StoredPath) -> None:
    if folder.lacks_bucket():
        raise RunError(f"{folder}: its bucket does not exist; mind the spelling, or create it")
