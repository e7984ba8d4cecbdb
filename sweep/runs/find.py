"""TODO-DOC"""

from __future__ import annotations

from pathlib import Path

from sweep.errors import RunError
from sweep.runs.paths import RunPaths
from sweep.storage import mirror
from sweep.storage.location import is_uri


def find_run(argument: str | None, runs: Path) -> RunPaths:
    """A run by folder or URI, by name below `runs`, or the newest one; with its current record, study and tables.

    Raises:
        RunError: there is no such run.
    """
    paths = RunPaths(_run_folder(argument, runs))
    refresh(paths)
    return paths


def refresh(paths: RunPaths) -> None:
    """Have what changes while a run is driven as it is now, where the run is kept elsewhere."""
    changing = (paths.run_file, paths.space_file, paths.study_file, paths.ranking_file, paths.evaluation_folder)
    for file in changing:
        mirror.refresh(file)


def _run_folder(argument: str | None, runs: Path) -> Path:
    if argument is None:
        found = _run_files(runs)
        if not found:
            _check_bucket(runs)
            raise RunError(f"no runs in {mirror.shown(runs)}: start one with `python -m sweep run spaces/grpo.yaml`")
        return mirror.newest(found).parent
    for folder in (mirror.run_folder_of(argument), *([] if is_uri(argument) else [runs / argument])):
        if mirror.exists(folder / "run.json"):
            return folder if folder.name not in ("", "..") else folder.resolve()
    if is_uri(argument):
        _check_bucket(mirror.run_folder_of(argument))
        raise RunError(f"{mirror.shown(mirror.run_folder_of(argument))}: no run there")
    _check_bucket(runs)
    names = ", ".join(sorted(file.parent.name for file in _run_files(runs))) or "none"
    raise RunError(f"no run {argument!r}; runs in {mirror.shown(runs)}: {names}")


def _check_bucket(folder: Path) -> None:
    if mirror.lacks_bucket(folder):
        raise RunError(f"{mirror.shown(folder)}: its bucket does not exist; mind the spelling, or create it")


def _run_files(runs: Path) -> list[Path]:
    return mirror.listing(runs, "[!.]*/run.json")
