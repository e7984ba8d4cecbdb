"""How a run stands: whether a driver lives, what it does, how far it is, and its trials now. It only reads."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sweep.errors import RunError, StudyError
from sweep.results.evaluations import main_evaluation
from sweep.results.run_state import RunState, planned_trials, state_of
from sweep.results.run_verdict import verdict_of_run
from sweep.runs.driver import DriverRecord, DriverState, Phase, driver_state
from sweep.runs.paths import EvaluationPaths, RunPaths
from sweep.runs.record import RunRecord, read_record
from sweep.study import TrialState, TrialSummary, read_summaries
from sweep.study.ranking import rank

ENOUGH_TRIALS = 3
"""From so many ended trials on, the mean of their epochs stands for those to come."""


@dataclass(frozen=True)
class RunStatus:
    """A run at one moment.

    Attributes:
        paths: the run's.
        state: of the run. DEAD: its driver ended without a word.
        driver: whether one lives, and what it said last.
        planned: trials of the budget, where it is counted in trials.
        rows: all trials, as `sweep.study.ranking.rank` gives them.
        trains: whether trials that the study calls running do run.
        seconds_left: estimate for what the driver does now. None while too little is known.
        evaluation: the one that the run's result rests on.
        verdict: how it ended, in a sentence.
    """

    paths: RunPaths
    state: RunState
    driver: DriverState
    planned: int | None
    rows: list[TrialSummary]
    trains: bool
    seconds_left: float | None
    evaluation: EvaluationPaths | None
    verdict: str | None

    def state_of(self, row: TrialSummary) -> str:
        """A trial's state. One that nobody trains at the moment waits to be resumed."""
        return "interrupted" if row.state is TrialState.RUNNING and not self.trains else row.state_name

    @property
    def counts(self) -> dict[str, int]:
        """Trials by state."""
        return dict(sorted(Counter(self.state_of(row) for row in self.rows).items()))

    @property
    def ended(self) -> int:
        """Trials that have ended."""
        return sum(row.state.is_finished() for row in self.rows)

    @property
    def best(self) -> TrialSummary | None:
        """The best complete trial by val_loss."""
        return self.rows[0] if self.rows and self.rows[0].is_complete else None


def read_status(paths: RunPaths, looking: Callable[[str], None] = lambda line: None) -> RunStatus:
    """Look at a run. Nothing is written, whatever its folder holds.

    Args:
        paths: the run's.
        looking: told, before it takes longer than a moment.

    Raises:
        RunError: not a run, or one that keeps its study where the user did not say.
        StudyError: the study cannot be read.
    """
    record = read_record(paths)
    driver = driver_state(paths, looking)
    rows = rank(_trials(paths, record, driver))
    trains = driver.alive and (driver.record is None or driver.record.phase is Phase.TRAINING)
    place, verdict = _end(paths)
    return RunStatus(
        paths=paths,
        state=state_of(paths, driver, any(row.state is TrialState.RUNNING for row in rows)),
        driver=driver,
        planned=planned_trials(record, driver.record),
        rows=rows,
        trains=trains,
        seconds_left=seconds_left(driver.record, rows) if driver.alive and driver.record is not None else None,
        evaluation=place,
        verdict=verdict,
    )


def _end(paths: RunPaths) -> tuple[EvaluationPaths | None, str | None]:
    """What a run's result rests on, and its verdict. Files that are damaged do not hide how the run stands."""
    place = None
    try:
        place = main_evaluation(paths)
        found = verdict_of_run(paths)
    except RunError as error:
        return place, str(error)
    return place, None if found is None else found.sentence


def _trials(paths: RunPaths, record: RunRecord, driver: DriverState) -> list[TrialSummary]:
    """None before the study is made: while a driver collects, or if it ended before its first trial."""
    url = record.storage_url(paths)
    unmade = record.storage is None and not paths.study_file.local().exists()
    if unmade and not paths.trials_folder.exists():
        return []
    try:
        return read_summaries(url, record.study)
    except StudyError:
        before = (Phase.STARTING, Phase.EMBEDDING, Phase.COLLECTING)
        if driver.alive and driver.record is not None and driver.record.phase in before:
            return []
        raise


def seconds_left(driver: DriverRecord, rows: Sequence[TrialSummary]) -> float | None:
    """How long the driver's phase will still take, at the pace that was measured. None while too little is known."""
    if not driver.pace or driver.total is None:
        return None
    if driver.phase is not Phase.TRAINING:
        return max(0, driver.total - driver.done) / driver.pace
    if driver.epochs is None:
        return None
    ended = [row.last_step or 0 for row in rows if row.state.is_finished()]
    usual = statistics.mean(ended) if len(ended) >= ENOUGH_TRIALS else driver.epochs
    started = sum(max(0.0, usual - (row.last_step or 0)) for row in rows if not row.state.is_finished())
    return (started + usual * max(0, driver.total - len(rows))) / driver.pace


# As a document -------------------------------------------------------------------------------------------------------


def status_document(status: RunStatus) -> dict[str, Any]:
    """What `status --json` prints. docs/watching.md describes the fields. They stay as they are within this format."""
    record, best = status.driver.record, status.best
    return {
        "format": "sweep-status/1",
        "run": status.paths.name,
        "folder": status.paths.shown,
        "state": status.state.value,
        "driver": None if record is None else _driver(status.driver, record),
        "phase": _phase(status, record) if record is not None and status.driver.alive else None,
        "planned_trials": status.planned,
        "trials_by_state": status.counts,
        "best": None if best is None else {"trial": best.number, "val_loss": best.value},
        "evaluation": None if status.evaluation is None else status.evaluation.name,
        "verdict": status.verdict,
        "trials": [_trial(status, place, row) for place, row in enumerate(status.rows, start=1)],
    }


def _driver(state: DriverState, record: DriverRecord) -> dict[str, Any]:
    return {
        "alive": state.alive,
        "here": state.here,
        "host": record.host,
        "pid": record.pid,
        "began": _time(record.began),
        "last_sign_of_life": _time(record.updated),
        "end": record.end,
        "reason": record.reason,
    }


def _phase(status: RunStatus, record: DriverRecord) -> dict[str, Any]:
    return {
        "name": record.phase.value,
        "began": _time(record.phase_began),
        "done": record.done,
        "total": record.total,
        "unit": record.unit,
        "seconds_left": status.seconds_left,
    }


def _trial(status: RunStatus, place: int, row: TrialSummary) -> dict[str, Any]:
    return {
        "rank": place if row.is_complete else None,
        "trial": row.number,
        "state": status.state_of(row),
        "val_loss": row.value if row.is_complete else None,
        "best_val_loss": row.reached[0],
        "best_epoch": row.reached[1],
        "last_epoch": row.last_step,
        "agreement": row.standing.agreement,
        "verdicts": [verdict.value for verdict in row.verdicts],
        "reason": row.reason,
        "seconds": row.duration,
        "worker_deaths": row.worker_deaths,
        "parameters": row.params,
    }


def _time(seconds: float) -> str:
    """Seconds since the epoch as UTC, ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
