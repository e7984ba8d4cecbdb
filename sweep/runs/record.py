"""`run.json`: what a run is, written before its first trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from selector.settings import Settings
from sweep.errors import RunError
from sweep.runs.paths import RunPaths
from sweep.storage import mirror
from sweep.storage.location import is_uri
from sweep.study import sqlite_url


class RunRecord(Settings):
    """The resolved space, where its data is and its fingerprint, the study's address and the versions of a run.

    Attributes:
        data: the data's absolute path, so that a run can be continued from any folder; None for the demo data. Of a run
            that is kept elsewhere and collected its data: relative to the folder of runs.
        embeddings: likewise, where they were named.
        data_fingerprint: None while the run's own data is still being collected.
        study: the study's name: the run's when it was started, whatever its folder is called today.
        storage: the study's URL; None for the file in the run folder, which may be moved or copied with it.
    """

    format: Literal["sweep-run/1"] = "sweep-run/1"
    space: dict[str, Any]
    data: Path | None
    embeddings: Path | None
    data_fingerprint: str | None
    study: str
    storage: str | None
    versions: dict[str, str]

    @property
    def fingerprint(self) -> str:
        """Of the data. Raises RunError while it is still being collected."""
        if self.data_fingerprint is None:
            raise RunError("the run's data is not collected yet: `python -m sweep resume` goes on with it")
        return self.data_fingerprint

    def storage_url(self, paths: RunPaths) -> str:
        """The URL of the study of the run in this folder."""
        return self.storage or sqlite_url(paths.study_file.resolve())


def read_record(paths: RunPaths) -> RunRecord:
    """The record of a run. Raises RunError if the folder is not a run's."""
    try:
        return RunRecord.model_validate_json(paths.run_file.read_bytes())
    except OSError:
        raise RunError(f"{paths.shown}: not a run folder ({paths.run_file.name} is missing)") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RunError(
            f"{mirror.shown(paths.run_file)}: damaged, or of another version: "
            f"{f'{where}: ' if where else ''}{first['msg']}"
        ) from None


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
