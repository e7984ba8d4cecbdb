"""`study.json` in each trial's folder: what the study holds of the trial. And the study, built again from these."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from sweep.driver.session import Session
from sweep.errors import RunError, StudyError
from sweep.execution.events import TrialEnded, TrialStarted
from sweep.plan.plan import Plan
from sweep.results.seal import read_seal
from sweep.runs.paths import RunPaths, TrialPaths, sqlite_url
from sweep.storage.path import StoredPath
from sweep.study import StudyOwner, count_trials
from sweep.study.records import Record, is_ended, lost, record_of, store_records, trial_of
from sweep.trials.messages import EpochResult
from sweep.trials.stored import read_history, trial_folders


class TrialRecords:
    """An observer that stores what the study says of a trial as it starts and as it ends.

    Invariants:
    - A record is written as its trial is handed out and as it ends, and not for what other trials do: that would be
      hundreds of files for each of hundreds of trials at a time.
    - The record of a trial that has ended is written once. One that a killed driver did not write is written by the
      next one, as it opens the study.
    - As long as the study may change, the run has no seal. As long as trials run, it has no ranking.
    """

    def __init__(self, paths: RunPaths, owner: StudyOwner) -> None:
        self._paths = paths
        self._owner = owner
        self._known = 0
        self._open: set[int] = set()  # trials whose last record is not written yet
        self._stored: set[int] = set()
        paths.seal_file.remove()
        self._update()

    def started(self, event: TrialStarted) -> None:
        """Store its parameters. A run that had ended has not any more.

        The first trial is stored with its first epoch: as long as the folder of trials is missing, none has begun.
        """
        self._paths.ranking_file.remove()
        self._stored.discard(event.number)  # handed out again, it is another attempt
        if self._paths.trials_folder.exists():
            self._update()

    def epoch(self, result: EpochResult) -> None:
        """Store the parameters of a trial that is not stored yet."""
        if result.number not in self._stored:
            self._update()

    def ended(self, event: TrialEnded) -> None:
        """Store how it ended."""
        self._update()

    def _update(self) -> None:
        """Of all trials: one that cannot be trained ends while another one is asked for, and nobody is told."""
        trials = self._owner.trials()
        self._open.update(range(self._known, len(trials)))
        self._known = len(trials)
        for trial in [trials[number] for number in sorted(self._open)]:
            ended = trial.state.is_finished()
            if trial.number in self._stored and not ended:
                continue
            file = self._paths.trial(trial.number).study_file
            known = _read(file) if file.exists() else None
            if known is None or not is_ended(known):
                file.write_json(record_of(trial))
            self._stored.add(trial.number)
            if ended:
                self._open.remove(trial.number)


def rebuild_study(plan: Plan, session: Session) -> None:
    """Build a study that was lost again from the records in the trials' folders.

    A trial that was running goes on from its last epoch, as after any other end of the driver. One of which nothing is
    left is failed in the new study, and said so.

    Raises:
        RunError: the study has trials, there is no record, or one is damaged.
    """
    paths, record = session.paths, session.record
    url = record.storage_url(paths)
    if found := count_trials(url, record.study):
        raise RunError(
            f"the study of run {paths.name} has {found} trials, and is not built again; to do so none the less, move "
            f"{'it' if record.storage else paths.study_file} away first"
        )
    records, gone = _records(paths)
    started = _started(paths)
    try:
        if record.storage is not None:
            store_records(url, record.study, plan.space, records, started)
        else:
            content = _database(plan, record.study, records, started)
            for suffix in ("-wal", "-shm"):  # of the lost file: SQLite would take them for the new one's
                (paths.root / f"{paths.study_file.name}{suffix}").remove()
            paths.study_file.write_bytes(content)
            paths.study_file.forget()
    except StudyError as error:
        raise RunError(f"run {paths.name}: its study cannot be built again: {error}") from None
    missing = f"; nothing is left of {', '.join(map(str, gone))}, which count as failed" if gone else ""
    session.say(f"study built again from the records of {len(records) - len(gone)} trials{missing}")


def _database(plan: Plan, name: str, records: list[Record], started: float | None) -> bytes:
    """A SQLite file with the study. It is made elsewhere: SQLite keeps files of its own beside one that is in use."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "study.db"
        store_records(sqlite_url(file), name, plan.space, records, started)
        with closing(sqlite3.connect(file)) as connection:
            return connection.serialize()


def _records(paths: RunPaths) -> tuple[list[Record], list[int]]:
    """The records by number, and those numbers for which there is none."""
    folders = trial_folders(paths)
    found = {number: _running(_read(own.study_file), own) for number, own in folders.items() if own.study_file.exists()}
    if not found:
        raise RunError(
            f"run {paths.name}: no trial has a record of itself, as in runs of version 0.1: restore the study from a "
            "backup, or start a new run"
        )
    count = max(folders) + 1
    return [found.get(number) or lost(number) for number in range(count)], [n for n in range(count) if n not in found]


def _read(file: StoredPath) -> Record:
    try:
        record: Record = json.loads(file.read_bytes())
        trial_of(record)
    except (ValueError, RecursionError, StudyError) as error:
        raise RunError(
            f"{file}: cannot be read as the record of a trial ({error}); remove it, and the next `python -m "
            "sweep resume` writes it from the study"
        ) from None
    return record


def _running(record: Record, own: TrialPaths) -> Record:
    """A trial that had not ended has no epochs in its record. They are in its history."""
    if is_ended(record):
        return record
    values = {str(report.step): report.val_loss for report in read_history(own.history_file)}
    return {**record, "intermediate_values": values}


def _started(paths: RunPaths) -> float | None:
    seal = read_seal(paths) if paths.seal_file.exists() else None
    return None if seal is None else seal.started
