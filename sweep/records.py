"""`run.json`: what a run is, written before its first trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from selector.settings import Settings
from sweep.errors import RunError
from sweep.paths import RunPaths


class RunRecord(Settings):
    """The resolved space, the data's fingerprint, the study's address and the versions of a run."""

    format: str = "sweep-run/1"
    space: dict[str, Any]
    data_fingerprint: str
    storage: str
    versions: dict[str, str]


def read_record(paths: RunPaths) -> RunRecord:
    """The record of a run. Raises RunError if the folder is not a run's."""
    try:
        return RunRecord.model_validate_json(paths.run_file.read_bytes())
    except OSError:
        raise RunError(f"{paths.root}: not a run folder ({paths.run_file.name} is missing)") from None
    except ValidationError as error:
        raise RunError(
            f"{paths.run_file}: damaged ({error.error_count()} problems): {error.errors()[0]['msg']}"
        ) from None


def find_run(argument: str | None, runs: Path) -> RunPaths:
    """A run by folder, by name below `runs`, or the newest one.

    Raises:
        RunError: there is no such run.
    """
    if argument is None:
        found = sorted(runs.glob("*/run.json"), key=lambda file: file.stat().st_mtime)
        if not found:
            raise RunError(f"no runs in {runs}: start one with `python -m sweep run spaces/grpo.yaml`")
        return RunPaths(found[-1].parent)
    for folder in (Path(argument), runs / argument):
        if (folder / "run.json").is_file():
            return RunPaths(folder)
    names = ", ".join(sorted(file.parent.name for file in runs.glob("*/run.json"))) or "none"
    raise RunError(f"no run {argument!r}; runs in {runs}: {names}")
