"""How a run stands as a whole. Needs neither its study nor torch."""

from __future__ import annotations

from enum import StrEnum

from sweep.runs.driver import DriverRecord, DriverState, End, Phase
from sweep.runs.paths import RunPaths
from sweep.runs.record import RunRecord


class RunState(StrEnum):
    """How a run stands as a whole."""

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    DEAD = "dead"


def state_of(paths: RunPaths, driver: DriverState, trials_wait: bool) -> RunState:
    """The state of a run.

    Args:
        paths: of the run.
        driver: whether one lives.
        trials_wait: whether a trial has begun and not ended.
    """
    if driver.alive:
        return RunState.RUNNING
    # A run that had ended may have been resumed with a larger budget. Evaluating it again changes nothing here.
    if paths.ranking_file.exists() and not trials_wait:
        return RunState.FINISHED
    if driver.record is None or driver.record.end in (End.INTERRUPTED, End.FINISHED):
        return RunState.INTERRUPTED
    return RunState.FAILED if driver.record.end is End.FAILED else RunState.DEAD


def planned_trials(record: RunRecord, driver: DriverRecord | None) -> int | None:
    """Trials of the budget. A resumed run may have another one than it began with. None: not counted in trials."""
    if driver is not None and driver.phase is Phase.TRAINING:
        return driver.total
    budget = record.space.get("budget")
    planned = budget.get("trials") if isinstance(budget, dict) else None
    return planned if isinstance(planned, int) else None
