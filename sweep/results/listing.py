"""The runs of a folder, one row each. Neither torch nor the studies are loaded: a folder may hold many runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from selector.errors import UserError, first_line
from sweep.errors import RunError
from sweep.results.run_state import planned_trials, state_of
from sweep.results.run_verdict import RunVerdict, verdict_of_run
from sweep.runs.driver import driver_state
from sweep.runs.find import RUN_FILES
from sweep.runs.paths import RunPaths
from sweep.runs.record import read_record
from sweep.storage.outage import is_outage
from sweep.storage.path import StoredPath

READERS = 8
DAMAGED = "damaged"
"""The state of a run whose files cannot be read."""


@dataclass(frozen=True)
class RunRow:
    """One run.

    Attributes:
        paths: of the run.
        state: as `RunState`, or DAMAGED.
        bytes: that its folder takes up, without what runs share.
        changed: when its record was written last, in seconds since the epoch. None where nobody knows.
        ended: trials that have ended.
        planned: trials of the budget, where it is counted in trials.
        best: the best trial: by answers where the run was evaluated, else by val_loss.
        val_loss: of that trial.
        verdict: None while the run has not ended.
        problem: why nothing else is known. Empty where all is well.
    """

    paths: RunPaths
    state: str
    bytes: int
    changed: float | None
    ended: int = 0
    planned: int | None = None
    best: int | None = None
    val_loss: float | None = None
    verdict: RunVerdict | None = None
    problem: str = ""


def list_runs(runs: StoredPath, looking: Callable[[str], None] = lambda line: None) -> list[RunRow]:
    """The runs of a folder, the newest first. A run that is removed meanwhile is left out.

    Args:
        runs: the folder.
        looking: told, before it takes longer than a moment.

    Raises:
        RunError: its bucket does not exist.
        OSError: the storage fails.
    """
    if runs.lacks_bucket():
        raise RunError(f"{runs}: its bucket does not exist; mind the spelling, or create it")
    found = [RunPaths(file.parent) for file in runs.glob(RUN_FILES)]
    with ThreadPoolExecutor(READERS, "runs") as threads:
        rows = [row for row in threads.map(lambda paths: _row(paths, looking), found) if row is not None]
    return sorted(rows, key=lambda row: (-(row.changed or 0.0), row.paths.name))


def _row(paths: RunPaths, looking: Callable[[str], None]) -> RunRow | None:
    try:
        record, driver = read_record(paths), driver_state(paths, looking)
        ranking = _read(paths.ranking_file) if paths.ranking_file.exists() else None
        trials = _trials(paths, ranking)
        verdict = verdict_of_run(paths)
    except (UserError, OSError) as error:
        if isinstance(error, OSError) and is_outage(error):
            raise
        if not paths.run_file.exists():
            return None
        problem = first_line(error).removeprefix(f"{paths.root}/").removeprefix(f"{paths.root}: ")
        return RunRow(paths, DAMAGED, paths.root.size(), paths.run_file.modified, problem=problem)
    complete = {trial.number: trial.value for trial in trials if trial.value is not None and trial.state == "complete"}
    best = _winner(ranking)
    if best is None:
        best = min(complete, key=lambda number: (complete[number], number), default=None)
    return RunRow(
        paths=paths,
        state=state_of(paths, driver, any(trial.state == "running" for trial in trials)),
        bytes=paths.root.size(),
        changed=paths.run_file.modified,
        ended=sum(trial.state not in ("running", "waiting") for trial in trials),
        planned=planned_trials(record, driver.record),
        best=best,
        val_loss=None if best is None else complete.get(best),
        verdict=verdict,
    )


@dataclass(frozen=True)
class _Trial:
    number: int
    state: str
    value: float | None


def _trials(paths: RunPaths, ranking: dict[str, Any] | None) -> list[_Trial]:
    """The trials: of a run that has ended from its ranking, else from what each trial says of itself."""
    if ranking is not None:
        rows = ranking.get("trials")
        return [_trial(row, paths.ranking_file) for row in (rows if isinstance(rows, list) else [])]
    files = [file for file in paths.trials_folder.glob("*/study.json") if file.parent.name.isdecimal()]
    return [_trial(_read(file), file) for file in files]


def _trial(values: Any, file: StoredPath) -> _Trial:  # noqa: ANN401 (any JSON value)
    number, state, value = (
        (values.get(key) for key in ("number", "state", "value")) if isinstance(values, dict) else (None,) * 3
    )
    if not isinstance(number, int) or not isinstance(state, str) or not isinstance(value, int | float | None):
        raise RunError(f"{file}: damaged, or of another version: not the record of a trial")
    return _Trial(number, state, value)


def _winner(ranking: dict[str, Any] | None) -> int | None:
    """The best trial by answers."""
    winner = (ranking or {}).get("winner_by_answers")
    number = winner.get("trial") if isinstance(winner, dict) else None
    return number if isinstance(number, int) else None


def _read(file: StoredPath) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_bytes()))
    except (ValueError, TypeError, RecursionError):
        raise RunError(f"{file}: damaged, or of another version") from None
